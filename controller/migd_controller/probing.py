"""Which guest is probed next, and who must leave it alone meanwhile. Pure: values in, values out.

A probe counts the pages that a guest dirties. Xen has one way to do so, which a live migration needs as well: one that
begins in mid-probe fails at best. So a guest is probed on a lease only. From before the agent hears of the lease until
after the agent's clock has ended it, the pool is kept from migrating the guest (`blocked_operations`), and so is migd.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from msgspec.structs import replace

from migd_controller.commands import BeginProbe, EndProbe, ProbeCommand, RevokeProbe
from migd_controller.config import ControllerConfig, ProbeSection
from migd_controller.events import PoolGuest, ProbeEnded, Source
from migd_controller.inventory import Inventory
from migd_controller.leases import Lease
from migd_controller.memory import Memory
from migd_controller.telemetry import HostTelemetry, Telemetry
from migd_core.messages import PROBE_AROUND_S, HostSample
from migd_core.units import format_duration
from migd_policies.dirty_fit import probe_ages_s

NEVER_TAG: Final = "migd:never"
UNPROBED_TAGS: Final = frozenset({"migd:no-probe", NEVER_TAG})
# From the agent's deadline to the controller's.
MARGIN_S: Final = 5.0
# What an operator has asked for, and nothing came of, is forgotten after so long.
ASKED_FOR_S: Final = 2 * 3600.0
# After a lease that brought no curve its host is left alone for so long.
REST_S: Final = 60.0


def on_tick(
    cause: str,
    now_s: float,
    inventory: Inventory,
    telemetry: Telemetry,
    memory: Memory,
    config: ControllerConfig,
    is_pool_reachable: bool,
) -> tuple[Memory, list[ProbeCommand]]:
    """End leases that are over or unwanted by now, take away blocks that nobody remembers, and give new leases."""
    over = [lease for lease in memory.leases.values() if now_s >= lease.over_at and not lease.is_ending]
    memory, ends = _ending(memory, over, "its agent has not said what became of it")
    commands: list[ProbeCommand] = [*ends, *_unwanted(inventory, memory)]
    if not inventory.is_known or not is_pool_reachable:
        return memory, commands
    found = {lease.lease: lease for lease in _left_behind(inventory, memory, now_s, config)}
    if found:
        memory = replace(memory, leases={**memory.leases, **found})
    memory = replace(
        memory,
        probe_rests={host: until for host, until in memory.probe_rests.items() if now_s < until <= now_s + REST_S},
        last_probed_at={guest: at for guest, at in memory.last_probed_at.items() if guest in inventory.guests},
        probe_refused_at={guest: at for guest, at in memory.probe_refused_at.items() if guest in inventory.guests},
        probe_asked={
            guest: at
            for guest, at in memory.probe_asked.items()
            if guest in inventory.guests and now_s < at + ASKED_FOR_S
        },
    )
    leases = _granted(cause, now_s, inventory, telemetry, memory, config)
    memory = replace(
        memory,
        leases={**memory.leases, **{lease.lease: lease for lease in leases}},
        last_probed_at={**memory.last_probed_at, **{lease.guest: now_s for lease in leases}},
    )
    return memory, [*commands, *(BeginProbe(lease=lease) for lease in leases)]


def on_sample(sample: HostSample, memory: Memory, now_s: float) -> tuple[Memory, Sequence[EndProbe]]:
    """End the lease that an agent says is over; one that came to nothing lets its host rest."""
    report = sample.probe
    if report is None or report.state == "under-way":
        return memory, ()
    lease = memory.leases.get(report.lease)
    if lease is None or lease.is_ending or lease.host != sample.host_uuid:
        return memory, ()
    if report.state == "done":
        asked = {guest: at for guest, at in memory.probe_asked.items() if guest != lease.guest}
        memory = replace(memory, probe_asked=asked)
        return _ending(memory, (lease,), "")
    if report.state == "revoked":
        return _ending(memory, (lease,), "revoked")
    text = f"{report.state}: {report.text}" if report.text else report.state
    if report.state == "refused":
        memory = _not_begun(memory, lease, now_s)
    return _ending(_resting(memory, lease, now_s), (lease,), text)


def on_ended(event: ProbeEnded, memory: Memory, now_s: float) -> Memory:
    """Forget a lease once the pool lets its guest migrate again."""
    lease = memory.leases.get(event.lease)
    if lease is None:
        return memory
    if not lease.is_ending:  # it never reached its agent
        memory = _not_begun(_resting(memory, lease, now_s), lease, now_s)
    return replace(memory, leases={name: each for name, each in memory.leases.items() if name != event.lease})


def on_start(memory: Memory, now_s: float, config: ControllerConfig) -> tuple[Memory, list[EndProbe]]:
    """Take up the leases of an earlier life of the controller.

    The wall clock may have been set in between, so each is given as long as any lease could last.
    """
    over_at = now_s + config.probe.window_at_most_s + PROBE_AROUND_S + MARGIN_S
    leases = {name: replace(lease, over_at=over_at) for name, lease in memory.leases.items()}
    ends = [EndProbe(lease=lease) for lease in leases.values() if lease.is_ending]
    return replace(memory, leases=leases), ends


def revoked(memory: Memory, guest: str | None = None) -> list[RevokeProbe]:
    """Return what gives up the probe of a guest, or (None) of every guest."""
    leases = memory.leases.values()
    return [RevokeProbe(lease=each) for each in leases if not each.is_ending and guest in (None, each.guest)]


def _unwanted(inventory: Inventory, memory: Memory) -> Iterator[RevokeProbe]:
    """Return what gives up the probes of guests that have been tagged meanwhile: at each tick, as messages get lost."""
    for lease in memory.leases.values():
        guest = inventory.guests.get(lease.guest)
        if not lease.is_ending and guest is not None and UNPROBED_TAGS & set(guest.tags):
            yield RevokeProbe(lease=lease)


def ages_s(section: ProbeSection, memory_bytes: int, bandwidth_bytes_per_s: float) -> tuple[float, ...]:
    """Return the ages at which the pages of a guest are counted."""
    window_s = (section.window_at_least_s, section.window_at_most_s)
    return probe_ages_s(memory_bytes, bandwidth_bytes_per_s, section.first_age_s, window_s, section.ages)


def _ending(memory: Memory, leases: Sequence[Lease], text: str) -> tuple[Memory, list[EndProbe]]:
    ending = {lease.lease: lease.ending() for lease in leases}
    if not ending:
        return memory, []
    return replace(memory, leases={**memory.leases, **ending}), [
        EndProbe(lease=lease, text=text) for lease in ending.values()
    ]


def _resting(memory: Memory, lease: Lease, now_s: float) -> Memory:
    return replace(memory, probe_rests={**memory.probe_rests, lease.host: now_s + REST_S})


def _not_begun(memory: Memory, lease: Lease, now_s: float) -> Memory:
    """The guest was not probed: it is due again, behind the others that are."""
    last_probed_at = {guest: at for guest, at in memory.last_probed_at.items() if guest != lease.guest}
    refused_at = {**memory.probe_refused_at, lease.guest: now_s}
    return replace(memory, last_probed_at=last_probed_at, probe_refused_at=refused_at)


def _left_behind(inventory: Inventory, memory: Memory, now_s: float, config: ControllerConfig) -> Iterator[Lease]:
    """Return leases for the blocks that migd has left in the pool and remembers nothing of.

    Their agents may be at it still, so each is given as long as any lease could last.
    """
    over_at = now_s + config.probe.window_at_most_s + PROBE_AROUND_S + MARGIN_S
    for guest in inventory.guests.values():
        if guest.probed_by and guest.probed_by not in memory.leases:
            yield Lease(
                lease=guest.probed_by,
                guest=guest.uuid,
                host=guest.host,
                asked_at=now_s,
                over_at=over_at,
                guest_name=guest.name,
                host_name=inventory.host_name(guest.host),
            )


def _granted(
    cause: str,
    now_s: float,
    inventory: Inventory,
    telemetry: Telemetry,
    memory: Memory,
    config: ControllerConfig,
) -> tuple[Lease, ...]:
    """Return the leases to be given now, at most one a host: to guests without a curve first, then by its age.

    One that an operator has asked for comes before all. Of those alike, one whose probe was refused waits behind the
    others.
    """
    if not config.probe.guest_time_ratio or memory.is_paused:
        return ()
    busy = {lease.host for lease in memory.leases.values()} | memory.probe_rests.keys()
    able = _may_be_probed(inventory, telemetry, memory, now_s)
    leases: list[Lease] = []
    for host in sorted(inventory.hosts.keys() - busy):
        known = telemetry.hosts.get(host)
        if known is None or not _is_fit(host, known, telemetry, now_s, config):
            continue
        due = [guest for guest in able.get(host, ()) if _is_due(guest, known, memory, config, now_s)]
        if due:
            guest = min(
                due,
                key=lambda each: (
                    each.uuid not in memory.probe_asked,
                    telemetry.measured_at(each.uuid),
                    memory.probe_refused_at.get(each.uuid, 0.0),
                    each.uuid,
                ),
            )
            if not distrusted(known, guest, config):
                leases.append(_lease(f"{cause}.p{len(leases) + 1}", guest, known, inventory, config, now_s))
    return tuple(leases)


def _is_fit(host: str, known: HostTelemetry, telemetry: Telemetry, now_s: float, config: ControllerConfig) -> bool:
    age_s = telemetry.age_s(host, now_s)
    is_fresh = age_s is not None and age_s <= config.telemetry.stale_after(known.source)
    return known.source is Source.AGENT and host in telemetry.listening and is_fresh


def _may_be_probed(
    inventory: Inventory, telemetry: Telemetry, memory: Memory, now_s: float
) -> Mapping[str, Sequence[PoolGuest]]:
    """Return the guests that nothing keeps from being probed, by their host."""
    found: dict[str, list[PoolGuest]] = {}
    unavailable = {migration.guest for migration in memory.in_flight.values()}
    unavailable |= {hold.guest for hold in memory.holds.values() if hold.until is None or hold.until > now_s}
    unavailable |= {step.guest for move_set in memory.sets.values() for step in move_set.waiting}
    for guest in inventory.guests.values():
        is_idle = not (guest.blocked_because or guest.busy_with or guest.arriving_at or guest.probed_by)
        is_wanted = not UNPROBED_TAGS & set(guest.tags)
        known = telemetry.hosts.get(guest.host)
        is_measured = known is not None and guest.uuid in known.guests
        if is_measured and is_idle and is_wanted and guest.uuid not in unavailable:
            found.setdefault(guest.host, []).append(guest)
    return found


def _is_due(guest: PoolGuest, known: HostTelemetry, memory: Memory, config: ControllerConfig, now_s: float) -> bool:
    """Whether the guest has been left alone for long enough since its last probe."""
    last_at = memory.last_probed_at.get(guest.uuid)
    if last_at is None:
        return True
    # A clock set back across a restart must not keep a guest from being probed for good.
    return now_s < last_at or now_s - last_at >= apart_s(config.probe, guest.memory_bytes, bandwidth(known, config))


def apart_s(section: ProbeSection, memory_bytes: int, bandwidth_bytes_per_s: float) -> float:
    """Return how far two probes of a guest lie apart at least, from the beginning of one to that of the next."""
    return max(section.apart_s, _lasts_s(section, memory_bytes, bandwidth_bytes_per_s) / section.guest_time_ratio)


def _lasts_s(section: ProbeSection, memory_bytes: int, bandwidth_bytes_per_s: float) -> float:
    """Return how long an agent may take to probe a guest."""
    return ages_s(section, memory_bytes, bandwidth_bytes_per_s)[-1] + PROBE_AROUND_S


def distrusted(known: HostTelemetry, guest: PoolGuest, config: ControllerConfig) -> str:
    """Say why an agent's clock is not trusted to end a probe of a guest; empty where it is.

    One that leapt by MARGIN_S may be about to end it by that too late. So may one that is slow: having lost j of the w
    seconds that it was watched for, it ends l seconds l * j / (w - j) too late, which is MARGIN_S for a j of
    MARGIN_S * w / (MARGIN_S + l).
    """
    if not known.watched_s:
        return "the clock of its host has been seen but once since the agent or the controller started"
    length_s = _lasts_s(config.probe, guest.memory_bytes, bandwidth(known, config))
    if known.jitter_s > MARGIN_S * min(1.0, known.watched_s / (MARGIN_S + length_s)):
        span = format_duration(known.watched_s)
        return f"the clock of its host, or the way of its samples, went {known.jitter_s:.1f} s wrong in {span}"
    return ""


def bandwidth(known: HostTelemetry, config: ControllerConfig) -> float:
    """Return the bandwidth (bytes/s) at which a migration from a host is reckoned with when its guests are probed."""
    link = known.newest.link_bytes_per_s or config.ledger.bandwidth_bytes_per_s
    return link * config.ledger.bandwidth_ratio


def _lease(
    name: str, guest: PoolGuest, known: HostTelemetry, inventory: Inventory, config: ControllerConfig, now_s: float
) -> Lease:
    ages = ages_s(config.probe, guest.memory_bytes, bandwidth(known, config))
    length_s = now_s - known.arrived_s + ages[-1] + PROBE_AROUND_S
    return Lease(
        lease=name,
        guest=guest.uuid,
        host=guest.host,
        asked_at=now_s,
        # The agent's clock read `monotonic_s` before the sample arrived, so its deadline comes first.
        over_at=known.arrived_s + length_s + MARGIN_S,
        boot_id=known.newest.boot_id,
        until_s=known.newest.monotonic_s + length_s,
        ages_s=ages,
        guest_name=guest.name,
        host_name=inventory.host_name(guest.host),
    )
