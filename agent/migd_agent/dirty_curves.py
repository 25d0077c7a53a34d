"""Samples the dirty curve of one guest at a time, in turn, while the ticks go on."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from msgspec.structs import replace

from migd_agent.config import DirtyCurvesSection
from migd_agent.failures import Failures
from migd_agent.guest_source import GuestSource, PendingCurve
from migd_core.errors import MigdError
from migd_core.messages import DirtyCurve

NAME: Final = "dirty-curve"
# A curve takes as long as its last age; a source that has said nothing this much later has lost the request.
PATIENCE_S: Final = 5.0


class DirtyCurves:
    """The newest curve of each guest, and the sampling that is under way.

    Call `advance` whenever `due_s` has come or the descriptor of `pending` turns readable.
    """

    def __init__(self, source: GuestSource, settings: DirtyCurvesSection, failures: Failures, now_s: float) -> None:
        self._source, self._settings, self._failures = source, settings, failures
        self._curves: dict[str, DirtyCurve] = {}
        self._last_guest = ""
        self._next_start_s = now_s
        self._give_up_s = now_s
        self.pending: PendingCurve | None = None

    @property
    def curves(self) -> Mapping[str, DirtyCurve]:
        """The newest curve of each guest that is still here."""
        return MappingProxyType(self._curves)

    @property
    def due_s(self) -> float:
        """When there is something to do even if no descriptor turns readable."""
        return self._next_start_s if self.pending is None else self._give_up_s

    def advance(self, guests: Sequence[str], now_s: float, is_readable: bool = False) -> None:
        """Take the result that is there, give up one that is late, start the next; `guests` are those running here."""
        for gone in self._curves.keys() - set(guests):
            del self._curves[gone]
        if self.pending is not None and is_readable:
            self._take(self.pending, now_s)
        elif self.pending is not None and now_s >= self._give_up_s:
            self._failed(f"guest {self._last_guest}: no curve within {PATIENCE_S:g} s after its time")
            self.close()
        if self.pending is None and now_s >= self._next_start_s:
            self._next_start_s = now_s + self._settings.every_s
            if guests:
                self._start(_following(guests, self._last_guest), now_s)

    def close(self) -> None:
        """Give up what is under way."""
        if self.pending is not None:
            self.pending.close()
            self.pending = None

    def _start(self, guest: str, now_s: float) -> None:
        self._last_guest = guest
        try:
            self.pending = self._source.begin_curve(guest, self._settings.ages_s)
        except MigdError as error:
            self._failed(error)
        self._give_up_s = now_s + self._settings.last_age_s + PATIENCE_S

    def _take(self, pending: PendingCurve, now_s: float) -> None:
        self.pending = None
        try:
            curve = pending.take()
        except MigdError as error:
            self._failed(error)
            return
        self._failures.report(NAME, {})
        if curve is not None:
            self._curves[self._last_guest] = replace(curve, measured_s=now_s)

    def _failed(self, why: str | MigdError) -> None:
        self._failures.report(NAME, {NAME: why})


def _following(guests: Sequence[str], last: str) -> str:
    """Return the guest after `last` in the order of the uuids, the first one after the end."""
    ordered = sorted(guests)
    return next((guest for guest in ordered if guest > last), ordered[0])
