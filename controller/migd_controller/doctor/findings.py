"""How findings are put: one line a trouble and its mend, and one line where a check finds none."""

from collections.abc import Iterable
from typing import Final

from migd_core.api import FindingView, Verdict

# Names in a line; who has hundreds of guests is told how many more there are.
NAMED: Final = 5


def ok(check: str, text: str) -> FindingView:
    """Return that a check finds nothing to mend."""
    return FindingView(check=check, verdict=Verdict.OK, text=text)


def warning(check: str, text: str, mend: str) -> FindingView:
    """Return that something works less well than it could."""
    return FindingView(check=check, verdict=Verdict.WARNING, text=text, mend=mend)


def problem(check: str, text: str, mend: str) -> FindingView:
    """Return that something does not work."""
    return FindingView(check=check, verdict=Verdict.PROBLEM, text=text, mend=mend)


def listed(names: Iterable[str]) -> str:
    """Return names in order, at most NAMED of them: `a, b and 3 more`."""
    every = sorted(names)
    shown = ", ".join(every[:NAMED])
    return shown if len(every) <= NAMED else f"{shown} and {len(every) - NAMED} more"


def number(count: int, what: str) -> str:
    """Return `1 guest`, `2 guests`."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
