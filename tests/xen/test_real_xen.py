"""From counters in a Dom0 to a guest that lives on elsewhere, on real Xen; each test has its guests to itself."""

import re
import time
from statistics import fmean
from typing import Any

import pytest
from migd_on_xen import Migd, until
from scene import (
    DUTY_RATIO,
    MOVER,
    RANK0,
    RANK1,
    SENDER,
    SENT_WITH_HEADERS,
    SET,
    SPINNER,
    WORKING_SET_MIB,
    WRITER,
)

from migd_core.messages import DirtyCurve
from migd_lab.guest import Guest
from migd_lab.lab import Lab
from migd_lab.ping import Ping

PAGES_PER_MIB = 256
OBSERVED_SAMPLES = 12
STEADY_LINES = 10
# Below this age what the guest writes besides counts for much, and so does how coarsely it gets its turns of the CPU.
FIRST_AGE_S = 0.8


def test_an_idle_and_a_busy_guest_are_counted_as_what_they_are(lab: Lab, migd: Migd, figures: dict[str, Any]) -> None:
    """CPU time within 0.05 of a CPU of its duty and of what `xl` says, bytes within 10 % of what the guest says it sent."""
    with migd.with_guests((SPINNER, 1), (SENDER, 2)), migd.equal_shares():
        sent = _said(SENDER, "SEND", STEADY_LINES)[-1]
        since, (used_s, at_s) = time.time(), SPINNER.cpu(lab.nodes[0])
        until(lambda: len(migd.of_guest(SPINNER, since)) >= OBSERVED_SAMPLES, "samples", 120)
        (used_then_s, then_s), sent_then = SPINNER.cpu(lab.nodes[0]), SENDER.lines("SEND")[-1]
    cpu_ratio = fmean(guest.cpu_ratio for _, guest in migd.of_guest(SPINNER, since))
    tx_bytes_per_s = fmean(guest.tx_bytes_per_s for _, guest in migd.of_guest(SENDER, since))
    cpu_true = (used_then_s - used_s) / (then_s - at_s)
    tx_true = SENT_WITH_HEADERS * (sent_then["bytes"] - sent["bytes"]) / (sent_then["t"] - sent["t"])
    figures["counters"] = {
        "duty_ratio": DUTY_RATIO,
        "cpu_ratio_by_xl": round(cpu_true, 3),
        "cpu_ratio_measured": round(cpu_ratio, 3),
        "cpu_error": round(cpu_ratio - cpu_true, 4),
        "tx_bytes_per_s_in_the_guest": round(tx_true),
        "tx_bytes_per_s_measured": round(tx_bytes_per_s),
        "tx_error_ratio": round(tx_bytes_per_s / tx_true - 1, 4),
    }
    assert abs(cpu_ratio - cpu_true) < 0.05
    assert abs(cpu_ratio - DUTY_RATIO) < 0.05
    assert abs(tx_bytes_per_s / tx_true - 1) < 0.1


def test_a_hot_dom0_makes_least_loaded_move_a_guest_that_lives_on(
    lab: Lab, migd: Migd, figures: dict[str, Any]
) -> None:
    """Its counter never restarts, no page of it is stale, and it was silent for no longer than the migration took."""
    source, target = lab.nodes
    with migd.with_guests((MOVER, 1)):
        before = _said(MOVER, "WRITE", 1)[-1]
        migd.ask("PUT", "/v1/policy", name="least-loaded", config={"sustained_periods": 2})
        hog = source.run("nice -n 19 sh -c 'while :; do :; done' >/dev/null 2>&1 & echo $!").strip()
        try:
            with Ping(MOVER.address) as ping:
                until(lambda: migd.ask("GET", "/v1/migrations"), "a migration", 120)
                migd.ask("PUT", "/v1/policy", name="observe")
                migration = migd.migrated(MOVER)
        finally:
            source.run(f"kill {hog}")
        assert migration.ok, migration.text
        assert migration.predicted_s is not None
        assert migration.actual_s is not None
        assert _said(MOVER, "WRITE", 1, before)
        figures["migration"] = {
            "predicted_s": migration.predicted_s,
            "actual_s": migration.actual_s,
            "prediction_error_ratio": round(migration.predicted_s / migration.actual_s - 1, 3),
            "predicted_pause_s": migration.predicted_pause_s,
            "pause_by_ping_s": round(ping.longest_silence_s(), 2),
            "pause_in_the_guest_s": max(line["gap"] for line in MOVER.lines("WRITE")),
        }
        assert (migration.source, migration.target) == (source.uuid, target.uuid)
        assert before in MOVER.lines("WRITE"), "it was started anew"
        assert max(line["bad"] for line in MOVER.lines("WRITE")) == 0, "pages of the guest are stale"
        assert MOVER.name in target.run("xl list")
        assert MOVER.name not in source.run("xl list")


@pytest.mark.parametrize("xen", ["current"], indirect=True, scope="session")
def test_an_mpi_job_survives_the_migration_of_one_of_its_ranks(lab: Lab, migd: Migd, figures: dict[str, Any]) -> None:
    """Two ranks in two guests: the job goes on, and its result is that of a run that nobody disturbed."""
    with migd.with_guests((RANK0, 1), (RANK1, 1)):
        RANK0.ask(f"setsid {_JOB} >/tmp/job 2>&1 </dev/null &")
        until(lambda: RANK0.lines("JACOBI", "/tmp/job"), "the job's first lines", 120)
        migd.ask("POST", "/v1/migrations", guest=RANK1.name, host=lab.nodes[1].name)
        migration = migd.migrated(RANK1)
        assert migration.ok, migration.text
        assert _result(RANK0.ask("cat /tmp/job")) is None, (
            "the job was over before the migration was; let it run longer"
        )
        disturbed = until(lambda: _result(RANK0.ask("cat /tmp/job")), "the end of the job", 300)
        gap_s = max(line["gap"] for line in RANK0.lines("JACOBI", "/tmp/job"))
        undisturbed = _result(RANK0.ask(f"{_JOB} 2>&1", timeout_s=240))
    figures["mpi"] = {
        "migration_s": migration.actual_s,
        "longest_iteration_s": gap_s,
        "result": disturbed,
        "result_undisturbed": undisturbed,
        "equal": disturbed == undisturbed,
    }
    assert disturbed == undisturbed


def test_the_dirty_curve_of_a_steady_writer_and_of_a_working_set(migd: Migd, figures: dict[str, Any]) -> None:
    """Within 10 % of the pages that the guests say they wrote, in each of two sessions at random phases.

    What an idle guest writes besides, some tens of pages, is not taken off.
    """
    migd.probe_often()
    places = [(guest, number) for number, guest in enumerate(_WRITERS, start=1)]
    with migd.with_guests(*places), migd.equal_shares():
        begun = {guest: _said(guest, "WRITE", STEADY_LINES)[-1] for guest in _WRITERS}
        migd.restart_agents()  # with them goes what they measured while the guests were starting
        begun_at = time.time()
        for guest in _WRITERS:
            _curves(migd, guest, begun_at, 1)
        migd.restart_agents()  # else they let a guest rest for a quarter of an hour
        curves = {guest: _curves(migd, guest, begun_at, 2) for guest in _WRITERS}
        written = {guest: _said(guest, "WRITE", STEADY_LINES, line) for guest, line in begun.items()}
    figures["dirty_curve"] = {
        guest.name: _curve_error(curves[guest], written[guest], limit_pages) for guest, limit_pages in _WRITERS.items()
    }
    worst = max(abs(each["worst_error_ratio"]) for each in figures["dirty_curve"].values())
    assert worst < 0.1


_WRITERS = {WRITER: 32 * PAGES_PER_MIB, SET: WORKING_SET_MIB * PAGES_PER_MIB}


def _curves(migd: Migd, guest: Guest, since: float, sessions: int) -> list[DirtyCurve]:
    def look() -> list[DirtyCurve] | None:
        curves = {curve.measured_s: curve for _, said in migd.of_guest(guest, since) if (curve := said.dirty_curve)}
        return list(curves.values())[-sessions:] if len(curves) >= sessions else None

    return until(look, f"{sessions} dirty curves of {guest.name}", 180, every_s=2)


def _curve_error(curves: list[DirtyCurve], written: list[dict[str, float]], limit_pages: int) -> dict[str, Any]:
    first, *others = written
    per_s = sum(line["pages"] for line in others) / (others[-1]["t"] - first["t"])
    sessions = [
        {
            age_s: round(pages / min(limit_pages, per_s * age_s) - 1, 4)
            for age_s, pages in zip(curve.ages_s, curve.unique_pages, strict=True)
        }
        for curve in curves
    ]
    judged = [error for errors in sessions for age_s, error in errors.items() if age_s >= FIRST_AGE_S]
    return {
        "pages_per_s_in_the_guest": round(per_s),
        "limit_pages": limit_pages,
        "error_ratio_by_age_s": [{f"{age_s:.3g}": error for age_s, error in errors.items()} for errors in sessions],
        "worst_error_ratio": max(judged, key=abs),
    }


_JOB = "runmpi rank0:1,rank1:1 2 /bin/jacobi 384 240"


def _result(said: str) -> str | None:
    match = re.search(r"JACOBI DONE (.*)", said)
    return match[1].strip() if match else None


def _said(guest: Guest, word: str, count: int, since: dict[str, float] | None = None) -> list[dict[str, float]]:
    """Return the guest's lines that begin with the word, after that line, once there are so many."""

    def look() -> list[dict[str, float]] | None:
        lines = [line for line in guest.lines(word) if since is None or line["line"] > since["line"]]
        return lines if len(lines) >= count else None

    return until(look, f"{count} lines {word} of {guest.name}", 60)
