"""The backend on Dom0s that know only `xl`: each is asked again and again, and what they say is one picture."""

import asyncio
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, NoReturn

import structlog

from migd_core.counters import HostCounters
from migd_core.errors import MigdError
from migd_xapi.backend import BackendGuest, BackendHost, BackendRefusal, MigrationOutcome, Why
from migd_xapi.settings import COMMON_FEATURES, GuestSettings, HostSettings
from migd_xapi.xl import migrations
from migd_xapi.xl.hosts_file import HostsFile, XlHost
from migd_xapi.xl.migrations import Request
from migd_xapi.xl.remote import Remote, RemoteFailed
from migd_xapi.xl.residence import Known, View, arriving, residence
from migd_xapi.xl.text import POLL, Facts, Malformed, parse, reason_of, why_of

LOOK_PERIOD_S: Final = 0.5
# As far as time alone takes a migration's progress.
MOST_BY_TIME: Final = 0.95
_log = structlog.get_logger()


@dataclass(slots=True)
class _Dom0:
    """A host, and what it said last. `heard_s` is when it last gave a whole answer."""

    host: XlHost
    remote: Remote
    uuid: str
    facts: Facts | None = None
    view: View | None = None
    heard_s: float = 0.0
    trouble: str = ""
    asking: asyncio.Lock = field(default_factory=asyncio.Lock)


class XlMigration:
    """One `xl migrate` that is followed."""

    def __init__(self, request: Request, remote: Remote, expected_s: float) -> None:
        self.request, self.is_acknowledged, self.has_ended = request, False, False
        self._remote, self._expected_s, self._began_s = remote, expected_s, time.monotonic()
        self._cancelling: asyncio.Task[None] | None = None

    @property
    def progress_ratio(self) -> float:
        if self.is_acknowledged:
            return 1.0
        return MOST_BY_TIME * min(1.0, (time.monotonic() - self._began_s) / self._expected_s)

    def cancel(self) -> bool:
        """Ask the source to end it; only there can be told whether it is too late."""
        if self.is_acknowledged:
            return False
        if self._cancelling is None:
            self._cancelling = asyncio.create_task(self._cancel(), name="cancel")
        return True

    async def _cancel(self) -> None:
        while True:
            try:
                answer = (await self._remote.run(migrations.cancel(self.request))).strip()
            except RemoteFailed as error:
                answer = str(error)
            if answer != migrations.NOT_YET or self.has_ended:
                break
            await asyncio.sleep(LOOK_PERIOD_S)
        _log.info("a migration was to be cancelled", guest=self.request.guest_uuid, answer=answer)


class XlBackend:
    """Hosts that know only `xl`."""

    def __init__(self, file: HostsFile, sockets: Path) -> None:
        self._file = file
        self._dom0s = {
            host.name: _Dom0(host, Remote(host, sockets, file.timeout_s, file.ssh_options), host.uuid)
            for host in file.hosts
        }
        self._known: dict[str, Known] = {}
        self._following: dict[str, asyncio.Task[None]] = {}
        self.on_change: Callable[[], None] = lambda: None

    async def first_look(self) -> None:
        """Ask every host once. Raises MigdError where none answers: then there is no pool to show."""
        await asyncio.gather(*map(self._ask, self._dom0s.values()))
        if all(dom0.facts is None for dom0 in self._dom0s.values()):
            raise MigdError(f"no host answers: {'; '.join(dom0.trouble for dom0 in self._dom0s.values())}")

    async def run(self) -> None:
        """Ask the hosts until cancelled."""
        async with asyncio.TaskGroup() as group:
            for dom0 in self._dom0s.values():
                group.create_task(self._keep_asking(dom0))

    async def close(self) -> None:
        """Follow nothing any more; what is under way goes on without this process."""
        for task in self._following.values():
            task.cancel()
        await asyncio.gather(*self._following.values(), return_exceptions=True)
        await asyncio.gather(*(dom0.remote.close() for dom0 in self._dom0s.values()))

    async def unfinished(self) -> list[Request]:
        """Return the migrations that are under way, begun by a server before this one."""
        found: list[Request] = []
        for dom0 in self._dom0s.values():
            if dom0.facts is not None:
                try:
                    found += migrations.parse_unfinished(await dom0.remote.run(migrations.unfinished()))
                except RemoteFailed as error:
                    _log.warning("migrations that are under way are not known", reason=str(error))
        return found

    def settle(self) -> None:
        pass

    def hosts(self) -> Sequence[BackendHost]:
        return [self._shown(dom0) for dom0 in self._dom0s.values() if dom0.uuid]

    def guests(self) -> Sequence[BackendGuest]:
        return [
            BackendGuest(
                uuid=uuid_,
                name=guest.domain.name,
                host=guest.host,
                vcpus=guest.domain.vcpus,
                memory_bytes=guest.domain.memory_bytes,
                mac=guest.domain.macs[0] if guest.domain.macs else "",
                other_macs=guest.domain.macs[1:],
                is_paused=guest.domain.is_paused,
                settings=GuestSettings(
                    domain_type=guest.domain.type, pci_devices=guest.domain.pci_devices, has_tools=False
                ),
            )
            for uuid_, guest in self._known.items()
        ]

    def begin_migration(
        self, guest: str, target: str, memory_bytes: int, on_end: Callable[[MigrationOutcome], None]
    ) -> XlMigration:
        known = self._known.get(guest)
        if known is None or known.host is None:
            raise BackendRefusal(f"guest {guest} does not run")
        if guest in self._following or arriving(guest, self._views()) is not None:
            raise BackendRefusal(f"guest {guest} is being migrated already")
        if known.host == target:
            raise BackendRefusal(f"guest {guest} is on host {target} already; xl moves it to another only")
        source, destination = self._dom0(known.host), self._dom0(target)
        request = Request(id=str(uuid.uuid4()), guest_uuid=guest, domid=known.domain.domid, target_uuid=target)
        command = [*self._file.migrate, str(request.domid), destination.host.receives_at]
        return self._follow(request, source, command, on_end)

    def take_over(self, request: Request, on_end: Callable[[MigrationOutcome], None]) -> XlMigration:
        """Follow a migration that another process has begun. Raises BackendRefusal where its guest is not known."""
        known = self._known.get(request.guest_uuid)
        if known is None or known.host is None or request.guest_uuid in self._following:
            raise BackendRefusal(f"guest {request.guest_uuid} is not there to be followed")
        return self._follow(request, self._dom0(known.host), None, on_end)

    def start(self, guest: str, host: str) -> None:
        _refuse("started with `xl create` on a host")

    def stop(self, guest: str) -> None:
        _refuse("stopped with `xl shutdown` or `xl destroy` on its host")

    def pause(self, guest: str) -> None:
        _refuse("paused with `xl pause` on its host")

    def unpause(self, guest: str) -> None:
        _refuse("let go on with `xl unpause` on its host")

    def counters(self, host: str) -> HostCounters:
        raise BackendRefusal("hosts that know only xl are measured by their agents")

    def wanted_vcpus(self, host: str) -> float:
        raise BackendRefusal("hosts that know only xl are measured by their agents")

    def domid(self, guest: str) -> int:
        known = self._known.get(guest)
        return known.domain.domid if known is not None and known.host is not None else -1

    async def _keep_asking(self, dom0: _Dom0) -> None:
        while True:
            await asyncio.sleep(self._file.poll_s)
            await self._ask(dom0)
            self.on_change()

    async def _ask(self, dom0: _Dom0) -> None:
        """Ask a host for all that it can say, and bring the picture up to it."""
        async with dom0.asking:
            began_s = time.monotonic()
            try:
                facts = parse(await dom0.remote.run(POLL))
                self._accept(dom0, facts, began_s)
                trouble = ""
            except (RemoteFailed, Malformed) as error:
                trouble = f"host {dom0.host.name}: {str(error).removeprefix(f'host {dom0.host.name}: ')}"
            if trouble != dom0.trouble:
                _log.warning("a host gives no answer" if trouble else "a host answers again", reason=trouble)
            dom0.trouble = trouble
        now_s = time.monotonic()
        self._known = {
            uuid_: guest
            for uuid_, guest in residence(self._known, self._views()).items()
            if guest.host is not None or now_s - (guest.missed_s or now_s) < self._file.forget_after_s
        }

    def _accept(self, dom0: _Dom0, facts: Facts, began_s: float) -> None:
        uuid_ = dom0.host.uuid or facts.uuid
        if not uuid_:
            raise Malformed("it has no /etc/machine-id; set its uuid in the hosts file")
        if dom0.uuid not in ("", uuid_):
            raise Malformed(f"it was host {dom0.uuid} and says now that it is {uuid_}; restart migd-xapi")
        if any(other is not dom0 and other.uuid == uuid_ for other in self._dom0s.values()):
            raise Malformed(f"another host has its uuid {uuid_} too; give each a machine id of its own, or set uuid")
        dom0.uuid, dom0.facts, dom0.heard_s = uuid_, facts, time.monotonic()
        dom0.view = View(uuid_, began_s, dom0.heard_s, facts.domains)

    def _views(self) -> list[View]:
        return [replace(dom0.view, is_up=self._is_up(dom0)) for dom0 in self._dom0s.values() if dom0.view is not None]

    def _is_up(self, dom0: _Dom0) -> bool:
        return dom0.facts is not None and time.monotonic() - dom0.heard_s < self._file.down_after_s

    def _shown(self, dom0: _Dom0) -> BackendHost:
        facts = dom0.facts
        if facts is None:
            return BackendHost(
                uuid=dom0.uuid,
                name=dom0.host.name,
                address=dom0.host.address,
                cpus=0,
                cpu_mhz=0.0,
                memory_bytes=0,
                link_bytes_per_s=0.0,
                is_up=False,
                memory_free_bytes=0,
            )
        return BackendHost(
            uuid=dom0.uuid,
            name=dom0.host.name,
            address=dom0.host.address,
            cpus=facts.cpus,
            cpu_mhz=facts.cpu_mhz,
            memory_bytes=facts.memory_bytes,
            link_bytes_per_s=0.0,
            is_up=self._is_up(dom0),
            memory_free_bytes=facts.free_bytes,
            dom0_bytes=facts.dom0_bytes,
            xen_version=facts.xen_version,
            cpu_model=facts.cpu_model,
            capabilities=facts.capabilities,
            settings=HostSettings(cpu_vendor=facts.cpu_vendor, cpu_features=facts.cpu_features or COMMON_FEATURES),
        )

    def _dom0(self, uuid_: str) -> _Dom0:
        return next(dom0 for dom0 in self._dom0s.values() if dom0.uuid == uuid_)

    def _follow(
        self,
        request: Request,
        source: _Dom0,
        command: Sequence[str] | None,
        on_end: Callable[[MigrationOutcome], None],
    ) -> XlMigration:
        expected_s = self._known[request.guest_uuid].domain.memory_bytes / self._file.migration_bytes_per_s
        migration = XlMigration(request, source.remote, max(expected_s, LOOK_PERIOD_S))

        async def work() -> None:
            try:
                outcome = await self._outcome(migration, source, command)
            finally:
                migration.has_ended = True
                del self._following[request.guest_uuid]
            _log.info("a migration has ended", guest=request.guest_uuid, ok=outcome.ok, reason=outcome.reason)
            on_end(outcome)

        self._following[request.guest_uuid] = asyncio.create_task(work(), name=f"migration {request.id}")
        return migration

    async def _outcome(self, migration: XlMigration, source: _Dom0, command: Sequence[str] | None) -> MigrationOutcome:
        request, target = migration.request, self._dom0(migration.request.target_uuid)
        if command is not None:
            try:
                await source.remote.run(migrations.begin(request, command))
            except RemoteFailed as error:
                if error.code is not None:
                    return MigrationOutcome(ok=False, reason=str(error))
                # It may have begun all the same: the source will say.
        look = await self._end_of(migration, source)
        await asyncio.gather(self._ask(source), self._ask(target))
        self.on_change()
        known = self._known.get(request.guest_uuid)
        if known is not None and known.host == target.uuid:
            return MigrationOutcome(ok=True)
        if look is None:
            return MigrationOutcome(ok=False, reason=source.trouble, why=Why.SOURCE_DIED)
        if look.code == "0":
            return MigrationOutcome(ok=False, reason="xl reports success, and yet the guest is not on the target")
        return MigrationOutcome(ok=False, reason=reason_of(look.output, look.code or ""), why=why_of(look.output))

    async def _end_of(self, migration: XlMigration, source: _Dom0) -> migrations.Look | None:
        """Return how it ended on the source, None when the source died."""
        while True:
            try:
                look = migrations.parse_look(await source.remote.run(migrations.look(migration.request)))
            except RemoteFailed:
                if not self._is_up(source):
                    return None
            else:
                migration.is_acknowledged = look.is_acknowledged
                if look.code is not None:
                    return look
                continue  # the source has waited
            await asyncio.sleep(LOOK_PERIOD_S)


def _refuse(instead: str) -> NoReturn:
    raise BackendRefusal(f"guests of hosts that know only xl are {instead}; here they are only moved")
