"""One pool, put together and served."""

import asyncio

import structlog

from migd_core.errors import ConfigError
from migd_xapi import addresses, certificate, clearing, inventory, methods
from migd_xapi.backend import Backend
from migd_xapi.certificate import ServerCertificate
from migd_xapi.clock import Clock
from migd_xapi.database import Database
from migd_xapi.dispatch import Dispatcher
from migd_xapi.keeping import Kept
from migd_xapi.listener import Listener
from migd_xapi.method import permissions
from migd_xapi.pool import Pool
from migd_xapi.rrd.recorder import Recorder
from migd_xapi.sessions import Sessions
from migd_xapi.settings import Settings
from migd_xapi.tasks import Tasks
from migd_xapi.workers import Workers

_log = structlog.get_logger()


class Server:
    """The XAPI of one pool."""

    def __init__(
        self, backend: Backend, name: str, settings: Settings, *, kept: Kept | None = None, has_members: bool = True
    ) -> None:
        """Put the pool together; nobody can connect yet. Raises ConfigError.

        Without `has_members` only the coordinator answers, for all hosts: none of them has an XAPI of its own.
        """
        db, clock = Database(), Clock()
        users = {user.name: user for user in settings.users}
        every = methods.all_methods()
        self.pool = Pool(
            db=db,
            clock=clock,
            sessions=Sessions(db, clock, users, settings.refusal_delay_s, permissions(every.values())),
            tasks=Tasks(db, clock),
            backend=backend,
            workers=Workers(),
            metrics=Recorder(db, clock, backend),
            settings=settings,
            guests=settings.guests_by_uuid({guest.name: guest.uuid for guest in backend.guests()}),
            kept=kept,
        )
        self.hosts = inventory.build(self.pool, name)
        self._has_members = has_members
        self._tls = settings.tls
        self.dispatcher = Dispatcher(self.pool, every)
        self.listener = Listener(self.pool, self.dispatcher)
        self.certificate: ServerCertificate | None = None
        self._background: list[asyncio.Task[None]] = []

    async def start(self, address: str, port: int) -> str:
        """Serve the pool, and return the coordinator's URL; port 0 takes any that is free. Raises MigdError."""
        self.certificate = self._certificate(address)
        context = self.certificate.context if self.certificate is not None else None
        port = await self.listener.start(address, port, context, has_members=self._has_members)
        for name, work in (("clearing up", clearing.run(self.pool)), ("metrics", self.pool.metrics.run())):
            task = asyncio.create_task(work, name=name)
            task.add_done_callback(_tell_why_it_ended)
            self._background.append(task)
        return f"http{'' if context is None else 's'}://{address}:{port}"

    async def stop(self) -> None:
        """Close all connections and give up what is under way."""
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        await self.listener.stop()
        await self.dispatcher.close()
        for timer in self.pool.booting.values():
            timer.cancel()

    async def forget(self) -> None:
        """Lose what a toolstack has in memory only: what is being done, sessions, tasks, what was deleted."""
        await self.dispatcher.close()
        self.pool.sessions.lose()
        self.pool.tasks.lose()
        self.pool.db.lose("session", "task")

    def _certificate(self, address: str) -> ServerCertificate | None:
        """Return what all listeners show, None for plain HTTP. Raises ConfigError."""
        coordinator = self.pool.coordinator
        others = [
            host["address"] for host in self.pool.db.rows("host") if self._has_members and host is not coordinator
        ]
        if self._tls is None:
            for each in (address, *others):
                if not addresses.is_loopback(each):
                    raise ConfigError(
                        f"plain HTTP is for loopback addresses, and {each} is none: it would show passwords to "
                        "the network; serve with --tls, or set xapi.tls in the pool file"
                    )
            return None
        if self._tls.certificate_file is not None and self._tls.key_file is not None:
            return certificate.load(self._tls.certificate_file, self._tls.key_file)
        return certificate.generate(coordinator["hostname"], (address, *others))


def _tell_why_it_ended(task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("work in the background has ended", work=task.get_name(), exc_info=error)
