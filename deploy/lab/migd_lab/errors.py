"""What goes wrong in a lab, with the next step in the text."""


class LabError(Exception):
    """Something the lab needs is missing or failed; the text says what, and what to do."""


class Unavailable(LabError):
    """The archive no longer has what was asked for."""
