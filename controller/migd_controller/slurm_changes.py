"""What Slurm says of its jobs, set against what is remembered of them: what is new, what has changed, what is over.

Jobs that an operator named are the operator's. A job of Slurm that would share a guest with another one is left out,
for a guest is a rank of one job, and is named among the problems.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from migd_controller.events import JobAdded, JobRemoved
from migd_controller.memory import RememberedJob
from migd_controller.slurm_jobs import Phase, SlurmJob

_UNFIT: Final = re.compile(rb"[^A-Za-z0-9_.+=@-]")
LONGEST_NAME: Final = 64
# A start that a prolog told of lies a moment after the one that Slurm keeps.
SAME_START_S: Final = 1.0
GuestOf = Callable[[str], str | None]


@dataclass(frozen=True, slots=True)
class Changes:
    """Events for the core, in the order in which they count, and what an operator should know."""

    events: tuple[JobAdded | JobRemoved, ...]
    problems: tuple[str, ...]


def job_name(name: str, number: int) -> str:
    """Return what a job of Slurm is called here: no two are called alike, and every shell and URL takes it.

    deploy/slurm/ calls it the same.
    """
    return f"{_UNFIT.sub(b'_', name.encode(errors='replace'))[:LONGEST_NAME].decode()}-{number}"


def changes(
    jobs: Mapping[str, RememberedJob], told: Iterable[SlurmJob], guest_of: GuestOf, guest_name: GuestOf, asked_at: float
) -> Changes:
    """Return what follows from what Slurm told when it was asked at `asked_at` (Unix time).

    `guest_of` gives the guest (uuid) that a node is, None for one that is no running guest of this pool; `guest_name`
    the name of a guest. A job that was added after `asked_at` cannot have been told of, and goes on.
    """
    known = {job.slurm_job: job for job in jobs.values() if job.slurm_job is not None}
    live = {job.number: job for job in told if job.phase not in (Phase.WAITING, Phase.OVER)}
    over = [job for number, job in known.items() if number not in live and (job.started_at or 0.0) < asked_at]
    owners = {guest: job.name for job in jobs.values() if job not in over for guest in job.guests}
    events: list[JobAdded | JobRemoved] = [JobRemoved(name=job.name) for job in over]
    problems: list[str] = []
    strangers: dict[str, None] = {}
    is_any_known = False
    for job in sorted(live.values(), key=lambda job: (job.started_at or 0.0, job.number)):
        before = known.get(job.number)
        guests = {node: guest_of(node) for node in job.nodes}
        unknown = [node for node, guest in guests.items() if guest is None]
        found = tuple(dict.fromkeys(guest for guest in guests.values() if guest is not None))
        strangers |= dict.fromkeys(unknown)
        is_any_known = is_any_known or bool(found)
        if not found or job.phase is Phase.STARTING:
            continue
        if before is not None and unknown and set(found) <= set(before.guests):
            found = before.guests  # a guest that is restarted is no smaller job
        elif unknown:
            problems.append(f"job {job.number} runs on {_some(unknown)} too, which no running guest of this pool is")
        name = before.name if before is not None else job_name(job.name, job.number)
        shared = [guest for guest in found if owners.get(guest, name) != name]
        if shared:
            problems.append(
                f"job {job.number} ({job.name}) is left out: its guest {guest_name(shared[0])} belongs to job "
                f"{owners[shared[0]]}, and a guest can be of one job only"
            )
            continue
        if before is None and name in jobs:
            problems.append(f"job {job.number} is left out: an operator named another job {name}")
            continue
        owners |= dict.fromkeys(found, name)
        if before is None or _differs(before, job, found):
            events.append(
                JobAdded(
                    name=name,
                    guests=found,
                    wall_time_limit_s=job.limit_s,
                    started_at=job.started_at,
                    slurm_job=job.number,
                    run_of=f"{job.user}/{job.name}",
                )
            )
    if strangers and not is_any_known:
        problems.append(
            f"none of the {len(strangers)} nodes that jobs run on ({_some(list(strangers))}) is a running guest of "
            "this pool; [slurm] match and [slurm.nodes] say which guest a node is"
        )
    return Changes(tuple(events), tuple(problems))


def _differs(before: RememberedJob, job: SlurmJob, guests: tuple[str, ...]) -> bool:
    return (
        set(before.guests) != set(guests)
        or before.wall_time_limit_s != job.limit_s
        or (job.started_at is not None and abs((before.started_at or 0.0) - job.started_at) > SAME_START_S)
    )


def _some(nodes: list[str], most: int = 3) -> str:
    more = f" and {len(nodes) - most} more" if len(nodes) > most else ""
    return ", ".join(nodes[:most]) + more
