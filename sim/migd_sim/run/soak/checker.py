"""Holds the controller to its promises after every event, by bookkeeping of its own: events and commands in, nothing of
the core's mind. What is really so it asks the simulated cluster.
"""

from collections.abc import Callable, Sequence
from functools import partial

from msgspec.structs import replace

from migd_controller.commands import (
    AnyCommand,
    BeginProbe,
    PoolCommand,
    ProbeCommand,
    RecordJobOver,
    RecordMigration,
    StartMigration,
)
from migd_controller.core import Core
from migd_controller.events import AnyEvent, MigrationEnded, Source
from migd_controller.leases import Lease
from migd_controller.migration import State
from migd_sim.run.soak.agents import Agents
from migd_sim.run.soak.case import Case
from migd_sim.run.soak.journal import Journal
from migd_sim.run.soak.known import Known
from migd_sim.run.soak.past import Past
from migd_sim.run.soak.pool import MIGD, SimPool
from migd_sim.run.soak.starts import StartChecks
from migd_sim.run.soak.violation import expect

UNPROBED = frozenset({"migd:no-probe", "migd:never"})
# Beyond its last age a probe may take so long to begin and to end.
AROUND_S = 5.0
NEARLY_S = 1e-3


class Checker:
    """Everything that is promised of one run. Each method raises Violated where something is not so."""

    def __init__(self, case: Case, pool: SimPool, agents: Agents) -> None:
        self._case, self._pool, self._agents = case, pool, agents
        self.journal, self._past = Journal(), Past(case.guards)
        self.known = Known(case, case.policy)
        self.known.guest_changed, self.known.host_changed = self._past.changed, self._past.host_changed
        self._starts = StartChecks(case, self.known, self.journal, self._past)
        self.probes = 0
        self._is_up = False

    # The controller's life

    def started(self, now_s: float) -> None:
        """A controller starts, whose clock shows `now_s`."""
        self._past.restarted(now_s)
        self._is_up = True

    def stopped(self) -> None:
        """The controller has died."""
        self.known.forget()
        self._is_up = False

    # Events and commands

    def heard(self, event: AnyEvent, now_s: float) -> None:
        """The core is about to be told of something."""
        self.known.take(event, now_s)
        self._past.heard(event, now_s)

    def commanded(self, event: AnyEvent | None, commands: Sequence[AnyCommand], now_s: float) -> None:
        """The core has answered an event (None: its start) with commands, which are in the journal now."""
        ended = self.journal.take(event, commands)
        for migration in ended:
            self._past.ended(migration, now_s)
        if isinstance(event, MigrationEnded):
            self._arrived(event)
        leases = [each.lease for each in commands if isinstance(each, BeginProbe)]
        for lease in leases:
            self._check_probe(lease, leases, now_s)
        for command in commands:
            if isinstance(command, StartMigration):
                self._starts.check(command, event, now_s)
        for command in commands:
            match command:
                case RecordMigration(migration=migration) if migration.state is State.ASKED:
                    if migration.asked_at == now_s:
                        self._past.begun(migration, now_s)
                case RecordJobOver(name=name):
                    self.known.jobs.pop(name, None)
                case _:
                    pass
        self._past.probes(commands)
        self.probes += len(leases)

    def _arrived(self, event: MigrationEnded) -> None:
        """The guest is where its migration has ended before the pool's next event says so."""
        found = self.journal.migrations.get(event.cause)
        guest = self.known.guests.get(found.guest) if found is not None else None
        if found is None or guest is None:
            return
        if event.host_now is None:
            del self.known.guests[found.guest]
        else:
            self.known.guests[found.guest] = replace(guest, host=event.host_now, arriving_at=None)

    def issued(self, command: PoolCommand | ProbeCommand) -> None:
        """The command really goes out to the pool."""
        if isinstance(command, StartMigration):
            self.journal.issued(command.cause)

    def _check_probe(self, lease: Lease, others: Sequence[Lease], now_s: float) -> None:
        known, past, guest = self.known, self._past, self.known.guests.get(lease.guest)
        who = f"{lease.lease}: {lease.guest_name} on {lease.host_name}"
        held = partial(_expect, who)
        held(guest is not None and guest.host == lease.host, "probe", "it is not there")
        assert guest is not None
        held(not known.is_paused, "pause", "migd is paused")
        held(known.is_reachable, "pool", "the pool does not answer")
        held(not UNPROBED & set(guest.tags), "unprobed", "it is tagged so")
        is_idle = not (guest.blocked_because or guest.busy_with or guest.arriving_at or guest.probed_by)
        held(is_idle, "probe", "it is not idle")
        migrating = {each.guest for each in self.journal.open.values()}
        migrating |= {step.guest for each in self.journal.sets.values() for step in each.waiting}
        held(lease.guest not in migrating, "probe-and-migration", "it is migrating, or is to")
        busy = [each for each in (*past.leases.values(), *others) if each is not lease]
        held(all(each.host != lease.host for each in busy), "one-probe-a-host", "its host has another probe")
        heard = known.heard.get(lease.host)
        held(lease.host in known.listening, "probe", "its agent does not listen")
        held(heard is not None and heard.source is Source.AGENT, "probe", "no agent has reported from it")
        held(not known.silent(lease.host, now_s, self._case.config.telemetry), "probe", "its host is silent")
        self._check_share(lease, now_s, held)

    def _check_share(self, lease: Lease, now_s: float, held: Callable[[bool, str, str], None]) -> None:
        """No guest is probed for more of its time than it may be."""
        probe = self._case.probe
        length_s = lease.ages_s[-1] + AROUND_S
        apart_s = max(probe.apart_s, length_s / probe.guest_time_ratio if probe.guest_time_ratio else float("inf"))
        since_s = now_s - self._past.probed_at.get(lease.guest, float("-inf"))
        held(not 0 <= since_s < apart_s - NEARLY_S, "probe-share", f"it was probed {since_s:.0f} s ago, {apart_s:.0f}")
        self._past.probed_at[lease.guest] = now_s

    # What is really so

    def look(self) -> None:
        """Look at the cluster itself."""
        pool, cluster = self._pool, self._pool.cluster
        for lease in self._agents.probing():
            state = cluster.guests[lease.guest]
            is_blocked = pool.blocks.get(lease.guest) == lease.lease
            expect(is_blocked, "probe-and-migration", f"{lease.lease} goes on, and the pool may migrate its guest")
            expect(state.migration is None, "probe-and-migration", f"{lease.lease}: its guest migrates meanwhile")
        if cluster.migrations:
            for host, state_of in cluster.hosts.items():
                taken, most = pool.taken_bytes(host), state_of.spec.memory_bytes
                expect(taken <= most, "over-committed", f"host {state_of.spec.name}: {taken} bytes taken of {most}")

    def is_at_rest(self, core: Core | None) -> bool:
        """Whether nothing of migd's is under way any more."""
        return self.unrest(core) == ""

    def unrest(self, core: Core | None) -> str:
        """Say what is under way still; empty if nothing is."""
        if core is None:
            return "the controller is down"
        open_ = sorted({*self.journal.open, *core.memory.in_flight})
        # A block on a guest that does not run is taken away once it does: the pool tells of no other guests.
        blocks = [each for guest, each in self._pool.blocks.items() if self._pool.host_of(guest) is not None]
        leases = sorted({*core.memory.leases, *blocks})
        copying = [each.guest.spec.name for each in self._pool.cluster.migrations]
        return ", ".join([*open_, *leases, *copying])

    def at_rest(self, core: Core | None) -> None:
        """Everything has come to rest: what the core believes is what is, and all of it is on record."""
        assert core is not None
        hosts, guests = self._pool.records()
        expect(core.inventory.hosts == hosts, "unlike-pool", f"hosts: {core.inventory.hosts} and not {hosts}")
        expect(core.inventory.guests == guests, "unlike-pool", f"guests: {core.inventory.guests} and not {guests}")
        expect(core.memory.maintenance.keys() <= self.known.maintenance.keys(), "unlike-pool", "hosts in maintenance")
        for each in self.journal.migrations.values():
            expect(each.is_over, "journal", f"{each.cause} is {each.state} in the journal, and nothing is under way")
        asked, known = sum(task.by == MIGD for task in self._pool.asked), self.journal.started_count
        expect(asked <= known, "journal", f"the pool was asked for {asked} migrations, the journal knows of {known}")


def _expect(who: str, holds: bool, invariant: str, text: str) -> None:
    expect(holds, invariant, f"{who}: {text}")
