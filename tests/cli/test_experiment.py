"""What runs tell: means, confidence, differences, what does not count; all of it pure."""

import math
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import click
import msgspec
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from migd_cli.app import migctl as group
from migd_cli.experiment.estimates import difference, estimate, t_quantile
from migd_cli.experiment.lines import measurement_lines
from migd_cli.experiment.live import disturbance
from migd_cli.experiment.runs import FILE, Arm, Held, Moved, Plan, Record, Released, Run, order
from migd_cli.experiment.silence import longest_s
from migd_cli.experiment.site import Moment
from migd_cli.experiment.summary import summary
from migd_cli.failures import Failure
from migd_cli.screen import Screen
from migd_core.api import GuestView, MigrationView
from migd_core.automation import Automation

PIPE = Screen(width=None, has_colours=False, now_s=0.0)
PLAN = Plan(
    guest="rank0", home="xen1", target="xen2", at_s=60.0, repeat=3, warm_up=1, seed=1, command=["mpirun", "./brams"]
)
PAPER = Path(__file__).parents[2] / "examples" / "paper"


def run(number: int, arm: Arm, took_s: float, **values: object) -> Run:
    return msgspec.structs.replace(Run(number=number, arm=arm, at=0.0, took_s=took_s), **values)


# Two-sided 95 % quantiles of Student's t, as they stand in every table.
@pytest.mark.parametrize(
    ("df", "t"), [(1, 12.706), (2, 4.303), (4, 2.776), (9, 2.262), (29, 2.045), (58, 2.002), (1000, 1.962)]
)
def test_quantiles_are_those_of_the_tables(df: int, t: float) -> None:
    assert t_quantile(df) == pytest.approx(t, abs=0.0006)


def test_an_interval_holds_the_true_difference_in_19_of_20_cases() -> None:
    """Two samples of unlike size and spread, as runs with and without a migration are."""
    drawn, held, cases = random.Random(3), 0, 500
    for _ in range(cases):
        first = [drawn.gauss(100.0, 2.0) for _ in range(6)]
        second = [drawn.gauss(110.0, 5.0) for _ in range(4)]
        found = difference(first, second)
        assert found is not None
        held += found.low <= 10.0 <= found.high
    assert 0.92 <= held / cases <= 0.98


@settings(max_examples=50)
@given(
    st.lists(st.floats(50.0, 150.0), min_size=2, max_size=12), st.lists(st.floats(50.0, 150.0), min_size=2, max_size=12)
)
def test_a_difference_is_shown_if_its_interval_leaves_out_nothing(first: list[float], second: list[float]) -> None:
    found, mirrored = difference(first, second), difference(second, first)
    assert found is not None
    assert mirrored is not None
    assert found.low <= found.mean <= found.high
    assert found.is_shown == (found.low > 0 or found.high < 0)
    assert mirrored.mean == pytest.approx(-found.mean, abs=1e-9)
    assert found.df is None or 1.0 - 1e-9 <= found.df <= len(first) + len(second) - 2 + 1e-9


def test_what_too_few_values_cannot_tell_is_not_told() -> None:
    assert estimate([]) is None
    one = estimate([5.0])
    assert one is not None
    assert (one.mean, one.sd, one.low, one.high) == (5.0, None, None, None)
    assert difference([1.0, 2.0], [3.0]) is None


@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(0, 3))
def test_at_any_time_each_arm_had_as_many_runs_as_the_other_give_or_take_one(
    seed: int, repeat: int, warm_up: int
) -> None:
    """So that what drifts meanwhile drifts for both; and the order is drawn, not alternating."""
    runs = order(msgspec.structs.replace(PLAN, seed=seed, repeat=repeat, warm_up=warm_up))
    assert runs[:warm_up] == [(Arm.WITHOUT, True)] * warm_up
    arms = [arm for arm, is_warm_up in runs if not is_warm_up]
    assert arms.count(Arm.WITH) == arms.count(Arm.WITHOUT) == repeat
    for n in range(len(arms)):
        assert abs(arms[:n].count(Arm.WITH) - arms[:n].count(Arm.WITHOUT)) <= 1


def test_the_order_of_thirty_pairs_begins_with_either_arm() -> None:
    firsts = [arm for arm, _ in order(msgspec.structs.replace(PLAN, repeat=30))[1::2]]
    assert 5 < firsts.count(Arm.WITH) < 25


def test_only_runs_that_count_are_averaged_and_the_others_are_named() -> None:
    moved = Moved(cause="D1.1", asked_after_s=60.2, took_s=12.0, predicted_s=11.0)
    runs = [
        run(1, Arm.WITHOUT, 300.0, is_warm_up=True),
        run(2, Arm.WITHOUT, 100.0),
        run(3, Arm.WITH, 110.0, move=moved),
        run(4, Arm.WITH, 20.0, failed="migration D2.1 stayed: it is full"),
        run(5, Arm.WITHOUT, 170.0, disturbed="another migration took place meanwhile: D3.1 of rank1 (balance)"),
        run(6, Arm.WITHOUT, 102.0),
    ]
    found = summary(PLAN, runs)
    assert [(a.arm, a.run_time_s.mean if a.run_time_s else None, a.failed, a.disturbed) for a in found.arms] == [
        (Arm.WITHOUT, 101.0, 0, 1),
        (Arm.WITH, 110.0, 1, 0),
    ]
    assert [(each.number, each.arm) for each in found.left_out] == [(4, Arm.WITH), (5, Arm.WITHOUT)]
    assert found.runs_left == 1
    assert found.late_s == pytest.approx(0.2)
    assert found.by_migration is None
    text = [click.unstyle(line).rstrip() for line in measurement_lines(found, PIPE)]
    assert text == [
        "`mpirun ./brams`, where rank0 goes from xen1 to xen2 after 60 s; in random order, seed 1.",
        "",
        "RUNS               COUNTED  FAILED  DISTURBED      MEAN      SD    95 % CONFIDENCE     LEAST      MOST",
        "without migration        2       0          1  101.00 s  1.41 s  88.29 to 113.71 s  100.00 s  102.00 s",
        "with migration           1       1          0  110.00 s       -                  -  110.00 s  110.00 s",
        "migration                1       -          -   12.00 s       -                  -   12.00 s   12.00 s",
        "",
        "Nothing can be said of run times with and without it with fewer than two runs of each that count.",
        "How long the guest stood still was not measured; --ping ADDRESS does. migd had expected 11.00 s for the migration.",
        "1 run was not made; --resume goes on.",
        "  run 4 (with migration): migration D2.1 stayed: it is full",
        "  run 5 (without migration): another migration took place meanwhile: D3.1 of rank1 (balance)",
    ]


def test_a_difference_that_is_not_shown_is_not_claimed() -> None:
    runs = [run(n, Arm.WITHOUT, 100.0 + n) for n in range(3)] + [run(n, Arm.WITH, 101.0 + n) for n in range(3)]
    text = " ".join(measurement_lines(summary(PLAN, runs), PIPE))
    assert (
        "No difference is shown between run times with and without it: +1.00 s (-1.27 to +3.27 s, -1.3 to +3.2 %, by "
        "Welch's t at 95 %). With as many runs of this spread, less than about 2.3 s cannot be told from none." in text
    )


@pytest.mark.parametrize(
    ("with_s", "said"),
    [(150.0, "A migration costs 50.00 s, 50.0 % (+47.73"), (50.0, "A migration saves 50.00 s, 50.0 % (-52.27")],
)
def test_what_a_migration_costs_or_saves_is_said_with_its_interval(with_s: float, said: str) -> None:
    runs = [run(n, Arm.WITHOUT, 99.0 + n) for n in range(3)] + [run(n, Arm.WITH, with_s - 1 + n) for n in range(3)]
    assert said in click.unstyle(" ".join(measurement_lines(summary(PLAN, runs), PIPE)))


def test_a_record_that_was_cut_off_is_read_up_to_there_and_goes_on(tmp_path: Path) -> None:
    record = Record.begin(tmp_path, PLAN)
    record.add(Held(chosen=Automation.RECOMMEND))
    record.add(run(1, Arm.WITHOUT, 5.0, is_warm_up=True))
    with (tmp_path / FILE).open("ab") as file:
        file.write(b'{"type":"run","number":2,"arm"')
    cut_off = (tmp_path / FILE).read_bytes()
    assert Record.read(tmp_path).runs == [run(1, Arm.WITHOUT, 5.0, is_warm_up=True)]
    assert (tmp_path / FILE).read_bytes() == cut_off, "who only looks takes nothing away: it may still be written"
    found = Record.resume(tmp_path)
    assert found.plan == PLAN
    assert found.held == Held(chosen=Automation.RECOMMEND)
    assert [number for number, _, _ in found.left()] == list(range(2, 8))
    found.add(Released())
    again = Record.read(tmp_path)
    assert again.held is None
    assert again.runs == found.runs == [run(1, Arm.WITHOUT, 5.0, is_warm_up=True)]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "has no measurement: there is no runs.jsonl in it"),
        (b"{}\n", "cannot be read"),
        (b'{"type":"plan","guest":"\xff\xfe"}\n', "cannot be read"),
        (b"", "not a plan"),
    ],
)
def test_a_folder_without_a_measurement_is_named(content: bytes | None, why: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / FILE).write_bytes(content)
    with pytest.raises(Failure, match=why):
        Record.read(tmp_path)


def test_the_longest_silence_is_what_lies_between_two_answers() -> None:
    said = (
        b"PING 10.0.0.5 (10.0.0.5) 56(84) bytes of data.\n"
        b"[1700000000.10] 64 bytes from 10.0.0.5: icmp_seq=1 ttl=64 time=0.3 ms\n"
        b"[1700000000.20] 64 bytes from 10.0.0.5: icmp_seq=2 ttl=64 time=0.3 ms\n"
        b"[1700000001.05] 64 bytes from 10.0.0.5: icmp_seq=11 ttl=64 time=0.3 ms\n"
    )
    assert longest_s(said, "10.0.0.5") == pytest.approx(0.85)
    with pytest.raises(Failure, match=r"ping of 10\.0\.0\.5: expected two answers at least, found 0: 'ping: no route'"):
        longest_s(b"ping: no route", "10.0.0.5")


def moment(places: dict[str, str], *migrations: MigrationView) -> Moment:
    guest = GuestView(
        uuid="u",
        name="rank0",
        host="h",
        host_name=places["rank0"],
        vcpus=1,
        cpu_used_vcpus=0.0,
        cpu_demand_vcpus=0.0,
        memory_bytes=1,
        rx_bytes_per_s=0.0,
        tx_bytes_per_s=0.0,
    )
    return Moment(guest, places, {each.cause: each for each in migrations})


def migration(cause: str, guest: str, source: str, target: str, ok: bool | None = True) -> MigrationView:
    return MigrationView(
        cause=cause,
        guest=guest,
        guest_name=guest,
        source=source,
        source_name=source,
        target=target,
        target_name=target,
        state="moved",
        started_at=0.0,
        requested_by="balance",
        ok=ok,
    )


def beside(places: dict[str, str], others: dict[str, str], *migrations: MigrationView) -> Moment:
    return replace(moment(places, *migrations), others={f"u-{name}": (name, host) for name, host in others.items()})


OWN = Moved(cause="D5.1", asked_after_s=60.0, took_s=12.0)
HERE = {"rank0": "xen1", "rank1": "xen3"}
THERE = {"rank0": "xen2", "rank1": "xen3"}
OURS = migration("D5.1", "rank0", "xen1", "xen2")


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [
        (moment(HERE), moment(THERE, OURS), ""),
        (
            moment(HERE, migration("D4.1", "rank1", "a", "b")),
            moment(THERE, OURS, migration("D4.1", "rank1", "a", "b")),
            "",
        ),
        # Somewhere else in the pool.
        (moment(HERE), moment(THERE, OURS, migration("D6.1", "web", "xen7", "xen8")), ""),
        (
            moment(HERE),
            moment(THERE, OURS, migration("D6.1", "web", "xen7", "xen2")),
            "another migration took place meanwhile: D6.1 of web (balance)",
        ),
        (
            moment(HERE, migration("D4.1", "rank1", "xen3", "xen9", ok=None)),
            moment({"rank0": "xen2", "rank1": "xen9"}, OURS, migration("D4.1", "rank1", "xen3", "xen9")),
            "another migration took place meanwhile: D4.1 of rank1 (balance)",
        ),
        (
            moment(HERE),
            moment({"rank0": "xen2", "rank1": "xen4"}, OURS),
            "not by migd: rank1 went from xen3 to xen4",
        ),
        (moment(HERE), moment({"rank0": "xen2"}, OURS), "not by migd: rank1 went from xen3 to nowhere"),
        (
            moment(HERE),
            moment({"rank0": "xen4", "rank1": "xen3"}, OURS),
            "not by migd: rank0 went from xen2 to xen4",
        ),
        # Guests of no job, past migd: moved, started, shut down; and elsewhere in the pool.
        (
            beside(HERE, {"web": "xen7", "db": "xen3", "mail": "xen7"}),
            beside(THERE, {"web": "xen2", "new": "xen1", "mail": "xen8"}, OURS),
            "not by migd: db went from xen3 to nowhere, new went from nowhere to xen1, web went from xen7 to xen2",
        ),
        (beside(HERE, {"web": "xen1"}), beside(THERE, {"web": "xen1"}, OURS), ""),
    ],
)
def test_what_else_moved_during_a_run_is_named(before: Moment, after: Moment, text: str) -> None:
    assert disturbance(before, after, PLAN, OWN) == text


def simulate(*words: str) -> str:
    """Return what the command says, on either stream."""
    ended = CliRunner().invoke(group, ["measure", "migration", "--guest", "rank0", *words], env={"COLUMNS": ""})
    assert ended.exit_code != 0
    return ended.output


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--simulate", str(PAPER / "sp.toml"), "--to", "node9"), "no host is called 'node9'; there are node1, node2"),
        (("--simulate", str(PAPER / "sp.toml"), "--to", "node1"), "guest rank0 is on node1 already; name another host"),
        (("--simulate", str(PAPER / "none.toml")), "there is no such file"),
        (("--simulate", str(PAPER.parent / "pool.toml"), "--guest", "brams1"), "never ends; give it `steps`"),
        (("--simulate", str(PAPER / "sp.toml"), "--guest", "web"), "no guest called 'web' runs on a host"),
        (("--simulate", "a", "--", "mpirun"), "it takes no command, --ping or --resume"),
        (("--simulate", "a", "--noise", "nan"), "expected a number, found nan"),
        (("--simulate", "a", "--at", "inf"), "'inf' is not a duration; it must be finite and not negative"),
        (("--to", "b"), "name the application after `--`, and where the guest goes with --to"),
        (("--to", "b", "--baseline", "c", "--", "mpirun"), "--baseline goes with --simulate only"),
    ],
)
def test_what_cannot_be_simulated_is_named(words: tuple[str, ...], why: str) -> None:
    assert why in simulate(*words)


def test_a_migration_that_outlasts_the_job_does_not_count() -> None:
    """SP takes 1318 s here, and the migration would begin 8 s before that."""
    ended = CliRunner().invoke(
        group,
        [
            "measure",
            "migration",
            "--guest",
            "rank0",
            "--to",
            "node5",
            "--at",
            "1310",
            "--repeat",
            "2",
            "--noise",
            "0",
            "--simulate",
            str(PAPER / "sp.toml"),
            "--json",
        ],
    )
    assert ended.exit_code == 0, ended.output
    found = msgspec.json.decode(ended.stdout)
    assert [each["arm"] for each in found["left_out"]] == ["with", "with"]
    assert math.isclose(found["arms"][0]["run_time_s"]["mean"], 1317.7, rel_tol=0.001)
    assert found["arms"][1]["run_time_s"] is None
    assert " before the migration" in found["left_out"][0]["why"]


def test_without_matplotlib_it_is_said_before_anything_is_measured() -> None:
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "sys.argv = ['migctl', 'measure', 'migration', '--guest', 'g', '--to', 'h', '--plot', '--', 'true']\n"
        "from migd_cli.__main__ import main; sys.exit(main())"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1
    assert "plots need matplotlib, which is not installed; `pip install 'migd[report]'`" in " ".join(
        ended.stderr.split()
    )


def test_what_was_measured_is_shown_again_and_drawn(tmp_path: Path) -> None:
    """By `measure show`; its plots are pictures, and its figures those of the measurement."""
    words = ["measure", "migration", "--guest", "rank0", "--to", "node4", "--repeat", "2", "--seed", "5", "--json"]
    words += ["--simulate", str(PAPER / "hpl-3.toml"), "--out", str(tmp_path)]
    measured = CliRunner().invoke(group, words)
    shown = CliRunner().invoke(group, ["measure", "show", str(tmp_path), "--plot", "--json"])
    assert (measured.exit_code, shown.exit_code) == (0, 0), (measured.output, shown.output)
    assert shown.stdout == measured.stdout
    assert msgspec.json.decode((tmp_path / "summary.json").read_bytes()) == msgspec.json.decode(shown.stdout)
    for name in ("run-time.png", "migrations.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    again = CliRunner().invoke(group, words)
    assert again.exit_code == 1
    assert "has a measurement already" in again.output
