"""The life of jobs: named by an operator, heard of as they go on, over when removed or when their guests are gone.

Pure: memory in, memory out. What a job tells is kept with it; what it leaves behind (how long it ran, how fast it went
while a guest of it migrated) is kept by what its runs are called, for the next one. All of it is bounded.
"""

from collections.abc import Collection, Mapping
from typing import Final, TypeVar

from msgspec.structs import replace

from migd_controller.commands import RecordJobOver
from migd_controller.events import JobAdded
from migd_controller.memory import Memory, RememberedJob
from migd_controller.migration import Migration, State
from migd_core.job_limits import NO_LIMITS, JobLimits, JobLimitsChange
from migd_core.progress import Progress
from migd_core.units import format_duration
from migd_core.world import Job
from migd_policies import learned_speed
from migd_policies.job_progress import following, pace, silence
from migd_policies.remaining import Known, remaining

# A guest that is restarted, or that the pool forgets for a moment, is no end of a job.
GONE_FOR_S: Final = 300.0
RUNS_KEPT: Final = 16
NAMES_KEPT: Final = 256
T = TypeVar("T")
# By guest (uuid): what it told last that was new, and when (Unix time).
News = Mapping[str, tuple[float, Progress]]


def added(memory: Memory, event: JobAdded, now_s: float) -> Memory:
    """Return the memory once an operator or Slurm has named a job.

    The same name with the same guests is the same run, of which something new is said; with others it is a new one.
    What Slurm says of a run leaves alone when an operator said that it ends.
    """
    ends_at = None if event.remaining_s is None else now_s + event.remaining_s
    known = memory.jobs.get(event.name)
    if known is not None and set(known.guests) == set(event.guests):
        if event.slurm_job is not None:
            ends_at = known.ends_at if ends_at is None else ends_at
            known = replace(known, slurm_job=event.slurm_job, run_of=event.run_of, wall_time_limit_s=None)
        later_s = 0.0 if ends_at is None or known.ends_at is None else max(0.0, ends_at - known.ends_at)
        job = replace(
            known,
            ends_at=ends_at,
            started_at=event.started_at if event.started_at is not None else known.started_at,
            postponed_s=known.postponed_s + later_s,
            wall_time_limit_s=event.wall_time_limit_s
            if event.wall_time_limit_s is not None
            else known.wall_time_limit_s,
            limits=event.limits.of(known.limits),
        )
    else:
        job = RememberedJob(
            name=event.name,
            guests=event.guests,
            ends_at=ends_at,
            started_at=event.started_at if event.started_at is not None else now_s,
            wall_time_limit_s=event.wall_time_limit_s,
            limits=event.limits.of(NO_LIMITS),
            slurm_job=event.slurm_job,
            run_of=event.run_of,
        )
    return replace(memory, jobs={**memory.jobs, event.name: job})


def limited(memory: Memory, name: str, change: JobLimitsChange) -> Memory:
    """Return the memory once an operator has changed a job's own limits."""
    job = memory.jobs.get(name)
    if job is None:
        return memory
    return replace(memory, jobs={**memory.jobs, name: replace(job, limits=change.of(job.limits))})


def limits(memory: Memory, name: str) -> JobLimits:
    """Return a job's own limits: none where it is not known."""
    job = memory.jobs.get(name)
    return NO_LIMITS if job is None else job.limits


def job_of(memory: Memory, guest: str) -> str:
    """Return the job of a guest (uuid); one that is of none is a job of its own."""
    return next((job.name for job in memory.jobs.values() if guest in job.guests), guest)


def removed(memory: Memory, name: str, now_s: float) -> Memory:
    """Return the memory once a job is over; how long it ran is kept for the next run of it."""
    job = memory.jobs.get(name)
    if job is None:
        return memory
    finished = memory.finished_s
    if (ran_s := _ran_s(job, now_s)) > 0:
        runs = (*finished.get(job.kept_as, ()), ran_s)[-RUNS_KEPT:]
        finished = _with(finished, job.kept_as, runs)
    jobs = {key: each for key, each in memory.jobs.items() if key != name}
    return replace(memory, jobs=jobs, finished_s=finished)


def progressed(memory: Memory, name: str, told: Progress, now_s: float) -> Memory:
    """Return the memory once an operator, or the job's own script, has told how far it is."""
    job = memory.jobs.get(name)
    if job is None:
        return memory
    job = replace(job, track=following(job.track, told, now_s))
    return replace(memory, jobs={**memory.jobs, name: job})


def heard(memory: Memory, news: News, now_s: float) -> Memory:
    """Return the memory with what guests have told of their jobs since.

    One guest tells for a job; another takes over once that one has fallen silent. What was told before the job was
    added is left over from another one.
    """
    changed: dict[str, RememberedJob] = {}
    for name, job in memory.jobs.items():
        newest_s = job.track.reports[-1].at_s if job.track.reports else (job.started_at or 0.0)
        fresh = {uuid: news[uuid] for uuid in job.guests if uuid in news and news[uuid][0] > newest_s}
        if not fresh:
            continue
        if job.track.teller in fresh:
            teller = job.track.teller
        elif not job.track.reports or silence(job.track, now_s):
            teller = next(iter(fresh))
        else:
            continue
        at_s, told = fresh[teller]
        changed[name] = replace(job, track=following(job.track, told, at_s, teller))
    return replace(memory, jobs={**memory.jobs, **changed}) if changed else memory


def without_guests(memory: Memory, running: Collection[str], now_s: float) -> tuple[Memory, list[RecordJobOver]]:
    """Return the memory without the jobs whose guests have all been gone for GONE_FOR_S, and what is to be recorded."""
    records = []
    for name, job in list(memory.jobs.items()):
        is_gone = bool(job.guests) and not any(guest in running for guest in job.guests)
        if is_gone and job.gone_at is not None and now_s - job.gone_at >= GONE_FOR_S:
            text = f"all of its {len(job.guests)} guests have been gone for {format_duration(now_s - job.gone_at)}"
            records.append(RecordJobOver(name=name, ran_s=_ran_s(job, now_s), text=text))
            memory = removed(memory, name, now_s)
        elif is_gone != (job.gone_at is not None):
            job = replace(job, gone_at=now_s if is_gone else None)
            memory = replace(memory, jobs={**memory.jobs, name: job})
    return memory, records


def learned(memory: Memory, migration: Migration, now_s: float) -> Memory:
    """Return the memory with what a migration that has just ended shows of its job's speed meanwhile, if anything.

    Two migrations of one job at a time slow it together, and a lost task says nothing of when copying began.
    """
    job = next((each for each in memory.jobs.values() if migration.guest in each.guests), None)
    if job is None or migration.is_task_lost or migration.state not in (State.MOVED, State.STAYED):
        return memory
    if any(other.guest in job.guests for other in memory.in_flight.values() if other.cause != migration.cause):
        return memory
    began_s = migration.started_at if migration.started_at is not None else migration.asked_at
    stopped_s = now_s - (migration.predicted_pause_s or 0.0)
    ratio = learned_speed.observed(job.track.reports, began_s, stopped_s)
    if ratio is None:
        return memory
    known = memory.speeds.get(job.kept_as, learned_speed.LearnedSpeed())
    return replace(memory, speeds=_with(memory.speeds, job.kept_as, learned_speed.after(known, ratio)))


def described(memory: Memory, job: RememberedJob, running: Collection[str], prior_ratio: float, now_s: float) -> Job:
    """Return the job as policies and the ledger see it. `prior_ratio` is the speed of one never watched."""
    missing = tuple(uuid for uuid in job.guests if uuid not in running)
    known = Known(
        now_s=now_s,
        track=job.track,
        started_at=job.started_at,
        ends_at=job.ends_at,
        postponed_s=job.postponed_s,
        wall_time_limit_s=job.wall_time_limit_s,
        finished_s=memory.finished_s.get(job.kept_as, ()),
        guests=len(job.guests),
        missing=len(missing),
    )
    speed = memory.speeds.get(job.kept_as, learned_speed.LearnedSpeed())
    iteration = pace(job.track)
    return Job(
        name=job.name,
        guests=tuple(uuid for uuid in job.guests if uuid in running),
        remaining=remaining(known),
        started_at=job.started_at,
        wall_time_limit_s=job.wall_time_limit_s,
        progress=job.track.progress,
        iteration_s=None if iteration is None else iteration.median_s,
        speed_while_migrating=learned_speed.estimate(speed, prior_ratio),
        missing=missing,
    )


def _ran_s(job: RememberedJob, now_s: float) -> float:
    """How long a job has run, up to when its guests were gone; 0 where nobody knows."""
    ended_at = now_s if job.gone_at is None else job.gone_at
    return 0.0 if job.started_at is None else max(0.0, ended_at - job.started_at)


def _with(known: Mapping[str, T], name: str, value: T) -> dict[str, T]:
    """Return `known` with a value under `name`, which is now the newest; the oldest names give way."""
    found = {key: each for key, each in known.items() if key != name}
    found[name] = value
    return dict(list(found.items())[-NAMES_KEPT:])
