"""What a job asks of migd for itself: how long it may stand still, when its guests may be moved, and by whose word."""

from typing import Annotated, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

from migd_core.automation import Automation
from migd_core.units import Seconds

Hours = Annotated[tuple[Annotated[str, Meta(max_length=128)], ...], Meta(max_length=32)]


class JobLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One job's own limits; None where what holds for every job counts (`[guards]`, `[rules]`, `[automation]`).

    Migrations may make it stand still for `stall_per_hour_s` within any hour, and not in its `no_stall_last_s`.
    `allowed_hours` are parts of days as `migd_policies.allowed_hours` reads them; none at all means at any hour that
    `[rules]` allow. `automation` counts in place of the cluster's, unless that is off.
    """

    stall_per_hour_s: Seconds | None = None
    no_stall_last_s: Seconds | None = None
    allowed_hours: Hours | None = None
    automation: Automation | None = None


NO_LIMITS: Final = JobLimits()


class JobLimitsChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A change of a job's limits: what is left out stays as it is, null takes the job's own limit away."""

    stall_per_hour_s: Seconds | UnsetType | None = UNSET
    no_stall_last_s: Seconds | UnsetType | None = UNSET
    allowed_hours: Hours | UnsetType | None = UNSET
    automation: Automation | UnsetType | None = UNSET

    @property
    def is_empty(self) -> bool:
        values = (self.stall_per_hour_s, self.no_stall_last_s, self.allowed_hours, self.automation)
        return all(value is UNSET for value in values)

    def of(self, limits: JobLimits) -> JobLimits:
        """Return `limits` with the change made."""
        stall, last, hours, automation = (
            self.stall_per_hour_s,
            self.no_stall_last_s,
            self.allowed_hours,
            self.automation,
        )
        return JobLimits(
            stall_per_hour_s=limits.stall_per_hour_s if isinstance(stall, UnsetType) else stall,
            no_stall_last_s=limits.no_stall_last_s if isinstance(last, UnsetType) else last,
            allowed_hours=limits.allowed_hours if isinstance(hours, UnsetType) else hours,
            automation=limits.automation if isinstance(automation, UnsetType) else automation,
        )
