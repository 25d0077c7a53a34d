"""`python -m benchmarks._agent_on_bridge OTHERS`: what an agent costs that counts who talks to whom on a real bridge.

It wants a network namespace of its own. Each of the guests sends frames to OTHERS of the others, all the time, and real
nftables counts them. The figures are from just after one reading of the switch to just after a later one, so that no
part of a reading is left out.
"""

import itertools
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any, Final

import msgspec
import psutil
import zmq

from benchmarks.agent import GUESTS, SAMPLES, agent, cpu_s, receive, receiver_in
from migd_core.messages import HostSample

FRAMES_A_BURST: Final = 100
BURST_EVERY_S: Final = 0.2
# An EtherType for experiments: where br_netfilter is loaded, it drops what says IP and is not.
PAYLOAD: Final = b"\x88\xb5" + bytes(1000)
SAMPLES_UNTIL_ALL_TALK: Final = 100
_BRIDGE: Final = """
link set lo up
link add br0 type bridge
link add port0 type veth peer name sends
link add port1 type veth peer name receives
link set port0 master br0
link set port1 master br0
link set port0 type bridge_slave learning off
link set br0 up
link set port0 up
link set port1 up
link set sends up
link set receives up
"""


def measure(others: int) -> dict[str, Any]:
    """Return the figures of an agent beside which each guest talks to so many others."""
    subprocess.run(["ip", "-batch", "-"], input=_BRIDGE, text=True, check=True)
    pairs = [(guest, (guest + step) % GUESTS) for guest in range(GUESTS) for step in range(1, others + 1)]
    stop = threading.Event()
    talk = threading.Thread(target=_talk, args=(pairs, stop))
    with tempfile.TemporaryDirectory() as name, zmq.Context() as context:
        receiver = receiver_in(context, Path(name))
        talk.start()
        try:
            with agent(Path(name), receiver, flows="bridge") as process:
                return _figures(process, receiver, len(pairs))
        finally:
            stop.set()
            talk.join()
            receiver.close()


def _figures(process: psutil.Process, receiver: "zmq.Socket[bytes]", pairs: int) -> dict[str, Any]:
    for _ in range(SAMPLES_UNTIL_ALL_TALK):
        if len((first := receive(receiver)).flows) == pairs:
            break
    else:
        raise RuntimeError(f"not all of {pairs} pairs were told in {SAMPLES_UNTIL_ALL_TALK} samples")
    first = last = _next_reading(receiver, first)
    began_s, tools_began_s, readings = cpu_s(process), _tools_s(process), 0
    while last.sequence < first.sequence + SAMPLES:
        last, readings = _next_reading(receiver, last), readings + 1
    took_s = last.monotonic_s - first.monotonic_s
    return {
        "cpu_ratio": round((cpu_s(process) - began_s) / took_s, 5),
        "of_that_tools": round((_tools_s(process) - tools_began_s) / took_s, 5),
        "resident_mb": round(process.memory_info().rss / 1e6, 1),
        "pairs": pairs,
        "reads_every_s": round(took_s / readings, 1),
    }


def _next_reading(receiver: "zmq.Socket[bytes]", last: HostSample) -> HostSample:
    """Return the sample that first tells what the switch counted after `last` was told: no rate stays the same."""
    while True:
        sample = receive(receiver)
        if not sample.flows_held and sample.flows != last.flows:
            return sample


def _tools_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.children_user + times.children_system)


def _talk(pairs: list[tuple[int, int]], stop: threading.Event) -> None:
    frames = itertools.cycle([_mac(target) + _mac(source) + PAYLOAD for source, target in pairs])
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as line:
        line.bind(("sends", 0))
        while not stop.wait(BURST_EVERY_S):
            for frame in itertools.islice(frames, FRAMES_A_BURST):
                line.send(frame)


def _mac(guest: int) -> bytes:
    return bytes((0x00, 0x16, 0x3E, 0, 0, guest))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the agent ends too
    print(msgspec.json.encode(measure(int(sys.argv[1]))).decode())
