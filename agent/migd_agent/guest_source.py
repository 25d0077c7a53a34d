"""The seam behind which guests are measured: an emulated pool, or Xen on a real Dom0."""

from typing import Protocol

from migd_agent.collectors import Collector
from migd_core.messages import DirtyCurve


class PendingCurve(Protocol):
    """The probe of one guest, under way. It takes seconds, so nobody waits for it."""

    @property
    def due_s(self) -> float:
        """When there is something to do, even if no descriptor turns readable."""

    def fileno(self) -> int | None:
        """Return a descriptor that turns readable when there is something to do, if there is one."""

    def advance(self, now_s: float) -> bool:
        """Do what is due; return whether it is over and `take` tells the result. Raises nothing."""

    def take(self) -> DirtyCurve | None:
        """Return the curve, None where the guest is gone. `measured_s` is left to the caller.

        Raises StoodBack where the guest migrates, OutOfTime where the time granted was over, MigdError.
        """

    def close(self) -> None:
        """Give the probe up. Raises nothing."""


class GuestSource(Collector, Protocol):
    """Adds the counters of this host's guests to the reading of a tick, and counts the pages that guests dirty."""

    @property
    def can_probe(self) -> bool:
        """Whether dirty pages can be counted here."""

    def begin_curve(self, guest_uuid: str, ages_s: tuple[float, ...], sessions: int, until_s: float) -> PendingCurve:
        """Begin to count the pages that the guest dirties within each of `ages_s`, rising; over by `until_s`.

        Raises MigdError where it cannot begin.
        """
