"""Policies held against each other, as the API shows it. Pure: the core in, bodies of the API out."""

from collections.abc import Iterable

from msgspec.structs import replace

from migd_controller.contest import Contender, Tally
from migd_controller.core import Core
from migd_controller.views import decision_view, migration_view, policies_view, policy_config
from migd_core import api
from migd_core.units import format_duration
from migd_policies.policy import Policy

NO_SHADOWS = (
    "no policy runs beside the active one; `migctl policy shadow add NAME` lets one propose, and nothing moves for it"
)


def shadows_view(core: Core) -> list[api.ContenderView]:
    """Every shadow, by label."""
    return [
        contender_view(label, shadow, last=_last(core, label))
        for label, shadow in sorted(core.memory.contest.shadows.items())
    ]


def comparison_view(core: Core) -> api.ComparisonView:
    """The active policy and its shadows: who would have done best, and by what."""
    contest = core.memory.contest
    if contest.active is None or not contest.shadows:
        return api.ComparisonView(text=NO_SHADOWS)
    active = contender_view(core.policy.name, contest.active, is_active=True)
    return compared(active, shadows_view(core), contest.active.tally, core.config.guards.min_gain_s)


def compared(
    active: api.ContenderView, shadows: Iterable[api.ContenderView], tally: Tally, least_s: float
) -> api.ComparisonView:
    """Return the comparison of the active policy, whose record is `tally`, with shadows.

    What is less than `least_s` job-seconds is no difference.
    """
    shadows = sorted(shadows, key=lambda view: (bool(view.problem), -view.ahead_s, view.label))
    best, text = _verdict(active, shadows, least_s)
    return api.ComparisonView(
        text=text,
        best=best.label,
        contenders=[active, *shadows],
        took_ratio=tally.took_s / tally.expected_s if tally.expected_s > 0 else None,
        gained_ratio=tally.gained_s / tally.due_s if tally.due_s > 0 else None,
        checked=tally.checks,
        step_ratio=tally.step_ratio / tally.checks if tally.checks else None,
        expected_step_ratio=tally.expected_step_ratio / tally.checks if tally.checks else None,
    )


def change_view(core: Core, policy: Policy, now_s: float) -> api.PolicyChangeView:
    """What would change if `policy` were set now."""
    without_sets = replace(core.memory, sets={})  # another policy does not go on with what this one has begun
    plan = core.judged(policy, without_sets, core.seen(now_s)).decision
    kept = {(each.guest, each.target) for each in plan.candidates if each.is_accepted}
    today = decision_view(core.plan(now_s), core.inventory)
    before = next(view for view in policies_view(core) if view.is_active)
    after = api.PolicyView(name=policy.name, summary=policy.summary, is_active=False, config=policy_config(policy))
    is_same = (before.name, before.config) == (after.name, after.config)
    return api.PolicyChangeView(
        before=before,
        after=after,
        plan=decision_view(plan, core.inventory),
        falls_away=[each for each in today.candidates if each.accepted and (each.guest, each.target) not in kept],
        under_way=[migration_view(migration) for migration in core.memory.in_flight.values()],
        compared=[] if is_same else sorted(core.memory.contest.shadows),
    )


def _verdict(
    active: api.ContenderView, shadows: list[api.ContenderView], least_s: float
) -> tuple[api.ContenderView, str]:
    """Return who would have done best, and say so; less than what a move must gain is no difference."""
    best = next((view for view in shadows if not view.problem), None)
    if best is None:
        return active, f"{active.policy} is in use; no shadow policy could be asked"
    over = f"in {format_duration(best.watched_s)}"
    if best.ahead_s >= least_s:
        gained = format_duration(best.ahead_s)
        return best, f"{best.label} would have saved {gained} more of job time than {active.policy}, in use, {over}"
    if best.ahead_s > -least_s:
        return active, f"{best.label} would have done about as well as {active.policy}, which is in use, {over}"
    saved = format_duration(-best.ahead_s)
    return active, f"{active.policy}, in use, has saved {saved} more of job time than {best.label} would have, {over}"


def _last(core: Core, label: str) -> api.DecisionView | None:
    last = core.shadow_policies.decided.get(label)
    return decision_view(last, core.inventory) if last is not None else None


def contender_view(
    label: str, contender: Contender, *, is_active: bool = False, last: api.DecisionView | None = None
) -> api.ContenderView:
    """One policy with its record; `last` is what it decided last."""
    tally = contender.tally
    return api.ContenderView(
        label=label,
        policy=contender.policy,
        config=contender.config,
        is_active=is_active,
        since=contender.since,
        watched_s=contender.watched_s,
        blind_s=contender.blind_s,
        moves=tally.moves,
        failed=tally.failed,
        under_way=len(contender.in_flight),
        placed=len(contender.placed),
        pause_s=tally.pause_s,
        predicted_s=tally.predicted_s,
        due_s=tally.due_s,
        gained_s=tally.gained_s,
        cost_s=tally.cost_s,
        net_s=tally.net_s,
        ahead_s=contender.ahead_s,
        problem=contender.problem,
        last=last,
    )
