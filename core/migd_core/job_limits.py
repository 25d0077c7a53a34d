"""What a job asks of migd for itself: how long it may be made to stand still, and when its guests may be moved."""

from typing import Annotated, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

from migd_core.units import Seconds

Hours = Annotated[tuple[Annotated[str, Meta(max_length=128)], ...], Meta(max_length=32)]


class JobLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One job's own limits; None where what holds for every job counts (`[guards]`, `[rules] allowed_hours`).

    Migrations may make it stand still for `stall_per_hour_s` within any hour, and not in its `no_stall_last_s`.
    `allowed_hours` are parts of days as `migd_policies.allowed_hours` reads them; none at all means at any hour that
    `[rules]` allow.
    """

    stall_per_hour_s: Seconds | None = None
    no_stall_last_s: Seconds | None = None
    allowed_hours: Hours | None = None


NO_LIMITS: Final = JobLimits()


class JobLimitsChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A change of a job's limits: what is left out stays as it is, null takes the job's own limit away."""

    stall_per_hour_s: Seconds | UnsetType | None = UNSET
    no_stall_last_s: Seconds | UnsetType | None = UNSET
    allowed_hours: Hours | UnsetType | None = UNSET

    @property
    def is_empty(self) -> bool:
        return all(value is UNSET for value in (self.stall_per_hour_s, self.no_stall_last_s, self.allowed_hours))

    def of(self, limits: JobLimits) -> JobLimits:
        """Return `limits` with the change made."""
        stall, last, hours = self.stall_per_hour_s, self.no_stall_last_s, self.allowed_hours
        return JobLimits(
            stall_per_hour_s=limits.stall_per_hour_s if isinstance(stall, UnsetType) else stall,
            no_stall_last_s=limits.no_stall_last_s if isinstance(last, UnsetType) else last,
            allowed_hours=limits.allowed_hours if isinstance(hours, UnsetType) else hours,
        )
