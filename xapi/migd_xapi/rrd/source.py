"""A data source: what is measured, and how a reading of it becomes a rate."""

from dataclasses import dataclass
from enum import Enum
from math import inf, nan
from typing import Final

# A rate that counters give may lie above what is possible by this much: then it is the most that is possible.
TOLERANCE_RATIO: Final = 0.05


class Kind(Enum):
    """What a reading is: a value as it stands, a counter that rises, or what came since the last reading."""

    GAUGE = "GAUGE"
    DERIVE = "DERIVE"
    ABSOLUTE = "ABSOLUTE"


@dataclass(frozen=True, slots=True)
class Source:
    """One data source. Only standard ones are recorded without being asked for."""

    name: str
    description: str
    units: str
    kind: Kind
    lowest: float = -inf
    highest: float = inf
    is_standard: bool = True

    def bounded(self, value: float) -> float:
        """Return the value, NaN where it is none that the source can have (rrd.ml, CA-411679)."""
        if self.kind is Kind.DERIVE and self.highest < value < self.highest * (1.0 + TOLERANCE_RATIO):
            return self.highest
        return value if self.lowest <= value <= self.highest else nan
