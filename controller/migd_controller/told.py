"""What people did and what became of hosts and jobs: of all that happens, what is told in a history."""

from migd_controller.commands import RecordHealth, RecordJobOver
from migd_controller.events import (
<<<<<<< HEAD
    AutomationSet,
    CancelRequested,
    EvacuationAsked,
    EvacuationStopped,
=======
    CancelRequested,
>>>>>>> 1d0db34285f47b8af54c4d603dfdb9493eeea6ee
    GuestReleased,
    JobAdded,
    JobRemoved,
    LinksMeasured,
<<<<<<< HEAD
    MaintenanceBegun,
    MaintenanceEnded,
    Paused,
    PolicySet,
    RecommendationApproved,
    RecommendationRefused,
=======
    Paused,
    PolicySet,
>>>>>>> 1d0db34285f47b8af54c4d603dfdb9493eeea6ee
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
<<<<<<< HEAD
    | AutomationSet
    | RecommendationApproved
    | RecommendationRefused
    | MaintenanceBegun
    | MaintenanceEnded
    | EvacuationAsked
    | EvacuationStopped
=======
>>>>>>> 1d0db34285f47b8af54c4d603dfdb9493eeea6ee
    | RecordHealth
    | RecordJobOver
)
