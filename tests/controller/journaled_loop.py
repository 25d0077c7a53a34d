"""The closed loop in virtual time with the real journal on disk, and a controller that is killed where a test says so.

Events go through `Control` as they do in production: core, journal, and only then the commands. A kill leaves what a
killed process leaves, the files as they are at that moment; the next life gets a copy of them, and nothing else.
"""

import contextlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from migd_controller.commands import AnyCommand, FollowMigration, PoolCommand, ProbeCommand
from migd_controller.control import Clock, Control
from migd_controller.core import Core
from migd_controller.events import (
    AgentListens,
    AnyEvent,
    MigrationAccepted,
    MigrationEnded,
    PoolReachability,
)
from migd_controller.executor import ANSWER_LOST
from migd_controller.journal import Journal
from migd_controller.memory import Memory
from migd_sim.model import Cluster
from migd_sim.run.closed_loop import EPOCH_S, ClosedLoop

RESTART_S: Final = 2.0  # RestartSec of the unit


class Killed(BaseException):
    """The controller's life is over, in the middle of whatever it was doing."""


@dataclass(frozen=True)
class Death:
    """The controller is killed at its command of that number, before or after that was carried out."""

    at: int
    after: bool


class VirtualClock(Clock):
    """The cluster's time."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def now_s(self) -> float:
        return EPOCH_S + self._cluster.now_s


@dataclass(slots=True)
class JournaledLoop(ClosedLoop):
    """One run over as many lives as it takes; `issued` are the commands of all of them, carried out or not."""

    folder: Path = field(kw_only=True)
    death: Death | None = None
    issued: list[PoolCommand | ProbeCommand] = field(default_factory=list)
    lives: int = 0
    journal: Journal = field(init=False)
    control: Control = field(init=False)

    @property
    def path(self) -> Path:
        return self.folder / f"life-{self.lives}.sqlite"

    def _begin(self, memory: Memory) -> None:
        """Begin a life with what the last one left on disk; `memory` is what the very first begins with."""
        before = self.path
        self.lives += 1
        if self.lives > 1:
            for suffix in ("", "-wal"):
                shutil.copy(f"{before}{suffix}", f"{self.path}{suffix}")
            self.journal.close()
        self.journal = Journal(self.path)
        remembered = self.journal.memory()
        if self.lives > 1:
            assert remembered == self.core.memory, "what was done rests on what is not on disk"
        self.core = Core(self.config, remembered or memory)
        if self.instead is not None:
            self.core.policy = self.instead
        self.control = Control(self.core, self.journal, VirtualClock(self.cluster))
        self.control.submit = self._submit
        self.control.watchers.append(self._note_records)
        with contextlib.suppress(Killed):
            self.control.adopt()
        self._hosts, self._guests = {}, {}
        self.tell(PoolReachability(is_reachable=True))
        self._tell_inventory(is_complete=True)
        for uuid in self.cluster.hosts:
            self.tell(AgentListens(host=uuid, listens=True))

    def tell(self, event: AnyEvent) -> None:
        if self._is_down:
            return
        with contextlib.suppress(Killed):
            self.control.dispatch(event)

    def _submit(self, command: PoolCommand | ProbeCommand) -> None:
        if self._is_down:
            raise Killed
        number = len(self.issued)
        self.issued.append(command)
        if self.death is None or number != self.death.at:
            self._carry_out(command)
            return
        self._is_down = True  # nobody hears what the pool and the agents answer
        if self.death.after:
            self._carry_out(command)
        raise Killed

    def _note_records(self, event: AnyEvent, commands: Sequence[AnyCommand]) -> None:
        for command in commands:
            if not isinstance(command, PoolCommand | ProbeCommand):
                self._carry_out(command)

    def _carry_out(self, command: AnyCommand) -> None:
        if not isinstance(command, FollowMigration):
            ClosedLoop._carry_out(self, command)
            return
        state = self.cluster.guests[command.guest]
        if state.migration is not None:
            self.tell(MigrationAccepted(cause=command.cause, task=command.task or f"task of {command.cause}"))
        else:
            code = "" if state.host == command.target else ANSWER_LOST
            self.tell(MigrationEnded(cause=command.cause, host_now=state.host, code=code))

    def live_until(self, t_s: float, step_s: float) -> None:
        """Let virtual time pass in steps of a control period; a killed controller is started again as systemd does."""
        while self.cluster.now_s < t_s:
            self.step_to(min(t_s, self.cluster.now_s + step_s), ticks=True)
            if self._is_down:
                self.cluster.run_until(self.cluster.now_s + RESTART_S)
                self.start()

    def start(self) -> None:
        self._is_down = False
        self._begin(self.core.memory)

    @property
    def blocks(self) -> Mapping[str, str]:
        """The guests (uuids) that the pool is kept from migrating, and the lease that each is blocked by."""
        return self._blocks

    def placement(self) -> dict[str, str | None]:
        """Where each guest is, by name."""
        return {state.spec.name: self.host_of(state.spec.name) for state in self.cluster.guests.values()}

    def moved(self) -> list[str]:
        """The guests that really moved, by name, in this order; one that moved twice stands there twice."""
        return [self.cluster.guests[end.guest].spec.name for end in self.ends if end.ok]
