"""Many agents in one process: `python -m benchmarks._load.agents FOLDER ENDPOINT FIRST COUNT GUESTS`.

Each has its own key and connection, made by the agent's own `Publisher`, and sends a sample a second; their seconds are
spread evenly. It says `ready` once all are connected, begins when it reads a line, ends with the next, and then prints
how many samples it sent, by host, and how many it could not, as JSON.
"""

import contextlib
import json
import logging
import random
import resource
import select
import sys
import time
from pathlib import Path
from typing import Final

import structlog
import zmq
from msgspec.structs import replace

from benchmarks._load.still_pool import CPUS, guest_uuid, host_uuid, mac
from migd_agent import identity
from migd_agent.config import ControllerSection
from migd_agent.publisher import Link, Publisher
from migd_core.messages import DirtyCurve, FlowSample, GuestSample, HostSample
from migd_core.units import GIB

PERIOD_S: Final = 1.0
SOCKETS_OF_AN_AGENT: Final = 4
FILES_OF_AN_AGENT: Final = 16


def sample(host: int, guests: int, sequence: int, rng: random.Random) -> HostSample:
    """Return what a busy Dom0 tells: its guests' CPU use wanders, each talks to a guest of its own host."""
    found = tuple(
        GuestSample(
            uuid=guest_uuid(host, number),
            vcpus=2,
            cpu_ratio=0.3 + 0.6 * rng.random(),
            memory_bytes=8 * GIB,
            rx_bytes_per_s=1e6 * rng.random(),
            tx_bytes_per_s=1e6 * rng.random(),
            read_bytes_per_s=1e5 * rng.random(),
            written_bytes_per_s=1e5 * rng.random(),
            dirty_curve=DirtyCurve((0.05, 0.2, 0.8, 3.2), (900, 2500, 7000, 15000), measured_s=1.0),
        )
        for number in range(guests)
    )
    talking = tuple(FlowSample(mac(host, n), mac(host, (n + 1) % guests), 1e6 * rng.random()) for n in range(guests))
    cpus = sum(guest.vcpus * guest.cpu_ratio for guest in found)
    return HostSample(
        host_uuid=host_uuid(host),
        boot_id="load",
        sequence=sequence,
        monotonic_s=time.monotonic(),
        interval_s=PERIOD_S,
        cpus=CPUS,
        cpu_ratio=min(1.0, cpus / CPUS + 0.02),
        dom0_cpu_ratio=0.02,
        memory_bytes=512 * GIB,
        memory_free_bytes=(512 - 8 * guests) * GIB,
        rx_bytes_per_s=1e6,
        tx_bytes_per_s=1e6,
        link_bytes_per_s=1.25e9,
        guests=found,
        flows=talking,
        clock_s=time.time(),
    )


def main(folder: Path, endpoint: str, first: int, count: int, guests: int) -> None:
    """Send until told to end."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 1024 + FILES_OF_AN_AGENT * count), most))
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    context.set(zmq.MAX_SOCKETS, 64 + SOCKETS_OF_AN_AGENT * count)
    hosts = range(first, first + count)
    agents = [_agent(context, folder, endpoint, host) for host in hosts]
    with contextlib.ExitStack() as closing:
        for agent in agents:
            closing.callback(agent.close)
        while any(agent.link is not Link.CONNECTED for agent in agents):
            for agent in agents:
                agent.follow(time.monotonic())
            time.sleep(0.05)
        rng = random.Random(first)
        base = [sample(host, guests, 0, rng) for host in hosts]
        _tell("ready")
        sys.stdin.readline()
        sent, late_s = [0] * count, 0.0
        began_s = time.monotonic()
        turn = 0
        while not _is_told():
            due_s = began_s + turn * PERIOD_S / count
            now_s = time.monotonic()
            if due_s > now_s:
                time.sleep(due_s - now_s)
            late_s = max(late_s, now_s - due_s)
            number = turn % count
            agent, known = agents[number], base[number]
            agent.follow(time.monotonic())
            wandering = replace(
                known, sequence=turn // count + 1, monotonic_s=time.monotonic(), samples_dropped=agent.dropped
            )
            sent[number] += agent.send(wandering)
            turn += 1
            if turn % count == 0 and turn // count % 10 == 0:
                base = [sample(host, guests, 0, rng) for host in hosts]
        answer = {
            "sent": {host_uuid(host): times for host, times in zip(hosts, sent, strict=True)},
            "dropped": sum(agent.dropped for agent in agents),
            "late_s": round(late_s, 3),
        }
        _tell(json.dumps(answer))
        sys.stdin.readline()  # closing the sockets at once would drop what waits in them


def _agent(context: zmq.Context[zmq.Socket[bytes]], folder: Path, endpoint: str, host: int) -> Publisher:
    name = host_uuid(host)
    public, secret = folder / "controller.key", folder / f"{name}.key_secret"
    section = ControllerSection(endpoint=endpoint, public_key_file=str(public), secret_key_file=str(secret))
    return Publisher(context, section, identity.load_keys(public, secret), name)


def _is_told() -> bool:
    """Return whether a line has come, or nobody is there to send one any more."""
    if not select.select([sys.stdin], [], [], 0)[0]:
        return False
    sys.stdin.readline()
    return True


def _tell(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    folder, endpoint, *numbers = sys.argv[1:]
    main(Path(folder), endpoint, *map(int, numbers))
