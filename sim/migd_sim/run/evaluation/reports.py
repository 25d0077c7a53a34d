"""What the controller is told of a job: how far it is, what its user asked for, or nothing but its guests.

Each kind is a function from what is true to the events that say it; none where there is nothing new to say.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from migd_controller.events import AnyEvent, JobAdded, JobProgressed
from migd_core.progress import Progress
from migd_sim.model.job import JobState


def _progress(job: JobState, asked_s: float, is_first: bool) -> tuple[AnyEvent, ...]:
    """The job tells its whole steps whenever it is asked; what the batch system says is known besides."""
    done = min(int(job.steps_done + 1e-9), job.spec.steps)
    told = JobProgressed(name=job.name, progress=Progress(float(done), float(job.spec.steps)))
    return (*_wall_time(job, asked_s, is_first), told)


def _wall_time(job: JobState, asked_s: float, is_first: bool) -> tuple[AnyEvent, ...]:
    """The batch system says once when it would end the job."""
    if not is_first:
        return ()
    return (JobAdded(name=job.name, guests=tuple(job.ranks_of), wall_time_limit_s=asked_s),)


def _nothing(job: JobState, asked_s: float, is_first: bool) -> tuple[AnyEvent, ...]:
    """Only which guests a job has is known."""
    return (JobAdded(name=job.name, guests=tuple(job.ranks_of)),) if is_first else ()


Report = Callable[[JobState, float, bool], tuple[AnyEvent, ...]]
REPORTS: Final[Mapping[str, Report]] = MappingProxyType(
    {"progress": _progress, "wall-time": _wall_time, "nothing": _nothing}
)
