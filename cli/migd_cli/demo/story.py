"""The demo's plot as a pure state function: which act it is in, and the job's speed in each.

    baseline ──measured──▶ overload ──migration seen──▶ relief ──quiet, and measured──▶ done
       any of them ──too long──▶ failed (`why` says what did not happen)

A speed is steps done over the seconds in which they were done, over a window in which no guest was being moved.
"""

from dataclasses import dataclass, replace
from enum import StrEnum


class Act(StrEnum):
    """Where the demo stands."""

    BASELINE = "baseline"
    OVERLOAD = "overload"
    RELIEF = "relief"
    DONE = "done"
    FAILED = "failed"

    @property
    def is_last(self) -> bool:
        return self in (Act.DONE, Act.FAILED)


@dataclass(frozen=True, slots=True)
class Reading:
    """What was seen `at_s` seconds into the demo: the job's steps, and the migrations under way and over by then."""

    at_s: float
    steps: float
    under_way: int = 0
    over: int = 0


@dataclass(frozen=True, slots=True)
class Limits:
    """How long each act has to last to be worth measuring, and how long it may take; all in seconds.

    `hog_shows_s` is what the job needs to feel the hog. The baseline and the last window also hold `steps` steps at
    least, so that a long step that comes round once in a while is not left out of one and in the other.
    """

    baseline_s: float = 10.0
    hog_shows_s: float = 1.0
    relief_s: float = 12.0
    steps: float = 20.0
    baseline_at_most_s: float = 30.0
    overload_at_most_s: float = 30.0
    all_at_most_s: float = 90.0


@dataclass(frozen=True, slots=True)
class Story:
    """The plot so far. `since` is where the window that is being measured begins."""

    limits: Limits
    act: Act
    act_began_at_s: float
    since: Reading
    last: Reading
    before: float | None = None
    hog: float | None = None
    after: float | None = None
    why: str = ""

    @classmethod
    def begun(cls, reading: Reading, limits: Limits = Limits()) -> "Story":
        """Return the beginning: the first reading in which the whole cluster was up."""
        return cls(limits, Act.BASELINE, reading.at_s, reading, reading)

    @property
    def speed(self) -> float | None:
        """Return the job's steps a second in the window that is being measured; None while it is empty."""
        return _speed(self.since, self.last)

    @property
    def window_s(self) -> float:
        """Return the length of the window that is being measured."""
        return self.last.at_s - self.since.at_s

    def advance(self, reading: Reading) -> "Story":
        """Return the story after one more reading."""
        if self.act.is_last:
            return self
        disturbed = reading.under_way > 0 or reading.over != self.last.over
        story = replace(self, last=reading)
        match self.act:
            case Act.BASELINE:
                story = story._in_baseline(disturbed)
            case Act.OVERLOAD:
                story = story._in_overload(disturbed, self.last)
            case Act.RELIEF:
                story = story._in_relief(disturbed)
        if not story.act.is_last and reading.at_s >= story.limits.all_at_most_s:
            return story._failed(f"the demo was to end within {story.limits.all_at_most_s:g} s and was in {story.act}")
        return story

    def _in_baseline(self, disturbed: bool) -> "Story":
        if not disturbed and self._is_measured(self.limits.baseline_s):
            return replace(self._next(Act.OVERLOAD), before=self.speed)
        if self._act_s >= self.limits.baseline_at_most_s:
            return self._failed(f"the job was not left alone for {self.limits.baseline_s:g} s before the overload")
        return self._windowed() if disturbed else self

    def _in_overload(self, disturbed: bool, previous: Reading) -> "Story":
        if self._act_s <= self.limits.hog_shows_s and not disturbed:
            return self._windowed()
        if disturbed:
            # The window ends with the last reading before the migration; one that came at once leaves only this one.
            hog = _speed(self.since, previous) or self.speed
            return replace(self._next(Act.RELIEF), hog=hog)
        if self._act_s >= self.limits.overload_at_most_s:
            return self._failed(f"no guest was moved within {self.limits.overload_at_most_s:g} s of the overload")
        return self

    def _in_relief(self, disturbed: bool) -> "Story":
        if disturbed:
            return self._windowed()
        if self._is_measured(self.limits.relief_s):
            return replace(self._next(Act.DONE), after=self.speed)
        return self

    def _is_measured(self, for_s: float) -> bool:
        return self.window_s >= for_s and self.last.steps - self.since.steps >= self.limits.steps

    @property
    def _act_s(self) -> float:
        return self.last.at_s - self.act_began_at_s

    def _windowed(self) -> "Story":
        """Return the story with the window begun anew."""
        return replace(self, since=self.last)

    def _next(self, act: Act) -> "Story":
        return replace(self, act=act, act_began_at_s=self.last.at_s, since=self.last)

    def _failed(self, why: str) -> "Story":
        return replace(self, act=Act.FAILED, why=why)


def _speed(since: Reading, until: Reading) -> float | None:
    seconds = until.at_s - since.at_s
    return (until.steps - since.steps) / seconds if seconds > 0 else None
