"""How long a job still runs, from the best that is known of it: a median, a 10-90 % interval, and the basis in words.

Best first:

1. progress:    iterations left × the iteration time of late, less the time since it was told
2. a person:    what was said when the job was added; taken as right within a factor of two
3. history:     how long earlier runs of the same name took, those that took longer than this one has by now
4. wall time:   the limit given to the batch system. Users ask for about six times of what they need, so a run's length
                is taken as log-uniform over (limit / 36, limit): its median is a sixth of the limit, and what is known
                of it once it has run for e is log-uniform over (max(e, limit / 36), limit)
5. elapsed:     P(another r | e so far) = e / (e + r) (Lindy): a median of e, 10-90 % from e / 9 to 9 e

A wall-time limit bounds all of them. A job past the end that a person or its limit set is taken to be over: nobody has
said that it goes on, and no move can gain on what may be gone. `basis` also says what was known and not used, and why.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Final

from migd_core.units import format_duration
from migd_core.world import Remaining
from migd_policies.job_progress import Track, pace, quantile, silence

# A factor of six between what users ask for and need (the median), squared: the span of the run's length in log space.
OVER_ASKED: Final = 6.0
WORD_HOLDS_WITHIN: Final = 2.0
# The tenth and the nine tenths of Lindy's law: r = e · q / (1 - q).
LINDY_RATIO: Final = 9.0
# Thirty years and never are the same to a balancer, and sums of them stay finite.
LONGEST_S: Final = 1e9


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a job. Times are Unix seconds; `finished_s` are how long earlier runs took, in s.

    `ends_at` is what a person said, who has put it off by `postponed_s` in all. `guests` it has, `missing` of them no
    longer run.
    """

    now_s: float
    track: Track = field(default_factory=Track)
    started_at: float | None = None
    ends_at: float | None = None
    postponed_s: float = 0.0
    wall_time_limit_s: float | None = None
    finished_s: Sequence[float] = ()
    guests: int = 0
    missing: int = 0

    @property
    def elapsed_s(self) -> float | None:
        """For how long it has run; None where nobody knows."""
        return None if self.started_at is None else max(0.0, self.now_s - self.started_at)


def remaining(known: Known) -> Remaining | None:
    """Return how long the job still runs; None where nothing at all is known of it."""
    found, unused = _by_progress(known)
    for estimate in (_by_word, _by_history, _by_wall_time, _by_elapsed):
        found = found if found is not None else estimate(known)
    if found is None:
        return None
    notes = [found.basis, *unused]
    median_s, least_s, most_s = (min(LONGEST_S, each) for each in (found.median_s, found.least_s, found.most_s))
    found = Remaining(median_s, least_s, most_s, found.basis)
    left_s = _limit_left_s(known)
    if left_s is not None and left_s < found.most_s:
        notes += ["its wall-time limit cuts it short"] if left_s < found.median_s else []
        found = replace(
            found,
            median_s=min(found.median_s, left_s),
            least_s=min(found.least_s, left_s),
            most_s=left_s,
        )
    if known.missing:
        notes.append(f"{known.missing} of its {known.guests} guests no longer run, so it may end at any moment")
        found = replace(found, least_s=0.0)
    return replace(found, basis="; ".join(notes))


def _by_progress(known: Known) -> tuple[Remaining | None, list[str]]:
    """Return what its progress tells, or None and why that tells nothing."""
    track = known.track
    if not track.reports:
        return None, []
    done, total = track.reports[-1].done, track.total
    turn = [track.turn] if track.turn else []
    if total is None:
        return None, [*turn, f"{done:g} iterations done, but of how many is not known"]
    if done >= total:
        return Remaining(0.0, 0.0, 0.0, f"all of its {total:g} iterations are done"), turn
    if silent := silence(track, known.now_s):
        return None, [*turn, silent]
    iteration = pace(track)
    if iteration is None:
        return None, [*turn, f"{done:g} of {total:g} iterations done, told once only, so how fast is not known"]
    since_s = max(0.0, known.now_s - track.reports[-1].at_s)
    left = total - done
    # A total that has grown may grow again as much.
    may_grow = max(1.0, total / track.first_total) if track.first_total else 1.0
    most_left = total * may_grow - done
    basis = f"progress: {done:g} of {total:g} iterations at {format_duration(iteration.median_s)} each"
    return (
        Remaining(
            median_s=max(0.0, left * iteration.median_s - since_s),
            least_s=max(0.0, left * iteration.least_s - since_s),
            most_s=max(0.0, most_left * iteration.most_s - since_s),
            basis=basis,
        ),
        turn,
    )


def _by_word(known: Known) -> Remaining | None:
    if known.ends_at is None:
        return None
    left_s = known.ends_at - known.now_s
    off = f", put off by {format_duration(known.postponed_s)} so far" if known.postponed_s > 0 else ""
    if left_s <= 0:
        basis = f"it was said to end {format_duration(-left_s)} ago{off}, and nobody has said that it goes on"
        return Remaining(0.0, 0.0, -left_s, basis)
    return Remaining(
        median_s=left_s,
        least_s=left_s / WORD_HOLDS_WITHIN,
        most_s=left_s * WORD_HOLDS_WITHIN + known.postponed_s,
        basis=f"said when the job was added{off}",
    )


def _by_history(known: Known) -> Remaining | None:
    elapsed_s, runs = known.elapsed_s, known.finished_s
    if elapsed_s is None or not runs:
        return None
    earlier = f"{len(runs)} earlier run" + ("s" if len(runs) > 1 else "")
    longer_s = [ran_s - elapsed_s for ran_s in runs if ran_s > elapsed_s]
    if not longer_s:
        over_s = elapsed_s - max(runs)
        basis = f"history: {format_duration(over_s)} longer than the longest of {earlier}; as long again"
        return _lindy(over_s, basis)
    # The fewer runs there were, the less they say of the next one.
    spread_s = median(runs) / (len(runs) + 1)
    return Remaining(
        median_s=median(longer_s),
        least_s=max(0.0, quantile(longer_s, 0.1) - spread_s),
        most_s=quantile(longer_s, 0.9) + spread_s,
        basis=f"history: {earlier} of this name, {format_duration(median(runs))} each",
    )


def _by_wall_time(known: Known) -> Remaining | None:
    elapsed_s, limit_s = known.elapsed_s, known.wall_time_limit_s
    if elapsed_s is None or limit_s is None:
        return None
    if elapsed_s >= limit_s:
        over_s = elapsed_s - limit_s
        basis = f"its wall-time limit of {format_duration(limit_s)} passed {format_duration(over_s)} ago"
        return Remaining(0.0, 0.0, over_s, basis)
    shortest_s = max(elapsed_s, limit_s / OVER_ASKED**2)
    least_s, median_s, most_s = (
        max(0.0, shortest_s * (limit_s / shortest_s) ** share - elapsed_s) for share in (0.1, 0.5, 0.9)
    )
    basis = (
        f"wall-time limit of {format_duration(limit_s)}, of which {format_duration(elapsed_s)} have passed; "
        f"users ask for about {OVER_ASKED:g} times of what they need"
    )
    return Remaining(median_s, least_s, most_s, basis)


def _by_elapsed(known: Known) -> Remaining | None:
    if known.elapsed_s is None:
        return None
    return _lindy(known.elapsed_s, f"nothing but that it has run for {format_duration(known.elapsed_s)}; as long again")


def _lindy(so_far_s: float, basis: str) -> Remaining:
    return Remaining(so_far_s, so_far_s / LINDY_RATIO, so_far_s * LINDY_RATIO, basis)


def _limit_left_s(known: Known) -> float | None:
    """What the wall-time limit leaves; None where there is no limit, or it has passed and so does not hold."""
    if known.wall_time_limit_s is None or known.elapsed_s is None or known.elapsed_s >= known.wall_time_limit_s:
        return None
    return known.wall_time_limit_s - known.elapsed_s
