"""`migctl measure migration` against migd's own processes and an emulated pool, with real applications."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import XenAPI
from live_cluster import LiveCluster, LiveController, free_port, until

from migd_cli.demo.children import brood
from migd_cli.experiment.runs import FILE, Arm, Record, order
from migd_cli.experiment.site import UNREACHABLE_AT_MOST_S
from migd_core.automation import Automation

# rank0 takes about a second to move in this pool, and on a loaded machine two.
SECONDS = "4"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveCluster]:
    folder = tmp_path_factory.mktemp("cluster")
    with brood(folder) as children:
        yield LiveCluster(folder, children)


@pytest.fixture(scope="module")
def controller(cluster: LiveCluster) -> Iterator[LiveController]:
    controller = cluster.controller(**{name: f"tcp://127.0.0.1:{free_port()}" for name in ("listen", "leases")})
    controller.start()
    cluster.start_agents(controller)
    controller.sees_everything()
    yield controller
    controller.end()


def words(controller: LiveController, folder: Path, *options: str, command: tuple[str, ...]) -> list[str]:
    return [
        *(sys.executable, "-m", "migd_cli", "measure", "migration", "--socket", str(controller.socket), "--json"),
        *("--guest", "rank0", "--to", "xen2", "--at", "0.5", "--settle", "0", "--out", str(folder), "--seed", "1"),
        *(*options, "--", *command),
    ]


def measure(
    controller: LiveController, folder: Path, *options: str, command: tuple[str, ...] = ("sleep", SECONDS)
) -> "subprocess.CompletedProcess[str]":
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    return subprocess.run(
        words(controller, folder, *options, command=command),
        capture_output=True,
        text=True,
        timeout=120,
        env=environment,
    )


def is_movable(controller: LiveController, name: str) -> bool:
    (found,) = [guest.immovable_because for guest in controller.ask("GET", "/v1/guests") if guest.name == name]
    return found is None


def held_by(pid: int) -> set[int]:
    """Return the signals that a process holds back."""
    (mask,) = re.findall(r"SigBlk:\s+(\w+)", Path(f"/proc/{pid}/status").read_text())
    return {number for number in range(1, 65) if int(mask, 16) >> (number - 1) & 1}


def place(controller: LiveController, name: str) -> str:
    (found,) = [guest.host_name for guest in controller.ask("GET", "/v1/guests") if guest.name == name]
    assert isinstance(found, str)
    return found


def test_runs_with_and_without_a_migration_alternate_and_the_guest_comes_home(
    controller: LiveController, tmp_path: Path
) -> None:
    ended = measure(controller, tmp_path, "--repeat", "2", "--warm-up", "0")
    assert ended.returncode == 0, ended.stderr
    record = Record.read(tmp_path)
    assert [(run.number, run.arm, run.is_warm_up) for run in record.runs] == [
        (number, arm, is_warm_up) for number, (arm, is_warm_up) in enumerate(order(record.plan), start=1)
    ]
    assert [(run.failed, run.disturbed) for run in record.runs] == [("", "")] * 4
    assert all(4.0 <= run.took_s < 8.0 for run in record.runs)
    moves = [run.move for run in record.runs if run.move is not None]
    assert len(moves) == 2
    for move in moves:
        assert 0.5 <= move.asked_after_s < 2.0
        assert move.took_s is not None
        assert 0.1 < move.took_s < 3.5
    found = json.loads(ended.stdout)
    assert [(arm["arm"], arm["run_time_s"]["n"]) for arm in found["arms"]] == [("without", 2), ("with", 2)]
    assert found["migration_s"]["n"] == 2
    assert found["pause_s"] is None
    assert found["left_out"] == []
    assert found["was_held"]
    assert found["runs_left"] == 0
    assert place(controller, "rank0") == "xen1"
    assert controller.ask("GET", "/v1/automation").chosen is None
    assert "automation is off while this runs; it was automatic" in ended.stderr
    # Both journeys went through migd: each move out has one home.
    moved = [(m.source_name, m.target_name) for m in controller.ask("GET", "/v1/migrations") if m.guest_name == "rank0"]
    assert moved == [("xen2", "xen1"), ("xen1", "xen2")] * 2


def test_ctrl_c_ends_the_application_and_brings_the_guest_home_and_resume_goes_on(
    controller: LiveController, tmp_path: Path
) -> None:
    """It is interrupted in the first run with a migration, once the guest is on its way."""
    controller.ask("PUT", "/v1/automation", level=Automation.RECOMMEND)
    pids = tmp_path / "pids"
    script = f"echo $$ >> {pids}; sleep {SECONDS} & echo $! >> {pids}; wait"
    command = words(controller, tmp_path, "--repeat", "1", "--warm-up", "0", command=("sh", "-c", script))
    known = {m.cause for m in controller.ask("GET", "/v1/migrations")}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def leaves() -> bool:
        assert process.poll() is None, process.communicate()
        return any(m.cause not in known and m.target_name == "xen2" for m in controller.ask("GET", "/v1/migrations"))

    assert controller.child is not None
    until(leaves, controller.child)
    assert controller.ask("GET", "/v1/automation").level is Automation.OFF
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 1, errors
    assert json.loads(output)["runs_left"] >= 1
    assert not [pid for pid in pids.read_text().split() if Path(f"/proc/{pid}").exists()]
    assert place(controller, "rank0") == "xen1"
    assert controller.ask("GET", "/v1/automation").chosen is Automation.RECOMMEND
    again = measure(controller, tmp_path, "--repeat", "1", "--warm-up", "0", command=("sh", "-c", script))
    assert again.returncode == 1
    assert "has a measurement already; go on with it by --resume" in again.stderr
    resumed = measure(controller, tmp_path, "--repeat", "1", "--warm-up", "0", "--resume", command=("sh", "-c", script))
    assert resumed.returncode == 0, resumed.stderr
    assert json.loads(resumed.stdout)["runs_left"] == 0
    assert [run.failed for run in Record.read(tmp_path).runs] == ["", ""]
    controller.ask("PUT", "/v1/automation", level=None)


def test_a_guest_that_somebody_has_sent_away_is_at_home_after_ctrl_c(
    controller: LiveController, tmp_path: Path
) -> None:
    """It was about to leave when it was looked for, and still at home."""
    command = words(controller, tmp_path, "--repeat", "1", command=("sleep", "30"))
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert controller.child is not None
    until(lambda: (tmp_path / "application-001.log").exists(), controller.child)
    sent = controller.ask("POST", "/v1/migrations", guest="rank0", host="xen2")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1, errors
    assert [each.ok for each in controller.ask("GET", "/v1/migrations") if each.cause == sent.cause] == [True]
    assert place(controller, "rank0") == "xen1"


def test_a_controller_that_is_killed_and_comes_back_costs_no_run(
    cluster: LiveCluster, controller: LiveController, tmp_path: Path
) -> None:
    """It dies while the guest is on its way; before it knows its pool again, it knows no guest."""
    options = ("--repeat", "1", "--warm-up", "0", "--guest", "big")
    command = words(controller, tmp_path, *options, command=("sleep", "10"))
    known = len(cluster.pool.migrations())
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert controller.child is not None
    until(lambda: len(cluster.pool.migrations()) > known, controller.child)
    controller.end(signal.SIGKILL)
    controller.start()
    output, errors = process.communicate(timeout=100)
    assert process.returncode == 0, errors
    found = json.loads(output)
    assert (found["left_out"], found["migration_s"] and found["migration_s"]["n"]) == ([], 1), errors
    assert place(controller, "big") == "xen1"


def test_what_was_killed_is_gone_on_with_and_automation_comes_back(controller: LiveController, tmp_path: Path) -> None:
    """The application dies with `migctl`, and half a line in the file does no harm."""
    pids = tmp_path / "pids"
    command = ("sh", "-c", f"echo $$ >> {pids}; exec sleep {SECONDS}")
    options = ("--repeat", "1", "--warm-up", "0", "--no-hold")
    process = subprocess.Popen(words(controller, tmp_path, *options[:-1], command=command), stderr=subprocess.DEVNULL)
    assert controller.child is not None
    until(lambda: pids.exists() and pids.read_text().strip(), controller.child)
    process.kill()
    process.wait()
    assert controller.ask("GET", "/v1/automation").level is Automation.OFF
    until(lambda: not Path(f"/proc/{pids.read_text().split()[0]}").exists(), controller.child)
    with (tmp_path / FILE).open("ab") as file:
        file.write(b'{"type":"run","num')
    ended = measure(controller, tmp_path, *options, "--resume", command=command)
    assert ended.returncode == 0, ended.stderr
    assert [run.failed for run in Record.read(tmp_path).runs] == ["", ""]
    assert controller.ask("GET", "/v1/automation").level is Automation.AUTOMATIC


def test_runs_that_fail_are_named_and_never_averaged(controller: LiveController, tmp_path: Path) -> None:
    """The first run ends with 3; and one that is too short for its migration does not count either."""
    mark = tmp_path / "mark"
    script = f"[ -e {mark} ] || {{ touch {mark}; echo out of ranks; exit 3; }}; sleep {SECONDS}"
    ended = measure(controller, tmp_path, "--repeat", "1", "--warm-up", "0", command=("sh", "-c", script))
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    (left_out,) = found["left_out"]
    assert left_out["number"] == 1
    assert left_out["why"].startswith("the application ended with exit code 3 after ")
    assert left_out["why"].endswith(": out of ranks")
    assert sum(arm["run_time_s"]["n"] for arm in found["arms"] if arm["run_time_s"]) == 1
    assert found["by_migration"] is None
    short = measure(controller, tmp_path / "short", "--repeat", "1", "--warm-up", "0", command=("sleep", "0.1"))
    assert short.returncode == 0, short.stderr
    (left_out,) = json.loads(short.stdout)["left_out"]
    assert left_out["arm"] == "with"
    assert "before the migration was due at 0.5 s; let it run longer, or migrate earlier" in left_out["why"]
    assert place(controller, "rank0") == "xen1"


def test_an_application_that_does_not_end_is_ended_at_the_limit_and_automation_comes_back(
    controller: LiveController, tmp_path: Path
) -> None:
    """After three in a row nobody waits for a fourth; also one that hangs once its guest was migrated has failed."""
    ended = measure(controller, tmp_path, "--warm-up", "0", "--limit", "2s", command=("sleep", "600"))
    assert ended.returncode == 1
    why = "the application was not over after 2.0 s; --limit allows more"
    assert f"3 runs in a row failed, the last one because {why}" in ended.stderr
    runs = Record.read(tmp_path).runs
    assert [run.failed for run in runs] == [why] * 3
    assert {run.arm for run in runs} == {Arm.WITH, Arm.WITHOUT}
    assert [run.move is not None for run in runs] == [run.arm is Arm.WITH for run in runs]
    assert all(2.0 <= run.took_s < 6.0 for run in runs)
    assert controller.ask("GET", "/v1/automation").chosen is None
    assert place(controller, "rank0") == "xen1"


def test_a_limit_before_the_migration_is_refused(controller: LiveController, tmp_path: Path) -> None:
    ended = measure(controller, tmp_path, "--limit", "0.5")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "--limit is to be later than --at: no run could have a migration" in ended.stderr


def test_a_run_beside_another_migration_of_the_job_does_not_count(controller: LiveController, tmp_path: Path) -> None:
    """Somebody moves rank1, of the same job, by hand in the first run, which has no migration of its own."""
    controller.ask("POST", "/v1/jobs", name="brams", guests=["rank0", "rank1"])
    done = tmp_path / "done"
    process = subprocess.Popen(
        words(
            controller,
            tmp_path,
            *("--repeat", "1", "--warm-up", "1"),
            command=("sh", "-c", f"while [ ! -e {done} ]; do sleep 0.05; done"),
        ),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert controller.child is not None
    until(lambda: (tmp_path / "application-001.log").exists(), controller.child)
    there = "xen2" if place(controller, "rank1") == "xen1" else "xen1"
    migration = controller.ask("POST", "/v1/migrations", guest="rank1", host=there)
    controller.history(lambda views: [view for view in views if view.cause == migration.cause and view.ok])
    done.touch()
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    left_out = json.loads(output)["left_out"][0]
    assert left_out["number"] == 1
    assert left_out["why"].startswith(f"another migration took place meanwhile: {migration.cause} of rank1 (by hand")


@contextlib.contextmanager
def beside_migd(cluster: LiveCluster) -> Iterator[XenAPI.Session]:
    """A session of somebody who works on the pool itself."""
    session = XenAPI.Session(cluster.pool.url)
    session.xenapi.login_with_password("root", "migd", "1.0", "test")
    try:
        yield session
    finally:
        session.xenapi.session.logout()
        session("close")()


def test_a_run_beside_a_guest_that_somebody_moves_past_migd_does_not_count(
    cluster: LiveCluster, controller: LiveController, tmp_path: Path
) -> None:
    """It is of no job, and leaves a host of the run."""
    done = tmp_path / "done"
    process = subprocess.Popen(
        words(
            controller,
            tmp_path,
            *("--repeat", "1", "--warm-up", "1"),
            command=("sh", "-c", f"while [ ! -e {done} ]; do sleep 0.05; done"),
        ),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert controller.child is not None
    until(lambda: (tmp_path / "application-001.log").exists(), controller.child)
    with beside_migd(cluster) as session:
        (guest,), (there,) = session.xenapi.VM.get_by_name_label("big"), session.xenapi.host.get_by_name_label("xen2")
        session.xenapi.VM.pool_migrate(guest, there, {"live": "true"})
    until(lambda: place(controller, "big") == "xen2", controller.child)
    done.touch()
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    left_out = json.loads(output)["left_out"][0]
    assert (left_out["number"], left_out["why"]) == (1, "not by migd: big went from xen1 to xen2")


def test_a_guest_that_is_on_its_way_is_at_home_where_it_arrives(controller: LiveController, tmp_path: Path) -> None:
    """Whoever moved it there wanted it there: it is neither taken back nor measured from where it was."""
    there, back = ("xen2", "xen1") if place(controller, "big") == "xen1" else ("xen1", "xen2")
    until(lambda: is_movable(controller, "big"), controller.child)
    moving = controller.ask("POST", "/v1/migrations", guest="big", host=there)
    ended = measure(controller, tmp_path / "results", "--guest", "big", "--to", there, command=("true",))
    assert (ended.returncode, ended.stdout) == (1, "")
    assert f"guest big is on {there} already; name another host with --to" in ended.stderr
    controller.history(lambda views: [view for view in views if view.cause == moving.cause and view.ok])
    assert place(controller, "big") == there
    until(lambda: is_movable(controller, "big"), controller.child)
    controller.ask("POST", "/v1/migrations", guest="big", host=back)
    options = ("--guest", "big", "--to", there, "--repeat", "1", "--warm-up", "0")
    measure(controller, tmp_path / "back", *options, command=("false",))
    assert (Record.read(tmp_path / "back").plan.home, place(controller, "big")) == (back, back)


@pytest.mark.skipif(os.geteuid() != 0, reason="an echo may need root")
def test_the_pause_is_what_a_ping_of_the_guest_was_silent_for(controller: LiveController, tmp_path: Path) -> None:
    """Here the address answers throughout: the longest silence is an interval, give or take."""
    ended = measure(controller, tmp_path, "--repeat", "1", "--warm-up", "0", "--ping", "127.0.0.1")
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert found["plan"]["pause_by"] == "ping of 127.0.0.1 every 0.1 s"
    assert 0.05 < found["pause_s"]["mean"] < 1.0
    deaf = measure(controller, tmp_path / "deaf", "--repeat", "1", "--ping", "240.0.0.1")
    assert deaf.returncode == 1
    assert "ping of 240.0.0.1: expected two answers at least, found 0" in deaf.stderr


def test_a_controller_that_never_answered_is_not_waited_for(tmp_path: Path) -> None:
    command = ("measure", "migration", "--socket", str(tmp_path / "none"), "--guest", "g", "--to", "h", "--", "true")
    began_s = time.monotonic()
    ended = subprocess.run([sys.executable, "-m", "migd_cli", *command], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout) == (3, "")
    assert "there is no controller socket at" in ended.stderr
    assert time.monotonic() - began_s < UNREACHABLE_AT_MOST_S / 3


def test_who_is_interrupted_while_the_guest_may_not_move_yet_has_measured_nothing(
    cluster: LiveCluster, controller: LiveController, tmp_path: Path
) -> None:
    assert controller.child is not None
    with beside_migd(cluster) as session:
        (guest,) = session.xenapi.VM.get_by_name_label("rank0")
        session.xenapi.VM.add_tags(guest, "migd:never")
        until(lambda: not is_movable(controller, "rank0"), controller.child)
        command = words(controller, tmp_path / "results", command=("true",))
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        until(lambda: signal.SIGTERM in held_by(process.pid), controller.child)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=30)
        session.xenapi.VM.remove_tags(guest, "migd:never")
    until(lambda: is_movable(controller, "rank0"), controller.child)
    assert (process.returncode, errors) == (1, "migctl: interrupted before anything was measured\n")


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--to", "xen1"), "guest rank0 is on xen1 already; name another host with --to"),
        (("--to", "xen9"), "no single host is called xen9; `migctl hosts` lists them"),
        (("--guest", "rank9"), "no single running guest is called rank9; `migctl guests` lists them"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_runs(
    options: tuple[str, ...], why: str, controller: LiveController, tmp_path: Path
) -> None:
    folder = tmp_path / "results"
    ended = measure(controller, folder, *options, command=("touch", str(tmp_path / "ran")))
    assert ended.returncode == 1
    assert why in ended.stderr
    assert list(tmp_path.iterdir()) == []
