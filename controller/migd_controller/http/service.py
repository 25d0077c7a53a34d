"""The API as a service of the daemon: both applications, what feeds them, and what must go on beside them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from aiohttp import web

from migd_controller.api import Api
from migd_controller.config import ControllerConfig
from migd_controller.control import Control
from migd_controller.http.callers import Gate
from migd_controller.http.event_stream import EventStream
from migd_controller.http.listener import serving_tcp, tls
from migd_controller.http.sessions import Sessions
from migd_controller.http.site import application
from migd_controller.http.tokens import Tokens


class Service:
    """What answers over HTTP, for one controller."""

    def __init__(self, api: Api, control: Control, config: ControllerConfig) -> None:
        """Read tokens, session key and certificate. Raises MigdError."""
        self._http = config.http
        self._api = api
        self.stream = EventStream(api.live)
        self.tokens = Tokens((config.http and config.http.tokens_file) or config.state_dir / "tokens.toml")
        self._sessions = Sessions(config.state_dir / "session.key")
        self._context = tls(config.http) if config.http is not None else None
        control.watchers.append(lambda event, commands: self.stream.heard(event))

    def on_socket(self) -> web.Application:
        """Return what is served to who may open the socket."""
        return application(self._api, self.stream, None)

    @contextlib.asynccontextmanager
    async def over_tcp(self) -> AsyncIterator[str | None]:
        """Serve who comes over TCP with a token, where that is configured; yields the URL. Raises MigdError."""
        if self._http is None:
            yield None
            return
        app = application(self._api, self.stream, Gate(self.tokens, self._sessions))
        async with serving_tcp(app, self._http, self._context) as url:
            yield url

    async def run(self) -> None:
        """Keep the event stream going."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.stream.run(), name="event stream")
