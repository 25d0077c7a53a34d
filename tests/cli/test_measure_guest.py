"""`migctl measure guest`: what it shows, and that it has a real agent count a guest's dirty pages."""

import subprocess
import sys
from pathlib import Path

import click
import msgspec
import pytest
from click.testing import CliRunner
from live_cluster import LiveCluster

from migd_cli.app import migctl as group
from migd_cli.commands.measure_guest import GuestProfile, profile_lines, waiting_text
from migd_cli.demo.children import brood
from migd_cli.screen import Screen
from migd_core.api import CandidateView, DirtyCurveView, DirtyFitView, DirtyView, GateView, IntervalView, ProbeView

PIPE = Screen(width=None, has_colours=False, now_s=1000.0)
DIRTY = DirtyView(
    guest="uuid-g",
    guest_name="rank0",
    memory_pages=1000,
    curves=[DirtyCurveView(measured_at=940.0, ages_s=[1.0, 4.0], unique_pages=[100, 250])],
    fit=DirtyFitView(
        ages_s=[0.0, 2.0, 4.0, 16.0],
        expected_pages=[0, 200, 240, 400],
        least_pages=[0, 180, 230, 300],
        most_pages=[0, 220, 250, 600],
        window_s=4.0,
    ),
)


def target(name: str, *gates: GateView, total: IntervalView | None = None) -> CandidateView:
    return CandidateView(
        guest="uuid-g",
        guest_name="rank0",
        source="uuid-a",
        source_name="xen1",
        target=f"uuid-{name}",
        target_name=name,
        why="",
        accepted=all(gate.passed for gate in gates),
        gates=list(gates),
        predicted_s=total.median if total is not None else None,
        total=total,
        predicted_pause_s=0.3 if total is not None else None,
        cost_s=4.0 if total is not None else None,
    )


def shown(profile: GuestProfile) -> list[str]:
    return [click.unstyle(line).rstrip() for line in profile_lines(profile, PIPE)]


def test_the_curve_and_each_target_are_shown_with_what_forbids_it() -> None:
    full = GateView(name="capacity", passed=False, text="host xen3 has 0 B free")
    fits = GateView(name="capacity", passed=True, text="it fits")
    profile = GuestProfile(
        dirty=DIRTY,
        targets=[target("xen2", fits, total=IntervalView(low=10.0, median=12.0, high=15.0)), target("xen3", full)],
    )
    assert shown(profile) == [
        "rank0, 3.91 MiB: different pages written since a moment",
        "counted once, 60 s ago",
        "",
        " AGE  COUNTED  EXPECTED  LEAST  MOST  OF ITS MEMORY",
        " 1 s      100       100     90   110  10.0 % ██",
        " 4 s      250       240    230   250  25.0 % █████",
        "16 s        -       400    300   600  40.0 % ████████",
        "",
        "HOST  MIGRATION          80 %  PAUSE  80 % OF IT  COSTS  MAY GO",
        "xen2       12 s  10 s to 15 s  0.3 s           -  4.0 s  yes",
        "xen3          -             -      -           -      -  no: host xen3 has 0 B free",
    ]


def test_a_guest_that_was_never_counted_says_how_it_is_judged() -> None:
    bare = msgspec.structs.replace(DIRTY, curves=[], fit=None)
    assert "No dirty page of it was ever counted: it is judged by the dearest that it may be." in shown(
        GuestProfile(dirty=bare, targets=[])
    )


@pytest.mark.parametrize(
    ("view", "text"),
    [
        (ProbeView(guest="u", guest_name="rank0", state="asked"), "waiting for the next control period"),
        (ProbeView(guest="u", guest_name="rank0", state="under-way"), "the dirty pages of rank0 are being counted"),
        (
            ProbeView(guest="u", guest_name="rank0", state="asked", waits_for="it was probed", waits_s=47.0),
            "waiting: it was probed; at least 40 s more",
        ),
        (
            ProbeView(guest="u", guest_name="rank0", state="asked", waits_for="it was probed", waits_s=725.0),
            "waiting: it was probed; at least 12 min more",
        ),
    ],
)
def test_what_is_waited_for_is_said(view: ProbeView, text: str) -> None:
    assert waiting_text(view) == text


@pytest.mark.parametrize(
    ("file", "why"),
    [
        ("curve.foo", "curve.foo: expected a file that ends in .png, .svg, .pdf; name the plot so"),
        ("none/curve.png", "there is no folder none; make it, or name another"),
    ],
)
def test_a_plot_that_cannot_be_drawn_is_refused_before_anything_is_counted(file: str, why: str) -> None:
    """There is not even a controller to ask."""
    ended = CliRunner().invoke(group, ["measure", "guest", "rank0", "--plot", file], env={"COLUMNS": ""})
    assert ended.exit_code == 1
    assert why in ended.output


def test_an_agent_counts_the_pages_of_the_guest_that_was_asked_for(tmp_path: Path) -> None:
    """And the file it is drawn to is a picture."""
    with brood(tmp_path) as children:
        cluster = LiveCluster(tmp_path, children, probes=True)
        controller = cluster.controller()
        controller.start()
        cluster.start_agents(controller)
        controller.sees_everything()
        words = ["measure", "guest", "rank0", "--plot", str(tmp_path / "curve.png"), "--json", "--wait", "60s"]
        ended = subprocess.run(
            [sys.executable, "-m", "migd_cli", "--socket", str(controller.socket), *words],
            capture_output=True,
            timeout=90,
        )
        assert ended.returncode == 0, ended.stderr
        profile = msgspec.json.decode(ended.stdout, type=GuestProfile)
        assert len(profile.dirty.curves[-1].ages_s) == 11
        assert [each.target_name for each in profile.targets] == ["xen2"]
        assert profile.targets[0].predicted_s is not None
        assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
        missing = subprocess.run(
            [sys.executable, "-m", "migd_cli", "--socket", str(controller.socket), "measure", "guest", "rank7"],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert missing.returncode == 1
        assert "no single running guest is called 'rank7'" in missing.stderr
        controller.end()
