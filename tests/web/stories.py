"""What happens on a staged cluster before a test looks: a job is named, runs, and has two of its guests moved."""

from staged import Staged, curve

from migd_controller.events import JobAdded, MigrationRequested
from migd_core.progress import Progress
from migd_core.units import GIB

RANKS = tuple(f"job1-{n}" for n in range(8))
ITERATIONS_PER_PERIOD = 10.0


def job_runs(staged: Staged, periods: int = 4, speed: float = 1.0) -> None:
    """Let the job do so many iterations a period."""
    for _ in range(periods):
        done = staged.cluster.done.get(RANKS[0], Progress(0.0, 2000.0)).done + speed * ITERATIONS_PER_PERIOD
        staged.cluster.done[RANKS[0]] = Progress(done, 2000.0)
        staged.pass_time()


def job_begins(staged: Staged) -> None:
    """Name the job `brams`, count dirty pages of its first rank, and let it run for a while."""
    staged.pass_time()
    staged.tell(JobAdded(name="brams", guests=RANKS, remaining_s=3600.0))
    measured_s = staged.cluster.now_s
    staged.cluster.curves[RANKS[0]] = curve(4000.0, 0.5 * GIB, measured_s=measured_s)
    job_runs(staged)


def a_move_began(staged: Staged, guest: str = RANKS[0], target: str = "xen04", done: float = 0.4) -> str:
    """Let an operator move a guest, and the pool tell how far that is; return its id."""
    staged.tell(MigrationRequested(guest=guest, target=target))
    (started,) = staged.started()
    staged.progress(started.cause, done)
    staged.under_way[started.cause] = started
    return started.cause


def a_move_ends(staged: Staged, cause: str, *, ok: bool = True) -> None:
    """Let it end after some time, on its target or where it was."""
    job_runs(staged, 3, speed=0.5)
    text = "" if ok else "not enough memory on the target"
    staged.finish(staged.under_way.pop(cause), ok=ok, code="" if ok else "HOST_NOT_ENOUGH_FREE_MEMORY", text=text)
    job_runs(staged, 4)
