"""The jobs in what `squeue --json` prints, by any version of Slurm that prints it.

Read with Slurm's data_parser v0.0.37 (21.08) to v0.0.42 (24.11): numbers became `{"set", "infinite", "number"}`, the
state of a job became a list of it and its flags. Slurm before 23.02 prints every job, whatever states were asked for.
"""

from enum import StrEnum
from typing import Any, Final

import msgspec

from migd_controller.slurm_hostlist import expanded
from migd_core.decoding import UNDECODABLE
from migd_core.errors import MigdError

# NO_VAL and INFINITE of slurm/slurm.h, which older versions print as they are; 64-bit ones are larger still.
NO_NUMBER: Final = 0xFFFFFFFE
LONGEST_LIMIT_S: Final = 1e9  # some thirty years; what is longer is no limit


class SlurmProblem(MigdError):
    """A command of Slurm could not be run, failed, or printed what cannot be read."""


class Phase(StrEnum):
    """How far a job is, as far as its ranks are concerned."""

    WAITING = "waiting"  # also one that was put back into the queue
    STARTING = "starting"  # it has its nodes, its prologs run
    RUNNING = "running"
    SUSPENDED = "suspended"  # it has its nodes, its ranks stand still
    OVER = "over"  # also one whose epilogs still run


class SlurmJob(msgspec.Struct, frozen=True, kw_only=True):
    """One job. `started_at` is Unix time; `limit_s` is how long after that Slurm ends it, None without a limit."""

    number: int
    name: str
    user: str
    phase: Phase
    nodes: tuple[str, ...] = ()
    started_at: float | None = None
    limit_s: float | None = None


class _Number(msgspec.Struct, frozen=True):
    """A number of data_parser v0.0.39 and later."""

    set: bool = False
    infinite: bool = False
    number: float = 0


class _Job(msgspec.Struct, frozen=True):
    """What is read of a job; the rest of its hundred fields is passed over."""

    job_id: int
    job_state: str | list[str]
    name: str | None = None
    user_name: str | None = None
    user_id: int | None = None
    nodes: str | None = None
    start_time: int | _Number | None = None
    end_time: int | _Number | None = None
    time_limit: int | _Number | None = None


class _Answer(msgspec.Struct, frozen=True):
    jobs: list[_Job]
    errors: list[Any] = []


def decoded(text: bytes) -> list[SlurmJob]:
    """Return every job that `squeue --json` told of. Raises SlurmProblem where it told of errors or cannot be read."""
    try:
        answer = msgspec.json.decode(text, type=_Answer)
    except UNDECODABLE as error:
        raise SlurmProblem(
            f"squeue: what it printed is not the JSON of Slurm 21.08 to 24.11: {error}; the first of {len(text)} bytes "
            f"are {text[:60]!r}; try `squeue --json` by hand as the user that the controller runs as"
        ) from error
    if answer.errors:
        raise SlurmProblem(f"squeue: Slurm reports {'; '.join(_text(error) for error in answer.errors[:3])}")
    return [_job(job) for job in answer.jobs]


def _job(job: _Job) -> SlurmJob:
    states = {job.job_state} if isinstance(job.job_state, str) else set(job.job_state)
    phase = _phase(states)
    try:
        nodes = expanded(job.nodes or "") if phase is not Phase.WAITING else ()
    except ValueError as error:
        raise SlurmProblem(f"squeue: nodes of job {job.job_id}: {error}") from error
    start_s, end_s, limit_min = _number(job.start_time), _number(job.end_time), _number(job.time_limit)
    limit_s = None
    if limit_min is not None:
        # Once a job was suspended, its end is later than its limit says.
        limit_s = end_s - start_s if start_s and end_s and end_s > start_s else 60.0 * limit_min
    return SlurmJob(
        number=job.job_id,
        name=job.name or "",
        user=job.user_name or str(job.user_id if job.user_id is not None else ""),
        phase=phase,
        nodes=nodes,
        started_at=start_s or None,
        limit_s=limit_s if limit_s is None or limit_s <= LONGEST_LIMIT_S else None,
    )


def _phase(states: set[str]) -> Phase:
    """Return what a job's state and flags come to; a flag says more than the state that it stands beside."""
    if "COMPLETING" in states:
        return Phase.OVER
    if "CONFIGURING" in states or "POWER_UP_NODE" in states:
        return Phase.STARTING
    if "SUSPENDED" in states or "STOPPED" in states:
        return Phase.SUSPENDED
    if states & {"RUNNING", "RESIZING", "SIGNALING"}:
        return Phase.RUNNING
    if states & {"PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT", "RESV_DEL_HOLD"}:
        return Phase.WAITING
    return Phase.OVER


def _number(value: int | _Number | None) -> float | None:
    if isinstance(value, _Number):
        return float(value.number) if value.set and not value.infinite else None
    return None if value is None or not 0 <= value < NO_NUMBER else float(value)


def _text(error: Any) -> str:
    if isinstance(error, dict):
        known = [error.get(key) for key in ("description", "error", "source")]
        return ": ".join(str(each) for each in known if each) or str(error)
    return str(error)
