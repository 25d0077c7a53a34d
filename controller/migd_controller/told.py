"""What people did and what became of hosts and jobs: of all that happens, what is told in a history."""

from migd_controller.commands import RecordHealth, RecordJobOver
from migd_controller.events import (
    AutomationSet,
    CancelRequested,
    EvacuationAsked,
    EvacuationStopped,
    GuestReleased,
    JobAdded,
    JobRemoved,
    LinksMeasured,
    MaintenanceBegun,
    MaintenanceEnded,
    Paused,
    PolicySet,
    RecommendationApproved,
    RecommendationRefused,
    Resumed,
)

Told = (
    PolicySet
    | Paused
    | Resumed
    | JobAdded
    | JobRemoved
    | LinksMeasured
    | GuestReleased
    | CancelRequested
    | AutomationSet
    | RecommendationApproved
    | RecommendationRefused
    | MaintenanceBegun
    | MaintenanceEnded
    | EvacuationAsked
    | EvacuationStopped
    | RecordHealth
    | RecordJobOver
)
