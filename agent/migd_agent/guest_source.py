"""The seam behind which guests are measured: the emulated pool today, libxenstat and libxenctrl on a real Dom0."""

from typing import Protocol

from migd_agent.collectors import Collector
from migd_core.messages import DirtyCurve


class PendingCurve(Protocol):
    """The sampling of one guest's dirty curve, under way. It takes seconds, so nobody waits for it."""

    def fileno(self) -> int:
        """Return a descriptor that turns readable when there is a result."""

    def take(self) -> DirtyCurve | None:
        """Return the curve, and end; None where the guest may not be probed now (it migrates) or is gone.

        `measured_s` is left to the caller. Raises MigdError.
        """

    def close(self) -> None:
        """Give the sampling up."""


class GuestSource(Collector, Protocol):
    """Adds the counters of this host's guests to the reading of a tick, and samples their dirty curves."""

    def begin_curve(self, guest_uuid: str, ages_s: tuple[float, ...]) -> PendingCurve:
        """Start counting the pages that the guest dirties within each of `ages_s`. Raises MigdError."""
