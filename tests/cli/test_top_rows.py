"""What `migctl top` draws, as pure functions of the controller's answers."""

import time
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from migd_cli.screen import Screen
from migd_cli.text import display_width
from migd_cli.top import words
from migd_cli.top.bars import cpu_bar, progress_bar
from migd_cli.top.choice import Choice, Order
from migd_cli.top.reading import Reading
from migd_cli.top.rows import Row, host_rows, job_rows, migration_rows, recommendation_rows, slowest
from migd_core.api import GuestView, HoldView
from migd_core.automation import Automation
from migd_core.health import HealthState, HostHealth

NOW_S = 1_780_000_000.0
SCREEN = Screen(width=80, has_colours=False, now_s=NOW_S)


def reading_of(answers: dict[Any, Any], **status: Any) -> Reading:
    return Reading(
        at_s=NOW_S,
        status=msgspec.structs.replace(answers["GET", "/v1/status"], **status),
        hosts=answers["GET", "/v1/hosts"],
        guests=answers["GET", "/v1/guests"],
        jobs=answers["GET", "/v1/jobs"],
        recommendations=answers["GET", "/v1/recommendations"],
        migrations=answers["GET", "/v1/migrations"],
    )


@pytest.fixture
def reading(ordinary: dict[Any, Any]) -> Reading:
    return reading_of(ordinary)


@pytest.fixture(autouse=True)
def in_utc(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def drawn(rows: list[Row], columns: int = 78) -> list[str]:
    return [row.draw(columns).plain.rstrip() for row in rows]


def keys(rows: list[Row]) -> list[str]:
    return [row.key.removeprefix("uuid-") for row in rows]


@pytest.mark.parametrize(
    ("gets_ratio", "wants_ratio", "bar"),
    [
        (0.0, 0.0, "········│    "),
        (0.5, 0.5, "████····│    "),
        (0.5, 1.0, "████░░░░│    "),
        (1.0, 1.25, "████████│░░  "),
        (1.0, 9.0, "████████│░░░░"),
    ],
)
def test_a_bar_tells_what_is_had_waited_for_and_idle_without_colour(gets_ratio, wants_ratio, bar):
    assert cpu_bar(gets_ratio, wants_ratio, 8).plain == bar


@pytest.mark.parametrize(("ratio", "bar"), [(0.0, "·····"), (0.42, "██···"), (1.0, "█████"), (1.7, "█████")])
def test_progress_fills_its_bar_and_never_more(ratio, bar):
    assert progress_bar(ratio, 5).plain == bar


def test_hosts_stand_above_their_guests_with_load_and_what_is_wrong(reading: Reading):
    assert drawn(host_rows(reading, Choice())) == [
        "▾ xen01   █████████████│░░░░░░  187 %  of 8 CPUs  12 GiB free",
        "    rank0 ███████░░░░░░│         1.10  of 2.00 wanted  brams  → xen02 42 %",
        "    rank1 ███████░░░░░░│         1.10  of 2.00 wanted  brams",
        "▾ xen02   █████········│         41 %  of 8 CPUs  ← rank0  12 GiB free",
        "▾ xen03   load unknown              ?  of 8 CPUs  ! frozen  12 GiB free",
        "    web   █············│         0.20  of 0.20 wanted  fixed",
    ]


def test_a_failing_host_says_so_in_words(reading: Reading):
    failing = msgspec.structs.replace(reading.hosts[1], health=HostHealth(state=HealthState.FAILING), is_enabled=False)
    (line,) = drawn(host_rows(replace(reading, hosts=[failing], guests=[]), Choice()))
    assert "  of 8 CPUs  ! disabled  ! failing" in line
    emptied = msgspec.structs.replace(failing, maintenance="an operator has put it into maintenance")
    (line,) = drawn(host_rows(replace(reading, hosts=[emptied], guests=[]), Choice()))
    assert "  of 8 CPUs  ! in maintenance  ! failing" in line


def test_a_job_names_the_rank_that_the_others_wait_for_and_its_speed(reading: Reading):
    job = msgspec.structs.replace(reading.jobs[0], guests=["uuid-rank0", "uuid-rank1"])
    fast = msgspec.structs.replace(job, iteration_s=0.028)
    slow = msgspec.structs.replace(job, iteration_s=90.0, missing=["uuid-9"])
    shown = replace(reading, jobs=[fast, slow, job])
    guests = {guest.name: guest for guest in reading.guests}
    assert slowest([guests["rank0"], guests["web"]]) == (guests["rank0"], 0.55)
    assert slowest([]) is None
    assert drawn(job_rows(shown, Choice()), 200) == [
        "brams  slowest rank0 on xen01: 55 % of its CPU  35.7 it/s  6 h left  2 % done  2 guests",
        "brams  slowest rank0 on xen01: 55 % of its CPU  90 s an iteration  6 h left  2 % done  2 guests  ! 1 gone",
        "brams  slowest rank0 on xen01: 55 % of its CPU  speed not reported  6 h left  2 % done  2 guests",
    ]


def test_what_waits_for_the_operators_word_says_what_it_gains_costs_and_when_it_lapses(reading: Reading):
    rows = recommendation_rows(reading, Choice())
    assert drawn(rows, 100) == [
        "D813.r1  rank0  xen01 → xen02  ! for safety  gains 4 min, costs 7.1 s  lapses in 13 min",
        "D812.r1  rank0  xen01 → xen02  gains 4 min, costs 7.1 s  lapses in 13 min",
    ]
    both = msgspec.structs.replace(reading.recommendations[1], moves=2 * reading.recommendations[1].moves)
    (line,) = drawn(recommendation_rows(replace(reading, recommendations=[both]), Choice(part="RANK0")), 100)
    assert line == "D812.r1  rank0  xen01 → xen02 and 1 more  gains 8 min, costs 14 s  lapses in 13 min"
    assert recommendation_rows(reading, Choice(part="web")) == []


def test_the_headline_tells_a_level_that_leaves_moves_to_the_operator(reading: Reading):
    asking = replace(reading, status=msgspec.structs.replace(reading.status, automation=Automation.RECOMMEND))
    assert words.headline(asking, SCREEN).plain == (
        "migd 0.1.0  20:26:40  policy least-loaded, automation recommend  3 hosts  3 guests  1 job"
    )
    automatic = replace(reading, status=msgspec.structs.replace(reading.status, automation=Automation.AUTOMATIC))
    assert "automation" not in words.headline(automatic, SCREEN).plain


def test_migrations_under_way_stand_first_with_progress_and_predicted_end(reading: Reading):
    assert drawn(migration_rows(reading, Choice()), 90) == [
        "D812.1  rank0  xen01 → xen02  ████······  42 %  ends 20:26:49, in 9.4 s",
        "D700.1  rank0  xen01 → xen02  moved in 13 s, 12 s predicted, 15 min ago",
        "D640.1  rank0  xen01 → xen02  stayed after 13 s, 15 min ago: HOST_NOT_ENOUGH_FREE_MEMORY:…",
    ]


def test_a_migration_that_is_overdue_or_being_cancelled_says_so(reading: Reading):
    running = reading.migrations[0]
    late = msgspec.structs.replace(running, started_at=NOW_S - 60, is_cancelling=True, progress_ratio=None)
    blind = msgspec.structs.replace(running, predicted_s=None, state="asked", cause="D813.1", started_at=NOW_S - 70)
    assert [
        line[41:].strip() for line in drawn(migration_rows(replace(reading, migrations=[late, blind]), Choice()))
    ] == [
        "?  cancelling, expected 48 s ago",
        "42 %  asked, end unknown",
    ]


@pytest.mark.parametrize("columns", [58, 78, 118])
def test_no_line_is_wider_than_its_room_however_long_the_names(long_named: dict[Any, Any], columns: int):
    reading = reading_of(long_named)
    rows = [*host_rows(reading, Choice()), *job_rows(reading, Choice())]
    rows += [*recommendation_rows(reading, Choice()), *migration_rows(reading, Choice())]
    assert len(rows) == 12
    assert [line for line in drawn(rows, columns) if display_width(line) > columns] == []


def test_a_name_cannot_steer_the_terminal(reading: Reading):
    evil = msgspec.structs.replace(reading.guests[0], name="a\x1b[2Jb\n", job="\x07")
    shown = replace(reading, guests=[evil])
    assert all(line.isprintable() for line in drawn(host_rows(shown, Choice())))


@pytest.mark.parametrize(
    ("order", "hosts"),
    [
        (Order.NAME, ["xen01", "xen02", "xen03"]),
        (Order.LOAD, ["xen02", "xen01", "xen03"]),
        (Order.WAITING, ["xen01", "xen02", "xen03"]),
        (Order.MEMORY, ["xen03", "xen01", "xen02"]),
    ],
)
def test_hosts_are_sorted_as_chosen(reading: Reading, order: Order, hosts: list[str]):
    xen01, xen02, xen03 = reading.hosts
    xen02 = msgspec.structs.replace(xen02, load_ratio=3.0)
    xen03 = msgspec.structs.replace(xen03, memory_free_bytes=1)
    shown = replace(reading, hosts=[xen03, xen02, xen01], guests=reading.guests[:1])
    assert [key for key in keys(host_rows(shown, Choice(order))) if key != "rank0"] == hosts


@pytest.mark.parametrize(
    ("order", "guests"), [(Order.NAME, "abc"), (Order.LOAD, "bca"), (Order.WAITING, "cab"), (Order.MEMORY, "abc")]
)
def test_guests_are_sorted_as_chosen_and_by_name_where_that_leaves_them_equal(reading, order: Order, guests: str):
    def guest(name: str, demand: float, used: float) -> GuestView:
        like = reading.guests[0]
        return msgspec.structs.replace(like, uuid=name, name=name, cpu_demand_vcpus=demand, cpu_used_vcpus=used)

    shown = replace(reading, guests=[guest("c", 1.5, 0.5), guest("b", 2.0, 2.0), guest("a", 1.0, 0.9)])
    assert "".join(keys(host_rows(shown, Choice(order)))[1:4]) == guests


def test_orders_follow_each_other_and_begin_anew():
    assert [order.following for order in Order] == [Order.LOAD, Order.WAITING, Order.MEMORY, Order.NAME]


@pytest.mark.parametrize(
    ("part", "hosts", "jobs", "migrations"),
    [
        ("RANK1", ["xen01", "rank1"], ["brams"], []),
        ("brams", ["xen01", "rank0", "rank1"], ["brams"], []),
        ("xen03", ["xen03", "web"], [], []),
        ("xen02", ["xen02"], [], ["D812.1", "D700.1", "D640.1"]),
        ("nobody", [], [], []),
    ],
)
def test_a_filter_keeps_what_has_the_part_in_a_name(reading: Reading, part, hosts, jobs, migrations):
    choice = Choice(part=part)
    assert keys(host_rows(reading, choice)) == hosts
    assert keys(job_rows(reading, choice)) == jobs
    assert keys(migration_rows(reading, choice)) == migrations


def test_a_folded_host_hides_its_guests(reading: Reading):
    rows = host_rows(reading, Choice(folded=frozenset({"uuid-xen01"})))
    assert keys(rows) == ["xen01", "xen02", "xen03", "web"]
    assert drawn(rows)[0].startswith("▸ xen01")


def test_a_pause_and_a_lost_connection_stand_in_the_banner(reading: Reading, ordinary: dict[Any, Any]):
    paused = reading_of(ordinary, is_paused=True)
    assert words.banner(reading, "", None, SCREEN) == []
    assert words.banner(paused, "", None, SCREEN) == [
        *("", "▮▮  P A U S E D  ▮▮"),
        *("no migration is started until you press r. 1 under way goes on to the end.", ""),
    ]
    lost = "NOT CONNECTED, trying again."
    assert words.banner(paused, "nobody", None, SCREEN) == [f"{lost} What you see is of 20:26:40.", "nobody"]
    assert words.banner(None, "", 4.2, SCREEN) == [lost, "no answer for 4 s"]


def test_the_banner_goes_from_edge_to_edge_and_is_broken_where_it_is_too_long():
    text = words.across(["", "paused now"], 10)
    assert (text.plain, str(text.style)) == ("          \n  paused  \n   now    ", "bold reverse")


def test_the_last_line_tells_the_worst_that_is_wrong_or_else_the_last_decision(ordinary: dict[Any, Any]):
    calm = reading_of(ordinary, holds=[], hosts_frozen=0)
    assert words.thought(calm).plain.startswith("D812: host xen01 was overloaded for 3 periods")
    assert words.thought(reading_of(ordinary, last_decision=None, holds=[], hosts_frozen=0)).plain == (
        "nothing has been decided yet"
    )
    hold: HoldView = ordinary["GET", "/v1/status"].holds[0]
    wrong = reading_of(ordinary, xapi_problem="the pool does not answer")
    assert words.thought(wrong).plain == "! the pool does not answer (and 2 more: `migctl status`)"
    assert words.troubles(wrong.status)[1:] == [hold.text, "1 host is frozen: `migctl hosts` says why"]


def test_a_controller_that_runs_for_less_time_than_before_was_restarted(ordinary: dict[Any, Any]):
    before, after = reading_of(ordinary, uptime_s=900.0), reading_of(ordinary, uptime_s=2.0)
    assert after.is_after_restart_of(before)
    assert not before.is_after_restart_of(after)
    assert not before.is_after_restart_of(None)


@pytest.mark.parametrize(
    ("columns", "lines", "fits"), [(80, 24, True), (60, 16, True), (59, 24, False), (80, 15, False)]
)
def test_a_terminal_without_room_is_told_how_much_is_needed(columns: int, lines: int, fits: bool):
    text = words.too_small(columns, lines)
    assert (text == "") is fits
    assert fits or text == f"terminal too small: {columns}×{lines}, needs 60×16; enlarge it, or q to quit"
