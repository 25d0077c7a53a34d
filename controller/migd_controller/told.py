"""What people did and what became of hosts and jobs: of all that happens, what is told in a history."""

from migd_controller.commands import RecordHealth, RecordJobOver
from migd_controller.events import (
    CancelRequested,
    GuestReleased,
    JobAdded,
    JobRemoved,
    LinksMeasured,
    Paused,
    PolicySet,
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
    | RecordHealth
    | RecordJobOver
)
