"""How much of the speed of a bare receive-and-decode loop the controller's intake keeps.

One sender process publishes real frames of 20 guests over loopback with CURVE. The same number of frames goes once
through `recv_multipart` and `decode_sample` and nothing else, once through the real `Intake`: ZAP, the check of the
sender's key, newest-per-host, and the core taking the sample in. Rounds alternate; the ratio is of the medians.
"""

import asyncio
import contextlib
import multiprocessing
import signal
import statistics
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Final

import zmq
import zmq.auth

from migd_controller.config import TelemetrySection
from migd_controller.intake import Intake
from migd_controller.telemetry import Telemetry
from migd_core import keys
from migd_core.frames import decode_sample, encode_sample
from migd_core.messages import DirtyCurve, FlowSample, GuestSample, HostSample

HOSTS: Final = 50
GUESTS: Final = 20
FRAMES: Final = 10_000
ROUNDS: Final = 5


def host_sample(host: int, sequence: int) -> HostSample:
    """Return a sample as a busy Dom0 sends it."""
    guests = tuple(
        GuestSample(
            uuid=f"00000000-0000-0000-{host:04d}-{number:012d}",
            vcpus=4,
            cpu_ratio=0.01 * (sequence % 90),
            memory_bytes=8 << 30,
            rx_bytes_per_s=1e6 + sequence,
            tx_bytes_per_s=2e6 + sequence,
            dirty_curve=DirtyCurve((0.05, 0.2, 0.8, 3.2), (900, 2500, 7000, 15000)) if number == 0 else None,
        )
        for number in range(GUESTS)
    )
    flows = tuple(FlowSample(f"00:16:3e:00:00:{a:02x}", f"00:16:3e:00:01:{a:02x}", 1e6) for a in range(GUESTS))
    return HostSample(
        host_uuid=f"host-{host}",
        boot_id="boot",
        sequence=sequence,
        monotonic_s=float(sequence),
        interval_s=1.0,
        cpus=128,
        cpu_ratio=0.95,
        dom0_cpu_ratio=0.02,
        memory_bytes=512 << 30,
        memory_free_bytes=100 << 30,
        rx_bytes_per_s=1e7,
        tx_bytes_per_s=1e7,
        link_bytes_per_s=1.25e9,
        guests=guests,
        flows=flows,
    )


def measure() -> dict[str, float]:
    """Return frames per CPU second of the receiving thread for each path, and their ratio (goal: at least 0.6)."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        keys.create(folder, "controller")
        for host in range(HOSTS):
            keys.create(folder, f"host-{host}")
            keys.authorise(folder / "agents.toml", f"host-{host}", keys.read_public(folder / f"host-{host}.key"))
        bare, through = [], []
        for _ in range(ROUNDS):
            bare.append(_bare(folder))
            through.append(asyncio.run(_through_intake(folder)))
    return {
        "frames": FRAMES,
        "guests_per_frame": GUESTS,
        "bare_frames_per_s": round(FRAMES / statistics.median(bare)),
        "intake_frames_per_s": round(FRAMES / statistics.median(through)),
        "ratio": round(statistics.median(bare) / statistics.median(through), 3),
    }


def _bare(folder: Path) -> float:
    """Return the CPU seconds that `recv` and `decode` alone take of this thread for FRAMES frames."""
    context = zmq.Context()
    socket = context.socket(zmq.SUB)
    socket.linger = 0
    socket.rcvhwm = 2 * FRAMES
    socket.curve_server = True
    socket.curve_publickey, socket.curve_secretkey = keys.read_secret(folder / "controller.key_secret")
    socket.subscribe(b"")
    port = socket.bind_to_random_port("tcp://127.0.0.1")
    with _sender(f"tcp://127.0.0.1:{port}", folder) as go:
        seen: set[str] = set()
        while len(seen) < HOSTS:
            seen.add(decode_sample(socket.recv_multipart()).host_uuid)
        go.set()
        started_s, left = 0.0, FRAMES
        while left:
            sample = decode_sample(socket.recv_multipart())
            if sample.sequence:
                started_s = started_s or time.thread_time()
                left -= 1
        spent_s = time.thread_time() - started_s
    socket.close()
    context.term()
    return spent_s


async def _through_intake(folder: Path) -> float:
    """Return the CPU seconds that the intake takes of this thread for FRAMES frames, up to the core's telemetry."""
    telemetry = Telemetry(smoothing_s=5.0)
    all_joined, all_arrived = asyncio.Event(), asyncio.Event()

    def take(sample: HostSample) -> None:
        telemetry.accept(sample, 0.0)
        if len(telemetry.hosts) == HOSTS:
            all_joined.set()
        if sample.sequence == FRAMES // HOSTS and intake.counts.received >= FRAMES:
            all_arrived.set()

    section = TelemetrySection(
        secret_key_file=folder / "controller.key_secret",
        agents_file=folder / "agents.toml",
        listen="tcp://127.0.0.1:*",
    )
    intake = Intake(section, take)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(intake.run())
        with _sender(intake.endpoint, folder) as go:
            await asyncio.wait_for(all_joined.wait(), 60)
            intake.counts.received = 0
            started_s = time.thread_time()
            go.set()
            await asyncio.wait_for(all_arrived.wait(), 120)
            spent_s = time.thread_time() - started_s
        running.cancel()
    intake.close()
    return spent_s


@contextlib.contextmanager
def _sender(endpoint: str, folder: Path) -> Iterator[Event]:
    """A process that repeats sample 0 of each host until it is told to go, then sends FRAMES samples, dropping none."""
    spawn = multiprocessing.get_context("spawn")
    go = spawn.Event()
    process = spawn.Process(target=_send, args=(endpoint, folder, go), daemon=True)
    process.start()
    try:
        yield go
    finally:
        process.terminate()
        process.join()


def _send(endpoint: str, folder: Path, go: Event) -> None:
    context = zmq.Context()
    server, _ = zmq.auth.load_certificate(folder / "controller.key")
    agents = []
    for host in range(HOSTS):
        socket = context.socket(zmq.PUB)
        socket.setsockopt(zmq.XPUB_NODROP, 1)
        socket.sndhwm = FRAMES
        socket.curve_serverkey = server
        socket.curve_publickey, socket.curve_secretkey = keys.read_secret(folder / f"host-{host}.key_secret")
        socket.connect(endpoint)
        agents.append(socket)
    frames = [
        (agents[number % HOSTS], encode_sample(host_sample(number % HOSTS, 1 + number // HOSTS)))
        for number in range(FRAMES)
    ]
    while not go.wait(0.05):
        for host, socket in enumerate(agents):
            socket.send_multipart(encode_sample(host_sample(host, 0)))
    for socket, parts in frames:
        socket.send_multipart(parts)
    signal.pause()  # until terminated: closing the sockets now would drop what waits in them
