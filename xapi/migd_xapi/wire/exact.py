"""Values that are written differently from what their kind usually is."""


class ExactInt(int):
    """An integer that is a number on the wire in XML too, where XenAPI otherwise writes integers as strings."""

    __slots__ = ()
