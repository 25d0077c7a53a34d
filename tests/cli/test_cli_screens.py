"""What each command shows: by width, by words, and in a pipe."""

import time
from typing import Any

import click
import msgspec
import pytest

from migd_cli.commands.audit import audit_lines
from migd_cli.commands.automation import automation_lines
from migd_cli.commands.cancel import cancel_lines
from migd_cli.commands.evacuate import evacuation_lines
from migd_cli.commands.explain import explain_lines
from migd_cli.commands.guests import guest_lines
from migd_cli.commands.history import history_lines
from migd_cli.commands.host import maintenance_lines
from migd_cli.commands.hosts import host_lines
from migd_cli.commands.jobs import job_lines
from migd_cli.commands.links import link_lines
from migd_cli.commands.migrate import migrate_lines
from migd_cli.commands.pause import pause_lines
from migd_cli.commands.plan import plan_lines
from migd_cli.commands.policy import list_lines, policy_lines
from migd_cli.commands.recommendations import approved_lines, recommendation_lines, refused_lines
from migd_cli.commands.record import record_lines
from migd_cli.commands.release import release_lines
from migd_cli.commands.status import status_lines
from migd_cli.commands.token import list_lines as token_lines
from migd_cli.commands.token import new_lines
from migd_cli.comparison import change_lines, comparison_lines, shadow_lines, shadows_lines
from migd_cli.screen import Screen
from migd_cli.text import display_width
from migd_core.api import LeaderView, StandbyView
from migd_core.automation import Automation
from migd_core.health import HealthState, HostHealth
from migd_core.job_limits import JobLimits

LINES = {
    ("GET", "/v1/status"): status_lines,
    ("GET", "/v1/hosts"): host_lines,
    ("GET", "/v1/guests"): guest_lines,
    ("GET", "/v1/jobs"): job_lines,
    ("GET", "/v1/links"): link_lines,
    ("GET", "/v1/policies"): list_lines,
    ("PUT", "/v1/policy"): policy_lines,
    ("POST", "/v1/policy/dry-run"): change_lines,
    ("GET", "/v1/policies/comparison"): comparison_lines,
    ("GET", "/v1/record"): record_lines,
    ("PUT", "/v1/record"): record_lines,
    ("GET", "/v1/shadows"): shadows_lines,
    ("POST", "/v1/shadows"): shadow_lines,
    ("GET", "/v1/plan"): plan_lines,
    ("GET", "/v1/migrations"): history_lines,
    ("POST", "/v1/migrations"): migrate_lines,
    ("POST", "/v1/migrations/{name}/cancel"): cancel_lines,
    ("POST", "/v1/guests/{guest}/release"): release_lines,
    ("PUT", "/v1/hosts/{host}/maintenance"): maintenance_lines,
    ("DELETE", "/v1/hosts/{host}/maintenance"): maintenance_lines,
    ("GET", "/v1/hosts/{host}/evacuation"): evacuation_lines,
    ("POST", "/v1/hosts/{host}/evacuation"): evacuation_lines,
    ("GET", "/v1/automation"): automation_lines,
    ("GET", "/v1/recommendations"): recommendation_lines,
    ("POST", "/v1/recommendations/{name}/approve"): approved_lines,
    ("POST", "/v1/recommendations/{name}/refuse"): refused_lines,
    ("POST", "/v1/pause"): pause_lines,
    ("POST", "/v1/resume"): pause_lines,
    ("GET", "/v1/explain/{subject}"): explain_lines,
    ("GET", "/v1/tokens"): token_lines,
    ("POST", "/v1/tokens"): new_lines,
    ("GET", "/v1/audit"): audit_lines,
}
TERMINAL = Screen(width=80, has_colours=True, now_s=1_780_000_000.0)
PIPE = Screen(width=None, has_colours=False, now_s=1_780_000_000.0)


@pytest.fixture(autouse=True)
def in_utc(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


TWO = StandbyView(name="ctl2", since=0.0)


def shown(route: tuple[str, str], body: Any, screen: Screen = TERMINAL) -> list[str]:
    return [click.unstyle(line) for line in LINES[route](body, screen)]


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("route", LINES)
def test_no_screen_is_wider_than_the_terminal(route: tuple[str, str], width: int, long_named: dict[Any, Any]):
    screen = Screen(width=width, has_colours=True, now_s=TERMINAL.now_s)
    lines = shown(route, long_named[route], screen)
    assert lines
    assert [line for line in lines if display_width(line) > width] == []


@pytest.mark.parametrize("route", [("GET", "/v1/hosts"), ("GET", "/v1/guests"), ("GET", "/v1/migrations")])
def test_a_row_stays_one_line_however_long_the_names(route: tuple[str, str], long_named: dict[Any, Any]):
    rows = [line for line in shown(route, long_named[route])[1:] if not line.startswith("  ")]
    assert len(rows) == len(long_named[route])


@pytest.mark.parametrize("route", [("GET", "/v1/hosts"), ("GET", "/v1/guests"), ("GET", "/v1/migrations")])
def test_piped_a_row_is_one_line_with_every_column_filled(route: tuple[str, str], long_named: dict[Any, Any]):
    titles, *rows = shown(route, long_named[route], PIPE)
    assert len(rows) == len(long_named[route])
    columns = len(titles.split())
    assert all(len([cell for cell in row.split("  ") if cell.strip()]) == columns for row in rows)


def test_hosts_are_listed_with_load_and_what_is_wrong(ordinary: dict[Any, Any]):
    assert shown(("GET", "/v1/hosts"), ordinary["GET", "/v1/hosts"]) == [
        "HOST   CPUS   LOAD  MEMORY    FREE  GUESTS  SOURCE  STATE   HEALTH",
        "xen01     8  187 %  64 GiB  12 GiB       1  agent   ok      -     ",
        "xen02     8   41 %  64 GiB  12 GiB       1  agent   ok      -     ",
        "xen03     8      -  64 GiB  12 GiB       1  agent   frozen  -     ",
        "  xen03: host xen03: last sample is 14.2 s old (limit 5 s); its guests are",
        "         frozen until it reports again",
    ]


@pytest.mark.parametrize(
    ("age_s", "notes"),
    [
        (None, []),
        (4.0, ["xen01: its agent has dropped 12 samples since it started, the last 4.0 s ago"]),
        (301.0, []),
    ],
)
def test_dropped_samples_are_told_while_the_loss_is_recent(ordinary: dict[Any, Any], age_s: float | None, notes: list):
    xen01 = msgspec.structs.replace(ordinary["GET", "/v1/hosts"][0], samples_dropped=12, dropped_age_s=age_s)
    assert [line.strip() for line in shown(("GET", "/v1/hosts"), [xen01])[2:]] == notes


@pytest.mark.parametrize(
    ("state", "reasons", "cell", "notes"),
    [
        (HealthState.UNKNOWN, (), "-", []),
        (HealthState.OK, (), "ok", []),
        (HealthState.DEGRADED, ("fan 2 stands still",), "degraded", ["xen01: degraded: fan 2 stands still"]),
        (
            HealthState.FAILING,
            ("disk a dies", "fan 2 stands still"),
            "failing",
            ["xen01: failing: disk a dies; fan 2 stands still"],
        ),
    ],
)
def test_the_health_of_a_host_is_told_in_a_word_and_its_reasons_below(
    ordinary: dict[Any, Any], state: HealthState, reasons: tuple[str, ...], cell: str, notes: list
):
    health = HostHealth(state=state, reasons=reasons, watched=("hwmon",))
    xen01 = msgspec.structs.replace(ordinary["GET", "/v1/hosts"][0], health=health)
    _, row, *told = shown(("GET", "/v1/hosts"), [xen01])
    assert row.split()[-1] == cell
    assert [line.strip() for line in told] == notes


@pytest.mark.parametrize(
    ("counts", "told"),
    [
        ({}, "  hosts      3"),
        ({"hosts_frozen": 1}, "  hosts      3 (1 frozen; `migctl hosts` says why)"),
        (
            {"hosts_degraded": 2, "hosts_failing": 1},
            "  hosts      3 (1 failing, 2 degraded; `migctl hosts` says why)",
        ),
    ],
)
def test_the_status_counts_the_hosts_that_are_not_well(ordinary: dict[Any, Any], counts: dict[str, int], told: str):
    status = ordinary["GET", "/v1/status"]
    view = msgspec.structs.replace(status, **{"hosts": 3, "hosts_frozen": 0, **counts})
    assert [line for line in shown(("GET", "/v1/status"), view) if line.startswith("  hosts")] == [told]


def test_history_tells_the_failed_migration_apart_and_why(ordinary: dict[Any, Any]):
    assert shown(("GET", "/v1/migrations"), ordinary["GET", "/v1/migrations"]) == [
        "ID      STARTED   GUEST  FROM   TO     PLANNED  TOOK  BY            RESULT      ",
        "D812.1  20:26:37  rank0  xen01  xen02     12 s     -  least-loaded  running 42 %",
        "D700.1  20:11:40  rank0  xen01  xen02     12 s  13 s  least-loaded  moved       ",
        "D640.1  20:11:40  rank0  xen01  xen02     12 s  13 s  least-loaded  stayed      ",
        "  D640.1: HOST_NOT_ENOUGH_FREE_MEMORY: host xen02 has filled up",
    ]


def test_plan_names_for_each_move_the_price_and_the_gate_that_stops_it(ordinary: dict[Any, Any]):
    lines = shown(("GET", "/v1/plan"), ordinary["GET", "/v1/plan"])
    assert lines[0] == "Dry run of policy least-loaded: 1 of 2 proposed moves would be made"
    assert "  1. rank0: xen01 → xen02, would be made" in lines
    assert lines[lines.index("  2. rank1: xen01 → xen02, stopped by cooldown") :] == [
        "  2. rank1: xen01 → xen02, stopped by cooldown",
        "     Host xen01 wants 187 % of its CPUs, host xen02 41 %.",
        "     It is expected to take 12 s (11 s to 16 s), of which the guest stands still",
        "     for 0.3 s, and to send 1.4 GiB. The jobs would gain 4 min (45 s to 13 min)",
        "     and lose 7.1 s (5.2 s to 11 s) while it runs.",
        "     ✓ capacity: guest rank0 needs 1.00 GiB, host xen02 has 12.0 GiB free after",
        "       moves in flight",
        "     ✗ cooldown: 2 min since its last migration or attempt (cooldown 30 min)",
    ]


def test_a_guest_is_explained_by_its_own_moves_only(ordinary: dict[Any, Any]):
    lines = shown(("GET", "/v1/explain/{subject}"), ordinary["GET", "/v1/explain/{subject}"])
    assert "  2. rank1: xen01 → xen02, stopped by cooldown" in lines
    assert not [line for line in lines if line.startswith("  1. rank0")]
    assert "  one more move was considered: `migctl explain D812`" in lines
    assert "D811  20:26:32  rank1: xen01 → xen02  stopped by cooldown" in lines


def test_a_decision_is_explained_with_all_its_moves(ordinary: dict[Any, Any]):
    view = ordinary["GET", "/v1/explain/{subject}"]
    decision = msgspec.structs.replace(view, subject="D812", decisions=view.decisions[:1])
    lines = shown(("GET", "/v1/explain/{subject}"), decision)
    assert [line for line in lines if line.startswith(("  1. rank0", "  2. rank1"))] != []
    assert "considered" not in " ".join(lines)


def test_a_paused_controller_says_so_first(ordinary: dict[Any, Any]):
    lines = shown(("GET", "/v1/status"), ordinary["POST", "/v1/pause"])
    assert lines[1] == "PAUSED: nothing is migrated until `migctl resume`"


def test_what_needs_a_human_is_said_first_and_in_full(ordinary: dict[Any, Any]):
    status = ordinary["GET", "/v1/status"]
    assert shown(("GET", "/v1/status"), status)[1:3] == [
        "NEEDS YOU: web (D600.1): VM_CRASHED(web): it crashed; see its console and the",
        "           logs of both hosts",
    ]


@pytest.mark.parametrize(
    ("leader", "told"),
    [
        (
            LeaderView(name="ctl1", leads=True, leader="ctl1", since=TERMINAL.now_s - 7200, number=40, standbys=[TWO]),
            "  leader     ctl1, this one, since 2 h ago; ctl2 stands by",
        ),
        (
            LeaderView(name="ctl1", leads=True, leader="ctl1", since=TERMINAL.now_s - 7200, number=40),
            "  leader     ctl1, this one, since 2 h ago; nobody stands by",
        ),
        (
            LeaderView(name="ctl2", leads=False, leader="ctl1", since=TERMINAL.now_s - 7200, api="https://ctl1:7280"),
            "  leader     ctl1, since 2 h ago; this one, ctl2, stands by: ask `migctl --url https://ctl1:7280`",
        ),
        (
            LeaderView(name="ctl2", leads=False, lease_s=15.0, problem="the pool does not answer"),
            "  leader     nobody; ctl2 leads within 15 s, if nobody else does: the pool does not answer",
        ),
    ],
)
def test_the_status_says_who_leads_and_who_stands_by(ordinary: dict[Any, Any], leader: LeaderView, told: str) -> None:
    view = msgspec.structs.replace(ordinary["GET", "/v1/status"], leader=leader)
    wide = Screen(width=160, has_colours=False, now_s=TERMINAL.now_s)
    assert [line for line in shown(("GET", "/v1/status"), view, wide) if line.startswith("  leader")] == [told]


def test_status_counts_the_guests_that_are_held_back(ordinary: dict[Any, Any]):
    status = ordinary["GET", "/v1/status"]
    (hold,) = status.holds
    never = msgspec.structs.replace(hold, then="never", guest="b")
    resting = msgspec.structs.replace(hold, then="retry-later", guest="c", rest_s=60.0)
    lines = shown(("GET", "/v1/status"), msgspec.structs.replace(status, holds=[hold, never, resting]), PIPE)
    (line,) = [line for line in lines if "held back" in line]
    assert line.endswith(
        "2 in quarantine and 1 resting after failed migrations; `migctl guests` says why, `migctl release` lifts it"
    )
    assert "held back" not in "".join(shown(("GET", "/v1/status"), msgspec.structs.replace(status, holds=[])))


def test_a_guest_that_rests_is_listed_with_the_reason(ordinary: dict[Any, Any]):
    first, *_ = ordinary["GET", "/v1/guests"]
    rests = msgspec.structs.replace(first, resting_because="rests for 12 min: its last migration failed, TOO_BUSY()")
    assert "  rank0: rests for 12 min: its last migration failed, TOO_BUSY()" in shown(("GET", "/v1/guests"), [rests])


def test_a_release_says_what_may_move_again(ordinary: dict[Any, Any]):
    (hold,) = ordinary["POST", "/v1/guests/{guest}/release"]
    route = ("POST", "/v1/guests/{guest}/release")
    assert shown(route, [hold]) == ["D600.1: web may be moved again; the migration failed with VM_CRASHED."]
    to_target = msgspec.structs.replace(hold, scope="target", code="VM_REQUIRES_SR")
    assert shown(route, [to_target])[0].startswith("D600.1: web to xen02 may be moved again;")
    assert shown(route, [msgspec.structs.replace(hold, scope="pool")])[0].startswith("D600.1: every guest may be moved")


def test_a_migration_that_is_being_cancelled_says_so(ordinary: dict[Any, Any]):
    running = msgspec.structs.replace(ordinary["POST", "/v1/migrations"], is_cancelling=True)
    row = shown(("GET", "/v1/migrations"), [running])[1]
    assert row.split("  ")[-1].strip() == "cancelling 42 %"


def test_status_says_what_is_wrong_with_pool_policy_and_agents(ordinary: dict[Any, Any]):
    sick = msgspec.structs.replace(
        ordinary["GET", "/v1/status"],
        xapi_connected=False,
        xapi_problem="https://xen01 does not answer: connection refused",
        policy_problem="policy spread cannot be used, observing instead: there is no policy spread",
        topology_problem="[topology.switches] names xen7, which no host of the pool is called",
        slurm_problem="squeue: ended with status 1: Unable to contact slurm controller",
        rules_problem="migd:pin=a and migd:pin=b leave no host for rank0",
        http_problem="the certificate cert.pem expired 2 d ago and browsers refuse it",
        agents_refused=3,
        samples_refused=2,
        last_refusal="key abc is not on the list",
    )
    text = "\n".join(shown(("GET", "/v1/status"), sick, PIPE))
    assert "not connected: https://xen01 does not answer: connection refused" in text
    assert "policy spread cannot be used, observing instead" in text
    assert "[topology.switches] names xen7" in text
    assert "migd:pin=a and migd:pin=b leave no host for rank0" in text
    assert "squeue: ended with status 1: Unable to contact slurm controller" in text
    assert "2 refused, 3 connections of unknown agents refused; last: key abc is not on the list" in text


@pytest.mark.parametrize(
    ("route", "hint"),
    [
        (("GET", "/v1/hosts"), "migctl status"),
        (("GET", "/v1/guests"), "migctl status"),
        (("GET", "/v1/jobs"), "migctl job add"),
        (("GET", "/v1/migrations"), "migctl plan"),
    ],
)
def test_an_empty_list_says_where_to_look_instead(route: tuple[str, str], hint: str):
    assert hint in " ".join(shown(route, []))


def test_an_unpriced_move_is_not_dressed_up(ordinary: dict[Any, Any]):
    plan = ordinary["GET", "/v1/plan"]
    unknown = msgspec.structs.replace(
        plan.candidates[1], predicted_s=None, predicted_pause_s=None, predicted_bytes=None, gain_s=None, cost_s=None
    )
    lines = shown(("GET", "/v1/plan"), msgspec.structs.replace(plan, candidates=[unknown]))
    assert "     What it would take is not known." in lines


def test_a_move_that_harms_the_jobs_is_called_that(ordinary: dict[Any, Any]):
    plan = ordinary["GET", "/v1/plan"]
    harmful = msgspec.structs.replace(plan.candidates[1], gain_s=-30.0)
    text = " ".join(shown(("GET", "/v1/plan"), msgspec.structs.replace(plan, candidates=[harmful]), PIPE))
    assert "The jobs would lose 30 s more afterwards and lose 7.1 s (5.2 s to 11 s) while it runs." in text


def test_jobs_say_below_the_table_what_their_remaining_time_rests_on(ordinary: dict[Any, Any]):
    lines = job_lines(ordinary["GET", "/v1/jobs"], Screen(width=80, has_colours=False, now_s=0.0))
    assert lines[1].split() == ["brams", "6", "h", "5", "h", "…", "7", "h", "120/5000", "2", "rank0", "rank1"]
    assert lines[2:] == ["  brams: progress: 120 of 5000 iterations at 4.4 s each"]


def test_jobs_say_below_the_table_how_much_of_their_own_stall_budget_is_left(ordinary: dict[Any, Any]):
    """Limits that hold for everybody are no news of a job; that it stood still is."""
    (job,) = ordinary["GET", "/v1/jobs"]

    def notes(**values: object) -> list[str]:
        seen = msgspec.structs.replace(job, remaining_basis="", **values)
        return job_lines([seen], Screen(width=100, has_colours=False, now_s=0.0))[2:]

    everybodys = {"stall_per_hour_s": 3600.0, "no_stall_last_s": 0.0}
    assert notes(**everybodys) == []
    assert notes(stalled_s=3.25, **everybodys) == ["  brams: stood still for 3.2 s within an hour"]
    own = JobLimits(stall_per_hour_s=20.0, no_stall_last_s=600.0, allowed_hours=("20:00-06:00",))
    assert notes(limits=own, stalled_s=3.25, stall_per_hour_s=20.0, no_stall_last_s=600.0) == [
        "  brams: stood still for 3.2 s of at most 20 s an hour, not in its last 10 min",
        "  brams: moved only at 20:00-06:00",
    ]
    assert notes(limits=JobLimits(allowed_hours=()), **everybodys) == ["  brams: moved at any hour"]


def test_recommendations_show_the_price_the_gates_and_how_to_decide(ordinary: dict[Any, Any]):
    route = ("GET", "/v1/recommendations")
    lines = shown(route, ordinary[route], PIPE)
    assert lines[0] == "D813.r1, for safety, policy evacuate, since 2 min ago, lapses in 13 min"
    at = lines.index("D812.r1, policy least-loaded, since 2 min ago, lapses in 13 min")
    assert lines[at + 1] == "  1. rank0: xen01 → xen02"
    assert "gain 4 min (45 s to 13 min) and lose 7.1 s" in lines[at + 3]
    assert lines[at + 5].startswith("     ? automation: automation is recommend")
    decide = "`migctl approve NAME` lets one be done, `migctl refuse NAME` drops it."
    assert lines[-1] == (
        f"{decide} `migctl evacuate xen01` lets every guest leave xen01, with no further word from you."
    )
    assert shown(route, ordinary[route][1:], PIPE)[-1] == decide


def test_automation_shows_what_the_level_means_and_each_jobs_own(ordinary: dict[Any, Any]):
    route = ("GET", "/v1/automation")
    first, _, hours, _, titles, row = shown(route, ordinary[route], PIPE)
    assert first == "Recommend: moves wait for your word: `migctl recommendations` (configured: automatic)."
    assert hours == "Guests are moved Mon-Fri 20:00-06:00 Europe/Berlin, not now."
    assert titles.split() == ["JOB", "AUTOMATION", "ITS", "OWN", "ITS", "HOURS"]
    assert row.split() == ["brams", "off", "off", "22:00-04:00"]


def test_status_says_what_waits_for_an_operator_and_who_is_out_of_service(ordinary: dict[Any, Any]):
    route = ("GET", "/v1/status")
    changes = {"recommendations": 2, "automation": Automation.RECOMMEND, "hosts_in_maintenance": 1}
    lines = shown(route, msgspec.structs.replace(ordinary[route], **changes), PIPE)
    assert "YOUR WORD: recommendations: 2; `migctl recommendations` shows them, with what each would gain" in lines
    assert "  automation recommend; `migctl automation show` says what that means" in lines
    assert "  hosts      3 (1 frozen, 1 in maintenance; `migctl hosts` says why)" in lines
    assert not [line for line in shown(route, ordinary[route], PIPE) if "automation" in line or "YOUR WORD" in line]


def test_a_host_out_of_service_shows_it_and_why(ordinary: dict[Any, Any]):
    route = ("GET", "/v1/hosts")
    closed = msgspec.structs.replace(ordinary[route][0], is_enabled=False, maintenance="it is disabled in the pool")
    _, row, note = shown(route, [closed])
    assert " maintenance " in row
    assert note == "  xen01: receives no guests: it is disabled in the pool"
