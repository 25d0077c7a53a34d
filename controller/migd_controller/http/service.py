"""The API as a service of the daemon: both applications, what feeds them, and what must go on beside them."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterable
from typing import Final

from aiohttp import web
from prometheus_client import Metric

from migd_controller.api import Api
from migd_controller.config import ControllerConfig
from migd_controller.control import Control
from migd_controller.http.callers import Gate
from migd_controller.http.certificate import Certificate
from migd_controller.http.event_stream import EventStream
from migd_controller.http.listener import serving_tcp
from migd_controller.http.sessions import Sessions
from migd_controller.http.site import application
from migd_controller.metrics import Metrics, certificate_family, http_families

CERTIFICATE_EVERY_S: Final = 60.0


class Service:
    """What answers over HTTP, for one controller."""

    def __init__(self, api: Api, control: Control, config: ControllerConfig, metrics: Metrics) -> None:
        """Read tokens, session key and certificate. Raises MigdError."""
        self._http = config.http
        self._api, self._metrics = api, metrics
        self.stream = EventStream(api.live)
        self.tokens = api.tokens
        self.gate = Gate(api.tokens, Sessions(config.state_dir / "session.key"))
        self.certificate: Certificate | None = None
        if config.http is not None and config.http.certificate_file is not None and config.http.key_file is not None:
            self.certificate = Certificate(config.http.certificate_file, config.http.key_file)
        api.http_problem = self.problem
        metrics.also(self._families)
        control.watchers.append(lambda event, commands: self.stream.heard(event))

    def on_socket(self) -> web.Application:
        """Return what is served to who may open the socket."""
        return application(self._api, self.stream, self._metrics, None)

    @contextlib.asynccontextmanager
    async def over_tcp(self) -> AsyncIterator[str | None]:
        """Serve who comes over TCP with a token, where that is configured; yields the URL. Raises MigdError."""
        if self._http is None:
            yield None
            return
        app = application(self._api, self.stream, self._metrics, self.gate)
        context = self.certificate.context if self.certificate is not None else None
        async with serving_tcp(app, self._http, context) as url:
            yield url

    def problem(self) -> str:
        """Say what keeps people from coming over TCP; empty if nothing does."""
        of_certificate = self.certificate.problem(time.time()) if self.certificate is not None else ""
        return "; ".join(filter(None, (of_certificate, self.tokens.problem)))

    def _families(self) -> Iterable[Metric]:
        yield from http_families(self.stream.readers, self.stream.cut_off, self.gate.refused)
        if self.certificate is not None:
            yield certificate_family(self.certificate.expires_at)

    async def run(self) -> None:
        """Keep the event stream going."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.stream.run(), name="event stream")
            if self.certificate is not None:
                tasks.create_task(_watch(self.certificate), name="certificate")


async def _watch(certificate: Certificate) -> None:
    while True:
        await asyncio.sleep(CERTIFICATE_EVERY_S)
        certificate.refresh()
