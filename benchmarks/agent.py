"""What one `migd-agent` costs: CPU time per sample, and resident memory.

A real agent process measures 20 guests of a pool that replays recorded counters over HTTP, and publishes to a SUB
socket with CURVE that decodes every frame. All of the agent's own CPU time counts, kernel and threads included, from
the first sample that arrived to the last. The period is shortened to get many samples; a longer one costs the same per
sample. Resident memory is what the process holds at the end; `rich` adds some 4 MB where it is installed, because
structlog loads it.
"""

import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

import msgspec
import psutil
import zmq
import zmq.auth

from migd_core.counters import FlowCounter, GuestCounters, HostCounters
from migd_core.frames import decode_sample
from migd_core.messages import DirtyCurve, HostSample

GUESTS: Final = 20
SAMPLES: Final = 100
PERIOD_S: Final = 0.1
LIMIT_S: Final = 60.0
HOST: Final = "5f2b8a90-7c1d-4e6f-8a3b-000000000001"


def measure() -> dict[str, float]:
    """Return the figures; resident memory goal: at most 40 MB. Raises RuntimeError when samples stay away."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Replay)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with tempfile.TemporaryDirectory() as name, zmq.Context() as context:
            return _measure(Path(name), context, server.server_port)
    finally:
        server.shutdown()
        server.server_close()


def counters(at_s: float) -> HostCounters:
    """Return what a Dom0 with 20 guests at work, all talking to their neighbours, shows after `at_s`."""
    guests = tuple(
        GuestCounters(
            uuid=f"00000000-0000-4000-8000-{number:012d}",
            domid=number + 1,
            vcpus=4,
            cpu_s=at_s * (0.5 + 0.1 * number),
            memory_bytes=4 << 30,
            rx_bytes=int(at_s * 1e6 * number),
            tx_bytes=int(at_s * 2e6 * number),
        )
        for number in range(GUESTS)
    )
    flows = tuple(
        FlowCounter(f"00:16:3e:00:00:{number:02x}", f"00:16:3e:00:00:{(number + 1) % GUESTS:02x}", int(at_s * 1e6))
        for number in range(GUESTS)
    )
    return HostCounters(
        host_uuid=HOST,
        boot_id="recorded",
        at_s=at_s,
        cpus=64,
        cpu_s=sum(guest.cpu_s for guest in guests) + at_s,
        dom0_cpu_s=at_s,
        memory_bytes=256 << 30,
        memory_free_bytes=100 << 30,
        rx_bytes=int(at_s * 1e7),
        tx_bytes=int(at_s * 2e7),
        link_bytes_per_s=1.25e9,
        guests=guests,
        flows=flows,
    )


class _Replay(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        if "/dirty/" in self.path:
            ages_s = tuple(float(age) for age in self.path.partition("ages=")[2].split(","))
            body = msgspec.json.encode(DirtyCurve(ages_s, tuple(range(len(ages_s)))))
        else:
            body = msgspec.json.encode(counters(time.monotonic()))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _measure(folder: Path, context: zmq.Context, pool_port: int) -> dict[str, float]:
    for name in ("controller", "agent"):
        Path(zmq.auth.create_certificates(folder, name)[1]).chmod(0o600)
    receiver = context.socket(zmq.SUB)
    receiver.curve_server, receiver.linger = True, 0
    receiver.curve_secretkey = zmq.auth.load_certificate(folder / "controller.key_secret")[1]
    receiver.subscribe(b"")
    port = receiver.bind_to_random_port("tcp://127.0.0.1")
    config = folder / "agent.toml"
    config.write_text(
        f"""
[controller]
endpoint = "tcp://127.0.0.1:{port}"
public_key_file = "{folder}/controller.key"
secret_key_file = "{folder}/agent.key_secret"
[measure]
host_uuid = "{HOST}"
period_s = {PERIOD_S}
guests = {{source = "sim", url = "http://127.0.0.1:{pool_port}"}}
"""
    )
    with (folder / "log").open("wb") as log:
        agent = subprocess.Popen(
            [sys.executable, "-m", "migd_agent", "--config", str(config)],
            stderr=log,
        )
    try:
        process = psutil.Process(agent.pid)
        first = _receive(receiver)
        before_s = _cpu_s(process)
        last = first
        while last.sequence < first.sequence + SAMPLES:
            last = _receive(receiver)
        used_s = _cpu_s(process) - before_s
        return {
            "guests": GUESTS,
            "samples": SAMPLES,
            "cpu_ms_per_sample": round(used_s / SAMPLES * 1e3, 3),
            "cpu_ratio_at_1_hz": round(used_s / SAMPLES, 5),
            "resident_mb": round(process.memory_info().rss / 1e6, 1),
        }
    finally:
        agent.terminate()
        agent.wait()
        receiver.close()


def _receive(receiver: zmq.Socket) -> HostSample:
    """Return the next sample, which must be whole: every guest, nothing missing."""
    if not receiver.poll(LIMIT_S * 1000):
        raise RuntimeError(f"no sample from the agent within {LIMIT_S:g} s")
    sample = decode_sample(receiver.recv_multipart())
    if len(sample.guests) != GUESTS or sample.failed_collectors:
        raise RuntimeError(f"a sample of {len(sample.guests)} guests, missing {sample.failed_collectors}")
    return sample


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


if __name__ == "__main__":
    print(msgspec.json.encode(measure()).decode())
