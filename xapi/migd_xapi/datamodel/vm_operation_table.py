"""What may be done to a VM, read from `vm_operations.txt`: in which power state, and to what kinds of VMs."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from types import MappingProxyType
from typing import Final

_STATES: Final = {"H": "Halted", "P": "Paused", "S": "Suspended", "R": "Running"}


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation. `power_states` is where it can begin; `is_listed`: a VM's `allowed_operations` may have it."""

    power_states: tuple[str, ...]
    for_templates: bool
    for_own_templates: bool
    for_snapshots: bool
    for_control_domains: bool
    during_upgrade: bool
    is_listed: bool


def parse(text: str) -> dict[str, Operation]:
    """Return the operations of a table by name."""
    found: dict[str, Operation] = {}
    is_listed = True
    for line in text.splitlines():
        if line == "unlisted":
            is_listed = False
        elif line and not line.startswith("#"):
            name, states, marks = (*re.split(r" {2,}", line.strip(), maxsplit=2), "")[:3]
            found[name] = _operation(states, frozenset(marks.split()), is_listed)
    return found


def _operation(states: str, marks: frozenset[str], is_listed: bool) -> Operation:
    return Operation(
        power_states=tuple(_STATES[letter] for letter in states if letter in _STATES),
        for_templates="t" in marks,
        for_own_templates="o" in marks or "t" in marks,
        for_snapshots="s" in marks,
        for_control_domains="c" in marks,
        during_upgrade="u" in marks,
        is_listed=is_listed,
    )


OPERATIONS: Final[Mapping[str, Operation]] = MappingProxyType(
    parse((files("migd_xapi.datamodel") / "vm_operations.txt").read_text(encoding="utf-8"))
)
