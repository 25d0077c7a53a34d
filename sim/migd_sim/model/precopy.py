"""One live migration, round by round, by the stop rules of its toolstack.

A round sends the pages that were dirty when it began. Under the rules since Xen 4.6 it sends each of them. Legacy Xen
skips a page that was written again before its turn: with m(s) pages of the round still clean after s seconds, its
progress x grows by dx/ds = B / m(s). What a sweep wrote last it writes again last, so what is clean still of the pages
that were written in a round of t seconds is D(t + s) − D(s). Ages count the guest's own activity: a guest that is
slowed down dirties slower.
"""

from copy import copy
from dataclasses import dataclass, field
from enum import StrEnum
from math import inf

from migd_core.precopy import StopRules
from migd_core.units import PAGE_BYTES
from migd_sim.model.writes import Writes, unique_pages

# Set-up is the toolstack's handshake, suspend the guest's own, resume devices and the first packet: of the order that
# an idle guest shows on real Xen 4.17, where it stands still for a few hundred milliseconds.
SETUP_S = 1.0
SUSPEND_S = 0.1
RESUME_S = 0.2
# So long xenopsd waits for a guest to acknowledge that it is to suspend.
ACKNOWLEDGE_S = 30.0
# A legacy round is integrated in steps in which m(s) changes by about this share.
STEP_RATIO = 0.01
# Shorter than this is nothing: what is left of a stretch after float rounding.
TINY_S = 1e-12


class Phase(StrEnum):
    """Where a migration stands."""

    SETUP = "setup"
    LIVE = "live"
    UNANSWERED = "unanswered"
    FINAL = "final"
    DONE = "done"


@dataclass(slots=True)
class PreCopy:
    """The copying of one guest: what is left of this round, and what was sent so far. Times are the cluster's."""

    rules: StopRules
    writes: tuple[Writes, ...]
    memory_pages: int
    clock_ratio: float = 1.0
    phase: Phase = Phase.SETUP
    pages_by_round: list[float] = field(default_factory=list)
    pause_s: float = 0.0
    _age_s: float = 0.0
    _progress: float = 0.0
    _fixed_left_s: float = 0.0
    _still: float = 0.0
    _collected_s: float = inf  # how long this round's pages were being written: the first round's have been always

    def __post_init__(self) -> None:
        self._fixed_left_s = SETUP_S / self.clock_ratio
        self._still = max(0.0, self.memory_pages - unique_pages(self.writes, inf))

    @property
    def sent_pages(self) -> float:
        """Pages sent so far, final copy included."""
        return sum(self.pages_by_round)

    @property
    def round_pages(self) -> float:
        """Pages that were dirty when this round began."""
        return self._still + unique_pages(self.writes, self._collected_s)

    @property
    def progress_ratio(self) -> float:
        """How far the copy is, 0..1: sent against sent and still to send, as the toolstack shows it."""
        if self.phase is Phase.DONE:
            return 1.0
        left = self.round_pages * (1.0 - self._progress)
        return self.sent_pages / (self.sent_pages + left) if self.sent_pages else 0.0

    def time_left_s(self, bytes_per_s: float, activity: float) -> float:
        """Return the seconds until this phase or round ends, if bandwidth and the guest's activity (0..1) stay so."""
        ahead = copy(self)
        ahead.pages_by_round = list(self.pages_by_round)
        return ahead.advance(inf, bytes_per_s, activity)

    def advance(self, dt_s: float, bytes_per_s: float, activity: float) -> float:
        """Go on for at most `dt_s` seconds, and not past the end of this phase or round; return the seconds used."""
        used_s = min(dt_s, self._fixed_left_s)
        self._fixed_left_s -= used_s
        if self.phase in (Phase.LIVE, Phase.FINAL):
            if bytes_per_s <= 0:
                used_s = dt_s
            while dt_s - used_s > TINY_S and self._progress < 1.0:
                used_s += self._copy(dt_s - used_s, bytes_per_s / PAGE_BYTES, activity)
        if self.phase is Phase.FINAL:
            self.pause_s += used_s
        return used_s

    def end_phase(self, *, acknowledges: bool = True) -> None:
        """Go over to the next round or phase; what this one had left is taken as sent.

        After the last round the guest is asked to suspend; one that does not acknowledge it runs on, unanswered.
        """
        match self.phase:
            case Phase.SETUP:
                self.phase = Phase.LIVE
                self.pages_by_round.append(0.0)
            case Phase.LIVE:
                self._collected_s = self._age_s
                self._still = self._age_s = self._progress = 0.0
                cap = self.rules.volume_cap_memories
                is_last = (
                    len(self.pages_by_round) >= self.rules.max_rounds
                    or self.round_pages <= self.rules.few_pages
                    or (cap is not None and self.sent_pages >= cap * self.memory_pages)
                )
                if is_last and not acknowledges:
                    self.phase = Phase.UNANSWERED
                    self._fixed_left_s = ACKNOWLEDGE_S / self.clock_ratio
                    return
                self.pages_by_round.append(0.0)
                if is_last:
                    self.phase = Phase.FINAL
                    self._fixed_left_s = (SUSPEND_S + RESUME_S) / self.clock_ratio
            case Phase.FINAL:
                self.phase = Phase.DONE
            case Phase.UNANSWERED | Phase.DONE:
                raise AssertionError("the migration is over")

    def _copy(self, dt_s: float, pages_per_s: float, activity: float) -> float:
        """Copy for at most `dt_s`, in one step over which the rate of progress is about constant."""
        skips = self.rules.skips_redirtied and self.phase is Phase.LIVE
        left = self._left_clean() if skips else self.round_pages
        if left < 1e-6:
            self._progress = 1.0
            return 0.0
        step_s = min(dt_s, (1.0 - self._progress) * left / pages_per_s)
        if skips and activity > 0 and self.writes:
            step_s = min(step_s, STEP_RATIO * min(part.time_scale_s for part in self.writes) / activity)
        self.pages_by_round[-1] += pages_per_s * step_s
        self._progress += pages_per_s * step_s / left
        if 1.0 - self._progress < 1e-12:
            self._progress = 1.0
        if self.phase is Phase.LIVE:
            self._age_s += step_s * activity
        return step_s

    def _left_clean(self) -> float:
        """Pages of this round that were not written again since it began."""
        collected = unique_pages(self.writes, self._collected_s + self._age_s)
        return self._still + collected - unique_pages(self.writes, self._age_s)
