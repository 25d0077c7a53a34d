"""Runs policies over a set of cases, several processes at a time. Same set, seed and policies, same figures."""

import signal
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import Final

from migd_core.errors import ConfigError, UnknownName
from migd_policies.registry import available, configure
from migd_sim.model import Cluster
from migd_sim.run.evaluation.by_count import counted
from migd_sim.run.evaluation.case import Case
from migd_sim.run.evaluation.clairvoyant import fastest
from migd_sim.run.evaluation.planned import best_planned
from migd_sim.run.evaluation.play import Played, Player, Unmoved, play
from migd_sim.run.evaluation.relaxed import relax
from migd_sim.run.evaluation.reports import REPORTS
from migd_sim.run.evaluation.score import Evaluation, Outcome, Run, evaluation
from migd_sim.run.evaluation.sets import SETS, draw
from migd_sim.run.evaluation.watched import Watched

PROCESSES: Final = 2
OBSERVE: Final = "observe"


def evaluate(
    set_name: str,
    runs: int,
    seed: int,
    policies: Sequence[str] = (),
    jobs_report: str = "progress",
    processes: int = PROCESSES,
    on_run: Callable[[int], None] = lambda done: None,
) -> Evaluation:
    """Return how `policies` (all but `observe` if none is named) do on `runs` cases; `on_run` hears how many are done.

    Raises UnknownName for a set, policy or kind of report that there is not, ConfigError if `runs` is less than 1.
    """
    for kind, name, known in (("set of cases", set_name, SETS), ("report of jobs", jobs_report, REPORTS)):
        if name not in known:
            raise UnknownName(f"there is no {kind} called {name!r}; there are: {', '.join(known)}")
    if runs < 1 or processes < 1:
        raise ConfigError(f"an evaluation needs at least 1 run and 1 process, not {runs} and {processes}")
    policies = tuple(dict.fromkeys(policies)) or tuple(name for name in available() if name != OBSERVE)
    for policy in policies:
        configure(policy, {})
    one = partial(run, set_name, seed, policies, jobs_report)
    if processes == 1:
        return evaluation(set_name, seed, jobs_report, _counted(map(one, range(runs)), on_run), policies)
    # Ctrl-C ends the parent, which lets its children finish the run they are at and no other.
    ignore = (signal.SIGINT, signal.SIG_IGN)
    with ProcessPoolExecutor(processes, get_context("spawn"), signal.signal, ignore) as pool:
        try:
            found = _counted(pool.map(one, range(runs)), on_run)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return evaluation(set_name, seed, jobs_report, found, policies)


def _counted(runs: Iterable[Run], on_run: Callable[[int], None]) -> list[Run]:
    found: list[Run] = []
    for each in runs:
        found.append(each)
        on_run(len(found))
    return found


def run(set_name: str, seed: int, policies: Sequence[str], jobs_report: str, number: int) -> Run:
    """Return how one case of a set goes, with nobody, with the clairvoyant's moves, and under each policy."""
    case = draw(set_name, seed, number)
    return judged(case, {policy: Watched(case, policy, jobs_report) for policy in policies})


def judged(case: Case, players: dict[str, Player]) -> Run:
    """Return how `case` goes under each of the players, and how it could go."""
    unmoved = play(case, Unmoved(Cluster(case.pool)))
    planned, bound_s = unmoved, None
    if not case.loads_follow:
        plans, for_speed, narrow = (
            [(one, fastest(one.epochs, one.change, one.job.steps)) for one in relaxed]
            for relaxed in (
                [relax(case, job) for job in case.pool.jobs],
                [relax(case, job, talk_is_free=True) for job in case.pool.jobs],
                [relax(case, job, for_talk=False) for job in case.pool.jobs],
            )
        )
        bounds_s = [
            [best.time_s, other.time_s, *([by_count.least_time_s] if by_count is not None else [])]
            for (relaxed, best), (_, other) in zip(plans, for_speed, strict=True)
            for by_count in [counted(case, relaxed)]
        ]
        bound_s = sum(map(max, bounds_s))
        planned = best_planned(case, plans, for_speed, narrow)
    return Run(
        case=case.name,
        unmoved=_outcome(unmoved),
        best_planned=_outcome(planned),
        bound_s=bound_s,
        by_policy={name: _outcome(play(case, player)) for name, player in players.items()},
    )


def _outcome(played: Played) -> Outcome:
    return Outcome(
        total_s=played.total_s,
        took_s=dict(played.took_s),
        moves=played.moves,
        failed_moves=played.failed_moves,
        pause_s=played.pause_s,
        lost=played.lost,
        cut_off=played.cut_off,
    )
