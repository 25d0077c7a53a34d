"""A pool over a real socket: three hosts whose guests move when a test says so."""

import asyncio
import inspect
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from migd_core.counters import HostCounters
from migd_core.units import GIB
from migd_xapi.backend import BackendGuest, BackendHost, BackendRefusal, MigrationOutcome
from migd_xapi.server import Server
from migd_xapi.sessions import User
from migd_xapi.settings import Settings


@dataclass
class ScriptedMigration:
    """A migration that goes as far as the test takes it."""

    guest: str
    target: str
    memory_bytes: int
    on_end: Callable[[MigrationOutcome], None]
    progress_ratio: float = 0.0
    may_be_cancelled: bool = True
    has_ended: bool = False

    def finish(self, outcome: MigrationOutcome) -> None:
        self.has_ended = True
        self.on_end(outcome)

    def cancel(self) -> bool:
        if self.may_be_cancelled:
            self.finish(MigrationOutcome(ok=False, reason="cancelled"))
        return self.may_be_cancelled


@dataclass
class ScriptedBackend:
    """Hosts and guests as values; a migration ends at once, or when the test ends it."""

    host_list: list[BackendHost]
    guest_list: list[BackendGuest]
    ends_at_once: bool = True
    migrations: list[ScriptedMigration] = field(default_factory=list)
    begun: threading.Condition = field(default_factory=threading.Condition)
    paused: set[str] = field(default_factory=set)
    domids: dict[str, int] = field(default_factory=dict)

    def hosts(self) -> Sequence[BackendHost]:
        return self.host_list

    def guests(self) -> Sequence[BackendGuest]:
        return self.guest_list

    def settle(self) -> None:
        pass

    def begin_migration(
        self, guest: str, target: str, memory_bytes: int, on_end: Callable[[MigrationOutcome], None]
    ) -> ScriptedMigration:
        if not self._guest(guest).host:
            raise BackendRefusal(f"guest {guest} does not run")
        if any(each.guest == guest and not each.has_ended for each in self.migrations):
            raise BackendRefusal(f"guest {guest} is being migrated")
        migration = ScriptedMigration(guest, target, memory_bytes, on_end)
        with self.begun:
            self.migrations.append(migration)
            self.begun.notify_all()
        if self.ends_at_once:
            self.end(migration)
        return migration

    def end(self, migration: ScriptedMigration) -> None:
        self._put(migration.guest, migration.target)
        migration.progress_ratio = 1.0
        migration.finish(MigrationOutcome(ok=True))

    def fail(self, migration: ScriptedMigration, reason: str, is_suspended: bool = False) -> None:
        migration.finish(MigrationOutcome(ok=False, reason=reason, is_suspended=is_suspended))

    def reboot(self, migration: ScriptedMigration) -> None:
        """Let the guest reboot, which spoils its copy."""
        self._put(migration.guest, self.host_of(migration.guest))
        self.fail(migration, "the guest was stopped")

    def start(self, guest: str, host: str) -> None:
        if self._guest(guest).host:
            raise BackendRefusal(f"guest {guest} runs already")
        self._put(guest, host)

    def stop(self, guest: str) -> None:
        for migration in [each for each in self.migrations if each.guest == guest and not each.has_ended]:
            self.fail(migration, "the guest was stopped")
        self.paused.discard(guest)
        self._put(guest, None)

    def pause(self, guest: str) -> None:
        self.paused.add(guest)

    def unpause(self, guest: str) -> None:
        self.paused.discard(guest)

    def counters(self, host: str) -> HostCounters:
        raise BackendRefusal("there are none")

    def domid(self, guest: str) -> int:
        return self.domids.get(guest, 1) if self._guest(guest).host else -1

    def host_of(self, guest: str) -> str | None:
        return self._guest(guest).host

    def _guest(self, uuid: str) -> BackendGuest:
        return next(guest for guest in self.guest_list if guest.uuid == uuid)

    def _put(self, uuid: str, host: str | None) -> None:
        self.domids[uuid] = self.domids.get(uuid, 1) + 1
        self.guest_list = [replace(each, host=host) if each.uuid == uuid else each for each in self.guest_list]


class ServedPool:
    """A server in a thread of its own, so that blocking clients can talk to it; `do` runs a function there, or waits."""

    def __init__(self, backend: ScriptedBackend, settings: Settings, port: int = 0) -> None:
        self.backend = backend
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.server = self.do(lambda: Server(backend, "test", settings))
        self.url: str = asyncio.run_coroutine_threadsafe(self.server.start("127.0.0.1", port), self._loop).result(10)

    def do(self, function: Callable[[], Any]) -> Any:
        async def call() -> Any:
            result = function()
            return await result if inspect.isawaitable(result) else result

        return asyncio.run_coroutine_threadsafe(call(), self._loop).result(10)

    def forget(self) -> None:
        """Lose what a toolstack loses that restarts."""
        asyncio.run_coroutine_threadsafe(self.server.forget(), self._loop).result(10)

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _stop(self) -> None:
        await self.server.stop()
        # A client that came while the listeners closed is accepted by the loop some turns later, and by nobody else.
        for _ in range(5):
            for transport in list(self._loop._transports.values()):
                transport.abort()
            await asyncio.sleep(0)


def backend_of(hosts: int = 3, guests: int = 4) -> ScriptedBackend:
    return ScriptedBackend(
        [
            BackendHost(
                uuid=f"host-{number}",
                name=f"xen{number}",
                address="",
                cpus=4,
                cpu_mhz=2000.0,
                memory_bytes=16 * GIB,
                link_bytes_per_s=1.25e8,
            )
            for number in range(hosts)
        ],
        [
            BackendGuest(
                uuid=f"guest-{number}",
                name=f"rank{number}",
                host=f"host-{number % hosts}",
                vcpus=2,
                memory_bytes=2 * GIB,
                mac=f"02:00:00:00:00:{number:02x}",
            )
            for number in range(guests)
        ],
    )


USERS = (
    User(name="root", password="migd"),
    User(name="operator", password="migd", role="vm-operator"),
    User(name="nobody", password="migd", role=""),
)
