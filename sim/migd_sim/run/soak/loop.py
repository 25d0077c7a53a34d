"""One case from its beginning to its end: the core's life, the pool's and the agents', in one virtual time.

Time goes from one thing that falls due to the next. Control periods follow each other as in life after something has
happened; later each waits for as long as that is ago, much as in an evaluation: nothing changes in between. At the end
everything that is wrong is mended, migd is paused, and what is under way must come to rest.
"""

import contextlib
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from math import inf
from pathlib import Path
from typing import Final

import msgspec

from migd_controller.commands import AnyCommand, CancelMigration, FollowMigration, ProbeCommand, StartMigration
from migd_controller.core import Core
from migd_controller.events import (
    AnyEvent,
    InventoryChanged,
    Paused,
    PoolGuest,
    PoolHost,
    PoolReachability,
    ShadowTurn,
    Tick,
)
from migd_controller.memory import Memory
from migd_sim.model import Cluster
from migd_sim.run.closed_loop import EPOCH_S
from migd_sim.run.soak.agents import Agents
from migd_sim.run.soak.calendar import Calendar, Process
from migd_sim.run.soak.case import Case
from migd_sim.run.soak.checker import Checker
from migd_sim.run.soak.deeds import let_happen, mend
from migd_sim.run.soak.executor import SimExecutor
from migd_sim.run.soak.pool import SimPool
from migd_sim.run.soak.reckless import RECKLESS, Reckless
from migd_sim.run.soak.story import lines
from migd_sim.run.soak.violation import Violated, Violation

# So many periods after a change come at their usual pace; then each waits for this times as long as that is ago.
BRISK_PERIODS: Final = 2
WAITS_RATIO: Final = 1.0
# While a migration is under way none waits for longer.
UNDER_WAY_S: Final = 60.0
# How long what is under way may take to come to rest once everything is mended: a guest whose task was lost is waited
# for up to a day (`executor.PATIENCE_AT_MOST_S`).
REST_S: Final = 25 * 3600.0
SILENCE_S: Final = 7.0


@dataclass(slots=True)
class Outcome:
    """What became of a case: what was found wrong, if anything, and what it was like; its `log` if asked for."""

    seed: int
    violation: Violation | None
    hours: float
    ticks: int
    migrations: int
    moved: int
    probes: int
    faults: dict[str, int]
    log: list[str] = field(default_factory=list)


class Loop:
    """One run of a case."""

    def __init__(self, case: Case, *, logs: bool = False) -> None:
        """Make everything there is. Raises ValueError if the case's pool contradicts itself."""
        self.case, self.config = case, case.config
        self.cluster = Cluster(case.pool)
        self.calendar = Calendar(lambda: self.cluster.now_s)
        self.pool = SimPool(case, self.cluster, self.calendar)
        agentless = frozenset(host.uuid for host in self.cluster.spec.hosts if host.name in case.agentless)
        self.agents = Agents(self.pool, self.tell, agentless)
        self.checker = Checker(case, self.pool, self.agents)
        self.log: list[str] | None = [] if logs else None
        self.ticks = self.probes = 0
        self.core: Core | None = None
        self.stalled_until_s = 0.0
        self.fatal: tuple[int, float, float] | None = None  # commands carried out still, down for, clock shift
        self.events_late_s = 0.0
        self._life = 0
        self._offset_s = EPOCH_S
        self._on_disk = msgspec.msgpack.encode(Memory(policy=case.policy))
        self._executor: SimExecutor | None = None
        self._waiting: list[AnyEvent] = []
        self._told: tuple[dict[str, PoolHost], dict[str, PoolGuest]] | None = None
        self._told_version = -1
        self._looks_at_s = 0.0
        self._silent_since_s: float | None = None
        self._next_tick_s = self._last_change_s = 0.0
        self._seen = 0

    # The controller's life

    def start(self) -> None:
        """Start the controller with what it had on disk; it knows nothing else."""
        if self.core is not None:
            return
        self._note("the controller starts")
        self._life += 1
        memory = msgspec.msgpack.decode(self._on_disk, type=Memory)
        self._told, self._told_version, self._waiting, self.stalled_until_s = None, -1, [], 0.0
        self._looks_at_s = self.cluster.now_s + self.pool.call_s
        self._silent_since_s = None
        now_s = self.now_s
        self.checker.started(now_s)
        try:
            self.core = Core(self.config, memory)
            self._mind_policy()
            commands = self.core.adopt(now_s)
        except Exception as error:
            raise Violated("crash", f"starting: {type(error).__name__}: {error}") from error
        settings = self.config.xapi
        self._executor = SimExecutor(self.pool, self.agents, settings, self.tell, partial(self._spawn, self._life))
        self.checker.commanded(None, commands, now_s)
        self._keep()
        self._carry_out(commands)
        self.calendar.after(1.0, self.agents.greet)
        self.changed()

    def stop(self, down_s: float, shift_s: float) -> None:
        """Kill the controller; it starts again after `down_s`, when the wall clock has jumped by `shift_s`."""
        if self.core is None:
            return
        self._note("the controller dies")
        self._keep()
        self._life += 1
        self.core, self._executor, self.fatal = None, None, None
        self.checker.stopped()

        def again() -> None:
            self._offset_s += shift_s
            self.start()

        self.calendar.after(down_s, again)

    def stall(self, lasts_s: float) -> None:
        """Let the controller stand still: what is told meanwhile waits for it."""
        if self.core is not None:
            self.stalled_until_s = max(self.stalled_until_s, self.cluster.now_s + lasts_s)
            self.calendar.at(self.stalled_until_s, self._wake)

    def _wake(self) -> None:
        if self.is_stalled:
            return
        waiting, self._waiting = self._waiting, []
        for event in waiting:
            self.tell(event)

    @property
    def now_s(self) -> float:
        """Unix time by the controller's clock."""
        return self._offset_s + self.cluster.now_s

    @property
    def is_stalled(self) -> bool:
        return self.cluster.now_s < self.stalled_until_s

    def _mind_policy(self) -> None:
        """The reckless policy is none that an operator can choose, so the registry does not know it."""
        core = self.core
        if core is not None and core.memory.policy == RECKLESS and core.policy.name != RECKLESS:
            core.policy, core.policy_problem = Reckless(self.case.seed), ""

    def _keep(self) -> None:
        assert self.core is not None
        self._on_disk = msgspec.msgpack.encode(self.core.memory)

    # What the core is told and does

    def tell(self, event: AnyEvent) -> None:
        """Hand the core one event at the present moment, and carry out what it commands."""
        if self.core is None:
            return
        if self.is_stalled:
            self._waiting.append(event)
            return
        now_s = self.now_s
        self.checker.heard(event, now_s)
        try:
            commands = self.core.handle(event, now_s)
        except Exception as error:
            raise Violated("crash", f"{type(event).__name__}: {type(error).__name__}: {error}") from error
        self._mind_policy()
        if self.log is not None:
            self._tell_log(event, commands)
        self.checker.commanded(event, commands, now_s)
        self._carry_out(commands)

    def until_told(self, lasts_s: float, event: AnyEvent) -> None:
        """Let an operator say something in `lasts_s` seconds, again and again until the controller hears it."""

        def say() -> None:
            if self.core is None or self.is_stalled:
                self.calendar.after(10.0, say)
            else:
                self.tell(event)
                self.changed()

        self.calendar.after(lasts_s, say)

    def _carry_out(self, commands: Sequence[AnyCommand]) -> None:
        wanted = [each for each in commands if isinstance(each, _POOL_COMMANDS)]
        if wanted and self.fatal is not None:
            left, down_s, shift_s = self.fatal
            wanted = wanted[:left]
            self._keep()
            self._submit(wanted)
            self.stop(down_s, shift_s)
        else:
            self._submit(wanted)

    def _submit(self, commands: Sequence[AnyCommand]) -> None:
        executor = self._executor
        assert executor is not None
        for command in commands:
            assert isinstance(command, _POOL_COMMANDS)
            self.checker.issued(command)
            executor.submit(command)

    def _spawn(self, life: int, process: Process[None]) -> None:
        """Let a process of one life of the controller go on for as long as that lasts."""

        def go_on() -> None:
            if life != self._life:
                process.close()
            elif self.is_stalled:
                self.calendar.at(self.stalled_until_s, go_on)
            else:
                with contextlib.suppress(StopIteration):
                    self.calendar.after(next(process), go_on)

        self.calendar.after(0.0, go_on)

    # Time

    def run(self) -> Outcome:
        """Run the case to its end, or to the first thing that is wrong."""
        violation = None
        try:
            self.start()
            for happening in sorted(self.case.happenings, key=lambda each: each.at_s):
                self._run_until(happening.at_s)
                self._note(f"{happening.what} {happening.of} {happening.to}".rstrip())
                let_happen(self, happening)
                self.changed()
            self._run_until(self.case.until_s)
            self._come_to_rest()
        except Violated as found:
            violation = found.at(self.cluster.now_s)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with the simulation, its seed is to be named
            violation = Violated("simulation", _told(error)).at(self.cluster.now_s)
        faults: dict[str, int] = {}
        for happening in self.case.happenings:
            faults[happening.what] = faults.get(happening.what, 0) + 1
        return Outcome(
            seed=self.case.seed,
            violation=violation,
            hours=self.cluster.now_s / 3600.0,
            ticks=self.ticks,
            migrations=self.checker.journal.started_count,
            moved=self.checker.journal.moved_count,
            probes=self.checker.probes,
            faults=faults,
            log=self.log or [],
        )

    def look(self) -> None:
        """Let agents tell what is now, as they do each second: somebody is about to ask."""
        self.agents.tell()
        self.calendar.run_due()

    def changed(self) -> None:
        """Control periods follow each other as in life for a while."""
        self._last_change_s = self.cluster.now_s
        self._next_tick_s = min(self._next_tick_s, self.cluster.now_s + self.config.period_s)

    def _run_until(self, t_s: float) -> None:
        while self.cluster.now_s < t_s:
            self._step(min(t_s, self._due_s()))

    def _due_s(self) -> float:
        probe_s = self.agents.probe_ends_s
        due_s = min(self._next_tick_s, self.calendar.next_s, inf if probe_s is None else probe_s + 0.01)
        return max(self.cluster.now_s + 0.01, due_s)

    def _step(self, t_s: float) -> None:
        probe_s = self.agents.probe_ends_s
        self.cluster.run_until(t_s)
        self.calendar.run_due()
        self._watch()
        if len(self.cluster.log) != self._seen:
            self._note_cluster()
            self.changed()
        if probe_s is not None and t_s > probe_s:
            self.look()
        if t_s >= self._next_tick_s:
            self._tick()
        self.checker.look()

    def _tick(self) -> None:
        now_s = self.cluster.now_s
        if self.core is not None and not self.is_stalled:
            self.ticks += 1
            self.look()
            self.tell(Tick())
            self._let_shadows_follow()
        age_s, period_s = now_s - self._last_change_s, self.config.period_s
        wait_s = period_s if age_s < BRISK_PERIODS * period_s else max(period_s, WAITS_RATIO * age_s)
        if self.cluster.migrations:
            wait_s = min(wait_s, UNDER_WAY_S)
        self._next_tick_s = now_s + wait_s

    def _let_shadows_follow(self) -> None:
        if self.core is not None and self.core.memory.contest.shadows:
            self.tell(ShadowTurn())

    # The pool's word

    def _watch(self) -> None:
        """Tell what has changed of the pool's records, late where events are, and whether it can be reached."""
        now_s = self.cluster.now_s
        if self.core is None or now_s < self._looks_at_s:
            return
        if not self.pool.answers:
            if self._silent_since_s is None:
                self._silent_since_s = now_s
                self.calendar.after(SILENCE_S, self._watch)
            elif now_s - self._silent_since_s >= SILENCE_S and self._told is not None:
                self._told = None
                self.tell(PoolReachability(is_reachable=False, problem="it does not answer"))
            return
        is_back, self._silent_since_s = self._told is None, None
        version = self.pool.version + len(self.cluster.log)
        if not is_back and version == self._told_version:
            return
        self._told_version = version
        hosts, guests = self.pool.records()
        known_hosts, known_guests = self._told or ({}, {})
        changed = InventoryChanged(
            hosts=tuple(host for uuid, host in hosts.items() if known_hosts.get(uuid) != host),
            guests=tuple(guest for uuid, guest in guests.items() if known_guests.get(uuid) != guest),
            gone=tuple(sorted(known_guests.keys() - guests.keys())),
            is_complete=is_back,
        )
        self._told = hosts, guests
        self._looks_at_s = now_s + self.events_late_s
        if self.events_late_s:
            self.calendar.at(self._looks_at_s, self._watch)
        if changed.hosts or changed.guests or changed.gone or is_back:
            self.tell(changed)
        if is_back:
            self.tell(PoolReachability(is_reachable=True))

    # The end

    def _come_to_rest(self) -> None:
        """Mend everything, pause migd, and wait until nothing is under way; then compare what is known with what is."""
        self._note("everything is mended")
        mend(self)
        self.start()
        self._run_until(self.cluster.now_s + 60.0)
        self.tell(Paused())
        ends_s = self.cluster.now_s + REST_S
        while not self.checker.is_at_rest(self.core):
            if self.cluster.now_s >= ends_s:
                raise Violated("never-quiet", self.checker.unrest(self.core))
            self._run_until(self.cluster.now_s + 30.0)
        self._run_until(self.cluster.now_s + 60.0)
        self.checker.at_rest(self.core)

    # The log

    def _note(self, text: str) -> None:
        if self.log is not None:
            self._note_cluster()
            self.log.append(f"{self.cluster.now_s:.3f} {text}")

    def _note_cluster(self) -> None:
        if self.log is not None:
            self.log += self.cluster.log[self._seen :]
        self._seen = len(self.cluster.log)

    def _tell_log(self, event: AnyEvent, commands: Sequence[AnyCommand]) -> None:
        for line in lines(event, commands):
            self._note(line)


def _told(error: Exception) -> str:
    """Say what failed, and where."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({Path(last.filename).name}:{last.lineno})"


_POOL_COMMANDS: Final = (StartMigration, FollowMigration, CancelMigration, *ProbeCommand.__args__)
