"""What has been over time, for people to look at: the cluster's load and the speed of each job.

A `Moment` a control period, kept for an hour; one a minute for a day; one in ten minutes for a month. The coarser are
made of the finer. What is kept of a job is how much it has done by when, so that a speed can be worked out over any
stretch. Pure; `timeline_store` keeps the coarser two over a restart.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from statistics import fmean
from typing import Final

import msgspec

from migd_controller.contest import NO_CONTEST, Contest
from migd_core.world import World
from migd_policies.job_progress import Track

# Length of a step in s (0: as they come), and how many are kept.
STEPS: Final = ((0, 720), (60, 1440), (600, 4464))
# No more points than this are asked of one resolution, where a coarser one reaches as far.
MOST_POINTS: Final = 1500
# A guest that wants less CPU than this says nothing of how well its host serves it.
LEAST_DEMAND_VCPUS: Final = 0.05
MOST_JOBS: Final = 256


class JobMoment(msgspec.Struct, frozen=True, array_like=True):
    """How far a job was: `done` iterations, told at `told_at` (Unix time); None where it tells nothing.

    `served_ratio` is what its worst served guest got of the CPU it wanted, 0..1; None where no guest was measured.
    """

    done: float | None = None
    told_at: float | None = None
    served_ratio: float | None = None


class ContestMoment(msgspec.Struct, frozen=True, array_like=True):
    """What the policy in use has come to since `since` (Unix time), net and in job-seconds; shadows, by label.

    A shadow's is over the same time, also where it was added later: it shares what the policy in use had gained before.
    """

    since: float
    policy: str
    net_s: float
    nets_s: dict[str, float]


class Moment(msgspec.Struct, frozen=True, array_like=True):
    """The cluster at `at` (Unix time): mean, highest and lowest load of hosts that report, and migrations under way."""

    at: float
    load_mean_ratio: float | None
    load_most_ratio: float | None
    load_least_ratio: float | None
    under_way: int
    jobs: dict[str, JobMoment] = {}
    contest: ContestMoment | None = None


def moment(world: World, tracks: Mapping[str, Track], contest: Contest = NO_CONTEST) -> Moment:
    """Return what is kept of `world`; `tracks` has the progress of its jobs, by name."""
    loads = [host.load_ratio for host in world.hosts.values() if host.frozen_because is None]
    jobs = {}
    for name, job in list(world.jobs.items())[:MOST_JOBS]:
        reports = tracks[name].reports if name in tracks else ()
        found = [world.guests[uuid] for uuid in job.guests if uuid in world.guests]
        served = [
            min(1.0, guest.cpu_used_vcpus / guest.cpu_demand_vcpus)
            for guest in found
            if guest.cpu_demand_vcpus >= LEAST_DEMAND_VCPUS
            and guest.host in world.hosts
            and world.hosts[guest.host].frozen_because is None
        ]
        jobs[name] = JobMoment(
            done=reports[-1].done if reports else None,
            told_at=reports[-1].at_s if reports else None,
            served_ratio=min(served) if served else None,
        )
    return Moment(
        at=world.now_s,
        load_mean_ratio=fmean(loads) if loads else None,
        load_most_ratio=max(loads) if loads else None,
        load_least_ratio=min(loads) if loads else None,
        under_way=len(world.moves_in_flight),
        jobs=jobs,
        contest=_contest_moment(contest),
    )


def _contest_moment(contest: Contest) -> ContestMoment | None:
    if contest.active is None or contest.settled_at is None:
        return None
    nets_s = {label: contest.active.tally.net_s + each.ahead_s for label, each in contest.shadows.items()}
    return ContestMoment(contest.active.since, contest.active.policy, contest.active.tally.net_s, nets_s)


def merged(moments: Sequence[Moment]) -> Moment:
    """Return one moment for several, which end with it: extremes stay extremes, progress is the last that was told."""
    last: dict[str, JobMoment] = {}
    served: dict[str, list[float]] = {}
    for each in moments:
        for name, job in each.jobs.items():
            last[name] = job
            if job.served_ratio is not None:
                served.setdefault(name, []).append(job.served_ratio)
    means = [each.load_mean_ratio for each in moments if each.load_mean_ratio is not None]
    highest = [each.load_most_ratio for each in moments if each.load_most_ratio is not None]
    lowest = [each.load_least_ratio for each in moments if each.load_least_ratio is not None]
    return Moment(
        at=moments[-1].at,
        load_mean_ratio=fmean(means) if means else None,
        load_most_ratio=max(highest) if highest else None,
        load_least_ratio=min(lowest) if lowest else None,
        under_way=max(each.under_way for each in moments),
        contest=moments[-1].contest,
        jobs={
            name: JobMoment(job.done, job.told_at, fmean(served[name]) if name in served else None)
            for name, job in list(last.items())[-MOST_JOBS:]
        },
    )


@dataclass
class _Ring:
    """The moments of one resolution, and those of the step that is not over yet."""

    step_s: int
    kept: deque[Moment]
    open: list[Moment] = field(default_factory=list)

    def add(self, new: Moment) -> Moment | None:
        """Take a moment in; return the one that is kept with it, None while its step is not over."""
        if self.step_s == 0:
            self.kept.append(new)
            return new
        done = None
        if self.open and self.open[-1].at // self.step_s != new.at // self.step_s:
            done = merged(self.open)
            self.kept.append(done)
            self.open.clear()
        self.open.append(new)
        return done


class Timeline:
    """All that is kept. Times rise: a moment that is not newer than the last is left out."""

    def __init__(self, kept: Mapping[int, Iterable[Moment]] | None = None) -> None:
        """`kept` has what an earlier life kept, by the length of its steps, oldest first."""
        self._rings = [_Ring(step_s, deque((kept or {}).get(step_s, ()), maxlen=size)) for step_s, size in STEPS]
        self._newest_s = max((ring.kept[-1].at for ring in self._rings if ring.kept), default=float("-inf"))

    def add(self, new: Moment) -> list[tuple[int, Moment]]:
        """Take a moment in; return what is to be kept over a restart, with the length of its step."""
        if new.at <= self._newest_s:
            return []
        self._newest_s = new.at
        stored = []
        finer: Moment | None = new
        for ring in self._rings:
            if finer is None:
                break
            finer = ring.add(finer)
            if finer is not None and ring.step_s:
                stored.append((ring.step_s, finer))
        return stored

    def since(self, at_s: float) -> list[Moment]:
        """Return what has been since `at_s` (Unix time), oldest first, at the resolution that fits that stretch."""
        span_s = self._newest_s - at_s
        chosen = next(
            (n for n, ring in enumerate(self._rings) if _spacing_s(ring) * MOST_POINTS >= span_s), len(self._rings) - 1
        )
        found = [each for each in self._rings[chosen].kept if each.at >= at_s]
        for ring in self._rings[chosen + 1 :]:
            first_s = found[0].at if found else float("inf")
            found = [*takewhile(lambda each, first_s=first_s: each.at < first_s, _from(ring, at_s)), *found]  # type: ignore[misc]
        for ring in reversed(self._rings[:chosen]):
            last_s = found[-1].at if found else at_s
            found += [each for each in ring.kept if each.at > last_s]
        return found


def _from(ring: _Ring, at_s: float) -> Iterable[Moment]:
    return (each for each in ring.kept if each.at >= at_s)


def _spacing_s(ring: _Ring) -> float:
    if ring.step_s or len(ring.kept) < 2:
        return ring.step_s
    return (ring.kept[-1].at - ring.kept[0].at) / (len(ring.kept) - 1)


def speeds_per_s(moments: Sequence[Moment], name: str, window_s: float) -> list[float | None]:
    """Return the iterations a second of a job at each moment, over the `window_s` before it or a little more.

    None where nothing new was told since the moment before, and where progress went back: that is another run.
    """
    found: list[float | None] = []
    told: deque[tuple[float, float]] = deque()  # when, how much; the first is the newest beyond the window
    for each in moments:
        job = each.jobs.get(name)
        if job is None or job.done is None or job.told_at is None or (told and job.told_at <= told[-1][0]):
            found.append(None)
            continue
        if told and job.done < told[-1][1]:
            told.clear()
        told.append((job.told_at, job.done))
        while len(told) > 2 and told[1][0] <= job.told_at - window_s:
            told.popleft()
        began_s, began = told[0]
        found.append((job.done - began) / (job.told_at - began_s) if len(told) > 1 else None)
    return found
