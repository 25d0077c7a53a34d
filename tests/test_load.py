"""A short run of what `make load` does for ten minutes: real processes, real keys, trouble of each kind."""

import contextlib
import json
import socket
import sqlite3
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from benchmarks._load import watched
from benchmarks._load.__main__ import line, lost, main, make_keys, process
from benchmarks._load.taken_in import Taken, taken_in
from benchmarks._load.watched import Controller

ROOT = Path(__file__).parents[1]
AGENTS, JUNK = 20, 600


@pytest.fixture(scope="module")
def figures() -> Any:
    command = [sys.executable, "-m", "benchmarks._load", "--agents", str(AGENTS), "--guests", "5", "--seconds", "4"]
    command += ["--trouble-seconds", "4", "--junk", str(JUNK), "--period-s", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=180, check=False)
    assert done.stdout, done.stderr
    found = json.loads(done.stdout)
    assert f"of {len(found['goals'])} goals met" in done.stderr
    return found["figures"]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("--agents 0", "--agents: expected a whole number, 1 or more, found '0'"),
        ("--agents many", "--agents: expected a whole number, 1 or more, found 'many'"),
        ("--guests -1", "--guests: expected a whole number, 1 or more, found '-1'"),
        ("--junk 0", "--junk: expected a whole number, 1 or more, found '0'"),
        ("--seconds nan", "--seconds: expected a number above 0, found 'nan'"),
        ("--trouble-seconds inf", "--trouble-seconds: expected a number above 0, found 'inf'"),
        ("--period-s 0", "--period-s: expected a number above 0, found '0'"),
    ],
)
def test_a_load_that_cannot_be_is_refused_before_it_begins(
    words: str, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(words.split())
    assert why in capsys.readouterr().err


def test_no_sample_is_lost_whatever_else_comes(figures: Any) -> None:
    """Where this machine is busy, a sample may be passed over for a newer one; none vanishes."""
    samples = figures["samples"]
    assert samples["sent"] >= AGENTS * 4
    assert samples["dropped_by_agents"] == 0
    assert samples["taken_in"] + samples["not_taken_in"] == samples["sent"]
    assert lost(figures) == [0]


def test_what_is_missing_beside_a_mad_agent_is_told_apart_and_never_made_good_by_what_that_one_sent(
    tmp_path: Path,
) -> None:
    """Numbers 2 and 3 of host a are missing while it is calm, 5 beside the mad agent `m`, 7 and 8 at the end."""
    told = [(1.0, "a", 1), (4.0, "a", 4), (5.5, "m", 1), (5.6, "m", 1), (6.0, "a", 6), (6.0, "b", 1)]
    with contextlib.closing(sqlite3.connect(tmp_path / "journal")) as db, db:
        db.execute("CREATE TABLE log (id INTEGER PRIMARY KEY, kind TEXT, body BLOB)")
        for at_s, host, sequence in told:
            arrived = [(at_s, {"sample": {"host_uuid": host, "sequence": sequence}})]
            body = zlib.compress(msgspec.msgpack.encode(arrived))
            db.execute("INSERT INTO log (kind, body) VALUES ('Samples', ?)", (body,))
    found = taken_in(tmp_path / "journal", {"a", "b"}, 4.5, (5.0, 9.0))
    assert found == Taken({"a": 3, "m": 2, "b": 1}, gaps_while_calm=2, gaps_over=1)
    samples = {"not_taken_in": 5, "not_taken_in_beside_the_mad_agent": 1}
    assert [lost({"samples": {**samples, "passed_over_for_a_newer_one": n}}) for n in (2, 4, 5)] == [[2], [0], [0]]


def test_an_agent_gone_mad_is_refused_and_costs_little(figures: Any) -> None:
    mad = figures["troubles"]["mad-agent"]
    assert mad["sent"] > 1000
    assert figures["samples"]["refused"] > 0
    assert figures["samples"]["of_the_mad_agent_taken_in"] < mad["sent"] / 10
    assert mad["rss_most_mb"] - figures["calm"]["rss_most_mb"] < 150


def test_connections_that_are_none_and_readers_that_do_not_read_leave_the_controller_answering(figures: Any) -> None:
    junk, slow = figures["troubles"]["junk"], figures["troubles"]["slow-readers"]
    assert junk["opened"] + junk["refused"] == JUNK
    assert junk["open_at_the_end"] < junk["opened"]
    assert slow["readers"] == 32
    assert max(part["rss_most_mb"] for part in (junk, slow, figures["after"])) < 300
    assert figures["after"]["ticks"] >= 1


def test_a_controller_that_runs_out_of_descriptors_lives_and_answers_once_there_are_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Connections to the agents' port are bounded by nothing else."""
    monkeypatch.setattr(watched, "FILES", 100)
    make_keys(tmp_path, 2)
    with contextlib.ExitStack() as closing:
        pool = closing.enter_context(process("still_pool", "2", "1"))
        controller = closing.enter_context(Controller(tmp_path, json.loads(line(pool))["url"], 0.5))
        controller.wait_for_inventory(60.0)
        host, _, port = controller.telemetry.removeprefix("tcp://").rpartition(":")
        junk = [closing.enter_context(socket.socket()) for _ in range(200)]
        for each in junk:
            each.connect((host, int(port)))
        until(lambda: controller.process.num_fds() >= 95)
        ticks = len(controller.ticks_s(controller.log()))
        until(lambda: len(controller.ticks_s(controller.log())) >= ticks + 4)
        for each in junk:
            each.close()
        until(lambda: controller.process.num_fds() < 60)
        assert controller.status().hosts == 2
        controller.end()


def until(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 60.0
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.05)
