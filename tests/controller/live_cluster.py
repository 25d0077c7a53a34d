"""The whole loop as processes on loopback: an emulated pool, an agent for each of its hosts, and controllers."""

import itertools
import json
import signal
import socket
import sqlite3
import time
import tomllib
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from migd_cli.client import Client
from migd_cli.demo.children import Brood, Child
from migd_cli.failures import Failure
from migd_core import api, keys

T = TypeVar("T")
LIMIT_S = 30.0

# A tenth of real time: a guest of 1 GiB takes about a second to move, `big` more than three.
POOL = """\
name = "small"
faster = 10
xapi = { refusal_delay_s = 0.0 }

[[hosts]]
name = "xen1"
uuid = "host-1"
cpus = 2
memory_bytes = 17179869184

[[hosts]]
name = "xen2"
uuid = "host-2"
cpus = 2
memory_bytes = 17179869184

[[guests]]
name = "rank0"
uuid = "guest-0"
host = "xen1"
vcpus = 1
memory_bytes = 1073741824
base_demand_vcpus = 1.0

[[guests]]
name = "rank1"
uuid = "guest-1"
host = "xen1"
vcpus = 1
memory_bytes = 1073741824
base_demand_vcpus = 1.0

[[guests]]
name = "big"
uuid = "guest-2"
host = "xen1"
vcpus = 2
memory_bytes = 4294967296
base_demand_vcpus = 0.5
"""

CONTROLLER = """\
state_dir = {state_dir}
socket = {socket}
period_s = 0.5

[telemetry]
listen = {listen}
secret_key_file = {secret_key_file}
agents_file = {agents_file}

[xapi]
url = {url}
username = "root"
password_file = {password_file}
timeout_s = {timeout_s}
settle_s = {settle_s}
settle_ratio = {settle_ratio}

[probe]
listen = {leases}
first_age_s = 0.02
window_at_least_s = 2.0
window_at_most_s = 2.0
apart_s = 0.5
guest_time_ratio = 1.0

[ledger]
life_at_least_s = 600.0
warm_up_s = 0.1
"""

LEADER = """
[leader]
name = {name}
address = {address}
lease_s = {lease_s}
"""

AGENT = """\
[controller]
endpoint = {endpoint}
lease_endpoint = {lease_endpoint}
public_key_file = {public_key_file}
secret_key_file = {secret_key_file}

[measure]
period_s = 0.25
host_uuid = {host_uuid}
collectors_off = {collectors_off}

[measure.guests]
source = "sim"
url = {control}
"""


def until(look: Callable[[], T | None], *children: Child) -> T:
    """Return what `look` finds, looking again while the children live. Fails after LIMIT_S with their last words."""
    deadline_s = time.monotonic() + LIMIT_S
    while not (found := look()):
        for child in children:
            child.check()
        words = "; ".join(child.last_words() for child in children)
        assert time.monotonic() < deadline_s, f"nothing found within {LIMIT_S} s; {words}"
        time.sleep(0.02)
    return found


def toml(template: str, **values: object) -> str:
    """A TOML basic string is written like a JSON string, and so is a number."""
    written = {name: value if isinstance(value, float | list) else str(value) for name, value in values.items()}
    return template.format(**{name: json.dumps(value) for name, value in written.items()})


class LivePool:
    """An emulated pool as a process; it comes back at the same ports, as it was at first."""

    def __init__(self, folder: Path, brood: Brood, text: str, address: str = "") -> None:
        """With an `address` of its own it is served over TLS."""
        self._brood = brood
        self._options = ("--tls",) if address else ()
        self._file = folder / "pool.toml"
        self._file.write_text(text)
        self._listen, self._control = f"{address or '127.0.0.1'}:0", "127.0.0.1:0"
        self.start()

    def start(self) -> None:
        self.child = self._brood.start(
            "pool",
            "migd_xapi",
            *("--pool", str(self._file), "--listen", self._listen, "--control", self._control),
            *("--log-level", "warning", *self._options),
        )
        ready = json.loads(until(lambda: self.child.output().partition("\n")[0], self.child))
        self.url, self.control = ready["url"], ready["control"]
        self.fingerprint = ready.get("certificate_sha256", "")
        self._listen, self._control = self.url.partition("://")[2], self.control.removeprefix("http://")

    def die(self) -> None:
        self.child.send(signal.SIGKILL)
        assert self.child.wait(LIMIT_S)

    def migrations(self) -> list[Mapping[str, Any]]:
        """Every migration that really began, oldest first."""
        found: list[Mapping[str, Any]] = self.truth()["migrations"]
        return found

    def truth(self) -> Mapping[str, Any]:
        """What is really so."""
        found: Mapping[str, Any] = self._ask("/truth")
        return found

    def fault(self, kind: str, **fields: object) -> None:
        """Let a fault happen; return when it has."""
        self._ask("/faults", {"kind": kind, **fields})

    def _ask(self, path: str, body: object = None) -> Any:
        data = json.dumps(body).encode() if body is not None else None
        with urllib.request.urlopen(self.control + path, data, timeout=LIMIT_S) as answer:
            return json.loads(answer.read())


@dataclass
class LiveController:
    """One controller's files, and its process once it has one."""

    folder: Path
    config: Path
    brood: Brood
    hosts: int
    guests: int
    child: Child | None = None

    @property
    def socket(self) -> Path:
        return self.folder / "controller.sock"

    @property
    def journal(self) -> Path:
        return self.folder / "state" / "journal.sqlite"

    def start(self) -> Child:
        self.child = self.brood.start(self.folder.name, "migd_controller", "--config", str(self.config))
        return self.child

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End the process, if there is one; SIGTERM must end it well."""
        if self.child is None:
            return
        self.child.send(number)
        assert self.child.wait(LIMIT_S), self.child.last_words()
        if number == signal.SIGTERM:
            assert self.child.has_succeeded()

    def ask(self, method: str, path: str, **body: Any) -> Any:
        """Return the answer, decoded. Raises migctl's failures."""
        request = msgspec.convert(body, api.ROUTES[method, path][0]) if body else None
        answer = Client(str(self.socket)).ask(method, path, request)
        return msgspec.json.decode(answer, type=api.ROUTES[method, path][1])

    def post(self, path: str) -> None:
        Client(str(self.socket)).ask("POST", path)

    def explain(self, subject: str) -> api.ExplainView:
        return msgspec.json.decode(Client(str(self.socket)).ask("GET", f"/v1/explain/{subject}"), type=api.ExplainView)

    def status(self, wanted: Callable[[api.StatusView], object] = lambda status: True) -> api.StatusView:
        """Return the status once it is as wanted."""
        return self._once("/v1/status", wanted)

    def sees_everything(self) -> api.StatusView:
        """Return the status once the pool answers and every host reports."""
        return self.status(
            lambda s: s.xapi_connected and (s.hosts, s.hosts_frozen, s.guests) == (self.hosts, 0, self.guests)
        )

    def history(self, wanted: Callable[[list[api.MigrationView]], object]) -> list[api.MigrationView]:
        """Return all migrations, newest first, once they are as wanted."""
        return self._once("/v1/migrations", wanted)

    def _once(self, path: str, wanted: Callable[[Any], object]) -> Any:
        def look() -> Any:
            try:
                found = self.ask("GET", path)
            except Failure:
                return None  # it is coming up; should it have died, its last words are told
            return found if wanted(found) else None

        assert self.child is not None
        return until(look, self.child)

    def journaled(self, kind: str) -> int:
        """How many events or commands of a kind are on record. The journal must be whole."""
        with closing(sqlite3.connect(self.journal)) as journal:
            assert journal.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            (count,) = journal.execute("SELECT count(*) FROM log WHERE kind = ?", (kind,)).fetchone()
        return int(count)


class LiveCluster:
    """The pool and its agents, which every controller in turn may have."""

    def __init__(
        self,
        folder: Path,
        brood: Brood,
        pool: str = POOL,
        agents: Sequence[str] | None = None,
        probes: bool = False,
        address: str = "",
    ) -> None:
        """`agents` are the hosts that have one; all, where they are not named. With `probes` they may probe guests."""
        self.folder, self._brood = folder, brood
        self.pool = LivePool(folder, brood, pool, address)
        parts = tomllib.loads(pool)
        self._hosts, self._guests = len(parts["hosts"]), len(parts["guests"])
        self._agents = [host["uuid"] for host in parts["hosts"]] if agents is None else agents
        self._listen = self._leases = "tcp://127.0.0.1:*"
        self._collectors_off = [] if probes else ["dirty-curve"]
        for name in ("controller", *self._agents):
            keys.create(folder, name)
        for host in self._agents:
            keys.authorise(folder / "agents.toml", host, keys.read_public(folder / f"{host}.key"))
        self.password_file = folder / "xapi.password"
        self.password_file.write_text("migd\n")
        self._controllers = itertools.count(1)
        self.agents: dict[str, Child] = {}

    def controller(self, **changes: object) -> LiveController:
        """Return a controller with state and socket of its own; `changes` replaces keys of its file."""
        folder = self.folder / f"controller-{next(self._controllers)}"
        folder.mkdir()
        values = {
            "state_dir": folder / "state",
            "socket": folder / "controller.sock",
            "listen": self._listen,
            "leases": self._leases,
            "secret_key_file": self.folder / "controller.key_secret",
            "agents_file": self.folder / "agents.toml",
            "url": self.pool.url,
            "password_file": self.password_file,
            "timeout_s": 5.0,
            "settle_s": 0.5,
            "settle_ratio": 0.0,
        }
        config = folder / "controller.toml"
        config.write_text(toml(CONTROLLER, **{**values, **changes}))
        return LiveController(folder, config, self._brood, self._hosts, self._guests)

    def contender(self, name: str, lease_s: float, address: str = "127.0.0.1") -> LiveController:
        """Return one of several controllers, with ports of its own at an address."""
        listen, leases = (f"tcp://{address}:{free_port()}" for _ in range(2))
        controller = self.controller(listen=listen, leases=leases)
        text = controller.config.read_text() + toml(LEADER, name=name, address=address, lease_s=lease_s)
        if self.pool.fingerprint:
            text = text.replace("[xapi]", f'[xapi]\nfingerprints = ["{self.pool.fingerprint}"]')
        controller.config.write_text(text)
        return controller

    def start_agents(self, controller: LiveController, *others: LiveController) -> None:
        """Start the agents, which report to these controllers' addresses for good; later ones take the first over."""
        first, *rest = (until(lambda each=each: _ready_line(each), _child(each)) for each in (controller, *others))
        self._listen, self._leases = first["telemetry"], first["leases"]
        also = ", ".join(f'{{ endpoint = "{at["telemetry"]}", lease_endpoint = "{at["leases"]}" }}' for at in rest)
        known = f"others = [{also}]\n".replace("{", "{{").replace("}", "}}")
        template = AGENT.replace("public_key_file", f"{known}public_key_file", 1)
        for host in self._agents:
            config = self.folder / f"{host}.toml"
            config.write_text(
                toml(
                    template,
                    endpoint=self._listen,
                    lease_endpoint=self._leases,
                    collectors_off=self._collectors_off,
                    public_key_file=self.folder / "controller.key",
                    secret_key_file=self.folder / f"{host}.key_secret",
                    host_uuid=host,
                    control=self.pool.control,
                )
            )
            self.start_agent(host)

    def start_agent(self, host: str) -> None:
        """Start the agent of one host, anew if it has run before."""
        config = self.folder / f"{host}.toml"
        self.agents[host] = self._brood.start(host, "migd_agent", "--config", str(config))


def free_port() -> int:
    """Return a port that nobody has at the moment."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def _child(controller: LiveController) -> Child:
    assert controller.child is not None
    return controller.child


def _ready_line(controller: LiveController) -> Mapping[str, Any] | None:
    assert controller.child is not None
    lines = [line for line in controller.child.log().splitlines() if '"controller ready"' in line]
    return json.loads(lines[0]) if lines else None
