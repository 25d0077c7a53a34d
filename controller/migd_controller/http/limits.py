"""How often somebody may ask: a token bucket a name, for a bounded number of names."""

from collections import OrderedDict
from typing import Final

MAX_NAMES: Final = 4096


class Buckets:
    """Each name has a bucket of `burst` that fills by `per_s`. Times are monotonic, in seconds."""

    def __init__(self, per_s: float, burst: float) -> None:
        self._per_s, self._burst = per_s, burst
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()  # what was left, and when that was

    def take(self, name: str, now_s: float, amount: float = 1.0) -> float:
        """Take some; return 0, or the seconds until there is as much, where the bucket has less: nothing is taken."""
        left, at_s = self._levels.pop(name, (self._burst, now_s))
        left = min(self._burst, left + (now_s - at_s) * self._per_s)
        wait_s = 0.0 if left >= amount else (amount - left) / self._per_s
        self._levels[name] = (left if wait_s else left - amount, now_s)
        if len(self._levels) > MAX_NAMES:
            self._levels.popitem(last=False)  # who asked longest ago has a full bucket again soonest
        return wait_s
