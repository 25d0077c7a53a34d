"""A control endpoint and a controller's socket on loopback, keys in files, and agents that end with their test."""

import contextlib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zmq
import zmq.auth
from readings import HOST, busy_host

from migd_agent.identity import Keys, load_keys
from migd_core.frames import decode_sample
from migd_core.messages import HostSample

LIMIT_S = 15.0
# What the machine of a test is like is no matter of most tests.
UNWATCHED = 'off = ["hwmon", "ipmi", "edac", "smart", "nics"]'


@dataclass
class Pool:
    """An emulated pool's control endpoint. `answer` gives status and body of a path; each path asked for is kept."""

    answer: Callable[[str], tuple[int, bytes]]
    asked: list[str] = field(default_factory=list)
    port: int = 0
    connections: int = 0
    _server: ThreadingHTTPServer | None = None
    _open: list[socket.socket] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        pool = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                pool.asked.append(self.path)
                status, body = pool.answer(self.path)
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

            def handle(self) -> None:
                try:
                    super().handle()
                except ConnectionError:  # an agent was ended in the middle of a request
                    self.close_connection = True

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def get_request(self) -> tuple[socket.socket, Any]:
                connection, address = super().get_request()
                pool.connections += 1
                pool._open.append(connection)
                return connection, address

        self._server = Server(("127.0.0.1", self.port), Handler)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
        for connection in self._open:
            with contextlib.suppress(OSError):  # the agent closed it first
                connection.shutdown(socket.SHUT_RDWR)
        self._open.clear()


@pytest.fixture
def pool() -> Iterator[Pool]:
    """A pool with one busy host, whose time is real."""
    start_s = time.monotonic()

    def answer(path: str) -> tuple[int, bytes]:
        if "/dirty/" in path:
            return 200, b'{"ages_s":[0.05,1.0],"unique_pages":[10,20]}'
        return 200, msgspec.json.encode(busy_host(time.monotonic() - start_s))

    pool = Pool(answer)
    pool.start()
    yield pool
    pool.stop()


@pytest.fixture
def key_folder(tmp_path: Path) -> Path:
    """A folder with `controller.key`, `agent.key` and their secret halves."""
    for name in ("controller", "agent"):
        _, secret = zmq.auth.create_certificates(tmp_path, name)
        Path(secret).chmod(0o600)
    return tmp_path


@pytest.fixture
def keys(key_folder: Path) -> Keys:
    return load_keys(key_folder / "controller.key", key_folder / "agent.key_secret")


class Listener:
    """What a controller does: a SUB socket that binds, with CURVE. `allowed` None lets every key in."""

    def __init__(self, key_folder: Path, port: int = 0, allowed: set[bytes] | None = None, queue: int = 1000) -> None:
        self._context = zmq.Context()
        self._gate = None if allowed is None else _Gate(self._context, allowed)
        self.socket = self._context.socket(zmq.SUB)
        self.socket.curve_server = True
        self.socket.curve_secretkey = zmq.auth.load_certificate(key_folder / "controller.key_secret")[1]
        self.socket.zap_domain, self.socket.linger = b"migd", 0
        self.socket.rcvhwm = queue
        self.socket.subscribe(b"")
        self.port = port or self.socket.bind_to_random_port("tcp://127.0.0.1")
        if port:
            self.socket.bind(f"tcp://127.0.0.1:{port}")

    @property
    def endpoint(self) -> str:
        return f"tcp://127.0.0.1:{self.port}"

    def receive(
        self, wanted: Callable[[HostSample], bool] = lambda sample: True, limit_s: float = LIMIT_S
    ) -> HostSample:
        """Return the next sample that is `wanted`."""
        until_s = time.monotonic() + limit_s
        while (left_s := until_s - time.monotonic()) > 0:
            if self.socket.poll(left_s * 1000):
                sample = decode_sample(self.socket.recv_multipart())
                if wanted(sample):
                    return sample
        raise AssertionError(f"no such sample within {limit_s} s")

    def close(self) -> None:
        self.socket.close()
        if self._gate is not None:
            self._gate.close()
        self._context.term()


class _Gate(threading.Thread):
    """ZAP: lets in the keys that are in `allowed` at that moment."""

    def __init__(self, context: zmq.Context[Any], allowed: set[bytes]) -> None:
        super().__init__(daemon=True)
        self._allowed = allowed
        self._socket = context.socket(zmq.REP)
        self._socket.bind("inproc://zeromq.zap.01")
        self._socket.rcvtimeo, self._socket.linger = 20, 0
        self._is_over = threading.Event()
        self.start()

    def run(self) -> None:
        while not self._is_over.is_set():
            try:
                version, request, _, _, _, _, key = self._socket.recv_multipart()
            except zmq.Again:
                continue
            status = b"200" if zmq.utils.z85.encode(key) in self._allowed else b"400"
            self._socket.send_multipart([version, request, status, b"", b"", b""])
        self._socket.close()

    def close(self) -> None:
        self._is_over.set()
        self.join()


@pytest.fixture
def listen(key_folder: Path) -> Iterator[Callable[..., Listener]]:
    """Make controllers' sockets that are closed with the test."""
    opened: list[Listener] = []

    def make(**differs: Any) -> Listener:
        opened.append(Listener(key_folder, **differs))
        return opened[-1]

    yield make
    for listener in opened:
        listener.close()


class Agent:
    """A real `migd-agent` and its log."""

    def __init__(self, config: Path, *options: str) -> None:
        self._log = config.with_suffix(".log")
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "migd_agent", "--config", str(config), *options],
                stdout=subprocess.PIPE,
                stderr=log,
            )

    def said(self) -> str:
        """Return all that it has written to standard error."""
        return self._log.read_text(encoding="utf-8")

    def log(self) -> list[dict[str, Any]]:
        """Return the log lines that are complete."""
        lines = self.said().splitlines(keepends=True)
        return [msgspec.json.decode(line) for line in lines if line.startswith("{") and line.endswith("\n")]

    def events(self) -> list[str]:
        return [line["event"] for line in self.log()]

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait for `condition`, which looks at what the agent has done."""
        until_s = time.monotonic() + LIMIT_S
        while not condition():
            assert self.process.poll() is None, self._log.read_text(encoding="utf-8")
            assert time.monotonic() < until_s, self._log.read_text(encoding="utf-8")
            time.sleep(0.01)

    def end(self) -> int:
        """Ask the agent to end; return its exit code."""
        self.process.terminate()
        return self.process.wait(LIMIT_S)


class Granter:
    """What a controller's lease socket does: an XPUB that binds, with CURVE."""

    def __init__(self, key_folder: Path) -> None:
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.XPUB)
        self.socket.curve_server, self.socket.linger = True, 0
        self.socket.curve_secretkey = zmq.auth.load_certificate(key_folder / "controller.key_secret")[1]
        self.endpoint = f"tcp://127.0.0.1:{self.socket.bind_to_random_port('tcp://127.0.0.1')}"

    def subscribed(self) -> bytes:
        assert self.socket.poll(LIMIT_S * 1000)
        (subscription,) = self.socket.recv_multipart()
        return bytes(subscription)

    def close(self) -> None:
        self.socket.close()
        self.context.term()


@pytest.fixture
def start_agent(key_folder: Path) -> Iterator[Callable[..., Agent]]:
    """Start agents that report to `endpoint`, fast, and are ended with the test."""
    started: list[Agent] = []

    def start(
        endpoint: str, pool_url: str = "", lease_endpoint: str = "", period_s: float = 0.1, health: str = UNWATCHED
    ) -> Agent:
        guests = f'{{source = "sim", url = "{pool_url}"}}'
        config = key_folder / f"agent{len(started)}.toml"
        config.write_text(
            f"""
[controller]
endpoint = "{endpoint}"
lease_endpoint = "{lease_endpoint}"
public_key_file = "{key_folder / "controller.key"}"
secret_key_file = "{key_folder / "agent.key_secret"}"

[measure]
host_uuid = "{HOST}"
period_s = {period_s}
guests = {guests if pool_url else '{source = "none"}'}

[health]
{health}
""",
            encoding="utf-8",
        )
        started.append(Agent(config))
        return started[-1]

    yield start
    for agent in started:
        agent.process.kill()
        agent.process.communicate()
