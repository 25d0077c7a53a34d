"""Hosts that die and come back, toolstacks that restart, coordinators that follow each other.

A toolstack keeps sessions, tasks and what is being done in memory only: whoever comes up next knows nothing of them.
What xenopsd does goes on meanwhile, and the next toolstack finds out how it ended by looking.
"""

from dataclasses import dataclass
from functools import partial
from typing import Final, Literal

from migd_xapi import host_operations
from migd_xapi.database import Row
from migd_xapi.faults import FaultRefused
from migd_xapi.messages import tell
from migd_xapi.residence import resync
from migd_xapi.server import Server
from migd_xapi.sim_backend import SimBackend
from migd_xapi.timers import Timers

NOTICED_AFTER_S: Final = 600.0  # xapi_globs.ml, host_assumed_dead_interval
TOOLSTACK_DOWN_S: Final = 10.0


@dataclass(frozen=True, eq=False)
class _Death:
    host: Row
    noticed_after_s: float


class Outages:
    """Takes hosts and toolstacks of one pool down and up."""

    def __init__(self, server: Server, backend: SimBackend, timers: Timers) -> None:
        self._server, self._pool, self._doors = server, server.pool, server.listener.doors
        self._backend, self._timers = backend, timers
        self._deaths: dict[str, _Death] = {}

    def is_up(self, host: Row) -> bool:
        """Return whether the host has power, whatever the pool believes."""
        return self._backend.cluster.hosts[host["uuid"]].is_up

    async def kill(self, host: Row, noticed_after_s: float | None) -> None:
        """Let a host die, with all that runs on it."""
        if not self.is_up(host):
            raise FaultRefused(f"host {host['name_label']} is down already")
        await self._doors.silence(host["address"])
        self._backend.settle()
        self._backend.cluster.fail_host(host["uuid"])
        death = self._deaths[host.ref] = _Death(host, self._scaled(noticed_after_s, NOTICED_AFTER_S))
        if self._pool.is_coordinator(host):
            await self._server.forget()
        else:
            self._watch_for(death)

    async def revive(self, host: Row) -> None:
        """Let a host that died have booted."""
        if self.is_up(host):
            raise FaultRefused(f"host {host['name_label']} is up")
        del self._deaths[host.ref]
        self._backend.settle()
        self._backend.cluster.restore_host(host["uuid"])
        if self._pool.is_coordinator(host):
            await self._come_up(host)
        else:
            host_operations.note_toolstack(self._pool, host)
            self._set_live(host, True)
            await self._doors.reopen(host["address"])

    async def restart(self, down_s: float | None, migrations: Literal["go-on", "fail"]) -> None:
        """Restart the coordinator's toolstack, or all of it on all hosts, xenopsd too: then migrations fail."""
        host = self._coordinator()
        await self._doors.shut(host["address"])
        if migrations == "fail":
            self._backend.settle()
            for migration in list(self._backend.cluster.migrations):
                self._backend.cluster.cancel(migration)  # too late for a guest that stands still: it arrives
        await self._server.forget()
        self._timers.after(self._scaled(down_s, TOOLSTACK_DOWN_S), partial(self._come_up, host))

    async def hand_over(self, host: Row, down_s: float | None) -> None:
        """Make another host the coordinator; the one before may be dead."""
        before = self._pool.coordinator
        if host is before or not self.is_up(host):
            raise FaultRefused(f"host {host['name_label']} is the coordinator already, or down")
        changing = [each for each in (before, host) if self.is_up(each)]
        for each in changing:
            await self._doors.shut(each["address"])
        await self._server.forget()
        self._pool.db.update(self._pool.row, master=host.ref)
        tell(self._pool, "POOL_MASTER_TRANSITION", 4, "Host", host["uuid"], "")
        for each in changing:
            self._timers.after(self._scaled(down_s, TOOLSTACK_DOWN_S), partial(self._come_up, each))

    def check_answered(self) -> None:
        """Raise FaultRefused while the coordinator is down."""
        self._coordinator()

    async def _come_up(self, host: Row) -> None:
        if not self.is_up(host):
            return
        host_operations.note_toolstack(self._pool, host)
        if self._pool.is_coordinator(host):
            self._backend.settle()
            self._set_live(host, True)
            resync(self._pool, (vm for vm in self._pool.db.rows("VM") if self._is_told_of(vm)))
            for death in self._deaths.values():
                self._watch_for(death)
        await self._doors.reopen(host["address"])

    def _is_told_of(self, vm: Row) -> bool:
        """Return whether there is somebody to ask about the VM: its host is up."""
        host = self._pool.db.find("host", vm["resident_on"])
        return host is None or self.is_up(host)

    def _watch_for(self, death: "_Death") -> None:
        self._timers.after(death.noticed_after_s, partial(self._notice, death))

    async def _notice(self, death: "_Death") -> None:
        """Give a dead host up, as HA does and host.declare_dead: what ran on it is halted."""
        if self._deaths.get(death.host.ref) is death and self.is_up(self._pool.coordinator):
            self._set_live(death.host, False)

    def _set_live(self, host: Row, is_live: bool) -> None:
        pool = self._pool
        pool.db.update(pool.db.get("host_metrics", host["metrics"]), live=is_live, last_updated=pool.clock.stamp())
        host_operations.refresh(pool, host)
        resync(pool, (pool.db.get("VM", ref) for ref in host["resident_VMs"]))

    def _coordinator(self) -> Row:
        host = self._pool.coordinator
        if not self.is_up(host):
            raise FaultRefused(
                f"the coordinator, host {host['name_label']}, is down; let it return, or another take over"
            )
        return host

    def _scaled(self, told_s: float | None, usual_s: float) -> float:
        return told_s if told_s is not None else usual_s / self._backend.cluster.spec.clock_ratio
