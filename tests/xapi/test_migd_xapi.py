"""The program itself: a pool file in, a pool that clients and agents can use, and a clean end."""

import hashlib
import json
import math
import re
import signal
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
import XenAPI

from migd_core.counters import HostCounters
from migd_core.messages import DirtyCurve

PROJECT = Path(__file__).parents[2]
POOL = PROJECT / "examples" / "pool.toml"
README = PROJECT / "xapi" / "README.md"


@dataclass
class Program:
    """A running migd-xapi."""

    process: subprocess.Popen[str]
    url: str
    control: str

    def ask(self, path: str, method: str = "GET", body: object = None) -> Any:
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(self.control + path, data=data, method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.loads(answer.read())


def start(*arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "migd_xapi", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def program() -> Iterator[Program]:
    process = start("--pool", str(POOL), "--listen", "127.0.0.1:0", "--faster", "30", "--log-level", "error")
    try:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        assert ready["ready"] is True
        yield Program(process, ready["url"], ready["control"])
    finally:
        process.terminate()
        process.communicate(timeout=10)


@pytest.fixture
def api(program: Program) -> Iterator[Any]:
    session = XenAPI.Session(program.url)
    session.xenapi.login_with_password("root", "migd", "1.0", "test")
    yield session.xenapi
    session.xenapi.session.logout()
    session("close")()


def test_the_example_of_the_readme_migrates_a_guest(program: Program, api: Any) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert "http://127.0.0.1:8080" in example
    client = [sys.executable, "-c", example.replace("http://127.0.0.1:8080", program.url)]
    ended = subprocess.run(client, capture_output=True, text=True, timeout=30)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert all(re.fullmatch(r"\d+%", line) for line in ended.stdout.splitlines())
    vm = api.VM.get_by_name_label("brams1")[0]
    assert api.VM.get_resident_on(vm) == api.host.get_by_name_label("xen3")[0]
    assert int(api.VM.get_domid(vm)) > 0

    truth = program.ask("/truth")
    (migration,) = (each for each in truth["migrations"] if each["guest"] == "brams1")
    assert (migration["source"], migration["target"], migration["ok"]) == ("xen1", "xen3", True)
    assert migration["guest_uuid"] == api.VM.get_uuid(vm)
    assert migration["started_s"] < migration["ended_s"] <= truth["now_s"]
    assert migration["bytes"] == sum(migration["pages"]) * 4096 >= 1 << 30
    assert migration["rounds"] == len(migration["pages"])
    assert 0 < migration["pause_s"] < migration["ended_s"] - migration["started_s"]


def test_a_dom0_counts_its_guests(program: Program, api: Any) -> None:
    host = api.host.get_by_name_label("xen4")[0]
    uuid = api.host.get_uuid(host)
    first = msgspec.convert(program.ask(f"/dom0/{uuid}"), HostCounters)
    second = msgspec.convert(program.ask(f"/dom0/{uuid}"), HostCounters)
    assert (first.host_uuid, first.cpus, first.boot_id) == (uuid, 4, second.boot_id)
    assert second.at_s > first.at_s
    assert second.cpu_s > first.cpu_s
    used_cpus = (second.cpu_s - first.cpu_s) / (second.at_s - first.at_s)
    assert 0 < used_cpus <= first.cpus  # thirty times faster, and yet no more CPUs than there are
    names = {api.VM.get_name_label(api.VM.get_by_uuid(guest.uuid)) for guest in first.guests}
    assert {"brams7", "brams8", "web4"} <= names


def test_a_dirty_curve_rises_and_is_refused_while_the_guest_migrates(program: Program, api: Any) -> None:
    vm, target = api.VM.get_by_name_label("brams8")[0], api.host.get_by_name_label("xen2")[0]
    guest, host = api.VM.get_uuid(vm), api.host.get_uuid(api.VM.get_resident_on(vm))
    path = f"/dom0/{host}/dirty/{guest}?ages=0.01,0.05,0.1"
    curve = msgspec.convert(program.ask(path), DirtyCurve)
    assert curve.contradiction() is None
    assert curve.ages_s == (0.01, 0.05, 0.1)
    assert curve.unique_pages[-1] > 0
    task = api.Async.VM.pool_migrate(vm, target, {})
    while api.VM.get_scheduled_to_be_resident_on(vm) != target or api.task.get_progress(task) == 0.0:
        assert api.task.get_status(task) == "pending"
    with pytest.raises(urllib.error.HTTPError) as caught:
        program.ask(path)
    with caught.value as answer:
        assert (answer.code, b"brams8 is being migrated" in answer.read()) == (409, True)
    api.task.cancel(task)


def test_a_hog_slows_the_job(program: Program) -> None:
    def fastest_step_per_s() -> float:
        """Over more steps than lie between two plain ones, and than a migration of the test before may last."""
        first = now = program.ask("/truth")["jobs"][0]
        assert first["name"] == "brams"
        fastest = 0.0
        while now["steps_done"] < first["steps_done"] + 15:
            now = program.ask("/truth")["jobs"][0]
            fastest = max(fastest, now["steps_per_s"])
        return fastest

    before = fastest_step_per_s()
    program.ask("/hog", "POST", {"guest": "web2", "vcpus": 4, "lasts_s": 1000.0})
    slowed = fastest_step_per_s()
    program.ask("/hog/web2", "DELETE")
    assert slowed < before


def test_a_cluster_thirty_times_faster_is_measured_in_ratios_and_within_its_links(program: Program, api: Any) -> None:
    host = api.host.get_by_name_label("xen3")[0]
    give_up_s = time.monotonic() + 20
    while math.isnan(used := api.host.query_data_source(host, "cpu_avg")):  # until its first five seconds are over
        assert time.monotonic() < give_up_s
        time.sleep(0.1)
    assert 0.05 < used <= 1.0
    link_bytes_per_s = int(api.PIF_metrics.get_speed(api.PIF.get_metrics(api.host.get_PIFs(host)[0]))) * 1e6 / 8
    assert 0 < api.host.query_data_source(host, "pif_eth0_tx") <= link_bytes_per_s


@pytest.mark.parametrize(
    ("path", "method", "body", "code"),
    [
        ("/dom0/unknown", "GET", None, 404),
        ("/hog", "POST", {"guest": "nobody", "vcpus": 1, "lasts_s": 1.0}, 404),
        ("/hog", "POST", {"guest": "web1", "vcpus": 0}, 400),
        ("/hog/nobody", "DELETE", None, 404),
    ],
)
def test_the_control_endpoint_says_what_is_wrong(
    program: Program, path: str, method: str, body: object, code: int
) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        program.ask(path, method, body)
    with caught.value as answer:
        assert (answer.code, len(answer.read()) > 10) == (code, True)


def test_with_tls_the_ready_line_has_the_fingerprint_that_a_client_can_pin() -> None:
    process = start("--pool", str(POOL), "--listen", "127.0.0.1:0", "--tls", "--log-level", "error")
    assert process.stdout is not None
    ready = json.loads(process.stdout.readline())
    address, _, port = ready["url"].removeprefix("https://").rpartition(":")
    on_the_wire = ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate((address, int(port))))
    assert ready["certificate_sha256"].replace(":", "").lower() == hashlib.sha256(on_the_wire).hexdigest()
    process.terminate()
    _, errors = process.communicate(timeout=10)
    assert (process.returncode, errors) == (0, "")


def test_a_certificate_without_its_key_is_refused_in_a_line() -> None:
    process = start("--pool", str(POOL), "--listen", "127.0.0.1:0", "--certificate", "pool.pem")
    _, errors = process.communicate(timeout=10)
    assert process.returncode == 3
    assert "--certificate and --key: a certificate needs its key" in errors


def test_faults_of_a_pool_file_happen_in_their_time_by_the_clock_of_the_cluster(tmp_path: Path) -> None:
    path = tmp_path / "pool.toml"
    path.write_text(
        'name = "p"\nhosts = [{name="a", cpus=1, memory_bytes=4294967296}, {name="b", cpus=1, memory_bytes=4294967296}]\n'
        'faults = [{kind="host-dies", host="b", at_s=60, noticed_after_s=30}, {kind="human-disables", host="a", at_s=240}]'
    )
    process = start("--pool", str(path), "--listen", "127.0.0.1:0", "--faster", "600", "--log-level", "error")
    try:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        session = XenAPI.Session(ready["url"])
        session.xenapi.login_with_password("root", "migd", "1.0", "test")
        a, b = session.xenapi.host.get_all()
        token = ""
        metrics = session.xenapi.host.get_metrics(b)
        while session.xenapi.host.get_enabled(a) or session.xenapi.host_metrics.get_live(metrics):
            token = getattr(session.xenapi.event, "from")(["host", "host_metrics"], token, 10.0)["token"]
        happened = Program(process, ready["url"], ready["control"]).ask("/faults")
        assert [each["fault"]["kind"] for each in happened] == ["host-dies", "human-disables"]
        session("close")()
    finally:
        process.terminate()
        process.communicate(timeout=10)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_cleanly_although_a_client_waits(number: signal.Signals) -> None:
    process = start("--pool", str(POOL), "--listen", "127.0.0.1:0", "--log-level", "error")
    assert process.stdout is not None
    ready = json.loads(process.stdout.readline())
    session = XenAPI.Session(ready["url"])
    session.xenapi.login_with_password("root", "migd", "1.0", "test")
    session.xenapi.Async.VM.pool_migrate(session.xenapi.VM.get_all()[-1], session.xenapi.host.get_all()[1], {})
    process.send_signal(number)
    _, errors = process.communicate(timeout=10)
    assert (process.returncode, errors) == (0, "")
    session("close")()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('name = "p"', "missing required field `hosts`"),
        ('name = "p"\nhosts = [{name="a", cpus=1, memory_bytes=1, nmae=1}]', "nmae: unknown key; did you mean name?"),
        (
            'name = "p"\nhosts = [{name="a", cpus=1, memory_bytes=4294967296}]\n'
            'guests = [{name="g", host="b", vcpus=1, memory_bytes=1}]',
            "guest g: no host is called b",
        ),
        (
            'name = "p"\nhosts = [{name="a", cpus=1, memory_bytes=1073741824}]\n'
            'guests = [{name="g", host="a", vcpus=1, memory_bytes=1073741824}]',
            "host a: its guests and Dom0 need",
        ),
        (
            'name = "p"\nhosts = [{name="a", cpus=1, memory_bytes=4294967296}]\n'
            'xapi = {users = [{name="u", password="p", role="boss"}]}',
            "role 'boss' is none of",
        ),
        (
            'name = "p"\nhosts = [{name="a", cpus=1, memory_bytes=4294967296}]\n'
            'faults = [{kind="host-dies", host="b"}]',
            "faults[0]: no host has the name or uuid b",
        ),
        (
            'name = "p"\nhosts = [{name="a", cpus=1, memory_bytes=4294967296}]\n'
            'faults = [{kind="host-dies", hots="a"}]',
            "hots: unknown key; did you mean host?",
        ),
        (
            'name = "p"\nhosts = [{name="a", cpus=1, memory_bytes=4294967296}]\nfaults = [{kind="host-explodes"}]',
            "host-explodes",
        ),
    ],
)
def test_a_wrong_pool_file_is_told_in_a_line(text: str, message: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "pool.toml")
        path.write_text(text)
        process = start("--pool", str(path), "--listen", "127.0.0.1:0")
        _, errors = process.communicate(timeout=10)
    assert process.returncode == 3
    assert message in errors
    assert "Traceback" not in errors


def test_a_taken_address_is_named(program: Program) -> None:
    process = start("--pool", str(POOL), "--listen", program.url.removeprefix("http://"))
    _, errors = process.communicate(timeout=10)
    assert process.returncode == 3
    assert "host xen1 cannot listen at 127.0.0.1" in errors
