"""A controller without a pool, whose API answers on a real socket and over real TCP."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
from cluster_of_events import Cluster, pool_guest, pool_host

from migd_controller.api import Api
from migd_controller.commands import PoolCommand, ProbeCommand
from migd_controller.config import ControllerConfig, HttpSection
from migd_controller.control import Clock, Control
from migd_controller.daemon import serving
from migd_controller.http.service import Service
from migd_controller.intake import IntakeCounts
from migd_controller.journal import Journal
from migd_controller.metrics import Metrics
from migd_core.api import Role

WANTS = {"hog": 4.0}
LOOPBACK = HttpSection(listen="127.0.0.1:0")


class Numbered(Clock):
    """The cluster's own time."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def now_s(self) -> float:
        return self._cluster.now_s


def a_hog_and_two_ranks() -> Cluster:
    """Two hosts that report; a hog and two ranks on `a`, nothing on `b`."""
    guests = [pool_guest("hog", "a", vcpus=4), pool_guest("rank0", "a"), pool_guest("rank1", "a")]
    cluster = Cluster([pool_host("a"), pool_host("b")], guests)
    cluster.run(10, WANTS)
    return cluster


class OverTcp:
    """A controller that listens on both; what it would ask of a pool is kept in `asked`."""

    def __init__(self, folder: Path, http: HttpSection = LOOPBACK, **settings: Any) -> None:
        self.cluster = a_hog_and_two_ranks()
        config: ControllerConfig = msgspec.structs.replace(
            self.cluster.core.config, state_dir=folder, socket=folder / "controller.sock", http=http, **settings
        )
        self.config = self.cluster.core.config = config
        self.journal = Journal(folder / "journal.sqlite")
        self.control = Control(self.cluster.core, self.journal, Numbered(self.cluster))
        self.asked: list[PoolCommand | ProbeCommand] = []
        self.control.submit = self.asked.append
        self.counts = IntakeCounts()
        self.metrics = Metrics(self.control, self.counts, folder)
        self.control.watchers.append(self.metrics.heard)
        self.service = Service(Api(self.control, self.counts), self.control, config, self.metrics)

    @asynccontextmanager
    async def answering(self) -> AsyncIterator[None]:
        """Serve on both, and go on with what the service does beside."""
        import asyncio

        async with (
            serving(self.service.on_socket(), self.config.socket, "0600"),
            self.service.over_tcp() as url,
            aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as self.client,
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(self.config.socket))) as self.on_socket,
        ):
            assert url is not None
            self.url = url
            beside = asyncio.create_task(self.service.run())
            try:
                yield
            finally:
                beside.cancel()
                await asyncio.gather(beside, return_exceptions=True)
        self.journal.close()

    def token(self, role: Role, name: str = "") -> str:
        """Return a new token of that role."""
        return self.service.tokens.new(name or f"the-{role.value}", role, 0.0)

    async def ask(
        self, method: str, path: str, token: str = "", body: Any = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Any]:
        """Return the status and the decoded body of an answer over TCP."""
        sent = {"Content-Type": "application/json"} if body is not None else {}
        sent |= {"Authorization": f"Bearer {token}"} if token else {}
        data = msgspec.json.encode(body) if body is not None else None
        async with self.client.request(method, self.url + path, data=data, headers={**sent, **(headers or {})}) as got:
            return got.status, msgspec.json.decode(await got.read())
