"""One pool, put together and served."""

from migd_xapi import inventory, methods
from migd_xapi.backend import Backend
from migd_xapi.clock import Clock
from migd_xapi.database import Database
from migd_xapi.dispatch import Dispatcher
from migd_xapi.listener import Listener
from migd_xapi.pool import Pool
from migd_xapi.sessions import Sessions
from migd_xapi.settings import Settings
from migd_xapi.tasks import Tasks
from migd_xapi.workers import Workers


class Server:
    """The XAPI of one pool."""

    def __init__(self, backend: Backend, name: str, settings: Settings) -> None:
        """Put the pool together; nobody can connect yet. Raises ConfigError."""
        db, clock = Database(), Clock()
        users = {user.name: user for user in settings.users}
        self.pool = Pool(
            db=db,
            clock=clock,
            sessions=Sessions(db, clock, users, settings.refusal_delay_s),
            tasks=Tasks(db, clock),
            backend=backend,
            workers=Workers(),
        )
        inventory.build(self.pool, name, settings)
        self._dispatcher = Dispatcher(self.pool, methods.all_methods())
        self._listener = Listener(self.pool, self._dispatcher)

    async def start(self, address: str, port: int) -> str:
        """Serve the pool, and return the coordinator's URL; port 0 takes any that is free. Raises MigdError."""
        port = await self._listener.start(address, port)
        return f"http://{address}:{port}"

    async def stop(self) -> None:
        """Close all connections and give up what is under way."""
        await self._listener.stop()
        await self._dispatcher.close()
