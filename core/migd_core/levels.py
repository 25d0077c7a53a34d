"""How near two guests are. By itself: `migctl` reads answers that name levels, and needs nothing else of a world."""

from enum import StrEnum


class Level(StrEnum):
    """How near two guests are, nearest first."""

    SAME_GUEST = "same-guest"
    SAME_HOST = "same-host"
    SAME_SWITCH = "same-switch"
    WIDE_AREA = "wide-area"
