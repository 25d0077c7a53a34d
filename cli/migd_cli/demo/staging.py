"""Raises the demo's stage: the emulated pool, the controller, an agent for each host, and the job made known."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from migd_cli.client import Client
from migd_cli.demo.children import Brood, Child
from migd_cli.demo.configuration import Endpoints, Files, agent_toml, agents_toml, controller_toml
from migd_cli.demo.emulated_pool import POOL_FILE, EmulatedPool, Outline, Ready, outline
from migd_cli.demo.scene import Cast
from migd_cli.failures import Failure
from migd_core import keys
from migd_core.api import JobRequest, StatusView
from migd_core.errors import MigdError

T = TypeVar("T")
Pause = Callable[[float], None]

TIMES_FASTER: Final = 30
HOG: Final = "batch1"
HOG_VCPUS: Final = 4
# So long that no move is refused because the job is about to end; the demo is over before.
JOB_LASTS_S: Final = 6 * 3600.0
# On a loaded machine a Python process takes seconds to come up.
PATIENCE_S: Final = 30.0
POLL_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class Stage:
    """What the demo plays on. `page` is the controller's, in a browser."""

    socket: Path
    page: str
    pool: EmulatedPool
    client: Client
    cast: Cast


def raise_stage(folder: Path, children: Brood, pause: Pause) -> Stage:
    """Start everything in `folder` and return when the controller sees the whole pool through live agents.

    Raises ChildDied or MigdError, with the log of the process that is to blame, and what `pause` raises.
    """
    files, known = Files(folder), outline()
    (job,) = known.jobs
    with resources.as_file(POOL_FILE) as pool_file:
        pool_child = _start_pool(pool_file, children)
        for name in ("controller", *(host.name for host in known.hosts)):
            keys.create(folder, name)
        ready = _until(lambda: _ready(pool_child), pool_child, "come up", pause)
    let_in = {host.uuid: keys.read_public(files.public_key(host.name)) for host in known.hosts}
    files.agents.write_text(agents_toml(let_in), encoding="utf-8")
    files.password.write_text("migd\n", encoding="utf-8")
    files.config("controller").write_text(controller_toml(files, ready.url), encoding="utf-8")
    controller = children.start("controller", "migd_controller", "--config", str(files.config("controller")))
    endpoints = _until(lambda: endpoints_of(controller), controller, "come up", pause)
    for host in known.hosts:
        text = agent_toml(files, host.name, host.uuid, endpoints, ready.control)
        files.config(host.name).write_text(text, encoding="utf-8")
        children.start(f"agent-{host.name}", "migd_agent", "--config", str(files.config(host.name)))
    client = Client(str(files.socket), timeout_s=5.0)

    def is_whole() -> StatusView | None:
        children.check()
        return _whole_pool(client, known)

    _until(is_whole, controller, "see the whole pool", pause)
    client.ask("POST", "/v1/jobs", JobRequest(name=job.name, guests=list(job.ranks), remaining_s=JOB_LASTS_S))
    cast = Cast(job.name, frozenset(job.ranks), HOG, HOG_VCPUS)
    return Stage(files.socket, endpoints.page, EmulatedPool(ready.control), client, cast)


def _start_pool(pool_file: Path, children: Brood) -> Child:
    any_port = "127.0.0.1:0"
    return children.start(
        "pool",
        "migd_xapi",
        *("--pool", str(pool_file), "--faster", str(TIMES_FASTER), "--listen", any_port, "--control", any_port),
        *("--log-level", "warning"),
    )


def _ready(pool: Child) -> Ready | None:
    line, newline, _ = pool.output().partition("\n")
    return msgspec.json.decode(line, type=Ready) if newline else None


def endpoints_of(controller: Child) -> Endpoints | None:
    """Return where the controller talks to agents, as it logs once it is ready."""
    for line in controller.log().splitlines():
        if '"controller ready"' in line:
            known = json.loads(line)
            return Endpoints(known["telemetry"], known["leases"], known["url"])
    return None


def _whole_pool(client: Client, known: Outline) -> StatusView | None:
    """Return the controller's status once it sees every guest, on hosts that all report."""
    try:
        status = client.get("/v1/status", StatusView)
    except Failure:
        return None  # it is coming up; should it have died, its log is shown
    is_whole = (status.hosts, status.hosts_frozen, status.guests) == (len(known.hosts), 0, len(known.guests))
    return status if is_whole else None


def _until(look: Callable[[], T | None], child: Child, what: str, pause: Pause) -> T:
    """Return what `look` finds, looking again and again while `child` lives.

    Raises ChildDied, or MigdError naming `what` was waited for.
    """
    deadline_s = time.monotonic() + PATIENCE_S
    while (found := look()) is None:
        child.check()
        if time.monotonic() > deadline_s:
            raise MigdError(f"the {child.name} did not {what} within {PATIENCE_S:g} s; {child.last_words()}")
        pause(POLL_S)
    return found
