"""Numbers on a command line, as argparse takes them: what is not one in its range is refused with what was expected."""

import argparse
import math
from collections.abc import Callable


def whole(least: int) -> Callable[[str], int]:
    """Return what reads a whole number that is `least` or more."""

    def read(text: str) -> int:
        try:
            found = int(text)
        except ValueError:
            found = least - 1
        if found < least:
            raise argparse.ArgumentTypeError(f"expected a whole number, {least} or more, found {text!r}")
        return found

    return read


def above_zero(text: str) -> float:
    """Read a finite number above 0."""
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not 0.0 < found < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number above 0, found {text!r}")
    return found
