"""The forecast under everybody who might look after it, beside what nobody can beat.

The clairvoyant's time is a bound: each job in a cluster of its own, on the fastest hosts, talking at the best level,
with nothing to be moved. So what is captured is told at its least.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import msgspec
from msgspec.structs import replace

from migd_controller.record.recorder import Sink
from migd_core.world import Level
from migd_sim.model import Cluster
from migd_sim.model.spec import JobSpec, LevelSpec
from migd_sim.run.evaluation.case import Case
from migd_sim.run.evaluation.play import Played, Player, Unmoved, play
from migd_sim.run.evaluation.watched import Watched
from migd_sim.run.forecast.baselines import Greedy, Orchestra
from migd_sim.run.forecast.brams import FORECAST

NOBODY: Final = "nobody"
MIGD: Final = "migd"
BESIDE: Final[Mapping[str, Callable[[Case], Player]]] = MappingProxyType(
    {
        NOBODY: lambda case: Unmoved(Cluster(case.pool)),
        "greedy": Greedy,
        "xen-orchestra": Orchestra,
    }
)


class Contender(msgspec.Struct, frozen=True, kw_only=True):
    """How it went under one of them: `captured_ratio` of what was to gain for the forecast, and for all jobs together.

    `lost` are the jobs that had to go back to a checkpoint, since a host had died under them; `cut_off` those that were
    not over when the case was. Where there are such, here or with nobody, what all jobs captured is None.
    """

    name: str
    forecast_s: float
    all_jobs_s: float
    forecast_captured_ratio: float
    captured_ratio: float | None
    moves: int
    failed_moves: int
    pause_s: float
    lost: tuple[str, ...]
    cut_off: tuple[str, ...]


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """One case under everybody; `best_forecast_s` and `best_all_jobs_s` are the bounds."""

    case: str
    best_forecast_s: float
    best_all_jobs_s: float
    contenders: tuple[Contender, ...]

    def of(self, name: str) -> Contender:
        """Return one of them; KeyError if nobody is called so."""
        return {each.name: each for each in self.contenders}[name]


def compare(case: Case, record: Sink | None = None) -> Comparison:
    """Return how a case goes under migd and those `BESIDE` it; what migd is told and does goes to `record`."""
    best = {job.name: best_s(case, job) for job in case.pool.jobs}
    played = {name: play(case, player(case)) for name, player in BESIDE.items()}
    played[MIGD] = play(case, Watched(case, "job-time", "progress", record))
    return Comparison(
        case=case.name,
        best_forecast_s=best[FORECAST],
        best_all_jobs_s=sum(best.values()),
        contenders=tuple(_contender(name, one, played[NOBODY], best) for name, one in played.items()),
    )


def text(found: Comparison) -> str:
    """Return a table for people: hours of the forecast and of all jobs, what was captured, moves and pause."""
    lines = [
        f"{found.case}: at best the forecast takes {found.best_forecast_s / 3600:.2f} h, all jobs together "
        f"{found.best_all_jobs_s / 3600:.2f} h"
    ]
    for one in found.contenders:
        left = f", lost {', '.join(one.lost)}" if one.lost else ""
        left += f", cut off {', '.join(one.cut_off)}" if one.cut_off else ""
        captured = "-" if one.captured_ratio is None else f"{one.captured_ratio:.1%}"
        lines.append(
            f"  {one.name:14}{one.forecast_s / 3600:8.2f} h {one.forecast_captured_ratio:7.1%}"
            f"{one.all_jobs_s / 3600:9.2f} h {captured:>7}"
            f"{one.moves:6} moves, {one.failed_moves} failed, {one.pause_s:.0f} s of pause{left}"
        )
    return "\n".join(lines)


def best_s(case: Case, job: JobSpec) -> float:
    """Return the least time that a job could take, whoever moves whatever."""
    pool = case.pool
    fastest = max(host.speed for host in pool.hosts)
    near = (pool.levels[Level.SAME_HOST], pool.levels[Level.SAME_SWITCH])
    level = LevelSpec(
        bandwidth_bytes_per_s=max(one.bandwidth_bytes_per_s for one in near),
        latency_s=min(one.latency_s for one in near),
    )
    alone = replace(
        pool,
        hosts=tuple(replace(host, speed=fastest, cpus=1024, link_bytes_per_s=1e15) for host in pool.hosts),
        guests=tuple(guest for guest in pool.guests if guest.name in job.ranks),
        jobs=(replace(job, starts_s=0.0),),
        hogs=(),
        levels={**pool.levels, Level.SAME_HOST: level, Level.SAME_SWITCH: level},
    )
    cluster = Cluster(alone)
    state = cluster.jobs[job.name]
    while not state.is_over:
        next_s = cluster.next_event_s
        assert next_s is not None, "a job alone goes on"
        cluster.run_until(next_s)
    return cluster.now_s


def _contender(name: str, played: Played, nobody: Played, best: Mapping[str, float]) -> Contender:
    all_over = not (played.cut_off or nobody.cut_off)
    return Contender(
        name=name,
        forecast_s=played.took_s[FORECAST],
        all_jobs_s=played.total_s,
        forecast_captured_ratio=_captured(played.took_s[FORECAST], nobody.took_s[FORECAST], best[FORECAST]),
        captured_ratio=_captured(played.total_s, nobody.total_s, sum(best.values())) if all_over else None,
        moves=played.moves,
        failed_moves=played.failed_moves,
        pause_s=played.pause_s,
        lost=played.lost,
        cut_off=played.cut_off,
    )


def _captured(took_s: float, nobody_s: float, best_s: float) -> float:
    return (nobody_s - took_s) / (nobody_s - best_s) if nobody_s > best_s else 0.0
