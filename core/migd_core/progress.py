"""How far a job says it is: iterations done, of how many. The same words from a guest, an operator and on the wire."""

import re
from typing import Final, Self

import msgspec

# A guest writes this text, and a guest may write anything. Digits of ASCII only, and few enough for a float to hold.
MAX_CHARACTERS: Final = 64
LIMIT: Final = 1e15
_NUMBER: Final = r"[0-9]{1,15}(?:\.[0-9]{1,6})?"
_PROGRESS: Final = re.compile(rf"\s*({_NUMBER})\s*(?:/\s*({_NUMBER})\s*)?", re.ASCII)


class Progress(msgspec.Struct, frozen=True):
    """`done` of `total` iterations (or of whatever unit takes the same work each); `total` None where it is not known.

    Raises ValueError where `done` is negative, beyond `total`, or no number below 1e15.
    """

    done: float
    total: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.done < LIMIT:
            raise ValueError(f"progress: expected iterations done, 0 or more, found {self.done:g}")
        if self.total is not None and not max(self.done, 0.0) <= self.total < LIMIT:
            raise ValueError(
                f"progress: expected at least the {self.done:g} iterations done as the total, found {self.total:g}"
            )

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the progress in `text`: `DONE/TOTAL`, or `DONE` alone. Raises ValueError naming the text."""
        found = _PROGRESS.fullmatch(text) if len(text) <= MAX_CHARACTERS else None
        if found is None:
            shown = text[:MAX_CHARACTERS] + ("…" if len(text) > MAX_CHARACTERS else "")
            raise ValueError(f"progress: expected DONE/TOTAL such as 120/5000, found {shown!r}")
        done, total = found.groups()
        return cls(float(done), None if total is None else float(total))

    def __str__(self) -> str:
        return f"{self.done:.15g}" + ("" if self.total is None else f"/{self.total:.15g}")
