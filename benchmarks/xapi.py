"""How quick the emulated pool is with 64 hosts and 1,000 guests, to clients that use the official SDK.

The pool runs in a process of its own and notes when each of its objects changed; so do the watching clients when they
hear of it, all on this machine's monotonic clock. A change that the next one overtakes counts until its object's next
event, as `event.from` tells of it.
"""

import asyncio
import multiprocessing
import statistics
import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from multiprocessing.synchronize import Barrier, Event
from typing import Any, Final

import XenAPI

from migd_controller.pool_records import CLASSES
from migd_core.units import GIB
from migd_sim.model.cluster import Cluster
from migd_sim.model.spec import GuestSpec, HostSpec, PoolSpec
from migd_sim.model.writes import RandomWrites
from migd_xapi.database import Database, Row
from migd_xapi.datamodel.types import Value
from migd_xapi.server import Server
from migd_xapi.settings import Settings
from migd_xapi.sim_backend import SimBackend

HOSTS: Final = 64
GUESTS: Final = 1000
MIGRATIONS: Final = 100
CLIENTS: Final = 5
ROUNDS: Final = 3
LIMIT_S: Final = 120.0
Change = tuple[str, int, float]  # reference, generation, when


def measure() -> dict[str, float]:
    """Return seconds to log in and hear of all objects (goal: 2 at most), and the delay of events (median: 0.2).

    `sdk_cpu_s` of the former is what the SDK itself takes to read the answer.
    """
    spawn = multiprocessing.get_context("spawn")
    processes: list[SpawnProcess] = []

    def start(target: Callable[..., None], *arguments: object) -> Connection:
        mine, its = spawn.Pipe()
        processes.append(spawn.Process(target=target, args=(its, *arguments), daemon=True))
        processes[-1].start()
        return mine

    try:
        pool = start(_serve)
        url = _receive(pool)
        syncs = [_login_and_first_events(url) for _ in range(ROUNDS)]
        begun, over = spawn.Barrier(CLIENTS + 1), spawn.Event()
        clients = [start(_watch, url, begun, over) for _ in range(CLIENTS)]
        begun.wait(LIMIT_S)
        first_s = time.monotonic()
        wall_s, arrived = _migrate(url)
        over.set()
        heard = [_receive(client) for client in clients]
        pool.send("stop")
        changes: list[Change] = [change for change in _receive(pool) if change[2] >= first_s]
    finally:
        for process in processes:
            process.kill()
            process.join()
    delays = [delay for events in heard for delay in _delays(changes, events)]
    return {
        "hosts": HOSTS,
        "guests": GUESTS,
        "login_and_first_events_s": round(statistics.median(wall_s for wall_s, _ in syncs), 3),
        "sdk_cpu_s": round(statistics.median(cpu_s for _, cpu_s in syncs), 3),
        "migrations": arrived,
        "migrations_wall_s": round(wall_s, 1),
        "watching_clients": CLIENTS,
        "changes": len(changes),
        "event_delay_median_s": round(statistics.median(delays), 4),
        "event_delay_p95_s": round(statistics.quantiles(delays, n=20)[-1], 4),
    }


def _receive(pipe: Connection) -> Any:
    if not pipe.poll(LIMIT_S):
        raise TimeoutError(f"a process of the benchmark said nothing for {LIMIT_S:.0f} s")
    return pipe.recv()


def _serve(parent: Connection) -> None:
    asyncio.run(_serve_until_told(parent))


async def _serve_until_told(parent: Connection) -> None:
    spec = PoolSpec(
        name="benchmark",
        hosts=tuple(HostSpec(name=f"h{n}", cpus=16, memory_bytes=64 * GIB) for n in range(HOSTS)),
        guests=tuple(
            GuestSpec(
                name=f"g{n}",
                host=f"h{n % HOSTS}",
                vcpus=2,
                memory_bytes=GIB,
                writes=(RandomWrites(pages=20_000, tau_s=1.0),),
            )
            for n in range(GUESTS)
        ),
    )
    backend = SimBackend(Cluster(spec))
    server = Server(backend, "benchmark", Settings())
    changes = _note_changes(server.pool.db)
    cluster = asyncio.create_task(backend.run())
    parent.send(await server.start("127.0.0.1", 0))
    await asyncio.to_thread(parent.recv)
    cluster.cancel()
    await server.stop()
    parent.send(changes)


def _note_changes(db: Database) -> list[Change]:
    """Return a list that fills with each change of an object and when it was made."""
    changes: list[Change] = []
    update = db.update

    def noted(row: Row, **values: Value) -> None:
        before = row.changed
        update(row, **values)
        if row.changed != before:
            changes.append((row.ref, row.changed, time.monotonic()))

    db.update = noted
    return changes


def _session(url: str) -> XenAPI.Session:
    session = XenAPI.Session(url)
    session.xenapi.login_with_password("root", "migd", "1.0", "benchmark")
    return session


def _events(session: XenAPI.Session, classes: tuple[str, ...], token: str, timeout_s: float) -> dict[str, Any]:
    batch: dict[str, Any] = getattr(session.xenapi.event, "from")(list(classes), token, timeout_s)
    return batch


def _login_and_first_events(url: str) -> tuple[float, float]:
    """Return the seconds that it took, and those of CPU that this process spent."""
    started_s, started_cpu_s = time.perf_counter(), time.process_time()
    session = _session(url)
    batch = _events(session, ("*",), "", 10.0)
    wall_s, cpu_s = time.perf_counter() - started_s, time.process_time() - started_cpu_s
    assert len(batch["events"]) > HOSTS + GUESTS
    session("close")()
    return wall_s, cpu_s


def _watch(parent: Connection, url: str, begun: Barrier, over: Event) -> None:
    """Note each event as it comes, until nothing more does after the last migration."""
    session = _session(url)
    token, heard = _events(session, CLASSES, "", 10.0)["token"], []
    begun.wait(LIMIT_S)
    is_over = False
    while not is_over:
        is_over = over.is_set()
        batch = _events(session, CLASSES, token, 1.0)
        now_s = time.monotonic()
        token = batch["token"]
        heard += [(event["ref"], int(event["id"]), now_s) for event in batch["events"] if event["operation"] != "del"]
    parent.send(heard)


def _migrate(url: str) -> tuple[float, int]:
    """Migrate guests all at once; return how long it took, and how many arrived."""
    session = _session(url)
    api = session.xenapi
    hosts = {record["name_label"]: ref for ref, record in api.host.get_all_records().items()}
    vms = {record["name_label"]: ref for ref, record in api.VM.get_all_records().items()}
    started_s = time.monotonic()
    tasks = {
        api.Async.VM.pool_migrate(vms[f"g{n}"], hosts[f"h{(n + 1) % HOSTS}"], {}): "pending" for n in range(MIGRATIONS)
    }
    token = ""
    while "pending" in tasks.values():
        assert time.monotonic() - started_s < LIMIT_S, "the migrations do not end"
        batch = _events(session, ("task",), token, 10.0)
        token = batch["token"]
        tasks |= {event["ref"]: event["snapshot"]["status"] for event in batch["events"] if event["ref"] in tasks}
    session("close")()
    return time.monotonic() - started_s, sum(status == "success" for status in tasks.values())


def _delays(changes: list[Change], events: list[Change]) -> list[float]:
    """Return how long after each change the client had an event that tells of it, or of a later one of its object."""
    heard: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for ref, generation, at_s in events:
        heard[ref].append((generation, at_s))
    delays = []
    for ref, generation, at_s in changes:
        of_object = heard[ref]
        index = bisect_left(of_object, (generation, 0.0))
        if index < len(of_object):
            delays.append(of_object[index][1] - at_s)
    return delays
