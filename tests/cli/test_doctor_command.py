"""`migctl doctor`: what it finds on this machine, what the controller finds, and the exit code that they come to."""

import json
import os
from pathlib import Path

import msgspec
import pytest

from migd_cli.local_checks import local_findings
from migd_core.api import ExaminationView, FindingView, Problem, Verdict

ROUTE = ("GET", "/v1/doctor")
KEY = '    public-key = "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID"\n    secret-key = "D:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%cs"\n'
CONTROLLER = """\
[telemetry]
secret_key_file = "{folder}/controller.key_secret"
agents_file = "{folder}/agents.toml"

[xapi]
url = "https://pool.example.org"
username = "migd"
password_file = "{folder}/xapi.password"
"""
AGENT = """\
[controller]
endpoint = "tcp://controller.example.org:7201"
public_key_file = "{folder}/controller.key"
secret_key_file = "{folder}/agent.key_secret"
"""


def write(path: Path, text: str, mode: int = 0o600) -> None:
    path.write_text(text)
    path.chmod(mode)


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """The configuration of a machine with a controller and an agent, as it should be."""
    folder = tmp_path / "etc"
    folder.mkdir()
    write(folder / "controller.toml", CONTROLLER.format(folder=folder), 0o640)
    write(folder / "agent.toml", AGENT.format(folder=folder), 0o640)
    write(folder / "controller.key_secret", KEY)
    write(folder / "agent.key_secret", KEY)
    write(folder / "controller.key", KEY.splitlines()[0], 0o644)
    write(folder / "agents.toml", f'[agents]\nh1 = "{"k" * 40}"\nh2 = ["{"l" * 40}", "{"m" * 40}"]\n', 0o644)
    write(folder / "xapi.password", "secret\n")
    return folder


def test_files_as_they_should_be_are_ok(machine: Path):
    assert [(each.verdict, each.text.removeprefix(f"{machine}/")) for each in local_findings(machine)] == [
        (Verdict.OK, "controller.toml can be read"),
        (Verdict.OK, "controller.key_secret holds the controller's secret key, and is closed to others"),
        (Verdict.OK, "agents.toml lets in 2 agents"),
        (Verdict.OK, "xapi.password holds the password of the XAPI user, and is closed to others"),
        (Verdict.OK, "agent.toml can be read"),
        (Verdict.OK, "agent.key_secret holds the agent's secret key, and is closed to others"),
        (Verdict.OK, "controller.key holds the controller's public key"),
    ]


def test_a_machine_without_migd_has_nothing_to_examine(tmp_path: Path):
    assert local_findings(tmp_path) == []


@pytest.mark.parametrize(
    ("file", "text", "mode", "found", "mend"),
    [
        ("controller.key_secret", None, 0, "is not there: No such file", "migctl keys new"),
        ("controller.key_secret", KEY, 0o644, "open to others (mode 0644)", "chmod 0600"),
        ("controller.key_secret", KEY.splitlines()[0], 0o600, "expected the controller's secret key", "keys new"),
        ("agents.toml", None, 0, "there is no such file", "touch"),
        ("agents.toml", "[agents", 0o644, "is not TOML", "put it right"),
        ("agents.toml", '[agents]\nh1 = "short"\n', 0o644, "a key of 5 characters, expected 40", "keys authorise"),
        ("agents.toml", f'[agents]\nh1 = "{"k" * 40}"\nh2 = "{"k" * 40}"\n', 0o644, "h1 and h2 share a key", "its own"),
        ("xapi.password", None, 0, "is not there", "install -m 0600"),
        ("xapi.password", "\n", 0o600, "expected the password of the XAPI user", "install -m 0600"),
        ("xapi.password", "secret", 0o660, "open to others (mode 0660)", "chmod 0600"),
        (
            "controller.toml",
            "[telemetry]\n",
            0o640,
            "missing required field `secret_key_file`",
            "controller.example.toml",
        ),
        ("agent.toml", "", 0o640, "missing required field `controller`", "systemctl restart migd-agent"),
        ("agent.key_secret", KEY, 0o640, "open to others", "chmod 0600"),
        ("controller.key", "", 0o644, "expected the controller's public key", "copy controller.key"),
    ],
)
def test_what_is_wrong_with_a_file_is_told_with_its_mend(
    machine: Path, file: str, text: str | None, mode: int, found: str, mend: str
):
    (machine / file).unlink()
    if text is not None:
        write(machine / file, text, mode)
    (bad,) = [each for each in local_findings(machine) if each.verdict is not Verdict.OK]
    assert bad.verdict is Verdict.PROBLEM
    assert str(machine / file) in bad.text
    assert found in bad.text
    assert mend in bad.mend


def test_the_findings_of_both_are_shown_each_with_its_mend(machine: Path, controller, migctl):
    ended = migctl("doctor", "--config-folder", str(machine))
    assert (ended.returncode, ended.stderr) == (4, "")
    lines = ended.stdout.splitlines()
    assert lines[0].split(None, 2)[:2] == ["ok", "config"]
    assert lines[-4:] == [
        "warning  clocks  the clock of host xen01 is 4.0 s ahead of the controller's",
        "                 mend: on xen01: `chronyc makestep`",
        "",
        "1 warning",
    ]


@pytest.mark.parametrize(("verdict", "code"), [(Verdict.OK, 0), (Verdict.WARNING, 4), (Verdict.PROBLEM, 1)])
def test_the_exit_code_is_that_of_the_worst_finding(verdict: Verdict, code: int, tmp_path: Path, controller, migctl):
    fine = FindingView(check="pool", verdict=Verdict.OK, text="answers")
    controller.answers[ROUTE] = ExaminationView(
        version="0.1.0", findings=[fine, FindingView(check="cpus", verdict=verdict, text="as found", mend="so"), fine]
    )
    assert migctl("doctor", "--config-folder", str(tmp_path)).returncode == code


def test_json_is_one_object_of_all_findings(machine: Path, controller, migctl):
    ended = migctl("doctor", "--json", "--config-folder", str(machine))
    view = msgspec.json.decode(ended.stdout, type=ExaminationView)
    assert view.findings == local_findings(machine) + controller.answers[ROUTE].findings


def test_a_controller_that_is_down_is_a_finding_and_the_rest_is_examined(machine: Path, tmp_path: Path, migctl):
    ended = migctl("doctor", "--json", "--config-folder", str(machine), MIGD_SOCKET=str(tmp_path / "absent"))
    *local, down = json.loads(ended.stdout)["findings"]
    assert (ended.returncode, ended.stderr, len(local)) == (3, "", 7)
    assert (down["check"], down["verdict"]) == ("controller", "problem")
    assert f"there is no controller socket at {tmp_path / 'absent'}" in down["text"]
    assert "systemctl restart migd-controller" in down["mend"]


def test_a_controller_that_knows_no_doctor_is_a_finding(tmp_path: Path, controller, migctl):
    controller.refuse(ROUTE, 404, Problem(code="HTTP404", text="GET /v1/doctor: Not Found; is `migctl` newer?"))
    ended = migctl("doctor", "--config-folder", str(tmp_path))
    assert (ended.returncode, ended.stderr) == (1, "")
    assert "install migctl and migd-controller of one release" in ended.stdout
    as_json = migctl("doctor", "--json", "--config-folder", str(tmp_path))
    assert [each["check"] for each in json.loads(as_json.stdout)["findings"]] == ["controller"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody who may not read")
def test_what_may_not_be_read_is_a_warning_that_names_sudo(machine: Path):
    machine.chmod(0o700)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.setuid(65534)
            found = local_findings(machine)
            code = 0 if [each.verdict for each in found] == [Verdict.WARNING] * 2 and "sudo" in found[0].mend else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
