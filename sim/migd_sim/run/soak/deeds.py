"""What each happening of a case does to the cluster, the pool, the agents, the controller; and how all is mended."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Final, get_args

from migd_controller.events import (
    AutomationSet,
    CancelRequested,
    EvacuationAsked,
    EvacuationStopped,
    GuestReleased,
    JobAdded,
    JobLimited,
    JobRemoved,
    LinksMeasured,
    MaintenanceBegun,
    MaintenanceEnded,
    MeasuredLink,
    MigrationRequested,
    Paused,
    PolicySet,
    RecommendationApproved,
    RecommendationRefused,
    Resumed,
    ShadowAdded,
    ShadowRemoved,
)
from migd_core.automation import Automation
from migd_core.health import HealthState, HostHealth
from migd_core.levels import Level
from migd_sim.run.soak.case import Happening, OperatorDeed, What
from migd_sim.run.soak.pool import CALL_S, Refused

if TYPE_CHECKING:
    from migd_sim.run.soak.loop import Loop

Deed = Callable[["Loop", Happening], None]


def let_happen(loop: "Loop", happening: Happening) -> None:
    """Let one thing happen now. Whoever is named and is not there has nothing happen to it."""
    if happening.what in get_args(OperatorDeed):
        if loop.core is not None and not loop.is_stalled:
            loop.look()
        if loop.core is None or loop.is_stalled:
            return  # nobody listens to operators; it may also have died of what agents have told just now
    DEEDS[happening.what](loop, happening)


def mend(loop: "Loop") -> None:
    """Let everything that is wrong be right again."""
    pool, cluster = loop.pool, loop.cluster
    pool.answers, pool.call_s, loop.events_late_s, loop.fatal = True, CALL_S, 0.0, None
    pool.failing.clear()
    pool.lingering.clear()
    pool.busy.clear()
    pool.disabled.clear()
    pool.evacuating.clear()
    pool.version += 1
    for host, state in cluster.hosts.items():
        pool.restore_host(host)
        cluster.set_link(host, state.spec.link_bytes_per_s)
    for guest in cluster.guests.values():
        guest.is_paused, guest.suspend_hangs_until_s = False, 0.0
    loop.agents.heal()


# Each deed


def _agent_fault(loop: "Loop", happening: Happening) -> None:
    host = loop.pool.host_named(happening.of)
    if host is not None:
        loop.agents.begin_fault(happening, host)


def _agent_dies(loop: "Loop", happening: Happening) -> None:
    host = loop.pool.host_named(happening.of)
    if host is not None:
        loop.agents.kill(host)
        loop.calendar.after(happening.lasts_s, partial(loop.agents.start, host))


def _leases_late(loop: "Loop", happening: Happening) -> None:
    loop.agents.late_leases.append(happening.value)


def _clock_slow(loop: "Loop", happening: Happening) -> None:
    host = loop.pool.host_named(happening.of)
    if host is not None:
        loop.agents.slow_clock(host, happening.value, happening.lasts_s)


def _health(loop: "Loop", happening: Happening) -> None:
    host = loop.pool.host_named(happening.of)
    if host is None:
        return
    state = HealthState(happening.to)
    reasons = () if state is HealthState.OK else (f"its sensors are {state}",)
    loop.cluster.set_health(host, HostHealth(state=state, reasons=reasons, watched=("ipmi",)))


def _xapi_slow(loop: "Loop", happening: Happening) -> None:
    loop.pool.call_s = happening.value
    loop.calendar.after(happening.lasts_s, partial(setattr, loop.pool, "call_s", CALL_S))


def _xapi_cut(loop: "Loop", happening: Happening) -> None:
    loop.pool.answers = False
    loop.calendar.after(happening.lasts_s, partial(setattr, loop.pool, "answers", True))


def _xapi_restarts(loop: "Loop", happening: Happening) -> None:
    loop.pool.restart()
    _xapi_cut(loop, happening)


def _events_late(loop: "Loop", happening: Happening) -> None:
    loop.events_late_s = happening.value
    loop.calendar.after(happening.lasts_s, partial(setattr, loop, "events_late_s", 0.0))


def _task_lost(loop: "Loop", happening: Happening) -> None:
    for guest in list(loop.pool.migrating):
        loop.pool.lose_task(guest)


def _task_lingers(loop: "Loop", happening: Happening) -> None:
    loop.pool.lingering.append(happening.value)


def _migration_fails(loop: "Loop", happening: Happening) -> None:
    loop.pool.failing.append((happening.to, happening.value))


def _link_slow(loop: "Loop", happening: Happening) -> None:
    host = loop.pool.host_named(happening.of)
    if host is not None:
        loop.cluster.set_link(host, happening.value, happening.lasts_s)


def _suspend_hangs(loop: "Loop", happening: Happening) -> None:
    guest = loop.pool.guest_named(happening.of)
    if guest is not None:
        loop.cluster.hang_suspend(guest, happening.lasts_s)


def _host_dies(loop: "Loop", happening: Happening) -> None:
    host = loop.pool.host_named(happening.of)
    if host is not None:
        loop.pool.fail_host(host)
        loop.calendar.after(happening.lasts_s, partial(loop.pool.restore_host, host))


def _for_a_while(loop: "Loop", happening: Happening, those: set[str]) -> None:
    host = loop.pool.host_named(happening.of)
    if host is None:
        return

    def over() -> None:
        those.discard(host)
        loop.pool.version += 1

    those.add(host)
    loop.pool.version += 1
    loop.calendar.after(happening.lasts_s, over)


def _storage_detached(loop: "Loop", happening: Happening) -> None:
    host = loop.pool.host_named(happening.of)
    if host is None:
        return
    attached = loop.pool.storages[host]

    def over() -> None:
        loop.pool.storages[host] = attached
        loop.pool.version += 1

    loop.pool.storages[host] = ()
    loop.pool.version += 1
    loop.calendar.after(happening.lasts_s, over)


def _human_migrates(loop: "Loop", happening: Happening) -> None:
    guest, host = loop.pool.guest_named(happening.of), loop.pool.host_named(happening.to)
    if guest is None or host is None or not loop.pool.answers or loop.pool.host_of(guest) == host:
        return
    try:
        loop.pool.migrate(guest, host, by="a human")
    except Refused:
        return


def _guest_stops(loop: "Loop", happening: Happening) -> None:
    guest = loop.pool.guest_named(happening.of)
    if guest is not None and loop.pool.host_of(guest) is not None:
        loop.pool.stop(guest)


def _guest_starts(loop: "Loop", happening: Happening) -> None:
    guest = loop.pool.guest_named(happening.of)
    if guest is None:
        return
    for host in sorted(loop.cluster.hosts, key=loop.pool.taken_bytes):
        if loop.pool.place(guest, host):
            return


def _guest_reboots(loop: "Loop", happening: Happening) -> None:
    guest = loop.pool.guest_named(happening.of)
    host = loop.cluster.guests[guest].host if guest is not None else None
    if guest is not None and host is not None:
        loop.pool.stop(guest)
        loop.pool.place(guest, host)


def _guest_renamed(loop: "Loop", happening: Happening) -> None:
    guest = loop.pool.guest_named(happening.of)
    if guest is not None:
        loop.pool.names[guest] = happening.to
        loop.pool.version += 1


def _guest_tagged(loop: "Loop", happening: Happening) -> None:
    guest = loop.pool.guest_named(happening.of)
    if guest is None:
        return
    before = loop.pool.tags[guest]

    def over() -> None:
        loop.pool.tags[guest] = before
        loop.pool.version += 1

    loop.pool.tags[guest] = tuple(sorted({*before, happening.to}))
    loop.pool.version += 1
    if happening.lasts_s:
        loop.calendar.after(happening.lasts_s, over)


def _guest_paused(loop: "Loop", happening: Happening) -> None:
    guest = loop.pool.guest_named(happening.of)
    if guest is None or loop.cluster.guests[guest].host is None or guest in loop.pool.migrating:
        return

    def over() -> None:
        loop.cluster.unpause_guest(guest)
        loop.pool.version += 1

    loop.cluster.pause_guest(guest)
    loop.pool.version += 1
    loop.calendar.after(happening.lasts_s, over)


def _held(loop: "Loop", happening: Happening, those: dict[str, str]) -> None:
    guest = loop.pool.guest_named(happening.of)
    if guest is None or guest in loop.pool.blocks or guest in those:
        return

    def over() -> None:
        those.pop(guest, None)
        loop.pool.version += 1

    those[guest] = happening.to
    loop.pool.version += 1
    loop.calendar.after(happening.lasts_s, over)


def _hog(loop: "Loop", happening: Happening) -> None:
    guest = loop.pool.guest_named(happening.of)
    if guest is not None:
        loop.cluster.start_hog(guest, int(happening.value), happening.lasts_s)


def _ask(loop: "Loop", happening: Happening) -> None:
    """Ask for a move by hand: of the guest named, or of one that is moving already."""
    assert loop.core is not None
    guest, host = loop.pool.guest_named(happening.of), loop.pool.host_named(happening.to)
    if not happening.of:
        guest = next((each.guest for each in loop.core.memory.in_flight.values()), None)
    if guest is not None and host is not None:
        loop.tell(MigrationRequested(guest=guest, target=host, by="operator"))


def _cancel(loop: "Loop", happening: Happening) -> None:
    assert loop.core is not None
    for cause in list(loop.core.memory.in_flight)[:1]:
        loop.tell(CancelRequested(cause=cause))


def _decided(loop: "Loop", happening: Happening) -> None:
    assert loop.core is not None
    word = RecommendationApproved if happening.what == "approve" else RecommendationRefused
    for name in list(loop.core.memory.recommendations)[:2]:
        if loop.core is not None:
            loop.tell(word(name=name))


def _release(loop: "Loop", happening: Happening) -> None:
    guest = loop.pool.guest_named(happening.of)
    if guest is not None:
        loop.tell(GuestReleased(guest=guest))


def _pause(loop: "Loop", happening: Happening) -> None:
    loop.tell(Paused())
    loop.until_told(happening.lasts_s, Resumed())


def _policy(loop: "Loop", happening: Happening) -> None:
    loop.tell(PolicySet(name=happening.of, config={}))


def _automation(loop: "Loop", happening: Happening) -> None:
    loop.tell(AutomationSet(level=Automation(happening.to) if happening.to else None))


def _maintenance(loop: "Loop", happening: Happening) -> None:
    host = loop.pool.host_named(happening.of)
    if host is None:
        return
    if happening.value:
        loop.tell(MaintenanceBegun(host=host, until=loop.now_s + happening.lasts_s))
    else:
        loop.tell(MaintenanceBegun(host=host))
        loop.until_told(happening.lasts_s, MaintenanceEnded(host=host))


def _evacuate(loop: "Loop", happening: Happening) -> None:
    host = loop.pool.host_named(happening.of)
    if host is not None:
        loop.tell(EvacuationAsked(host=host))
        loop.until_told(happening.lasts_s, MaintenanceEnded(host=host))


def _stay(loop: "Loop", happening: Happening) -> None:
    host = loop.pool.host_named(happening.of)
    if host is not None:
        loop.tell(EvacuationStopped(host=host))


def _job_added(loop: "Loop", happening: Happening) -> None:
    job = loop.cluster.jobs.get(happening.of)
    if job is not None:
        guests, remaining_s = tuple(dict.fromkeys(job.guests)), happening.value or None
        loop.tell(JobAdded(name=happening.of, guests=guests, remaining_s=remaining_s, limits=happening.limits))


def _job_limited(loop: "Loop", happening: Happening) -> None:
    loop.tell(JobLimited(name=happening.of, change=happening.limits))


def _job_removed(loop: "Loop", happening: Happening) -> None:
    loop.tell(JobRemoved(name=happening.of))


def _shadow_added(loop: "Loop", happening: Happening) -> None:
    loop.tell(ShadowAdded(label=happening.of, name=happening.of, config={}))


def _shadow_removed(loop: "Loop", happening: Happening) -> None:
    loop.tell(ShadowRemoved(label=happening.of))


def _links_measured(loop: "Loop", happening: Happening) -> None:
    link = MeasuredLink(bandwidth_bytes_per_s=happening.value, latency_s=1e-4)
    loop.tell(LinksMeasured(links={Level.SAME_SWITCH: link}))


def _controller_dies(loop: "Loop", happening: Happening) -> None:
    if happening.value < 0:
        loop.stop(happening.lasts_s, happening.shift_s)
    else:
        loop.fatal = int(happening.value), happening.lasts_s, happening.shift_s


def _controller_stalls(loop: "Loop", happening: Happening) -> None:
    loop.stall(happening.lasts_s)


def _host_disabled(loop: "Loop", happening: Happening) -> None:
    _for_a_while(loop, happening, loop.pool.disabled)


def _host_evacuating(loop: "Loop", happening: Happening) -> None:
    _for_a_while(loop, happening, loop.pool.evacuating)


def _guest_blocked(loop: "Loop", happening: Happening) -> None:
    _held(loop, happening, loop.pool.holders)


def _guest_busy(loop: "Loop", happening: Happening) -> None:
    _held(loop, happening, loop.pool.busy)


def _block_left(loop: "Loop", happening: Happening) -> None:
    """Let a block of migd's stand that no controller remembers, as after its journal was replaced."""
    guest = loop.pool.guest_named(happening.of)
    if guest is not None and guest not in loop.pool.blocks and guest not in loop.pool.holders:
        loop.pool.blocks[guest] = f"D0.{happening.of}"
        loop.pool.version += 1


DEEDS: Final[Mapping[What, Deed]] = {
    "agent-dies": _agent_dies,
    "agent-silent": _agent_fault,
    "samples-late": _agent_fault,
    "samples-doubled": _agent_fault,
    "samples-swapped": _agent_fault,
    "samples-absurd": _agent_fault,
    "leases-late": _leases_late,
    "clock-slow": _clock_slow,
    "health": _health,
    "xapi-slow": _xapi_slow,
    "xapi-cut": _xapi_cut,
    "xapi-restarts": _xapi_restarts,
    "coordinator-changes": _xapi_restarts,
    "events-late": _events_late,
    "task-lost": _task_lost,
    "task-lingers": _task_lingers,
    "migration-fails": _migration_fails,
    "link-slow": _link_slow,
    "suspend-hangs": _suspend_hangs,
    "host-dies": _host_dies,
    "host-disabled": _host_disabled,
    "host-evacuating": _host_evacuating,
    "storage-detached": _storage_detached,
    "human-migrates": _human_migrates,
    "guest-stops": _guest_stops,
    "guest-starts": _guest_starts,
    "guest-reboots": _guest_reboots,
    "guest-renamed": _guest_renamed,
    "guest-tagged": _guest_tagged,
    "guest-paused": _guest_paused,
    "guest-blocked": _guest_blocked,
    "guest-busy": _guest_busy,
    "block-left": _block_left,
    "hog": _hog,
    "ask": _ask,
    "cancel": _cancel,
    "approve": _decided,
    "refuse": _decided,
    "release": _release,
    "pause": _pause,
    "policy": _policy,
    "automation": _automation,
    "maintenance": _maintenance,
    "evacuate": _evacuate,
    "stay": _stay,
    "job-added": _job_added,
    "job-limited": _job_limited,
    "job-removed": _job_removed,
    "shadow-added": _shadow_added,
    "shadow-removed": _shadow_removed,
    "links-measured": _links_measured,
    "controller-dies": _controller_dies,
    "controller-stalls": _controller_stalls,
}
