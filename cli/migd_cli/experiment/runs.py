"""What one run of the application came to, and the file that has them all: one JSON object a line, each kept at once.

The first line is the plan. A file that ends in half a line, as after a power cut, is read up to there.
"""

import os
import random
from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Final

import msgspec

from migd_cli.failures import Failure
from migd_core.automation import Automation
from migd_core.decoding import UNDECODABLE

FILE: Final = "runs.jsonl"


class Arm(StrEnum):
    """What is compared: the same run elsewhere (a baseline), here, and here with a migration."""

    BASELINE = "baseline"
    WITHOUT = "without"
    WITH = "with"


class Plan(msgspec.Struct, frozen=True, kw_only=True, tag="plan"):
    """What is to be done: `repeat` runs of each arm after `warm_up` runs that do not count, in an order by `seed`.

    `home` and `target` are hosts; in runs with a migration the guest leaves for the target `at_s` after the start. An
    empty `target` is none. `pause_by` says what tells how long the guest stood still. `simulated` names the pool file.
    """

    guest: str
    home: str
    target: str
    at_s: float
    repeat: int
    warm_up: int
    seed: int
    command: list[str] = []
    pause_by: str = ""
    simulated: str = ""
    baseline: str = ""
    noise_ratio: float = 0.0

    @property
    def arms(self) -> list[Arm]:
        """Return the arms, in the order in which they are shown."""
        others = [Arm.BASELINE] if self.baseline else []
        return [*others, Arm.WITHOUT, *([Arm.WITH] if self.target else [])]


class Held(msgspec.Struct, frozen=True, kw_only=True, tag="held"):
    """Automation was turned off; `chosen` is what an operator had chosen before (None: nothing)."""

    chosen: Automation | None


class Released(msgspec.Struct, frozen=True, kw_only=True, tag="released"):
    """Automation is again what it was."""


class Moved(msgspec.Struct, frozen=True, kw_only=True):
    """The migration of a run. `asked_after_s` is when it was asked for, since the application's start.

    `predicted_s` and `predicted_pause_s` are what migd expected; `pause_s` was measured, None where nobody did.
    """

    cause: str
    asked_after_s: float
    took_s: float | None = None
    pause_s: float | None = None
    predicted_s: float | None = None
    predicted_pause_s: float | None = None


class Run(msgspec.Struct, frozen=True, kw_only=True, tag="run"):
    """One run. `number` counts from 1; `at` is when it began (Unix time; simulated: 0).

    `failed` says why it does not count, empty if it does; `disturbed` what else moved meanwhile, which keeps it from
    counting as well. `took_s` is the application's run time, as far as it came.
    """

    number: int
    arm: Arm
    at: float
    took_s: float
    is_warm_up: bool = False
    failed: str = ""
    disturbed: str = ""
    move: Moved | None = None

    @property
    def counts(self) -> bool:
        """True if it is one of those that are averaged."""
        return not (self.is_warm_up or self.failed or self.disturbed)


Line = Plan | Held | Released | Run


def order(plan: Plan) -> list[tuple[Arm, bool]]:
    """Return the arm of each run, and whether it is a warm-up.

    After the warm-ups each arm once, in an order drawn anew each time: what drifts meanwhile drifts for all alike.
    """
    drawn, runs = random.Random(plan.seed), [(Arm.WITHOUT, True)] * plan.warm_up
    for _ in range(plan.repeat):
        block = list(plan.arms)
        drawn.shuffle(block)
        runs += [(arm, False) for arm in block]
    return runs


class Record:
    """The file of a measurement in its folder."""

    def __init__(self, folder: Path, lines: Sequence[Line]) -> None:
        self.folder, self._lines = folder, list(lines)

    @classmethod
    def begin(cls, folder: Path, plan: Plan) -> "Record":
        """Begin a file in a folder that has none, or one in which nothing was measured. Raises Failure."""
        record, path = cls(folder, []), folder / FILE
        if path.exists() and cls.read(folder)._lines[1:]:
            raise Failure(f"{folder} has a measurement already; go on with it by --resume, or name another folder")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
        except OSError as error:
            raise Failure(f"{folder}: cannot be made: {error.strerror}; name another folder with --out") from error
        record.add(plan)
        return record

    @classmethod
    def read(cls, folder: Path) -> "Record":
        """Return what a folder has. Raises Failure where it has no measurement."""
        path = folder / FILE
        try:
            whole = path.read_bytes().rpartition(b"\n")[0]
            lines = [msgspec.json.decode(line, type=Line) for line in whole.splitlines()]
        except FileNotFoundError as error:
            raise Failure(f"{folder} has no measurement: there is no {FILE} in it") from error
        except (OSError, *UNDECODABLE) as error:
            raise Failure(f"{path}: cannot be read as a measurement: {error}") from error
        if not lines or not isinstance(lines[0], Plan):
            raise Failure(f"{path}: the first line is not a plan; a measurement begins with one")
        return cls(folder, lines)

    @classmethod
    def resume(cls, folder: Path) -> "Record":
        """Return what a folder has, to go on with; half a line at the end is taken away. Raises Failure."""
        record, path = cls.read(folder), folder / FILE
        try:
            os.truncate(path, path.read_bytes().rfind(b"\n") + 1)
        except OSError as error:
            raise Failure(f"{path}: cannot be written: {error.strerror}") from error
        return record

    @property
    def plan(self) -> Plan:
        first = self._lines[0]
        assert isinstance(first, Plan)
        return first

    @property
    def runs(self) -> list[Run]:
        return [line for line in self._lines if isinstance(line, Run)]

    @property
    def held(self) -> Held | None:
        """What automation is to be again, if it was turned off and not on again."""
        steps = [line for line in self._lines if isinstance(line, Held | Released)]
        return steps[-1] if steps and isinstance(steps[-1], Held) else None

    @property
    def was_held(self) -> bool:
        """True if automation was turned off for it."""
        return any(isinstance(line, Held) for line in self._lines)

    def left(self) -> Iterator[tuple[int, Arm, bool]]:
        """Return number, arm and whether it is a warm-up of each run that is still to be made."""
        done = len(self.runs)
        for number, (arm, is_warm_up) in enumerate(order(self.plan), start=1):
            if number > done:
                yield number, arm, is_warm_up

    def add(self, line: Line) -> None:
        """Keep one more line; it is on disk when this returns. Raises Failure."""
        path = self.folder / FILE
        try:
            with path.open("ab") as file:
                file.write(msgspec.json.encode(line) + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise Failure(f"{path}: cannot be written: {error.strerror}") from error
        self._lines.append(line)
