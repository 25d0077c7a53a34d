"""Gives a recorded core's events to a core anew, and holds each answer against the recorded one, byte for byte.

A part that follows on another goes on with the core as it is then, and its own beginning is one more thing to compare.
After a gap (a part was taken away, the controller restarted) the state that the part begins with is restored.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from migd_controller.commands import AnyCommand, RecordDecision
from migd_controller.core import Core
from migd_controller.record.core_state import CoreState, restored, state_of
from migd_controller.record.format import EmptyPart, Frame, Header, RecordError, encode, failure_text
from migd_controller.record.reading import Part, parts_of, read
from migd_core import __version__
from migd_core.decoding import UNDECODABLE
from migd_sim.run.replay.difference import differences, state_difference
from migd_sim.run.told import Told


@dataclass(frozen=True, slots=True)
class Difference:
    """The first event whose answer is not the recorded one; of each of its commands that differs, the first field."""

    path: Path
    number: int
    at: float
    event: str
    lines: tuple[str, ...]


@dataclass(slots=True)
class Replayed:
    """What a replay came to. `notes` say what was cut off, missing, or of another release."""

    events: int = 0
    decisions: int = 0
    from_s: float | None = None
    until_s: float | None = None
    difference: Difference | None = None
    notes: list[str] = field(default_factory=list)


Watcher = Callable[[Core, Frame, Sequence[AnyCommand]], None]


def replay(run: Path, watch: Watcher | None = None) -> Replayed:
    """Replay a record (its folder, or one part of it) up to its end or to the first difference.

    `watch` hears of each event once the core has taken it. Raises RecordError.
    """
    found = Replayed()
    for part, core in cores(run, found):
        if found.difference is not None:
            break
        for number, frame in enumerate(part.frames, start=1):
            commands, failure = answer(core, frame)
            found.difference = compared(part, number, frame, commands, failure)
            if found.difference is not None:
                break
            count(found, frame, commands)
            if failure:
                found.notes.append(f"{part.path}: the core failed at event {number}, as it did then: {failure}")
            if watch is not None:
                watch(core, frame, commands)
        if part.cut:
            found.notes.append(part.cut)
    return found


Begun = Callable[[Core, float], None]


def cores(run: Path, found: Replayed, begun: Begun | None = None) -> Iterator[tuple[Part, Core]]:
    """Yield each part of a record with the core to give its frames to, all of them before the next part is asked for.

    What is wrong with how a part begins is written to `found`. `begun` may change a core that is restored, at a Unix
    time; then no part is held against the state that it begins with.
    """
    before: Part | None = None
    core: Core | None = None
    for path in parts_of(run):
        try:
            part = read(path)
        except EmptyPart as error:
            if path == run:
                raise
            found.notes.append(str(error))
            continue
        header = part.header
        if core is not None and before is not None and not before.cut and _follows(header, before.header):
            now = encode(state_of(core)) if begun is None else bytes(header.state)
            if now != bytes(header.state):
                with _legible(part, "the state that it begins with"):
                    line = state_difference(bytes(header.state), now)
                found.difference = Difference(path, 0, header.at, "the state that the part begins with", (line,))
        else:
            if before is not None and header.run == before.header.run:
                found.notes.append(
                    f"{path}: does not follow on {before.path}; begun anew with the state recorded there"
                )
            core = _restored(part)
            if begun is not None:
                begun(core, header.at)
        if header.release != __version__ and (before is None or header.release != before.header.release):
            found.notes.append(f"{path}: was recorded by migd {header.release}, this is {__version__}")
        yield part, core
        before = part


def answer(core: Core, frame: Frame) -> tuple[Sequence[AnyCommand], str]:
    """Return what the core commands for a recorded event, and how it failed if it did, as it may have in its time."""
    try:
        return (core.adopt(frame.at) if frame.event is None else core.handle(frame.event, frame.at)), ""
    except Exception as error:  # noqa: BLE001 - whatever it was in its time, it is to be the same now
        return (), failure_text(error)


def _restored(part: Part) -> Core:
    with _legible(part, "the state that it begins with"):
        state = msgspec.msgpack.decode(part.header.state, type=CoreState)
    core = restored(part.header.config, state)
    if part.header.wants is not None:
        core.policy = Told(part.header.wants)
    return core


@contextlib.contextmanager
def _legible(part: Part, what: str) -> Iterator[None]:
    """Raise RecordError where something of a part, that is decoded inside, cannot be read."""
    try:
        yield
    except UNDECODABLE as error:
        raise RecordError(
            f"{part.path}: {what} cannot be read: {error}; it was recorded by migd {part.header.release}, this is "
            f"{__version__}, or it is damaged"
        ) from error


def _follows(header: Header, before: Header) -> bool:
    return (header.run, header.part) == (before.run, before.part + 1)


def compared(part: Part, number: int, frame: Frame, commands: Sequence[AnyCommand], failure: str) -> Difference | None:
    """Return how what a core answered differs from what is on record."""
    now, lines = encode(commands), []
    if failure != frame.failure:
        lines.append(f"failure was {frame.failure or 'none'}, is {failure or 'none'}")
    if now != bytes(frame.commands):
        with _legible(part, f"what event {number} led to"):
            lines += differences(bytes(frame.commands), now)
    event = "the start" if frame.event is None else type(frame.event).__name__
    return Difference(part.path, number, frame.at, event, tuple(lines)) if lines else None


def count(found: Replayed, frame: Frame, commands: Sequence[AnyCommand]) -> None:
    """Add an event that was answered as recorded."""
    found.events += 1
    found.decisions += sum(isinstance(command, RecordDecision) for command in commands)
    found.from_s = frame.at if found.from_s is None else found.from_s
    found.until_s = frame.at
