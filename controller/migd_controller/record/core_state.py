"""All that a core's next answer depends on, as one value: what a part of a record begins with.

What only views look at (the last decision, the last world) is left out, and so is what a tick keeps for the shadows'
turn after it: a state is taken before a tick, which makes that anew. This module alone reaches into what these classes
keep for themselves; `test_core_state` finds a field that is new there and missing here.
"""

from collections import deque
from typing import Annotated

import msgspec
from msgspec import Meta

from migd_controller.activity import BLOCK_BYTES, Activity
from migd_controller.config import ControllerConfig
from migd_controller.core import Core
from migd_controller.events import PoolGuest, PoolHost, PoolReachability, Source
from migd_controller.inventory import Inventory
from migd_controller.memory import Memory
from migd_controller.telemetry import HISTORY_PERIODS, GuestRates, HostTelemetry, Telemetry, _Said
from migd_core.messages import DirtyCurve, HostSample
from migd_core.progress import Progress
from migd_policies.imbalance import Standing
from migd_policies.quiet_start import Counted
from migd_policies.second_thoughts import Copying


class HostState(msgspec.Struct, frozen=True, array_like=True):
    """A `HostTelemetry`."""

    newest: HostSample
    source: Source
    arrived_s: float
    cpu_ratio: float
    dom0_cpu_ratio: float
    dropped_s: float | None
    guests: dict[str, GuestRates]
    flows: tuple[tuple[str, str, float], ...]
    load_ratios: tuple[float, ...]
    standing: Standing | None
    transits_s: tuple[tuple[float, float], ...]


class ActivityState(msgspec.Struct, frozen=True, array_like=True):
    """An `Activity`."""

    at_s: float
    block: Annotated[bytes, Meta(min_length=BLOCK_BYTES, max_length=BLOCK_BYTES)]
    counted: tuple[Counted, ...]


class TelemetryState(msgspec.Struct, frozen=True):
    """A `Telemetry`."""

    hosts: tuple[HostState, ...]
    curves: dict[str, tuple[DirtyCurve, ...]]
    told_at: dict[str, float]
    activities: dict[str, ActivityState]
    booted_at: dict[str, float]
    listening: list[str]
    problems: dict[str, str]
    health: dict[str, _Said]
    progress: dict[str, Progress]
    news: dict[str, tuple[float, Progress]]


class InventoryState(msgspec.Struct, frozen=True):
    """An `Inventory`."""

    hosts: tuple[PoolHost, ...]
    guests: tuple[PoolGuest, ...]
    is_known: bool
    settling: list[str]


class CoreState(msgspec.Struct, frozen=True, kw_only=True):
    """A `Core`, but for its configuration."""

    memory: Memory
    inventory: InventoryState
    telemetry: TelemetryState
    pool: PoolReachability
    copying: dict[str, Copying]


def state_of(core: Core) -> CoreState:
    """Return the state of a core between two events."""
    return CoreState(
        memory=core.memory,
        inventory=_inventory_state(core.inventory),
        telemetry=_telemetry_state(core.telemetry),
        pool=core.pool,
        copying=core._copying,
    )


def restored(config: ControllerConfig, state: CoreState) -> Core:
    """Return a core that answers as the one that `state` was taken of."""
    core = Core(config, state.memory)
    inventory, told = core.inventory, state.inventory
    inventory.hosts = {host.uuid: host for host in told.hosts}
    inventory.guests = {guest.uuid: guest for guest in told.guests}
    inventory.guest_of_mac = {mac: guest.uuid for guest in told.guests for mac in guest.macs}
    inventory.is_known, inventory._settling = told.is_known, set(told.settling)
    _restore_telemetry(core.telemetry, state.telemetry)
    core.pool, core._copying = state.pool, dict(state.copying)
    return core


def _inventory_state(inventory: Inventory) -> InventoryState:
    return InventoryState(
        tuple(inventory.hosts.values()),
        tuple(inventory.guests.values()),
        inventory.is_known,
        sorted(inventory._settling),
    )


def _telemetry_state(telemetry: Telemetry) -> TelemetryState:
    return TelemetryState(
        hosts=tuple(_host_state(each) for each in telemetry.hosts.values()),
        curves=telemetry._curves,
        told_at=telemetry._told_at,
        activities={uuid: _activity_state(each) for uuid, each in telemetry.activities.items()},
        booted_at=telemetry.booted_at,
        listening=sorted(telemetry.listening),
        problems=telemetry.problems,
        health=telemetry._health,
        progress=telemetry._progress,
        news=telemetry.news,
    )


def _host_state(host: HostTelemetry) -> HostState:
    return HostState(
        host.newest,
        host.source,
        host.arrived_s,
        host.cpu_ratio,
        host.dom0_cpu_ratio,
        host.dropped_s,
        host.guests,
        tuple((source, target, rate) for (source, target), rate in host.flows.items()),
        tuple(host.load_ratios),
        host.standing,
        tuple(host.transits_s),
    )


def _activity_state(activity: Activity) -> ActivityState:
    return ActivityState(activity.at_s, bytes(activity.block), activity.counted)


def _restore_telemetry(telemetry: Telemetry, state: TelemetryState) -> None:
    telemetry.hosts = {each.newest.host_uuid: _host(each) for each in state.hosts}
    telemetry._curves, telemetry._told_at = dict(state.curves), dict(state.told_at)
    telemetry.activities = {uuid: _activity(each) for uuid, each in state.activities.items()}
    telemetry.booted_at, telemetry.listening = dict(state.booted_at), set(state.listening)
    telemetry.problems, telemetry._health = dict(state.problems), dict(state.health)
    telemetry._progress, telemetry.news = dict(state.progress), dict(state.news)


def _host(state: HostState) -> HostTelemetry:
    return HostTelemetry(
        newest=state.newest,
        source=state.source,
        arrived_s=state.arrived_s,
        cpu_ratio=state.cpu_ratio,
        dom0_cpu_ratio=state.dom0_cpu_ratio,
        dropped_s=state.dropped_s,
        guests=dict(state.guests),
        flows={(source, target): rate for source, target, rate in state.flows},
        load_ratios=deque(state.load_ratios, HISTORY_PERIODS),
        standing=state.standing,
        transits_s=deque(state.transits_s),
    )


def _activity(state: ActivityState) -> Activity:
    return Activity(state.at_s, bytearray(state.block), state.counted)
