"""`migctl` as a process: what it asks, what it prints, and how it ends."""

import json
import os
import pty
import re
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import msgspec
import pytest

from migd_cli.app import COMMANDS
from migd_cli.app import migctl as group
from migd_cli.unreachable import why_unreachable
from migd_core.api import (
    ROUTES,
    AutomationRequest,
    JobRequest,
    MaintenanceRequest,
    MigrateRequest,
    PolicyRequest,
    PolicyView,
    Problem,
    RecordRequest,
    Role,
    ShadowRequest,
    TokenRequest,
)
from migd_core.automation import Automation
from migd_core.job_limits import JobLimitsChange
from migd_core.progress import Progress

# every command that asks the controller, with what it asks
ASKING = {
    ("status",): ("GET", "/v1/status", None),
    ("hosts",): ("GET", "/v1/hosts", None),
    ("guests",): ("GET", "/v1/guests", None),
    ("jobs",): ("GET", "/v1/jobs", None),
    ("job", "add", "brams", "--guests", "rank0,rank1"): (
        "POST",
        "/v1/jobs",
        JobRequest(name="brams", guests=["rank0", "rank1"]),
    ),
    ("job", "add", "brams", "--guests", " rank0, ", "--remaining", "1h30m"): (
        "POST",
        "/v1/jobs",
        JobRequest(name="brams", guests=["rank0"], remaining_s=5400.0),
    ),
    ("job", "add", "brams", "--guests", "rank0", "--wall-time", "12h"): (
        "POST",
        "/v1/jobs",
        JobRequest(name="brams", guests=["rank0"], wall_time_limit_s=43200.0),
    ),
    ("job", "add", "brams-7", "--guests", "rank0", "--slurm-job", "7", "--run-of", "alice/brams"): (
        "POST",
        "/v1/jobs",
        JobRequest(name="brams-7", guests=["rank0"], slurm_job=7, run_of="alice/brams"),
    ),
    (
        *("job", "add", "brams", "--guests", "rank0", "--stall-budget", "20 s per hour", "--no-stall-last", "10m"),
        *("--allowed-hours", "Sat,Sun 00:00-24:00", "--allowed-hours", "20:00-06:00"),
    ): (
        "POST",
        "/v1/jobs",
        JobRequest(
            name="brams",
            guests=["rank0"],
            limits=JobLimitsChange(
                stall_per_hour_s=20.0,
                no_stall_last_s=600.0,
                allowed_hours=("Sat,Sun 00:00-24:00", "20:00-06:00"),
            ),
        ),
    ),
    ("job", "set", "brams", "--stall-budget", "1m/h"): (
        "PATCH",
        "/v1/jobs/brams",
        JobLimitsChange(stall_per_hour_s=60.0),
    ),
    ("job", "set", "brams", "--stall-budget", "none", "--no-stall-last", "None", "--allowed-hours", "none"): (
        "PATCH",
        "/v1/jobs/brams",
        JobLimitsChange(stall_per_hour_s=None, no_stall_last_s=None, allowed_hours=None),
    ),
    ("job", "progress", "a/b c", "120", "5000"): ("POST", "/v1/jobs/a%2Fb%20c/progress", Progress(120.0, 5000.0)),
    ("job", "rm", "a/b c"): ("DELETE", "/v1/jobs/a%2Fb%20c", None),
    ("audit",): ("GET", "/v1/audit?limit=50", None),
    ("token", "list"): ("GET", "/v1/tokens", None),
    ("token", "new", "grafana", "--role", "viewer"): (
        "POST",
        "/v1/tokens",
        TokenRequest(name="grafana", role=Role.VIEWER),
    ),
    ("token", "revoke", "graf@na"): ("DELETE", "/v1/tokens/graf%40na", None),
    ("links",): ("GET", "/v1/links", None),
    ("record", "status"): ("GET", "/v1/record", None),
    ("record", "on"): ("PUT", "/v1/record", RecordRequest(on=True)),
    ("record", "off"): ("PUT", "/v1/record", RecordRequest(on=False)),
    ("policy", "list"): ("GET", "/v1/policies", None),
    ("policy", "set", "least-loaded", "margin_ratio=0.3"): (
        "PUT",
        "/v1/policy",
        PolicyRequest(name="least-loaded", config={"margin_ratio": "0.3"}),
    ),
    ("policy", "set", "observe", "--dry-run"): ("POST", "/v1/policy/dry-run", PolicyRequest(name="observe")),
    ("policy", "compare"): ("GET", "/v1/policies/comparison", None),
    ("policy", "shadow", "list"): ("GET", "/v1/shadows", None),
    ("policy", "shadow", "add", "job-time", "sustained_periods=12", "--label", "patient"): (
        "POST",
        "/v1/shadows",
        ShadowRequest(name="job-time", config={"sustained_periods": "12"}, label="patient"),
    ),
    ("policy", "shadow", "rm", "a/b c"): ("DELETE", "/v1/shadows/a%2Fb%20c", None),
    ("plan",): ("GET", "/v1/plan", None),
    ("host", "maintenance", "on", "a b"): ("PUT", "/v1/hosts/a%20b/maintenance", MaintenanceRequest()),
    ("host", "maintenance", "on", "xen01", "--until", "2026-11-27T06:00"): (
        "PUT",
        "/v1/hosts/xen01/maintenance",
        MaintenanceRequest(until=1_795_759_200.0),
    ),
    ("host", "maintenance", "off", "xen01"): ("DELETE", "/v1/hosts/xen01/maintenance", None),
    ("evacuate", "xen01"): ("POST", "/v1/hosts/xen01/evacuation", None),
    ("evacuate", "xen01", "--dry-run"): ("GET", "/v1/hosts/xen01/evacuation", None),
    ("evacuate", "xen01", "--stop"): ("DELETE", "/v1/hosts/xen01/evacuation", None),
    ("automation", "show"): ("GET", "/v1/automation", None),
    ("automation", "set", "recommend"): ("PUT", "/v1/automation", AutomationRequest(level=Automation.RECOMMEND)),
    ("automation", "set", "default", "--job", "a b"): (
        "PUT",
        "/v1/automation",
        AutomationRequest(level=None, job="a b"),
    ),
    ("recommendations",): ("GET", "/v1/recommendations", None),
    ("approve", "D812.r1"): ("POST", "/v1/recommendations/D812.r1/approve", None),
    ("refuse", "D812.r1"): ("POST", "/v1/recommendations/D812.r1/refuse", None),
    ("migrate", "rank0", "xen02"): ("POST", "/v1/migrations", MigrateRequest(guest="rank0", host="xen02")),
    ("cancel", "D812.1"): ("POST", "/v1/migrations/D812.1/cancel", None),
    ("release", "rank 0"): ("POST", "/v1/guests/rank%200/release", None),
    ("pause",): ("POST", "/v1/pause", None),
    ("resume",): ("POST", "/v1/resume", None),
    ("history", "--limit", "7"): ("GET", "/v1/migrations?limit=7", None),
    ("explain", "rank1"): ("GET", "/v1/explain/rank1", None),
}


@pytest.mark.parametrize("arguments", ASKING, ids=" ".join)
def test_a_command_asks_one_thing_and_json_prints_exactly_the_answer(arguments, controller, migctl):
    ended = migctl(*arguments, "--json")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert controller.asked == [ASKING[arguments]]
    (route,) = controller.routes_asked
    assert ended.stdout == msgspec.json.encode(controller.answers[route]).decode() + "\n"


# What only pictures are drawn from.
DRAWN = {
    ("GET", "/v1/traffic"),
    ("GET", "/v1/decisions"),
    ("GET", "/v1/history"),
    ("GET", "/v1/report"),
    ("GET", "/v1/jobs/{name}/timeline"),
    ("GET", "/v1/guests/{guest}/dirty"),
}
# What `migctl measure guest` asks, one after the other.
MEASURED = {
    ("GET", "/v1/guests/{guest}/probe"),
    ("POST", "/v1/guests/{guest}/probe"),
    ("GET", "/v1/guests/{guest}/targets"),
}


def test_every_route_of_the_api_has_a_command():
    asked = {(method, path.partition("?")[0]) for method, path, _ in ASKING.values()}
    asked.add(("PUT", "/v1/links"))  # what `migctl measure links` asks depends on what it measured
    asked.add(("GET", "/v1/doctor"))  # `migctl doctor` adds what it finds on this machine
    commanded = ROUTES.keys() - DRAWN - MEASURED
    plain = {route for route in commanded if "{" not in route[1]}
    assert plain <= asked
    assert len(commanded) == len({(method, re.sub("/(xen01|a%20b)/", "/HOST/", path)) for method, path in asked})


@pytest.mark.parametrize("arguments", [["--json", "status"], ["status", "--json"], ["job", "--json", "rm", "b"]])
def test_json_is_taken_before_and_after_the_name_of_a_command(arguments, migctl):
    json.loads(migctl(*arguments).stdout)


@pytest.mark.parametrize("is_before", [True, False])
def test_socket_is_taken_before_and_after_and_goes_over_the_environment(is_before, controller, migctl):
    option = ["--socket", str(controller.socket)]
    arguments = [*option, "hosts"] if is_before else ["hosts", *option]
    assert migctl(*arguments, MIGD_SOCKET="/nowhere").returncode == 0


def test_policy_show_prints_the_one_in_use_or_the_one_named(controller, migctl):
    active, observe = controller.answers["GET", "/v1/policies"]
    assert msgspec.json.decode(migctl("policy", "show", "--json").stdout, type=PolicyView) == active
    assert msgspec.json.decode(migctl("policy", "show", "observe", "--json").stdout, type=PolicyView) == observe
    assert "margin_ratio = 0.25" in migctl("policy", "show").stdout
    unknown = migctl("policy", "show", "spread")
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert unknown.stderr == "migctl: there is no policy 'spread'; there are least-loaded, observe\n"


def test_a_refused_request_ends_with_one_and_the_controllers_own_words(controller, migctl):
    problem = Problem(code="Refused", text="host xen02 has 0 B free; free some, or name another host")
    controller.refuse(("POST", "/v1/migrations"), 409, problem)
    ended = migctl("migrate", "rank0", "xen02")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == f"migctl: {problem.text}\n"
    as_json = migctl("migrate", "rank0", "xen02", "--json")
    assert as_json.returncode == 1
    assert msgspec.json.decode(as_json.stdout, type=Problem) == problem


def test_a_controller_of_another_release_is_recognised(controller, migctl):
    controller.refuse(("GET", "/v1/plan"), 404, b"404: Not Found")
    ended = migctl("plan")
    assert ended.returncode == 1
    assert "does not know GET /v1/plan; it is of another release than this migctl" in ended.stderr
    controller.answers["GET", "/v1/hosts"] = []
    controller.refuse(("GET", "/v1/hosts"), 200, b'[{"name":"xen01"}]')
    ended = migctl("hosts")
    assert ended.returncode == 1
    assert "of different releases, so update the older one" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_fields_that_a_newer_controller_adds_are_no_obstacle(controller, migctl):
    job = msgspec.to_builtins(controller.answers["GET", "/v1/jobs"][0]) | {"added_later": 1}
    controller.refuse(("GET", "/v1/jobs"), 200, msgspec.json.encode([job]))
    assert migctl("jobs").stdout.splitlines()[1].startswith("brams")
    assert json.loads(migctl("jobs", "--json").stdout) == [job]


@pytest.mark.parametrize(
    "arguments",
    [
        ["polcy"],
        ["migrate", "rank0"],
        ["history", "--limit", "0"],
        ["job", "add", "b", "--guests", "a", "--remaining", "soon"],
        ["job", "add", "b", "--guests", ","],
        ["job", "add", "b", "--guests", "a", "--wall-time", "long"],
        ["job", "add", "b", "--guests", "a", "--stall-budget", "20 s per day"],
        ["job", "set", "b"],
        ["job", "set", "b", "--no-stall-last", "soon"],
        ["job", "progress", "b", "much"],
        ["job", "progress", "b", "7", "5"],
        ["job", "progress", "b", "nan"],
        ["policy", "set", "observe", "margin"],
        ["policy", "set", "observe", "a=1", "a=2"],
        ["status", "--no-such-option"],
    ],
    ids=" ".join,
)
def test_wrong_usage_ends_with_two_and_asks_nothing(arguments, controller, migctl):
    ended = migctl(*arguments)
    assert (ended.returncode, ended.stdout, controller.asked) == (2, "", [])
    assert "Error: " in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["measure", "guest", ""], "GUEST"),
        (["release", ""], "GUEST"),
        (["migrate", "rank0", ""], "HOST"),
        (["host", "maintenance", "on", ""], "HOST"),
        (["evacuate", ""], "HOST"),
        (["explain", ""], "DECISION|GUEST"),
        (["cancel", ""], "MIGRATION"),
        (["job", "rm", ""], "NAME"),
    ],
    ids=str,
)
def test_an_empty_name_is_refused_with_what_was_expected_before_anything_is_asked(arguments, name, controller, migctl):
    ended = migctl(*arguments)
    assert (ended.returncode, ended.stdout, controller.asked) == (2, "", [])
    said = " ".join(ended.stderr.split())
    why = "expected a name, uuid or key, found an empty word; is a variable of the shell not set?"
    assert said.endswith(f"Error: Invalid value for '{name}': {why}")


def test_a_mistyped_command_is_answered_with_the_nearest_one(migctl):
    assert "did you mean 'policy'?" in migctl("polcy").stderr


def test_without_a_socket_it_ends_with_three_and_says_where_to_look(tmp_path: Path, migctl):
    ended = migctl("status", "--socket", str(tmp_path / "absent.sock"))
    assert (ended.returncode, ended.stdout) == (3, "")
    assert f"there is no controller socket at {tmp_path / 'absent.sock'}" in ended.stderr
    assert "systemctl status migd-controller" in ended.stderr


def test_a_socket_that_nobody_listens_on_is_told_apart(tmp_path: Path, migctl):
    path = tmp_path / "left.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
    ended = migctl("status", "--socket", str(path))
    assert ended.returncode == 3
    assert f"nobody listens on {path}" in ended.stderr


def test_a_file_that_is_no_socket_is_told_apart(tmp_path: Path, migctl):
    path = tmp_path / "file"
    path.write_text("")
    ended = migctl("status", "--socket", str(path))
    assert ended.returncode == 3
    assert f"{path} is not a socket" in ended.stderr


def test_a_path_too_long_for_a_socket_is_told_apart(migctl):
    ended = migctl("status", "--socket", "/tmp/" + "x" * 120)
    assert ended.returncode == 3
    assert "may have 107 bytes" in ended.stderr


@pytest.mark.parametrize(
    ("reply", "expected"), [(b"", "closed the connection"), (b"220 mail ready\r\n", "does not speak HTTP")]
)
def test_something_else_on_the_socket_is_told_apart(reply: bytes, expected: str, tmp_path: Path, migctl):
    path = tmp_path / "other.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(reply)

        thread = threading.Thread(target=answer)
        thread.start()
        ended = migctl("status", "--socket", str(path))
        thread.join()
    assert ended.returncode == 3
    assert expected in ended.stderr


def test_a_closed_socket_names_the_group_that_may_use_it(tmp_path: Path):
    path = tmp_path / "controller.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
    os.chown(path, -1, os.getegid())
    path.chmod(0o660)
    text = why_unreachable(str(path), PermissionError(), 1.0)
    assert "is open to group" in text
    assert "usermod -aG" in text
    path.chmod(0o600)
    assert f"sudo -u {path.owner()} migctl" in why_unreachable(str(path), PermissionError(), 1.0)
    assert stat.S_ISSOCK(path.stat().st_mode)


def test_a_controller_that_hangs_is_given_up_on(tmp_path: Path):
    text = why_unreachable(str(tmp_path), TimeoutError(), 20.0)
    assert "did not answer" in text
    assert "journalctl -u migd-controller" in text


def test_the_help_page_lists_every_command_with_its_own_first_sentence_and_the_exit_codes(migctl):
    page = migctl("--help").stdout
    context = group.make_context("migctl", ["status"])
    for section in COMMANDS.values():
        for name, (_, summary) in section.items():
            assert f" {name} {summary} " in " ".join(page.split())
            command = group.get_command(context, name)
            assert command is not None
            assert command.get_short_help_str(limit=200).rstrip(".") == summary.rstrip(".")
    for line in ("0  done", "1  the request was refused", "2  wrong usage", "3  the controller cannot be reached"):
        assert line in page


def test_the_help_page_loads_nothing_that_it_does_not_need():
    code = (
        "import sys, migd_cli.app as app\n"
        "app.migctl.main(['--help'], standalone_mode=False)\n"
        "print(sorted({'rich', 'msgspec', 'http.client', 'asyncio', 'socket'} & set(sys.modules)))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert ended.stdout.splitlines()[-1] == "[]"


def in_terminal(*arguments: str, socket_path: Path, **environment: str) -> str:
    """Return what `migctl` writes when its output is a terminal of 80 columns."""
    here, there = pty.openpty()
    variables = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    process = subprocess.Popen(
        [sys.executable, "-m", "migd_cli", *arguments],
        env={**variables, "MIGD_SOCKET": str(socket_path), "TERM": "xterm", **environment},
        stdin=there,
        stdout=there,
        stderr=there,
    )
    os.close(there)
    written = b""
    try:
        while part := os.read(here, 65536):
            written += part
    except OSError:
        pass  # the other end is closed: it has ended
    os.close(here)
    assert process.wait(timeout=30) == 0
    return written.decode(errors="replace")


def test_a_terminal_gets_colours_and_a_pipe_none(controller, migctl):
    assert "\x1b[31m" in in_terminal("hosts", socket_path=controller.socket)
    assert "\x1b" not in in_terminal("hosts", socket_path=controller.socket, NO_COLOR="1")
    assert "\x1b" not in migctl("hosts").stdout


def test_a_terminal_without_the_marks_still_gets_a_plan(controller):
    assert "? cooldown" in in_terminal("plan", socket_path=controller.socket, PYTHONIOENCODING="latin-1", NO_COLOR="1")
