"""What prices rest on besides the cluster itself: values that a site sets, and a median with its range."""

from typing import Final

import msgspec

# From the 10 % to the 90 % quantile of a normal distribution, in standard deviations.
QUANTILE_SDS: Final = 2 * 1.2816


class Interval(msgspec.Struct, frozen=True):
    """A median and the range that eight of ten outcomes fall into, one below and one above it."""

    low: float
    median: float
    high: float


class Pricing(msgspec.Struct, frozen=True, kw_only=True):
    """How moves are priced; see `[ledger]` of the controller's configuration for each value.

    `horizon_s` is what gains are reckoned for at most, `life_at_least_s` the age that a load counts with at least where
    it is asked how long it will stand; `speed_while_migrating` a job's speed during pre-copy relative to before,
    `bandwidth_ratio` what one migration gets of the slower of the two NICs, `bandwidth_bytes_per_s` what stands in
    where no link speed is known.
    """

    horizon_s: float = 14400.0
    life_at_least_s: float = 120.0
    speed_while_migrating: Interval = Interval(0.25, 0.5, 0.75)
    bandwidth_ratio: float = 0.9
    bandwidth_bytes_per_s: float = 117e6
    warm_up_s: float = 1.0


DEFAULT_PRICING: Final = Pricing()
