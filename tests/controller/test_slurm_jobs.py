"""`squeue --json` of every version that prints it becomes the same jobs; what is no such text is refused in words."""

import json
from pathlib import Path
from typing import Any

import pytest

from migd_controller.slurm_jobs import Phase, SlurmJob, SlurmProblem, decoded

# Printed by squeue 22.05.8 of Debian 12, of a slurmctld with four slurmd on loopback.
RECORDED = (Path(__file__).parent / "squeue-22.05.8.json").read_bytes()


def job(**fields: Any) -> bytes:
    """An answer with one job, of which only what is told here is known."""
    return json.dumps({"meta": {}, "jobs": [{"job_id": 7, "job_state": "RUNNING", **fields}], "errors": []}).encode()


def number(value: float | None = None, infinite: bool = False) -> dict[str, Any]:
    """A number as data_parser v0.0.39 and later write it."""
    return {"set": value is not None, "infinite": infinite, "number": value or 0}


BRAMS = {"name": "brams", "user_name": "alice", "nodes": "n[01-02]"}
EXPECTED = SlurmJob(
    number=7,
    name="brams",
    user="alice",
    phase=Phase.RUNNING,
    nodes=("n01", "n02"),
    started_at=1000.0,
    limit_s=43200.0,
)


START_S = 1795690704.0
EXPECTED_OF_RECORDED = [
    SlurmJob(
        number=8,
        name="brams",
        user="alice",
        phase=Phase.RUNNING,
        nodes=("n01", "n02"),
        started_at=START_S,
        limit_s=43200.0,
    ),
    SlurmJob(number=9, name="hpl dt/5", user="bob", phase=Phase.RUNNING, nodes=("n03",), started_at=START_S),
    SlurmJob(
        number=13,
        name="sweep",
        user="alice",
        phase=Phase.SUSPENDED,
        nodes=("n04",),
        started_at=START_S,
        limit_s=1800.0,
    ),
    SlurmJob(
        number=11,
        name="waits",
        user="bob",
        phase=Phase.RUNNING,
        nodes=("n01", "n02", "n03", "n04"),
        started_at=START_S,
        limit_s=172800.0,
    ),
    SlurmJob(
        number=10,
        name="sweep",
        user="alice",
        phase=Phase.RUNNING,
        nodes=("n04",),
        started_at=START_S,
        limit_s=1800.0,
    ),
    SlurmJob(number=14, name="waits", user="bob", phase=Phase.WAITING, limit_s=172800.0),
    SlurmJob(
        number=15,
        name="over",
        user="bob",
        phase=Phase.OVER,
        nodes=("n04",),
        started_at=1795691156.0,
        limit_s=1.0,
    ),
]


def test_the_jobs_that_a_real_squeue_prints() -> None:
    assert decoded(RECORDED) == EXPECTED_OF_RECORDED


@pytest.mark.parametrize(
    "answer",
    [
        job(**BRAMS, start_time=1000, end_time=44200, time_limit=720),  # v0.0.37, v0.0.38
        job(**BRAMS, start_time=1000, end_time=44200, time_limit=number(720)),  # v0.0.39
        job(  # v0.0.40 to v0.0.42
            **{**BRAMS, "job_state": ["RUNNING"]},
            start_time=number(1000),
            end_time=number(44200),
            time_limit=number(720),
            job_resources={"nodes": {"count": 2, "list": "n[01-02]", "allocation": []}},
        ),
    ],
    ids=["plain numbers", "structured limit", "structured numbers and a list of states"],
)
def test_every_version_tells_the_same_job(answer: bytes) -> None:
    assert decoded(answer) == [EXPECTED]


@pytest.mark.parametrize("limit", [None, 0xFFFFFFFF, 0xFFFFFFFE, number(infinite=True), number()])
def test_a_job_without_a_limit_has_none_whatever_its_end_is_said_to_be(limit: Any) -> None:
    (found,) = decoded(job(**BRAMS, start_time=1000, end_time=31537000, time_limit=limit))
    assert (found.started_at, found.limit_s) == (1000.0, None)


def test_a_limit_of_a_million_years_is_none() -> None:
    (found,) = decoded(job(**BRAMS, start_time=number(1000), end_time=number(), time_limit=number(5.3e11)))
    assert found.limit_s is None


def test_a_job_that_was_suspended_ends_that_much_later() -> None:
    (found,) = decoded(job(**BRAMS, start_time=1000, end_time=1000 + 3600 + 500, time_limit=60))
    assert found.limit_s == 4100.0


@pytest.mark.parametrize(
    ("states", "phase"),
    [
        ("PENDING", Phase.WAITING),
        (["PENDING", "REQUEUED"], Phase.WAITING),
        ("CONFIGURING", Phase.STARTING),
        (["RUNNING", "CONFIGURING"], Phase.STARTING),
        (["RUNNING"], Phase.RUNNING),
        (["RUNNING", "RESIZING"], Phase.RUNNING),
        ("SUSPENDED", Phase.SUSPENDED),
        (["RUNNING", "STOPPED"], Phase.SUSPENDED),
        ("COMPLETING", Phase.OVER),
        (["CANCELLED", "COMPLETING"], Phase.OVER),
        ("COMPLETED", Phase.OVER),
        ("NODE_FAIL", Phase.OVER),
        (["TIMEOUT"], Phase.OVER),
    ],
)
def test_the_state_with_its_flags_is_one_phase(states: Any, phase: Phase) -> None:
    (found,) = decoded(job(job_state=states, nodes="n1"))
    assert found.phase is phase


@pytest.mark.parametrize(
    ("printed", "what"),
    [
        (b"", "not the JSON of Slurm"),
        (RECORDED[: len(RECORDED) // 2], "not the JSON of Slurm"),
        (b"slurm_load_jobs error: Unable to contact slurm controller", "b'slurm_load_jobs error"),
        (b"\xff\xfe", "not the JSON of Slurm"),
        (b'{"meta": {}}', "missing required field `jobs`"),
        (
            b'{"jobs": [{"job_id": "7", "job_state": "RUNNING"}]}',
            r"Expected `int`, got `str` - at `\$\.jobs\[0\]\.job_id`",
        ),
        (b'{"jobs": [], "errors": [{"error": "no such cluster", "errno": 1}]}', "Slurm reports no such cluster"),
        (
            b'{"jobs": [], "errors": [{"description": "Zero Bytes", "error_number": 2, "source": "auth"}]}',
            "Zero Bytes: auth",
        ),
        (job(nodes="n[01-"), r"nodes of job 7: expected a host list like n\[01-04,7\], found 'n\[01-'"),
    ],
)
def test_what_cannot_be_read_says_what_it_is(printed: bytes, what: str) -> None:
    with pytest.raises(SlurmProblem, match=what):
        decoded(printed)
