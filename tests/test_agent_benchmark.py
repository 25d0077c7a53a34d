"""The agent that `python -m benchmarks agent` measures is whole: what it leaves out would be missing in the figures."""

import shutil
from pathlib import Path

import pytest
import zmq
from benchmarks import _watched_host
from benchmarks.agent import agent, receive, receiver_in

from migd_core.health import HealthState

# Below the goal of 35 MB, by what flows of each guest to all others take.
MAX_RESIDENT_BYTES = 31 * 10**6


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler is here to make a library with")
def test_the_agent_of_the_benchmark_misses_nothing_and_leaves_room_for_flows(tmp_path: Path) -> None:
    """`receive` refuses a sample in which a guest or any collector is missing; sensors and guests have their turns."""
    with zmq.Context() as context:
        receiver = receiver_in(context, tmp_path)
        try:
            with agent(tmp_path, receiver, flows="off") as process:
                sample = receive(receiver)
                while sample.health.watched != _watched_host.WATCHED or None in {g.progress for g in sample.guests}:
                    sample = receive(receiver)
                resident_bytes = process.memory_info().rss
        finally:
            receiver.close()
    assert sample.health.state is HealthState.OK
    assert resident_bytes <= MAX_RESIDENT_BYTES
