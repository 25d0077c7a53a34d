"""What can go wrong with a pool, as values: a `[[faults]]` table of the pool file, or a body for the control endpoint.

`kind` is the class in lower case with hyphens: `HostDies` is `host-dies`. Hosts and guests go by name or uuid.
"""

import re
from typing import Annotated, Final, Literal, Self

import msgspec
from msgspec import Meta, structs

from migd_core.health import MAX_REASON_CHARACTERS, MAX_REASONS, HealthState
from migd_core.units import Lasting, Positive, Seconds

Count = Annotated[int, Meta(ge=1)]
# What the cluster's own clock counts, and so passes the sooner in a pool that is faster. `by_s` is a client's time.
_CLUSTER_TIMES: Final = ("at_s", "lasts_s", "noticed_after_s", "down_s")


class FaultRefused(Exception):
    """The fault cannot happen as things stand; the text says why."""


def _kind(class_name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "-", class_name).lower()


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag=_kind):
    """One fault. `at_s` counts from the start of the pool, or from when the control endpoint was told of it."""

    at_s: Seconds = 0.0

    def faster(self, times: float) -> Self:
        """Return the same fault of a cluster that is so many times faster."""
        known = {name: getattr(self, name, None) for name in _CLUSTER_TIMES}
        return structs.replace(self, **{name: value / times for name, value in known.items() if value is not None})


class HostDies(Fault, frozen=True, kw_only=True):
    """A host and its guests are gone, without a word. The pool notices after `noticed_after_s` (None: XAPI's 600 s)."""

    host: str
    noticed_after_s: Seconds | None = None


class HostReturns(Fault, frozen=True, kw_only=True):
    """A host that died has booted: it is empty."""

    host: str


class LinkSlows(Fault, frozen=True, kw_only=True):
    """A host's NIC carries `factor` of what it did, each way, for `lasts_s` (None: until it recovers)."""

    host: str
    factor: Positive
    lasts_s: Lasting | None = None


class LinkRecovers(Fault, frozen=True, kw_only=True):
    """A host's NIC carries again what it should."""

    host: str


class HealthChanges(Fault, frozen=True, kw_only=True):
    """A host's sensors, disks, memory or NICs say something else from now on; `reasons` in words, the worst first."""

    host: str
    state: HealthState
    reasons: Annotated[
        tuple[Annotated[str, Meta(min_length=1, max_length=MAX_REASON_CHARACTERS)], ...], Meta(max_length=MAX_REASONS)
    ] = ()


class SuspendHangs(Fault, frozen=True, kw_only=True):
    """A guest acknowledges no request to suspend, for `lasts_s` (None: for good)."""

    guest: str
    lasts_s: Lasting | None = None


class ConnectionDropped(Fault, frozen=True, kw_only=True):
    """The connections of the next `times` calls of `method` (empty: any) break, before or after they took effect."""

    takes_effect: bool
    method: str = ""
    times: Count = 1


class AnswersDelayed(Fault, frozen=True, kw_only=True):
    """Answers to `method` (empty: to all) come `by_s` late, for `lasts_s` (None: for good)."""

    by_s: Lasting
    method: str = ""
    lasts_s: Lasting | None = None


class CoordinatorChanges(Fault, frozen=True, kw_only=True):
    """Another host becomes the coordinator; its toolstack and the old one's restart (`down_s`, None: 10 s)."""

    host: str
    down_s: Seconds | None = None


class ToolstackRestarts(Fault, frozen=True, kw_only=True):
    """The coordinator's toolstack restarts (`down_s`, None: 10 s). Migrations go on without it, or fail."""

    down_s: Seconds | None = None
    migrations: Literal["go-on", "fail"] = "go-on"


class ClockJumps(Fault, frozen=True, kw_only=True):
    """The pool's clock is set forward by `by_s`, or back."""

    by_s: Annotated[float, Meta(ge=-1e9, le=1e9)]  # some thirty years


class HumanMigrates(Fault, frozen=True, kw_only=True):
    """Somebody migrates a guest."""

    guest: str
    host: str


class HumanShutsDown(Fault, frozen=True, kw_only=True):
    """Somebody shuts a guest down; a clean shutdown is up to the guest."""

    guest: str
    is_clean: bool = False


class HumanReboots(Fault, frozen=True, kw_only=True):
    """Somebody reboots a guest; a clean reboot is up to the guest."""

    guest: str
    is_clean: bool = False


class HumanStarts(Fault, frozen=True, kw_only=True):
    """Somebody starts a halted guest on a host."""

    guest: str
    host: str


class HumanRenames(Fault, frozen=True, kw_only=True):
    """Somebody gives a guest another name. Faults know it by the name of the pool file all the same."""

    guest: str
    name: str


class HumanTags(Fault, frozen=True, kw_only=True):
    """Somebody gives a guest a tag."""

    guest: str
    tag: str


class HumanDisables(Fault, frozen=True, kw_only=True):
    """Somebody disables a host."""

    host: str


class HumanEnables(Fault, frozen=True, kw_only=True):
    """Somebody enables a host."""

    host: str


ByHand = (
    HumanMigrates
    | HumanShutsDown
    | HumanReboots
    | HumanStarts
    | HumanRenames
    | HumanTags
    | HumanDisables
    | HumanEnables
)
AnyFault = (
    HostDies
    | HostReturns
    | LinkSlows
    | LinkRecovers
    | HealthChanges
    | SuspendHangs
    | ConnectionDropped
    | AnswersDelayed
    | CoordinatorChanges
    | ToolstackRestarts
    | ClockJumps
    | ByHand
)
