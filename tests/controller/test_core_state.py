"""A core's state as a value: whoever is made of it is the same in every field, and answers the same."""

from array import array
from collections import deque
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from migd_controller.commands import AnyCommand
from migd_controller.core import Core
from migd_controller.events import AnyEvent
from migd_controller.record.core_state import CoreState, InventoryState, TelemetryState, restored, state_of
from migd_controller.record.format import encode
from migd_sim.run import scenario
from migd_sim.run.soak.drawing import draw
from migd_sim.run.soak.loop import Loop

SCENARIOS: Final = Path(__file__).parents[1] / "scenarios"
# What only views look at, and what a tick makes anew before anybody reads it.
NO_PART_OF_IT: Final = {"policy", "last_decision", "last_world", "shadow_policies", "_decided", "_barred"}
# Between them: probes, copying that is watched, shadows, a restart, health, recommendations.
NAMES: Final = (
    "a-migration-that-crawls-is-given-up",
    "a-shadow-would-have-done-better",
    "guests-leave-a-failing-host",
    "the-controller-restarts-in-mid-set",
    "an-operator-approves-what-is-recommended",
)
# A seed of the soak in which jobs tell how far they are, guests are booted anew, and an XAPI cannot measure its host.
EVENTFUL: Final = 49


def plain(value: Any) -> Any:
    """Return what an object holds, down to values that can be compared."""
    if isinstance(value, msgspec.Struct | Enum):
        return value
    if isinstance(value, Mapping):
        return [(plain(key), plain(each)) for key, each in value.items()]
    if isinstance(value, deque):
        return (value.maxlen, [plain(each) for each in value])
    if isinstance(value, list | tuple | array):
        return [plain(each) for each in value]
    if hasattr(value, "__dict__") or hasattr(value, "__slots__"):
        names = [*getattr(value, "__dict__", ()), *getattr(value, "__slots__", ())]
        return {name: plain(getattr(value, name)) for name in names if name not in NO_PART_OF_IT}
    return value


@pytest.mark.parametrize("name", NAMES)
def test_a_restored_core_is_the_same_in_every_field(name: str) -> None:
    core = scenario.run(SCENARIOS / name).core
    state = encode(state_of(core))
    again = restored(core.config, msgspec.msgpack.decode(state, type=CoreState))
    assert plain(again) == plain(core)
    assert encode(state_of(again)) == state


def filled(state: CoreState) -> set[str]:
    """Return the fields that hold something."""
    parts = {"": state, "inventory.": state.inventory, "telemetry.": state.telemetry}
    return {f"{of}{name}" for of, part in parts.items() for name in part.__struct_fields__ if getattr(part, name)}


def test_a_restored_core_is_the_same_while_there_is_something_in_each_field(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the end of a run nothing is copied any more, and what was news was taken in."""
    seen: set[str] = set()
    handle = Core.handle

    def watched(core: Core, event: AnyEvent, now_s: float) -> list[AnyCommand]:
        commands, state = handle(core, event, now_s), state_of(core)
        if new := filled(state) - seen:
            seen.update(new)
            again = restored(core.config, msgspec.msgpack.decode(encode(state), type=CoreState))
            assert plain(again) == plain(core), new
        return commands

    monkeypatch.setattr(Core, "handle", watched)
    for name in NAMES:
        scenario.run(SCENARIOS / name)
    Loop(draw(EVENTFUL)).run()
    fields = {"": CoreState, "inventory.": InventoryState, "telemetry.": TelemetryState}
    assert seen == {f"{of}{name}" for of, part in fields.items() for name in part.__struct_fields__}


def test_no_field_of_a_core_is_forgotten() -> None:
    core: Core = scenario.run(SCENARIOS / NAMES[0]).core
    known = {"config", "memory", "inventory", "telemetry", "pool", "policy_problem", "_copying"}
    assert vars(core).keys() == known | (NO_PART_OF_IT - {"_barred"})
