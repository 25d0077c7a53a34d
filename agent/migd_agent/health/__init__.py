"""The host's own health: temperatures, fans, memory, disks, NICs. Each is a source, read slowly, judged by `limits`."""

from dataclasses import dataclass
from typing import Final, Protocol

from migd_core.errors import MigdError
from migd_core.health import HealthState

MAX_NAME_CHARACTERS: Final = 80


class HealthUnreadable(MigdError):
    """A source is there and cannot be read; the text says what was asked, what it said, and what to do."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be: which, how bad, and why in words; `device` is where it was read."""

    what: str
    state: HealthState
    reason: str
    device: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """What one reading of a source amounts to.

    `judged` counts the things that could be judged. What was found earlier at the devices in `unread` still stands, as
    they gave no answer this time; `problem` says what was wrong with them, empty where they may well be silent (a disk
    that sleeps).
    """

    judged: int = 0
    findings: tuple[Finding, ...] = ()
    unread: frozenset[str] = frozenset()
    problem: str = ""


class Source(Protocol):
    """One place where a host's health can be read. Nothing in it waits: what takes long is begun, and taken later."""

    @property
    def name(self) -> str: ...

    @property
    def every_s(self) -> float: ...

    @property
    def is_reading(self) -> bool:
        """Whether an answer is awaited."""

    def is_here(self) -> bool:
        """Whether this host has the tool, and something that it could read."""

    def begin(self) -> None:
        """Start a reading. Raises HealthUnreadable."""

    def take(self, at_s: float) -> Found | None:
        """Return what was read by the monotonic time `at_s`; None while the answer is not there.

        Raises HealthUnreadable.
        """

    def close(self) -> None:
        """End what is under way."""


def plain(text: str) -> str:
    """Return a name that hardware gave to something as one short printable line."""
    line = " ".join("".join(each if each.isprintable() else " " for each in text).split())
    return line[:MAX_NAME_CHARACTERS]
