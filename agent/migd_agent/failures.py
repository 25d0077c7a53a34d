"""What cannot be measured now: one log line when it starts, one when it ends, and its name in every sample between."""

from collections.abc import Mapping
from typing import Final

import structlog

from migd_core.errors import MigdError

MAX_NAMES: Final = 64
MAX_CHARACTERS: Final = 256


class Failures:
    """The names of what is missing from the samples. A collector's name is a word, a guest's is `guest:<uuid>`,
    a tool's that tells of the host's health `health:<tool>`."""

    def __init__(self) -> None:
        self._failing: dict[str, frozenset[str]] = {}
        self._why: dict[str, str] = {}
        self._log = structlog.get_logger()

    def report(self, reporter: str, reasons: Mapping[str, str | Exception]) -> None:
        """Take exactly the names in `reasons` as failing, of those that `reporter` speaks for; log what changed.

        An exception that is no MigdError is a bug, so its traceback goes along.
        """
        before = self._failing.get(reporter, frozenset())
        self._why = {name: why for name, why in self._why.items() if name not in before}
        self._why |= {name: _words(why)[:MAX_CHARACTERS] for name, why in reasons.items()}
        for name, why in reasons.items():
            if name in before:
                continue
            if isinstance(why, Exception) and not isinstance(why, MigdError):
                self._log.warning("measurement missing", what=name, why=_words(why), exc_info=why)
            else:
                self._log.warning("measurement missing", what=name, why=_words(why))
        for name in sorted(before - reasons.keys()):
            self._log.info("measurement no longer missing", what=name)
        self._failing[reporter] = frozenset(reasons)

    def names(self) -> tuple[str, ...]:
        """Return what is failing, collectors before guests, as many as a sample may name."""
        every = frozenset[str]().union(*self._failing.values())
        return tuple(sorted(every, key=lambda name: (name.startswith("guest:"), name))[:MAX_NAMES])

    def why(self, name: str) -> str:
        """Return why this is failing, as far as a sample may say; empty if it is not."""
        return self._why.get(name, "")


def _words(why: str | Exception) -> str:
    is_bug = isinstance(why, Exception) and not isinstance(why, MigdError)
    return f"{type(why).__name__}: {why}" if is_bug else str(why)
