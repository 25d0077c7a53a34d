"""A simulated pool in a thread of its own, with its control endpoint, that a test lets go wrong."""

import asyncio
import http.client
import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import XenAPI

from migd_core.units import GIB, MIB
from migd_sim.model import Cluster, PoolSpec
from migd_sim.model.spec import GuestSpec, HostSpec
from migd_xapi.control import Control
from migd_xapi.injector import Injector
from migd_xapi.server import Server
from migd_xapi.settings import Settings
from migd_xapi.sim_backend import SimBackend

T = TypeVar("T")
LIMIT_S = 20.0
FASTER = 50.0


def spec() -> PoolSpec:
    """Three hosts with two idle guests each: a migration of one takes about a tenth of a second."""
    return PoolSpec(
        name="faulty",
        hosts=tuple(HostSpec(name=f"xen{n}", cpus=4, memory_bytes=8 * GIB) for n in (1, 2, 3)),
        guests=tuple(
            GuestSpec(name=f"rank{n}", host=f"xen{n % 3 + 1}", vcpus=1, memory_bytes=256 * MIB) for n in range(6)
        ),
    ).faster(FASTER)


class FaultyPool:
    """The pool, its URL, and what is really so. `client` is a new XenAPI.py session with the coordinator."""

    def __init__(self, settings: Settings | None = None) -> None:
        self._settings = (settings or Settings()).faster(FASTER)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._sessions: list[XenAPI.Session] = []
        self.url, self._control_url = self._run(self._start())
        self.port = int(self.url.rpartition(":")[2])

    async def _start(self) -> tuple[str, str]:
        backend = SimBackend(Cluster(spec()))
        self._server = Server(backend, "faulty", self._settings)
        self._injector = Injector(self._server, backend)
        self._control = Control(backend, self._injector)
        self._cluster = asyncio.create_task(backend.run())
        return await self._server.start("127.0.0.1", 0), await self._control.start("127.0.0.1", 0)

    async def _stop(self) -> None:
        self._cluster.cancel()
        await self._injector.close()
        await self._control.stop()
        await self._server.stop()

    def close(self) -> None:
        for session in self._sessions:
            session("close")()
        self._run(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(LIMIT_S)
        self._loop.close()

    def client(self, host: str = "xen1") -> XenAPI.Session:
        """Return a session with a host, which is the coordinator."""
        session = XenAPI.Session(f"http://{self.address(host)}:{self.port}")
        self._sessions.append(session)
        session.xenapi.login_with_password("root", "migd", "1.0", "test")
        return session

    def address(self, host: str) -> str:
        return f"127.0.0.{host[-1]}"

    def fault(self, kind: str, **fields: object) -> Any:
        """Let a fault happen, and return when it has."""
        return self.ask("POST", "/faults", {"kind": kind, **fields})

    def refusal(self, kind: str, **fields: object) -> tuple[int, str]:
        """Return how the control endpoint refuses a fault."""
        try:
            self.fault(kind, **fields)
        except urllib.error.HTTPError as error:
            with error as answer:
                return answer.code, answer.read().decode()
        raise AssertionError("the fault was not refused")

    def ask(self, method: str, path: str, body: object = None) -> Any:
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(self._control_url + path, data=data, method=method)
        with urllib.request.urlopen(request, timeout=LIMIT_S) as answer:
            return json.loads(answer.read())

    def host_of(self, guest: str) -> str | None:
        """Return where a guest really runs."""
        (found,) = (each["host"] for each in self.ask("GET", "/truth")["guests"] if each["name"] == guest)
        return None if found is None else str(found)

    def answers(self, host: str, within_s: float = 0.2) -> str:
        """Return how a host's address responds to a call: `refused`, `silent`, or the failure's or success's status."""
        connection = http.client.HTTPConnection(self.address(host), self.port, timeout=within_s)
        try:
            body = b'{"id": 1, "method": "session.login_with_password", "params": ["root", "migd"]}'
            connection.request("POST", "/jsonrpc", body)
            answer = json.loads(connection.getresponse().read())
        except ConnectionRefusedError:
            return "refused"
        except TimeoutError:
            return "silent"
        finally:
            connection.close()
        return " ".join(answer["error"] or ["success"])

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(LIMIT_S)


def until(condition: Callable[[], T], within_s: float = LIMIT_S) -> T:
    """Return the condition's value once it is true."""
    deadline_s = time.monotonic() + within_s
    while not (value := condition()):
        assert time.monotonic() < deadline_s, "it did not come to that in time"
        threading.Event().wait(0.005)
    return value
