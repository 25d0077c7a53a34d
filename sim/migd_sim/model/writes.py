"""What a guest writes: a mixture of random writes and array sweeps, and the unique pages that makes in a time.

random: W (1 − e^(−t/τ))        sweep: R min(1, t/period)
"""

from math import exp
from typing import Annotated

import msgspec
from msgspec import Meta

from migd_core.units import Lasting

Pages = Annotated[int, Meta(ge=0)]


class RandomWrites(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="random"):
    """`pages` pages written in random order; each is hit once in `tau_s` seconds on average."""

    pages: Pages
    tau_s: Lasting

    def dirtied_ratio(self, age_s: float) -> float:
        """Return the share of the pages written at least once within `age_s`."""
        return 1.0 - exp(-age_s / self.tau_s)

    @property
    def time_scale_s(self) -> float:
        """The time over which the share of dirty pages changes much."""
        return self.tau_s

    def faster(self, times: float) -> "RandomWrites":
        """Return the same writes by a guest that runs `times` faster."""
        return RandomWrites(pages=self.pages, tau_s=self.tau_s / times)


class ArraySweep(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="sweep"):
    """`pages` pages written one after the other, once every `period_s` seconds."""

    pages: Pages
    period_s: Lasting

    def dirtied_ratio(self, age_s: float) -> float:
        """Return the share of the pages written at least once within `age_s`."""
        return min(1.0, age_s / self.period_s)

    @property
    def time_scale_s(self) -> float:
        """The time over which the share of dirty pages changes much."""
        return self.period_s

    def faster(self, times: float) -> "ArraySweep":
        """Return the same sweep by a guest that runs `times` faster."""
        return ArraySweep(pages=self.pages, period_s=self.period_s / times)


Writes = RandomWrites | ArraySweep


def unique_pages(writes: tuple[Writes, ...], age_s: float) -> float:
    """Return the pages written at least once in `age_s` seconds after a clean bitmap."""
    return sum(part.pages * part.dirtied_ratio(age_s) for part in writes)
