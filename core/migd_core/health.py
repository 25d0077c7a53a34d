"""How a host's hardware is, in one word and in words: judged by its agent, shown and heeded by the controller."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, Final

import msgspec
from msgspec import Meta

MAX_REASONS: Final = 16
MAX_REASON_CHARACTERS: Final = 256
MAX_WATCHED: Final = 16


class HealthState(StrEnum):
    """The states, best known first. `UNKNOWN` is not good and not bad: nobody looks, or nothing can be read."""

    UNKNOWN = "unknown"
    OK = "ok"
    DEGRADED = "degraded"
    FAILING = "failing"

    @property
    def badness(self) -> int:
        """A number that rises as it gets worse."""
        return _BADNESS[self]


_BADNESS: Final = {state: number for number, state in enumerate(HealthState)}


class HostHealth(msgspec.Struct, frozen=True, kw_only=True, tag="host-health"):
    """How one host is.

    `reasons` say why it is no better, the worst first; none where the state is ok or unknown. `watched` names what was
    read to judge it (`hwmon`, `ipmi`, `edac`, `smart`, `nics`): ok means that nothing bad was found there.
    """

    state: HealthState = HealthState.UNKNOWN
    reasons: Annotated[
        tuple[Annotated[str, Meta(min_length=1, max_length=MAX_REASON_CHARACTERS)], ...], Meta(max_length=MAX_REASONS)
    ] = ()
    watched: Annotated[tuple[Annotated[str, Meta(min_length=1, max_length=32)], ...], Meta(max_length=MAX_WATCHED)] = ()

    @property
    def text(self) -> str:
        """The reasons in one line, or the state where it has none."""
        return "; ".join(self.reasons) or self.state.value


UNKNOWN: Final = HostHealth()


def worst(states: Iterable[HealthState]) -> HealthState:
    """Return the worst of `states`, ok where there is none."""
    return max(states, key=lambda state: state.badness, default=HealthState.OK)
