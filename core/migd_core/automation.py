"""How much migd does by itself."""

from enum import StrEnum


class Automation(StrEnum):
    """What becomes of a move that passes every other gate: nothing, an operator is asked, or it is made."""

    OFF = "off"
    RECOMMEND = "recommend"
    AUTOMATIC = "automatic"
