"""What the controller is told of a job's remaining time: what its ranks report, what its user asked for, or nothing.

Each kind is a function from what is true to what is said, or None where there is nothing new to say.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from migd_controller.events import AnyEvent, JobAdded
from migd_sim.model.job import JobState


def _progress(job: JobState, asked_s: float, is_first: bool) -> AnyEvent | None:
    """The job reports its steps: those left at the present speed; while it stands still, what it said last holds."""
    if job.steps_per_s <= 0 and not is_first:
        return None
    remaining_s = (job.spec.steps - job.steps_done) / job.steps_per_s if job.steps_per_s > 0 else None
    return JobAdded(name=job.name, guests=tuple(job.ranks_of), remaining_s=remaining_s)


def _wall_time(job: JobState, asked_s: float, is_first: bool) -> AnyEvent | None:
    """The batch system says once when it would end the job."""
    return JobAdded(name=job.name, guests=tuple(job.ranks_of), remaining_s=asked_s) if is_first else None


def _nothing(job: JobState, asked_s: float, is_first: bool) -> AnyEvent | None:
    """Only which guests a job has is known."""
    return JobAdded(name=job.name, guests=tuple(job.ranks_of)) if is_first else None


Report = Callable[[JobState, float, bool], AnyEvent | None]
REPORTS: Final[Mapping[str, Report]] = MappingProxyType(
    {"progress": _progress, "wall-time": _wall_time, "nothing": _nothing}
)
