"""Watching a host being emptied: until it is empty, or until what stays is named."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import click
import pytest
from msgspec.structs import replace

from migd_cli.commands.evacuate import STAYS_FOR_S, watched
from migd_cli.failures import RequestFailed
from migd_cli.screen import Screen
from migd_core.api import EvacuationView, LeavingView

PIPE = Screen(width=None, has_colours=False, now_s=0.0)
EMPTY = EvacuationView(host="u", host_name="xen01", is_under_way=True, maintenance="it is in maintenance", guests=[])
MOVING = LeavingView(
    guest="r", guest_name="rank0", state="moving", target="t", target_name="xen02", migration="D7.1", predicted_s=12.0
)
WAITING = LeavingView(guest="q", guest_name="rank1", state="waiting", target="t", target_name="xen02", text="waits")
STUCK = LeavingView(guest="s", guest_name="web", state="stays", text="it carries the tag migd:never")


def looks(*each: tuple[float, list[LeavingView]]) -> Iterator[tuple[float, EvacuationView]]:
    return iter([(at_s, replace(EMPTY, guests=guests)) for at_s, guests in each])


def told(seen: Iterator[tuple[float, EvacuationView]]) -> list[str]:
    return [click.unstyle(line) for line in watched(seen, PIPE)]


def test_what_changes_is_told_once_until_the_host_is_empty() -> None:
    then = replace(WAITING, state="moving", text="", migration="D8.1")
    seen = looks((0.0, [MOVING, WAITING]), (1.0, [MOVING, WAITING]), (2.0, [then]), (3.0, [then]), (4.0, []))
    assert told(seen) == [
        "xen01 is being emptied; guests on it: 2",
        "  rank0: on its way to xen02 (D7.1), takes about 12 s",
        "  rank1: goes to xen02, waits",
        "rank0 has left for xen02; guests still there: 1",
        "  rank1: on its way to xen02 (D8.1)",
        "rank1 has left for xen02; guests still there: 0",
        "xen01 is empty; it receives no guests until `migctl host maintenance off xen01`.",
    ]


def test_what_stays_is_named_with_the_reason_once_nothing_moves_for_a_while() -> None:
    seen = looks((0.0, [MOVING, STUCK]), (5.0, [STUCK]), (6.0, [STUCK]), (5.0 + STAYS_FOR_S, [STUCK]))
    with pytest.raises(
        RequestFailed, match=r"1 guests stay on xen01: web: it carries the tag migd:never\. migd goes on"
    ):
        list(watched(seen, PIPE))


def test_a_guest_that_only_pauses_ends_no_watching() -> None:
    held = replace(WAITING, state="stays", text="host xen02 is frozen")
    seen = looks((0.0, [held]), (STAYS_FOR_S - 1, [held]), (STAYS_FOR_S, [MOVING]), (STAYS_FOR_S + 5, []))
    assert told(seen)[-1].startswith("xen01 is empty")


def test_watching_ends_when_somebody_stops_it() -> None:
    seen = iter([(0.0, replace(EMPTY, guests=[WAITING])), (1.0, replace(EMPTY, is_under_way=False, guests=[WAITING]))])
    with pytest.raises(RequestFailed, match="an operator lets the guests stay that are still on xen01: rank1"):
        list(watched(seen, PIPE))


def ended_by_interrupts(process: subprocess.Popen[str]) -> str:
    """Interrupt it as somebody who is impatient does: Python drops one that comes while it frees something."""
    for _ in range(10):
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.communicate(timeout=3)[0]
    raise AssertionError("it does not end")


def test_an_interrupt_ends_the_watching_and_says_how_to_go_on(controller) -> None:
    route = ("GET", "/v1/hosts/{host}/evacuation")
    controller.answers[route] = controller.answers["POST", route[1]]
    process = subprocess.Popen(
        [sys.executable, "-m", "migd_cli", "evacuate", "xen01"],
        env={**os.environ, "MIGD_SOCKET": str(controller.socket), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # in the background shells ignore it
    )
    try:
        assert process.stdout is not None
        first = process.stdout.readline()
        rest = ended_by_interrupts(process)
    finally:
        process.kill()
    assert first == "xen01 is being emptied; guests on it: 3\n"
    assert "xen01 is emptied further; `migctl evacuate xen01` watches, with --stop it ends that." in rest
    assert process.returncode == 1
    assert {method for method, _, _ in controller.asked} <= {"POST", "GET"}
