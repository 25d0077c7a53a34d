"""How long one control tick takes: 64 hosts with 256 guests, a sample from each host before every tick."""

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from migd_controller.config import ControllerConfig, TelemetrySection, XapiSection
from migd_controller.core import Core, first_memory
from migd_controller.events import (
    AnyEvent,
    InventoryChanged,
    JobAdded,
    PolicySet,
    PoolGuest,
    PoolHost,
    PoolReachability,
    SampleArrived,
    ShadowAdded,
    ShadowTurn,
    Tick,
)
from migd_core.messages import DirtyCurve, FlowSample, GuestSample, HostSample
from migd_core.units import GIB

HOSTS: Final = 64
GUESTS: Final = 256
CPUS: Final = 16
TICKS: Final = 30


def measure() -> dict[str, float]:
    """Return milliseconds a tick with each acting policy, median and worst (goal: under 100)."""
    figures: dict[str, float] = {"hosts": HOSTS, "guests": GUESTS}
    for policy in ("least-loaded", "colocate"):
        took_ms, _ = ticks_ms(policy)
        figures[f"{policy}_median_ms"] = round(statistics.median(took_ms), 2)
        figures[f"{policy}_worst_ms"] = round(max(took_ms), 2)
    return figures


def ticks_ms(
    policy: str,
    jobs: tuple[JobAdded, ...] = (),
    curve: DirtyCurve | None = None,
    clock: Callable[[], float] = time.perf_counter,
    shadows: tuple[ShadowAdded, ...] = (),
    first: tuple[AnyEvent, ...] = (),
    watch: Callable[[Core], None] = lambda core: None,
) -> tuple[list[float], list[float]]:
    """Return what each tick took by the `clock`, and what the turn of the `shadows` after it did.

    `jobs` are of the guests `g0` and on, which have the dirty `curve`. The core takes in `first` before the first tick,
    and `watch` may look at it after each.
    """
    config = ControllerConfig(
        telemetry=TelemetrySection(secret_key_file=Path(), agents_file=Path(), stale_after_s=60.0),
        xapi=XapiSection(url="http://127.0.0.1", username="", password_file=Path()),
    )
    core = Core(config, first_memory(config))
    hosts = tuple(
        PoolHost(uuid=f"h{n}", name=f"h{n}", is_enabled=True, is_live=True, cpus=CPUS, memory_for_guests_bytes=64 * GIB)
        for n in range(HOSTS)
    )
    guests = tuple(
        PoolGuest(uuid=f"g{n}", name=f"g{n}", host=f"h{n % HOSTS}", vcpus=4, memory_bytes=8 * GIB, macs=(f"m{n}",))
        for n in range(GUESTS)
    )
    core.handle(InventoryChanged(hosts=hosts, guests=guests, is_complete=True), 0.0)
    core.handle(PoolReachability(is_reachable=True), 0.0)
    core.handle(PolicySet(name=policy, config={}), 0.0)
    for event in (*jobs, *shadows, *first):
        core.handle(event, 0.0)
    took_ms, turns_ms = [], []
    for tick in range(1, TICKS + 1):
        now_s = 5.0 * tick
        for number in range(HOSTS):
            core.handle(SampleArrived(sample=_sample(number, tick, curve)), now_s)
        started_s = clock()
        core.handle(Tick(), now_s)
        decided_s = clock()
        core.handle(ShadowTurn(), now_s)
        took_ms.append((decided_s - started_s) * 1000.0)
        turns_ms.append((clock() - decided_s) * 1000.0)
        watch(core)
    return took_ms, turns_ms


def _sample(host: int, tick: int, curve: DirtyCurve | None) -> HostSample:
    """Every fourth host is saturated, so that the policy has something to weigh."""
    is_hot = host % 4 == 0
    residents = range(host, GUESTS, HOSTS)
    return HostSample(
        host_uuid=f"h{host}",
        boot_id="b",
        sequence=tick,
        monotonic_s=5.0 * tick,
        interval_s=1.0,
        cpus=CPUS,
        cpu_ratio=1.0 if is_hot else 0.4,
        dom0_cpu_ratio=0.2 if is_hot else 0.02,
        memory_bytes=64 * GIB,
        memory_free_bytes=32 * GIB,
        rx_bytes_per_s=1e7,
        tx_bytes_per_s=1e7,
        link_bytes_per_s=1.25e9,
        guests=tuple(
            GuestSample(
                uuid=f"g{n}",
                vcpus=4,
                cpu_ratio=0.95 if is_hot else 0.38,
                memory_bytes=8 * GIB,
                rx_bytes_per_s=1e6,
                tx_bytes_per_s=1e6,
                dirty_curve=curve,
            )
            for n in residents
        ),
        flows=tuple(FlowSample(f"m{n}", f"m{(n + 7) % GUESTS}", 1e6) for n in residents),
    )
