"""Policies that run beside the active one, propose only, and are held against what the loads turn out to be. Pure.

Each shadow has a cluster of its own: the measured one, with what the active policy has moved put back and what the
shadow would have moved moved. Its proposals meet the same ledger and gates, with its own cooldowns, accounts and moves
under way; one that passes arrives when the ledger says, and never fails. From then on, at each look, every policy gains

    Σ (1 − g) · Δt       g = step time with its moves / step time with nobody's, at the loads measured now

over all jobs: the active one by where its migrations really ended, by the same formula against the same cluster in
which nothing was moved. Each move costs what the ledger said when it was accepted. So an imbalance that ends, or a
target that fills up, shows as a gain that was promised and did not come.

A placement is followed for as long as the ledger's horizon at most, then it is taken for how things are. A guest that
somebody else moves, or that is gone, is of nobody's record any more. Time in which a host of a placement was frozen, or
the controller was not there, counts for nobody. Shadows are asked in turn, one a control period, after the decision of
the active policy is on its way: they never make that wait, and cost one decision however many there are.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from msgspec.structs import replace

from migd_controller import accounts
from migd_controller.commands import RecordShadow
from migd_controller.config import ControllerConfig
from migd_controller.contest import NO_CONTEST, Contender, Contest, Placed
from migd_controller.decision import Decision
from migd_controller.memory import Memory
from migd_controller.migration import Migration, State
from migd_controller.shadow_cluster import as_unmoved, cluster_of
from migd_controller.step_checks import begun, followed, without
from migd_core.world import Move, Reason, World
from migd_policies.counterfactual import gain_rate
from migd_policies.job_progress import Track
from migd_policies.ledger import JobPrice, price

# Looks that are further apart than so many periods: nobody knows what the loads were meanwhile.
MOST_PERIODS: Final = 3.0

# label, its record, what it remembers and its cluster -> what it decided, what that would begin, and what is wrong
Ask = Callable[[str, Contender, Memory, World], tuple[Decision, Sequence[Migration], str]]


def with_shadow(memory: Memory, label: str, policy: str, config: dict[str, object], now_s: float) -> Memory:
    """Return the memory with one more shadow, or with the one of that label begun anew.

    It begins with the guests where they are, so it shares from the first what the active policy has gained before.
    """
    contest = memory.contest
    if contest.active is None:
        contest = Contest(active=_active(memory, now_s))
    assert contest.active is not None
    shadow = Contender(
        policy=policy,
        config=dict(config),
        since=now_s,
        placed=contest.active.placed,
        in_flight=contest.active.in_flight,
        last_moved_at=memory.last_moved_at,
        accounts=memory.accounts,
    )
    return replace(memory, contest=replace(contest, shadows={**contest.shadows, label: shadow}))


def without_shadow(memory: Memory, label: str) -> Memory:
    """Return the memory without a shadow; without any, nothing of the active policy is kept either."""
    shadows = {name: each for name, each in memory.contest.shadows.items() if name != label}
    return replace(memory, contest=replace(memory.contest, shadows=shadows) if shadows else NO_CONTEST)


def begun_anew(memory: Memory, now_s: float) -> Memory:
    """Return the memory with all records empty: another policy is the active one, and all begin where guests are."""
    contest = memory.contest
    memory = replace(memory, contest=NO_CONTEST)
    for label, shadow in contest.shadows.items():
        memory = with_shadow(memory, label, shadow.policy, shadow.config, now_s)
    return memory


def given_up(contest: Contest, problem: str) -> Contest:
    """Return the contest in which no shadow is asked any more."""
    return replace(contest, shadows={label: replace(each, problem=problem) for label, each in contest.shadows.items()})


def on_ended(memory: Memory, migration: Migration, now_s: float) -> Contest:
    """Return the contest once a real migration is over."""
    contest = memory.contest
    if contest.active is None:
        return contest
    guest, tally = migration.guest, contest.active.tally
    known = contest.active.in_flight.get(migration.cause)
    if known is None:
        shadows = {
            label: replace(each, last_moved_at={**each.last_moved_at, guest: now_s})
            for label, each in contest.shadows.items()
        }
        return _without(replace(contest, shadows=shadows), {guest})
    in_flight = {cause: m for cause, m in contest.active.in_flight.items() if cause != migration.cause}
    if migration.state is not State.MOVED:
        active = replace(contest.active, in_flight=in_flight, tally=replace(tally, failed=tally.failed + 1))
        return replace(contest, active=active, checks=without(contest.checks, migration.cause))
    if migration.predicted_s is not None:
        took_s = now_s - (migration.started_at or migration.asked_at)
        tally = replace(tally, took_s=tally.took_s + took_s, expected_s=tally.expected_s + migration.predicted_s)
    home = contest.home.get(guest, migration.source)
    placed = _placed(contest.active.placed, known, home, now_s)
    homes = {uuid: host for uuid, host in {**contest.home, guest: home}.items() if uuid in placed}
    active = replace(contest.active, in_flight=in_flight, tally=tally, placed=placed)
    return replace(contest, active=active, home=homes, seen={**contest.seen, guest: migration.target})


def on_turn(
    memory: Memory, world: World, accepted: Sequence[Migration], ask: Ask, config: ControllerConfig
) -> tuple[Contest, list[RecordShadow]]:
    """Settle every record, take in what the active policy has just begun, and ask the shadow whose turn it is.

    `world` is the cluster as measured, before rules are applied to it. There must be a shadow.
    """
    now_s = world.now_s
    contest = _current(_begins(memory.contest, now_s), world, config)
    assert contest.active is not None
    base = as_unmoved(world, contest.home, contest.active.in_flight.values())
    contest = _settled(contest, base, config.period_s * MOST_PERIODS)
    tracks = {job.name: job.track for job in memory.jobs.values()}
    contest = _with_begun(_checked(contest, tracks, now_s), accepted, world, tracks)
    shadows = {label: _arrived(each, base) for label, each in contest.shadows.items()}
    ready = [label for label, each in shadows.items() if not each.problem]
    told = []
    if ready:
        label = ready[contest.turns % len(ready)]
        shadow = shadows[label]
        own = replace(
            memory,
            in_flight=shadow.in_flight,
            last_moved_at=shadow.last_moved_at,
            accounts=shadow.accounts,
            sets={},  # it is asked anew for what is left of one
        )
        cluster = cluster_of(shadow, base, own, config.guards.cooldown_s)
        decision, migrations, problem = ask(label, shadow, own, cluster)
        shadow, cost_s, _ = _begun(shadow, migrations, cluster)
        last_moved_at = {**shadow.last_moved_at, **{m.guest: now_s for m in migrations}}
        shadows[label] = replace(shadow, ahead_s=shadow.ahead_s - cost_s, last_moved_at=last_moved_at, problem=problem)
        if migrations or problem:
            told.append(RecordShadow(shadow=label, decision=decision, problem=problem))
    contest = replace(contest, shadows=shadows, turns=contest.turns + 1, settled_at=now_s)
    return replace(contest, seen=_seen(contest, world)), told


def on_approved(memory: Memory, world: World, accepted: Sequence[Migration]) -> Memory:
    """Return the memory with what an operator has let the active policy begin put to its record.

    `world` is as in `on_turn`.
    """
    if memory.contest.active is None or not accepted:
        return memory
    tracks = {job.name: job.track for job in memory.jobs.values()}
    return replace(memory, contest=_with_begun(memory.contest, accepted, world, tracks))


def _with_begun(contest: Contest, accepted: Sequence[Migration], world: World, tracks: Mapping[str, Track]) -> Contest:
    """Return the contest with what the active policy has just begun: every shadow is ahead by what that costs."""
    if not accepted:
        return contest
    assert contest.active is not None
    active, cost_s, jobs = _begun(contest.active, accepted, world)
    checks = begun(contest.checks, jobs, [m.cause for m in accepted], tracks, world.now_s)
    shadows = {label: replace(each, ahead_s=each.ahead_s + cost_s) for label, each in contest.shadows.items()}
    return replace(contest, active=active, shadows=shadows, checks=checks)


def _active(memory: Memory, now_s: float) -> Contender:
    return Contender(policy=memory.policy, config=memory.policy_config, since=now_s)


def _begins(contest: Contest, now_s: float) -> Contest:
    """Return the contest; one that nobody has looked at yet begins now."""
    if contest.settled_at is not None:
        return contest
    assert contest.active is not None
    shadows = {label: replace(each, since=now_s) for label, each in contest.shadows.items()}
    return replace(contest, active=replace(contest.active, since=now_s), shadows=shadows, settled_at=now_s)


def _current(contest: Contest, world: World, config: ControllerConfig) -> Contest:
    """Return the contest without guests that strangers moved or that are gone, and without what is too long ago."""
    assert contest.active is not None
    # The pool's word of an arrival may come before the task's end.
    landing, now_s = {m.guest: m.target for m in contest.active.in_flight.values()}, world.now_s
    strange = {
        uuid
        for uuid, host in contest.seen.items()
        if uuid not in world.guests or world.guests[uuid].host not in (host, landing.get(uuid))
    }
    contest = _without(contest, strange)

    def still(each: Contender) -> Contender:
        return replace(
            each,
            placed={
                uuid: at
                for uuid, at in each.placed.items()
                if now_s - at.at < config.ledger.horizon_s and at.host in world.hosts
            },
            in_flight={
                cause: m
                for cause, m in each.in_flight.items()
                if m.guest in world.guests and {m.source, m.target} <= world.hosts.keys()
            },
            last_moved_at={
                uuid: min(at, now_s) for uuid, at in each.last_moved_at.items() if now_s - at < config.guards.cooldown_s
            },
            accounts=dict(accounts.current(each.accounts, now_s)),
        )

    assert contest.active is not None
    active = still(contest.active)
    return replace(
        contest,
        active=active,
        shadows={label: still(each) for label, each in contest.shadows.items()},
        home={uuid: host for uuid, host in contest.home.items() if uuid in active.placed and host in world.hosts},
    )


def _without(contest: Contest, guests: Iterable[str]) -> Contest:
    """Return the contest in which these guests are of nobody's record."""
    gone = frozenset(guests)
    if not gone or contest.active is None:
        return contest

    def cleared(each: Contender) -> Contender:
        return replace(
            each,
            placed={uuid: at for uuid, at in each.placed.items() if uuid not in gone},
            in_flight={cause: m for cause, m in each.in_flight.items() if m.guest not in gone},
        )

    return replace(
        contest,
        active=cleared(contest.active),
        shadows={label: cleared(each) for label, each in contest.shadows.items()},
        home={uuid: host for uuid, host in contest.home.items() if uuid not in gone},
        seen={uuid: host for uuid, host in contest.seen.items() if uuid not in gone},
    )


def _seen(contest: Contest, world: World) -> dict[str, str]:
    """Return where each guest really is that anybody's record concerns."""
    assert contest.active is not None
    records = (contest.active, *contest.shadows.values())
    concerned = {*contest.home}
    for each in records:
        concerned.update(each.placed, (m.guest for m in each.in_flight.values()))
    return {uuid: world.guests[uuid].host for uuid in sorted(concerned) if uuid in world.guests}


def _settled(contest: Contest, base: World, at_most_s: float) -> Contest:
    """Add to every record what it has gained since the last look."""
    assert contest.active is not None
    assert contest.settled_at is not None
    now_s = base.now_s
    since_s = now_s - contest.settled_at
    if since_s <= 0:  # a clock set back
        return contest

    def stood(each: Contender) -> dict[str, Placed]:
        """What has arrived since the last look counts from this one on."""
        return {uuid: at for uuid, at in each.placed.items() if at.at <= now_s - since_s and uuid in base.guests}

    def rate(each: Contender) -> float | None:
        places = {uuid: at.host for uuid, at in stood(each).items()}
        return gain_rate(base, places) if since_s <= at_most_s else None

    def settled(each: Contender, rate: float | None) -> Contender:
        if rate is None:
            return replace(each, blind_s=each.blind_s + since_s)
        due_s = sum(at.due_s(now_s - since_s, now_s) for at in stood(each).values())
        tally = replace(each.tally, gained_s=each.tally.gained_s + rate * since_s, due_s=each.tally.due_s + due_s)
        return replace(each, tally=tally, watched_s=each.watched_s + since_s)

    active = rate(contest.active)
    shadows = {}
    for label, shadow in contest.shadows.items():
        own = rate(shadow)
        ahead_s = (own - active) * since_s if own is not None and active is not None else 0.0
        shadows[label] = replace(settled(shadow, own), ahead_s=shadow.ahead_s + ahead_s)
    return replace(contest, active=settled(contest.active, active), shadows=shadows)


def _checked(contest: Contest, tracks: Mapping[str, Track], now_s: float) -> Contest:
    """Add to the active policy's record what jobs have told of its moves."""
    assert contest.active is not None
    checks, done = followed(contest.checks, contest.active.in_flight.keys(), tracks, now_s)
    tally = contest.active.tally
    tally = replace(
        tally,
        checks=tally.checks + len(done),
        expected_step_ratio=tally.expected_step_ratio + sum(expected for expected, _ in done),
        step_ratio=tally.step_ratio + sum(was for _, was in done),
    )
    return replace(contest, active=replace(contest.active, tally=tally), checks=checks)


def _begun(
    contender: Contender, migrations: Sequence[Migration], world: World
) -> tuple[Contender, float, Sequence[JobPrice]]:
    """Return the record with moves that have just passed the gates in `world`, what they cost, and what jobs get.

    What is promised for them is the ledger's price of all of them together, for jobs: what they are settled by later.
    """
    if not migrations:
        return contender, 0.0, ()
    moves = [Move(m.guest, m.source, m.target, Reason("accepted", "passed the gates")) for m in migrations]
    try:
        found = price(world, moves, for_jobs_only=True)
        cost_s, gain_s, rate, jobs = found.cost_s.median, found.gain_s, found.gain_rate, found.jobs
    except ValueError:  # no bandwidth: only what leaves for its safety passes the gates without a price
        cost_s, gain_s, rate, jobs = 0.0, 0.0, 0.0, ()
    lasts_s = gain_s / rate if rate else 0.0
    promised = {m.cause: replace(m, gain_s=gain_s / len(moves), lasts_s=lasts_s) for m in migrations}
    tally = replace(
        contender.tally,
        moves=contender.tally.moves + len(moves),
        cost_s=contender.tally.cost_s + cost_s,
        pause_s=contender.tally.pause_s + sum(m.predicted_pause_s or 0.0 for m in migrations),
        predicted_s=contender.tally.predicted_s + gain_s - cost_s,
    )
    return replace(contender, tally=tally, in_flight={**contender.in_flight, **promised}), cost_s, jobs


def _arrived(shadow: Contender, base: World) -> Contender:
    """Return the shadow with those of its moves arrived that would have by now."""
    for cause, migration in shadow.in_flight.items():
        arrives_at = migration.asked_at + (migration.predicted_s or 0.0)
        if arrives_at > base.now_s:
            continue
        moved = migration.accepted("", migration.asked_at).ended(migration.target, "", "", arrives_at)
        shadow = replace(
            shadow,
            in_flight={other: m for other, m in shadow.in_flight.items() if other != cause},
            placed=_placed(shadow.placed, moved, base.guests[moved.guest].host, base.now_s),
            accounts=dict(accounts.after(shadow.accounts, moved)),
            last_moved_at={**shadow.last_moved_at, moved.guest: base.now_s},
        )
    return shadow


def _placed(placed: Mapping[str, Placed], migration: Migration, home: str, now_s: float) -> dict[str, Placed]:
    """Return where guests are put once `migration` is done; one that is at `home` again is not put anywhere."""
    others = {uuid: at for uuid, at in placed.items() if uuid != migration.guest}
    if migration.target == home:
        return others
    at = Placed(host=migration.target, at=now_s, gain_s=migration.gain_s, lasts_s=migration.lasts_s)
    return {**others, migration.guest: at}
