"""What `migd-agent` costs with 64 guests, beside gmond and node_exporter, all at work at the same time.

A real agent process measures once a second through its own libxenstat code; the library that it loads replays counters
(`_replayed_xen.c`), so what Xen itself takes for an answer is not in the figure; no guest is probed. It publishes to a
SUB socket with CURVE that decodes every frame. Debian's gmond runs with its own configuration, node_exporter is scraped
once a second. All of a process' own CPU time counts, kernel and threads included, and that of the tools which it ran.
The agent's host is watched as by default, but its disks five times as often: the files of a server with many sensors
(`_watched_host.py`), with programs in the place of smartctl and ipmitool that only print. Resident memory is what the
process holds at the end, with the packages that a Dom0 gets.

The first agent has flows off. As root, two more count who talks to whom on real bridges (`_agent_on_bridge.py`): on one
each guest talks to 16 others, on the other to all.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
import psutil
import zmq
import zmq.auth

from benchmarks import _peers, _watched_host
from migd_core.frames import decode_sample
from migd_core.health import HealthState
from migd_core.messages import HostSample

GUESTS: Final = 64
# For so long that a BMC (every 120 s by default), disks, and flows to all (every 60 s) have their part.
SAMPLES: Final = 120
SMART_EVERY_S: Final = 120.0
PERIOD_S: Final = 1.0
LIMIT_S: Final = 60.0
HOST: Final = "5f2b8a90-7c1d-4e6f-8a3b-000000000001"
CACHE: Final = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "migd-bench"
_HERE: Final = Path(__file__).parent


def measure() -> dict[str, Any]:
    """Return the figures beside the goals. Raises RuntimeError when samples stay away or a peer cannot be had."""
    root = _peers.unpacked(CACHE)
    with tempfile.TemporaryDirectory() as name, zmq.Context() as context, ExitStack() as running:
        folder = Path(name)
        receiver = receiver_in(context, folder)
        running.callback(receiver.close)
        processes = {
            "agent": running.enter_context(agent(folder, receiver, flows="off")),
            "gmond": running.enter_context(_peers.gmond(root, folder)),
            "node_exporter": running.enter_context(_peers.node_exporter(root, folder)),
        }
        on_bridges = _on_bridges(running)
        first = last = receive(receiver)
        before_s = {name: cpu_s(process) for name, process in processes.items()}
        while last.sequence < first.sequence + SAMPLES or any(each.poll() is None for each in on_bridges.values()):
            last = receive(receiver)
        if last.health.watched != _watched_host.WATCHED or last.health.state is not HealthState.OK:
            raise RuntimeError(f"expected a host that is watched and well, found {last.health}")
        took_s = last.monotonic_s - first.monotonic_s
        figures = {
            name: {
                "cpu_ratio": round((cpu_s(process) - before_s[name]) / took_s, 5),
                "resident_mb": round(process.memory_info().rss / 1e6, 1),
            }
            for name, process in processes.items()
        }
        for name, process in on_bridges.items():
            said, _ = process.communicate()
            if process.returncode:
                raise RuntimeError(f"{name}: exit code {process.returncode}; it says why on standard error")
            figures[name] = msgspec.json.decode(said)
    return {"guests": GUESTS, "seconds": round(took_s, 1), **figures}


def _on_bridges(running: ExitStack) -> "dict[str, subprocess.Popen[bytes]]":
    """Start the agents that count on bridges, each in a network namespace of its own; none for others than root."""
    if os.geteuid() != 0:
        print("agent: what flows cost is not measured; network namespaces and nftables need root", file=sys.stderr)
        return {}
    started = {}
    for others in (16, GUESTS - 1):
        command = ["unshare", "--net", sys.executable, "-m", "benchmarks._agent_on_bridge", str(others)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        running.callback(process.wait)
        running.callback(process.terminate)
        started[f"agent_each_guest_talks_to_{others}"] = process
    return started


@contextmanager
def agent(folder: Path, receiver: "zmq.Socket[bytes]", flows: str) -> Iterator[psutil.Process]:
    """Run an agent that reports to `receiver`."""
    config = folder / "agent.toml"
    config.write_text(
        f"""
[controller]
endpoint = "{receiver.last_endpoint.decode()}"
public_key_file = "{folder}/controller.key"
secret_key_file = "{folder}/agent.key_secret"
[measure]
host_uuid = "{HOST}"
period_s = {PERIOD_S}
flows = "{flows}"
collectors_off = ["dirty-curve"]
guests = {{source = "xen"}}
[health]
smart_every_s = {SMART_EVERY_S}
"""
    )
    for library in ("libxenstat.so.0", "libxenstore.so.4"):
        command = ["cc", "-O2", "-shared", "-fPIC", "-o", str(folder / library), str(_HERE / "_replayed_xen.c")]
        subprocess.run(command, check=True)
    _watched_host.make(folder)
    with (folder / "agent.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, str(_HERE / "_replaying_agent.py"), "--config", str(config)],
            stderr=log,
            env={
                **os.environ,
                "LD_LIBRARY_PATH": str(folder),
                "MIGD_BENCH_ROOT": str(folder),
                "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
            },
        )
    try:
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait()


def receiver_in(context: "zmq.Context[zmq.Socket[bytes]]", folder: Path) -> "zmq.Socket[bytes]":
    """Return what an agent reports to; the keys of both are put into `folder`."""
    for name in ("controller", "agent"):
        Path(zmq.auth.create_certificates(folder, name)[1]).chmod(0o600)
    receiver = context.socket(zmq.SUB)
    receiver.curve_server, receiver.linger = True, 0
    receiver.curve_secretkey = zmq.auth.load_certificate(folder / "controller.key_secret")[1]
    receiver.subscribe(b"")
    receiver.bind_to_random_port("tcp://127.0.0.1")
    return receiver


def receive(receiver: "zmq.Socket[bytes]") -> HostSample:
    """Return the next sample, which must be whole: every guest, nothing missing."""
    if not receiver.poll(int(LIMIT_S * 1000)):
        raise RuntimeError(f"no sample from the agent within {LIMIT_S:g} s")
    sample = decode_sample(receiver.recv_multipart())
    if len(sample.guests) != GUESTS or sample.failed_collectors:
        raise RuntimeError(f"a sample of {len(sample.guests)} guests, missing {sample.failed_collectors}")
    return sample


def cpu_s(process: psutil.Process) -> float:
    """Return the CPU time of a process, and of those that it started and that have ended."""
    return float(sum(process.cpu_times()[:4]))


if __name__ == "__main__":
    print(msgspec.json.encode(measure()).decode())
