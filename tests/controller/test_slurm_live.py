"""The controller's task that asks Slurm, with executables in Slurm's place: they answer, fail, hang and babble."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from cluster_of_events import Cluster, pool_guest, pool_host
from live_cluster import LiveCluster, until

from migd_cli.demo.children import brood
from migd_controller.command_output import CommandFailed, output_of
from migd_controller.config import SlurmSection
from migd_controller.control import Clock, Control
from migd_controller.journal import Journal
from migd_controller.slurm import SlurmWatch
from migd_core.health import HealthState, HostHealth

BRAMS = {
    "job_id": 7,
    "job_state": ["RUNNING"],
    "name": "brams",
    "user_name": "alice",
    "nodes": "n[1-2]",
    "start_time": {"set": True, "infinite": False, "number": 1000},
    "end_time": {"set": True, "infinite": False, "number": 44200},
    "time_limit": {"set": True, "infinite": False, "number": 720},
}


class Slurm:
    """A controller with a journal and Slurm's commands, each a shell script of which a test says what it does."""

    def __init__(self, folder: Path, **section: Any) -> None:
        self.folder = folder
        self.cluster = Cluster([pool_host("a")], [pool_guest(name, "a") for name in ("n1", "n2", "n3")])
        self.journal = Journal(folder / "journal.sqlite")
        self.control = Control(self.cluster.core, self.journal, Clock())
        commands = {name: (str(folder / name),) for name in ("squeue", "sinfo", "scontrol")}
        self.watch = SlurmWatch(SlurmSection(**{"timeout_s": 10.0, **commands, **section}), self.control)

    def script(self, name: str, body: str) -> None:
        """Put a shell script in the place of a command."""
        path = self.folder / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)

    def prints(self, *jobs: dict[str, Any]) -> None:
        (self.folder / "answer.json").write_text(json.dumps({"jobs": jobs, "errors": []}))
        self.script("squeue", f"cat '{self.folder}/answer.json'")

    @property
    def jobs(self) -> list[str]:
        return list(self.cluster.core.memory.jobs)


@pytest.fixture
async def slurm(tmp_path: Path) -> AsyncIterator[Slurm]:
    """Slurm runs one job on two guests, and the controller has been told."""
    slurm = Slurm(tmp_path)
    assert slurm.watch.problem == "Slurm has not answered yet"
    slurm.prints(BRAMS)
    await slurm.watch.turn()
    assert (slurm.jobs, slurm.watch.problem) == (["brams-7"], "")
    yield slurm
    slurm.journal.close()


async def test_a_job_comes_and_goes_with_what_squeue_prints(slurm: Slurm) -> None:
    slurm.prints(BRAMS, {**BRAMS, "job_id": 8, "name": "hpl", "nodes": "n3"})
    await slurm.watch.turn()
    assert slurm.jobs == ["brams-7", "hpl-8"]
    slurm.prints()
    await slurm.watch.turn()
    assert (slurm.jobs, slurm.watch.problem) == ([], "")


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1", "squeue: ended with status 1: slurm_load_jobs error: Unable to contact slurm controller"),
        ("exit 3", "squeue: ended with status 3: it said nothing"),
        ("kill -KILL $$", "squeue: was ended by signal 9: it said nothing"),
        ("printf '{\"jobs\": [{\"job_id\": 7, \"job_st'", "is not the JSON of Slurm 21.08 to 24.11"),
        ("echo 'no jobs'", "the first of 8 bytes are b'no jobs"),
        (":", "the first of 0 bytes are b''"),
        ("cat '{folder}/answer.json'; exit 1", "squeue: ended with status 1"),
    ],
)  # fmt: skip
async def test_a_squeue_that_fails_removes_no_job_and_says_why(slurm: Slurm, body: str, problem: str) -> None:
    (slurm.folder / "answer.json").write_text('{"jobs": []}')
    slurm.script("squeue", body.replace("{folder}", str(slurm.folder)))
    await slurm.watch.turn()
    assert slurm.jobs == ["brams-7"]
    assert problem in slurm.watch.problem
    assert slurm.watch.problem.endswith("; the jobs of Slurm stay as they are until it answers")
    slurm.prints(BRAMS)
    await slurm.watch.turn()
    assert slurm.watch.problem == ""


async def test_a_missing_squeue_is_named(slurm: Slurm) -> None:
    (slurm.folder / "squeue").unlink()
    await slurm.watch.turn()
    assert slurm.jobs == ["brams-7"]
    assert "squeue: cannot be run: No such file or directory; is it installed here" in slurm.watch.problem


async def test_a_command_that_hangs_is_ended_with_all_it_started(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = f"sleep 600 & echo $! >> '{pids}'; echo $$ >> '{pids}'; wait"
    began_s = time.monotonic()
    with pytest.raises(CommandFailed, match=r"sh: has not answered within 2\.0 s and was ended"):
        await output_of(("sh", "-c", script), 2.0, 1000)
    assert time.monotonic() - began_s < 30.0
    started = [int(pid) for pid in pids.read_text().split()]
    assert len(started) == 2
    await _all_gone(started)


async def test_a_command_that_closes_its_output_and_stays_is_ended_too() -> None:
    with pytest.raises(CommandFailed, match=r"has not answered within 0\.5 s"):
        await output_of(("sh", "-c", "exec >&- 2>&-; sleep 600"), 0.5, 1000)


async def test_a_command_that_babbles_is_cut_off() -> None:
    with pytest.raises(CommandFailed, match="yes: printed more than 100000 bytes and was ended"):
        await output_of(("yes",), 30.0, 100_000)


async def test_a_complaint_of_any_length_holds_nothing_up() -> None:
    with pytest.raises(CommandFailed, match=r"ended with status 1: y; y; y\Z"):
        await output_of(("sh", "-c", "yes | head -c 1000000 >&2; exit 1"), 30.0, 1000)


async def test_a_command_ends_with_the_controller(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    task = asyncio.create_task(
        output_of(("sh", "-c", f"echo $$ > '{pids}.new'; mv '{pids}.new' '{pids}'; sleep 600"), 600.0, 1000)
    )
    await _until(pids.exists)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await _all_gone([int(pids.read_text())])


@pytest.mark.parametrize("turns", range(8))
async def test_a_command_ends_with_the_controller_also_while_it_is_being_started(tmp_path: Path, turns: int) -> None:
    """Cancelled after so many turns of the loop: some are before its pipes are connected, some after."""
    pids = tmp_path / "pids"
    task = asyncio.create_task(output_of(("sh", "-c", f"sleep 600 & echo $! > '{pids}'; wait"), 600.0, 1000))
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    async with asyncio.timeout(30.0):
        with pytest.raises(asyncio.CancelledError):
            await task
    await _all_gone([int(pid) for pid in pids.read_text().split()] if pids.exists() else [])


async def _all_gone(pids: list[int]) -> None:
    """Wait until none of the processes runs; one that nobody has collected yet does not."""
    await _until(lambda: not any(_runs(pid) for pid in pids))


async def _until(look: Callable[[], bool]) -> None:
    async with asyncio.timeout(30.0):
        while not look():  # noqa: ASYNC110 - another process does it, and tells nobody
            await asyncio.sleep(0.01)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_running_controller_takes_jobs_from_slurm_and_status_says_when_it_cannot(tmp_path: Path) -> None:
    squeue, answer = tmp_path / "squeue", tmp_path / "answer.json"
    squeue.write_text(f"#!/bin/sh\ncat '{answer}'\n")
    squeue.chmod(0o755)
    with brood(tmp_path) as children:
        cluster = LiveCluster(tmp_path, children)
        controller = cluster.controller()
        with controller.config.open("a") as config:
            config.write(
                f'[slurm]\nevery_s = 0.2\nsqueue = ["{squeue}", "--json"]\n[slurm.nodes]\nn1 = "rank0"\nn2 = "rank1"\n'
            )
        child = controller.start()
        status = controller.status(lambda status: "squeue: ended with status 1" in status.slurm_problem)
        assert status.slurm_problem.endswith("the jobs of Slurm stay as they are until it answers")
        answer.write_text(json.dumps({"jobs": [BRAMS]}))
        (job,) = until(lambda: controller.ask("GET", "/v1/jobs"), child)
        assert (job.name, job.slurm_job, job.guest_names) == ("brams-7", 7, ["rank0", "rank1"])
        assert (job.started_at, job.wall_time_limit_s) == (1000.0, 43200.0)
        controller.status(lambda status: status.slurm_problem == "")
        answer.write_text('{"jobs": []}')
        until(lambda: controller.ask("GET", "/v1/jobs") == [], child)
        controller.end()


def _told(slurm: Slurm, state: HealthState) -> None:
    slurm.cluster.health["a"] = HostHealth(
        state=state, reasons=("fan 2 stands still",) if state is HealthState.FAILING else ()
    )
    slurm.cluster.run(1)


async def test_nodes_are_drained_and_taken_back_with_the_health_of_their_host(tmp_path: Path) -> None:
    """A stub that keeps what scontrol is asked for, and prints it as sinfo does; n3 is drained by somebody else."""
    slurm = Slurm(tmp_path, drain=True)
    slurm.prints(BRAMS)
    state = tmp_path / "nodes"
    state.mkdir()
    for name, line in {"n1": "idle|none", "n2": "idle|none", "n3": "drained|bad cable", "metal": "idle|none"}.items():
        (state / name).write_text(f"{name}|{line}\n")
    slurm.script("sinfo", f'test "$*" = "--noheader --Node --all --format=%N|%T|%E" && cat {state}/*')
    slurm.script(
        "scontrol",
        f"""test "$1" = update || exit 2
node=${{2#NodeName=}} reason=${{4#Reason=}}
case $3 in State=DRAIN) line="drained|$reason" ;; State=UNDRAIN) line="idle|none" ;; *) exit 2 ;; esac
echo "$node|$line" > {state}/$node
echo "$*" >> {tmp_path}/asked""",
    )

    def shown() -> list[str]:
        return [(state / name).read_text().strip() for name in ("n1", "n2", "n3", "metal")]

    _told(slurm, HealthState.OK)
    await slurm.watch.turn()
    assert (shown(), slurm.watch.problem) == (
        ["n1|idle|none", "n2|idle|none", "n3|drained|bad cable", "metal|idle|none"],
        "",
    )
    _told(slurm, HealthState.FAILING)
    await slurm.watch.turn()
    await slurm.watch.turn()
    why = "migd: host a is failing: fan 2 stands still"
    assert shown() == [f"n1|drained|{why}", f"n2|drained|{why}", "n3|drained|bad cable", "metal|idle|none"]
    _told(slurm, HealthState.DEGRADED)
    await slurm.watch.turn()
    assert shown() == ["n1|idle|none", "n2|idle|none", "n3|drained|bad cable", "metal|idle|none"]
    assert len((tmp_path / "asked").read_text().splitlines()) == 4
    slurm.journal.close()


async def test_nothing_is_drained_by_default(slurm: Slurm) -> None:
    for name in ("sinfo", "scontrol"):
        slurm.script(name, f"touch '{slurm.folder}/{name}-was-run'")
    _told(slurm, HealthState.FAILING)
    await slurm.watch.turn()
    assert slurm.watch.problem == ""
    assert list(slurm.folder.glob("*-was-run")) == []


async def test_a_node_that_cannot_be_drained_is_named_and_jobs_are_taken_all_the_same(tmp_path: Path) -> None:
    slurm = Slurm(tmp_path, drain=True)
    slurm.prints(BRAMS)
    slurm.script("sinfo", "echo 'n1|idle|none'")
    slurm.script("scontrol", "echo 'slurm_update error: Access/permission denied' >&2; exit 1")
    _told(slurm, HealthState.FAILING)
    await slurm.watch.turn()
    assert slurm.jobs == ["brams-7"]
    assert slurm.watch.problem.startswith("node n1 cannot be set to DRAIN: ")
    assert "scontrol: ended with status 1: slurm_update error: Access/permission denied" in slurm.watch.problem
    slurm.script("sinfo", "exit 1")
    await slurm.watch.turn()
    assert slurm.watch.problem.endswith(
        "sinfo: ended with status 1: it said nothing; no node is drained until it answers"
    )
    slurm.journal.close()
