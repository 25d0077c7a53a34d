"""The controller's state as the API shows it. Pure: core and journal entries in, bodies of the API out."""

from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec

from migd_controller.accounts import stalled_s
from migd_controller.core import Core
from migd_controller.decision import Bound, Candidate, Decision
from migd_controller.holds import Hold, quarantine, rest_text, resting
from migd_controller.inventory import Inventory
from migd_controller.jobs import limits
from migd_controller.migration import Migration, State
from migd_controller.move_sets import MoveSet, Sets, StepState
from migd_controller.pool_failures import Then
from migd_controller.quiet import waiting
from migd_controller.snapshot import unknown_switch_hosts
from migd_core import api
from migd_core.messages import DirtyCurve
from migd_core.pricing import Interval
from migd_core.units import format_duration
from migd_core.world import Guest, Host, Job, Level, Move, Reason, World
from migd_policies.flips import flips
from migd_policies.policy import Policy
from migd_policies.registry import available
from migd_policies.rules import resolve

LOST_TEXT: Final = (
    "the pool has lost its task, so nothing can be asked about it; the guest may be moving all the same, "
    "and migd waits until it has arrived or has stayed for long enough"
)


def hosts_view(core: Core, now_s: float, world: World | None = None) -> Iterator[api.HostView]:
    """Every host, by name; of the world at `now_s`, where that is at hand."""
    world = world or core.world(now_s)
    return (_host(core, world, host, now_s) for host in sorted(world.hosts.values(), key=lambda host: host.name))


def guests_view(core: Core, now_s: float, world: World | None = None) -> Iterator[api.GuestView]:
    """Every running guest, by name; one after the other, for the views of 20,000 together take 5 MB."""
    world = world or core.world(now_s)
    return (_guest(core, world, guest) for guest in sorted(world.guests.values(), key=lambda guest: guest.name))


def jobs_view(core: Core, now_s: float, world: World | None = None) -> list[api.JobView]:
    """Every job, by name."""
    world = world or core.world(now_s)
    return sorted((_job(core, world, job) for job in world.jobs.values()), key=lambda view: view.name)


def links_view(core: Core) -> list[api.LinkView]:
    """Every level, nearest first, with what is known of it and from where."""
    return [_link(core, level) for level in Level]


def _link(core: Core, level: Level) -> api.LinkView:
    if (measured := core.memory.links.get(level)) is not None:
        return api.LinkView(
            level=level,
            source="measured",
            bandwidth_bytes_per_s=measured.link.bandwidth_bytes_per_s,
            latency_s=measured.link.latency_s,
            measured_at=measured.at,
            between=measured.link.between,
        )
    if (configured := core.config.topology.links.get(level)) is not None:
        return api.LinkView(
            level=level,
            source="configured",
            bandwidth_bytes_per_s=configured.bandwidth_bytes_per_s,
            latency_s=configured.latency_s,
        )
    return api.LinkView(level=level, source="unknown")


def policies_view(core: Core) -> list[api.PolicyView]:
    """Every policy that can be set, by name."""
    views = []
    for name, type_ in sorted(available().items()):
        is_active = core.policy.name == name
        config = policy_config(core.policy if is_active else type_())
        views.append(api.PolicyView(name=name, summary=type_.summary, is_active=is_active, config=config))
    return views


def policy_config(policy: Policy) -> dict[str, Any]:
    """Return a policy's settings as plain data: the policy is its own configuration section."""
    config: dict[str, Any] = msgspec.to_builtins(policy)
    return config


def decision_view(decision: Decision, inventory: Inventory) -> api.DecisionView:
    """One decision, with names."""
    return api.DecisionView(
        cause=decision.cause,
        at=decision.at,
        policy=decision.policy,
        code=decision.reason.code,
        text=decision.reason.text,
        candidates=[candidate_view(candidate, inventory) for candidate in decision.candidates],
        sets=[set_view(each) for each in decision.sets],
    )


def set_view(move_set: MoveSet) -> api.SetView:
    """One set of moves, under way or over."""
    steps = [
        api.StepView(
            number=step.number + 1,
            guest=step.guest,
            guest_name=step.guest_name,
            source=step.source,
            source_name=step.source_name,
            target=step.target,
            target_name=step.target_name,
            state=step.state.value,
            after=[number + 1 for number in step.after],
            is_detour=step.is_detour,
            predicted_s=step.predicted_s,
            migration=step.migration,
            text=move_set.waiting_text(step) if step.state is StepState.WAITING else step.text,
        )
        for step in move_set.steps
    ]
    return api.SetView(
        name=move_set.name, at=move_set.at, policy=move_set.policy, is_over=move_set.is_over, steps=steps
    )


def migration_view(migration: Migration) -> api.MigrationView:
    """One migration, under way or done."""
    ended_at = migration.ended_at
    return api.MigrationView(
        cause=migration.cause,
        guest=migration.guest,
        guest_name=migration.guest_name,
        source=migration.source,
        source_name=migration.source_name,
        target=migration.target,
        target_name=migration.target_name,
        state=migration.state.value,
        started_at=migration.started_at if migration.started_at is not None else migration.asked_at,
        requested_by=migration.requested_by,
        # The last progress that was read is of some moment before the end.
        progress_ratio=1.0 if migration.state is State.MOVED else migration.progress_ratio,
        predicted_s=migration.predicted_s,
        predicted_pause_s=migration.predicted_pause_s,
        actual_s=None if ended_at is None else ended_at - (migration.started_at or migration.asked_at),
        ok=None if not migration.is_over else migration.state is State.MOVED,
        text=LOST_TEXT if migration.is_task_lost and not migration.is_over else migration.text,
        is_cancelling=migration.is_cancelling,
    )


def holds_view(holds: Iterable[Hold], now_s: float) -> list[api.HoldView]:
    """What holds guests back: those that need a human first, then those that will not pass by themselves, by name."""
    order = [Then.NEEDS_A_HUMAN, Then.NEVER, Then.RETRY_LATER]
    return [
        api.HoldView(
            guest=hold.guest,
            guest_name=hold.guest_name,
            target=hold.target,
            target_name=hold.target_name,
            then=hold.then.value,
            scope=hold.scope.value,
            code=hold.code,
            text=hold.text,
            cause=hold.cause,
            at=hold.at,
            failures=hold.failures,
            rest_s=None if hold.until is None else max(0.0, hold.until - now_s),
        )
        for hold in sorted(holds, key=lambda hold: (order.index(hold.then), hold.guest_name))
        if hold.until is None or hold.until > now_s
    ]


def topology_problem(core: Core) -> str:
    """Say which hosts the configuration names that the pool does not have; empty if none."""
    if not (unknown := unknown_switch_hosts(core.inventory, core.config)):
        return ""
    return (
        f"[topology.switches] names {', '.join(unknown)}, which no host of the pool is called; "
        "`migctl hosts` lists their names"
    )


def rules_problem(core: Core, world: World) -> str:
    """Say which rules contradict each other or name nobody; empty if none."""
    if not core.inventory.is_known:
        return ""
    rules = resolve(world, core.config.rules)
    return "; ".join([*rules.problems, *(contradiction.text for contradiction in rules.contradictions)])


def flips_text(core: Core, uuid: str, now_s: float) -> str:
    """Say what would make the move of a guest that is considered now pay, or pay no more; empty if there is none."""
    last, world = core.last_decision, core.world(now_s)
    considered = [each for each in (last.candidates if last is not None else ()) if each.guest == uuid]
    if not considered or uuid not in world.guests or any(move.guest == uuid for move in world.moves_in_flight):
        return ""
    move = Move(uuid, considered[0].source, considered[0].target, Reason("explain", ""))
    if world.guests[uuid].host != move.source or move.target not in world.hosts:
        return ""
    limits = core.config.guards
    try:
        return flips(world, move, limits.min_gain_s, limits.certainty_sds).text
    except ValueError:
        return ""


def guest_text(core: Core, uuid: str, name: str, now_s: float) -> str:
    """Say in one sentence where a guest stands: moving, not movable and why, or what the policy made of it.

    A second one says how long its job still runs, for that bounds what a move can gain.
    """
    world = core.world(now_s)
    guest = world.guests.get(uuid)
    job = world.jobs.get(guest.job) if guest is not None and guest.job is not None else None
    return ". ".join(filter(None, (_standing_text(core, world, uuid, name), _job_text(job))))


def _job_text(job: Job | None) -> str:
    if job is None or job.remaining is None:
        return ""
    left = job.remaining
    median, least, most = (format_duration(each) for each in (left.median_s, left.least_s, left.most_s))
    return f"Its job {job.name} has about {median} left ({least} to {most}): {left.basis}"


def _standing_text(core: Core, world: World, uuid: str, name: str) -> str:
    guest, now_s = world.guests.get(uuid), world.now_s
    if guest is None:
        hold = quarantine(core.memory.holds, uuid)
        return f"guest {name} is not running in this pool" + (f"; {hold.text}" if hold is not None else "")
    place = f"guest {guest.name} is on host {world.hosts[guest.host].name}" if guest.host in world.hosts else guest.name
    if any(move.guest == uuid for move in world.moves_in_flight):
        return f"{place} and is being migrated"
    if (awaited := _waiting_text(core.memory.sets, uuid)) is not None:
        return f"{place}; {awaited}"
    if guest.immovable_because is not None:
        return f"{place} and may not be migrated: {guest.immovable_because}"
    if (rest := resting(core.memory.holds, uuid, now_s)) is not None:
        return f"{place} and {rest_text(rest, now_s)}"
    last = core.last_decision
    if last is None:
        return f"{place}; nothing has been decided yet"
    proposed = [candidate for candidate in last.candidates if candidate.guest == uuid]
    if proposed and (gate := waiting(proposed[-1].gates)) is not None:
        return f"{place}; policy {last.policy} moves it, which {gate.text}"
    if asked := [name for name, each in core.memory.recommendations.items() if uuid in each.guests]:
        return f"{place}; moving it is recommended: `migctl approve {asked[0]}` lets it move"
    if proposed:
        return f"{place}; policy {last.policy} proposed to move it in {last.cause}: see its gates"
    return f"{place}; policy {last.policy} does not propose to move it: {last.reason.text}"


def _waiting_text(sets: Sets, guest: str) -> str | None:
    """Say what a guest waits for that is to move with the next steps of a set; None if it is not."""
    for move_set in sets.values():
        for step in move_set.waiting:
            if step.guest == guest:
                what = f"its move to {step.target_name} is step {step.number + 1} of {move_set.name}"
                return f"{what}, which {move_set.waiting_text(step)}"
    return None


def _host(core: Core, world: World, host: Host, now_s: float) -> api.HostView:
    known = core.telemetry.hosts.get(host.uuid)
    return api.HostView(
        uuid=host.uuid,
        name=host.name,
        cpus=host.cpus,
        load_ratio=host.load_ratio if known is not None and host.frozen_because is None else None,
        memory_bytes=host.memory_bytes,
        memory_free_bytes=host.memory_free_bytes,
        guests=len(world.guests_on[host.uuid]),
        is_enabled=host.is_enabled,
        source=known.source.value if known is not None else "none",
        sample_age_s=core.telemetry.age_s(host.uuid, now_s),
        frozen_because=host.frozen_because,
        samples_dropped=known.newest.samples_dropped if known is not None else 0,
        dropped_age_s=max(0.0, now_s - known.dropped_s) if known is not None and known.dropped_s is not None else None,
        health=host.health,
        switch=world.topology.switch_of.get(host.uuid, ""),
        maintenance=maintenance_text(core, host),
    )


def maintenance_text(core: Core, host: Host) -> str:
    """Say why a host is out of service, by an operator's word or the pool's; empty if it is not."""
    known = core.inventory.hosts.get(host.uuid)
    if host.closed_because is not None or known is None:
        return host.closed_because or ""
    if known.is_evacuating:
        return "the pool is emptying it"
    return "" if known.is_enabled else "it is disabled in the pool"


def _guest(core: Core, world: World, guest: Guest) -> api.GuestView:
    rest = resting(core.memory.holds, guest.uuid, world.now_s)
    return api.GuestView(
        uuid=guest.uuid,
        name=guest.name,
        host=guest.host,
        host_name=world.hosts[guest.host].name if guest.host in world.hosts else guest.host,
        vcpus=guest.vcpus,
        cpu_used_vcpus=guest.cpu_used_vcpus,
        cpu_demand_vcpus=guest.cpu_demand_vcpus,
        memory_bytes=guest.memory_bytes,
        rx_bytes_per_s=guest.rx_bytes_per_s,
        tx_bytes_per_s=guest.tx_bytes_per_s,
        dirty_pages_per_s=_dirty_pages_per_s(guest.dirty_curve),
        job=guest.job,
        tags=sorted(guest.tags),
        immovable_because=guest.immovable_because,
        resting_because=None if rest is None else rest_text(rest, world.now_s),
    )


def _job(core: Core, world: World, job: Job) -> api.JobView:
    names = [world.guests[uuid].name if uuid in world.guests else uuid for uuid in job.guests]
    remaining, speed, everybodys = job.remaining, job.speed_while_migrating, core.config.guards
    own, remembered = limits(core.memory, job.name), core.memory.jobs.get(job.name)
    return api.JobView(
        name=job.name,
        guests=list(job.guests),
        guest_names=names,
        remaining_s=job.remaining_s,
        remaining_least_s=remaining.least_s if remaining is not None else None,
        remaining_most_s=remaining.most_s if remaining is not None else None,
        remaining_basis=remaining.basis if remaining is not None else "",
        started_at=job.started_at,
        wall_time_limit_s=job.wall_time_limit_s,
        progress=job.progress,
        iteration_s=job.iteration_s,
        speed_while_migrating_ratio=speed.median_ratio if speed is not None else None,
        speed_while_migrating_least_ratio=speed.least_ratio if speed is not None else None,
        speed_while_migrating_most_ratio=speed.most_ratio if speed is not None else None,
        speed_while_migrating_basis=speed.basis if speed is not None else "",
        missing=list(job.missing),
        limits=own,
        slurm_job=remembered.slurm_job if remembered is not None else None,
        stalled_s=stalled_s(core.memory.accounts, job.name, world.now_s),
        stall_per_hour_s=own.stall_per_hour_s if own.stall_per_hour_s is not None else everybodys.stall_per_hour_s,
        no_stall_last_s=own.no_stall_last_s if own.no_stall_last_s is not None else everybodys.no_stall_last_s,
    )


def candidate_view(candidate: Candidate, inventory: Inventory) -> api.CandidateView:
    """One move that was considered, with names."""
    price = candidate.price
    return api.CandidateView(
        guest=candidate.guest,
        guest_name=inventory.guest_name(candidate.guest),
        source=candidate.source,
        source_name=inventory.host_name(candidate.source),
        target=candidate.target,
        target_name=inventory.host_name(candidate.target),
        why=candidate.why,
        accepted=candidate.is_accepted,
        gates=[
            api.GateView(
                name=gate.name,
                passed=gate.passed,
                text=gate.text,
                value=gate.value,
                threshold=gate.threshold,
                unit=gate.unit,
            )
            for gate in candidate.gates
        ],
        predicted_s=price.total_s if price is not None else None,
        predicted_pause_s=price.pause_s if price is not None else None,
        predicted_bytes=price.sent_bytes if price is not None else None,
        gain_s=price.gain_s if price is not None else None,
        cost_s=price.cost_s if price is not None else None,
        total=_interval(price.total) if price is not None else None,
        pause=_interval(price.pause) if price is not None else None,
        cost=_interval(price.cost) if price is not None else None,
        gain=_interval(price.gain) if price is not None else None,
        break_even_s=price.break_even_s if price is not None else None,
        lasts_s=price.lasts_s if price is not None else None,
        least=_bound(price.least) if price is not None else None,
        most=_bound(price.most) if price is not None else None,
    )


def _interval(interval: Interval | None) -> api.IntervalView | None:
    return api.IntervalView(**msgspec.structs.asdict(interval)) if interval is not None else None


def _bound(bound: Bound | None) -> api.BoundView | None:
    return api.BoundView(**msgspec.structs.asdict(bound)) if bound is not None else None


def _dirty_pages_per_s(curve: DirtyCurve | None) -> float | None:
    """The initial slope: unique pages over the first measured age, where few pages were written twice."""
    return None if curve is None else curve.unique_pages[0] / curve.ages_s[0]
