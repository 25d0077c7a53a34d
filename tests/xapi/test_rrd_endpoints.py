"""Histories over HTTP and over the API, of a pool whose guests do so much a second, as counters tell it."""

import base64
import http.client
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlencode
from xml.etree import ElementTree

import pytest
import XenAPI

from migd_core.counters import GuestCounters, HostCounters
from migd_core.units import GIB
from migd_xapi.backend import BackendRefusal
from migd_xapi.clock import Clock
from migd_xapi.settings import Settings
from scripted_pool import USERS, ScriptedBackend, ServedPool, backend_of


@dataclass
class CountingBackend(ScriptedBackend):
    """Each guest uses half a CPU and receives 1,000 B/s; Dom0 a tenth of a CPU. Whenever it is read, it is as steady."""

    clock: Clock = field(default_factory=Clock)
    began_s: dict[str, float] = field(default_factory=dict)
    is_down: set[str] = field(default_factory=set)

    def counters(self, host: str) -> HostCounters:
        if host in self.is_down:
            raise BackendRefusal(f"host {host} is down")
        up_s = self._since(host)
        guests = [guest for guest in self.guest_list if guest.host == host]
        return HostCounters(
            host_uuid=host,
            boot_id="boot",
            at_s=up_s,
            cpus=4,
            cpu_s=(0.1 + 0.5 * len(guests)) * up_s,
            dom0_cpu_s=0.1 * up_s,
            memory_bytes=16 * GIB,
            memory_free_bytes=10 * GIB,
            rx_bytes=int(2000 * up_s),
            tx_bytes=int(3000 * up_s),
            guests=tuple(
                GuestCounters(
                    uuid=guest.uuid,
                    domid=int(host[-1]),
                    vcpus=2,
                    cpu_s=0.5 * self._since(f"{guest.uuid} on {host}"),
                    memory_bytes=2 * GIB,
                    rx_bytes=int(1000 * self._since(f"{guest.uuid} on {host}")),
                    tx_bytes=0,
                )
                for guest in guests
            ),
        )

    def wanted_vcpus(self, host: str) -> float:
        return 0.1 + 3 * sum(guest.host == host for guest in self.guest_list)

    def _put(self, uuid: str, host: str | None) -> None:
        super()._put(uuid, host)
        self.began_s[f"{uuid} on {host}"] = self.clock.now().timestamp()

    def _since(self, what: str) -> float:
        now_s = self.clock.now().timestamp()
        return now_s - self.began_s.setdefault(what, now_s)


@dataclass
class Counted:
    """A served pool with a clock that a test moves on, and a session in it."""

    pool: ServedPool
    backend: CountingBackend
    session: XenAPI.Session

    @property
    def api(self) -> Any:
        return self.session.xenapi

    def pass_time(self, *intervals_s: float) -> None:
        """Measure after each interval."""
        for interval_s in intervals_s:
            self.pool.do(lambda interval_s=interval_s: self._advance(interval_s))

    async def _advance(self, interval_s: float) -> None:
        self.backend.clock.ahead_s += interval_s
        await self.pool.server.pool.metrics.sample()

    def get(
        self, path: str, *, at: int = 1, accept: str | None = None, **query: Any
    ) -> tuple[int, dict[str, str], bytes]:
        """GET with the pool's session, at host 1 (the coordinator) or another."""
        return self.get_as({"session_id": self.session._session}, path, at=at, accept=accept, **query)

    def get_as(
        self, who: dict[str, str], path: str, *, at: int = 1, accept: str | None = None, **query: Any
    ) -> tuple[int, dict[str, str], bytes]:
        address = self.pool.url.removeprefix("http://").replace("127.0.0.1", f"127.0.0.{at}")
        connection = http.client.HTTPConnection(address, timeout=10)
        headers = {"Authorization": who["Authorization"]} if "Authorization" in who else {}
        headers |= {"Accept": accept} if accept is not None else {}
        query |= {key: value for key, value in who.items() if key != "Authorization"}
        connection.request("GET", f"{path}?{urlencode(query, doseq=True)}", headers=headers)
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, body

    def newest(self, **query: Any) -> dict[str, float]:
        """The newest row of /rrd_updates by its legend."""
        status, _, body = self.get("/rrd_updates", **{"start": -60, "json": "true", **query})
        assert status == 200, body
        document = json.loads(body)
        return dict(zip(document["meta"]["legend"], map(float, document["data"][0]["values"]), strict=True))

    def logged_in(self) -> int:
        return len(self.pool.server.pool.db.tables["session"])


@pytest.fixture
def counted() -> Iterator[Counted]:
    plain = backend_of(hosts=2, guests=3)
    backend = CountingBackend(plain.host_list, plain.guest_list)
    pool = ServedPool(backend, Settings(users=USERS, refusal_delay_s=0.0))
    session = XenAPI.Session(pool.url)
    try:
        backend.clock = pool.server.pool.clock
        session.xenapi.login_with_password("root", "migd")
        counted = Counted(pool, backend, session)
        counted.pass_time(0.0, 5.0, 5.0)
        yield counted
    finally:
        session("close")()
        pool.close()


def failure(function: Callable[..., Any], *arguments: Any) -> list[str]:
    with pytest.raises(XenAPI.Failure) as caught:
        function(*arguments)
    return list(caught.value.details)


def basic(name: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


def test_a_host_tells_of_itself_and_its_residents_as_they_are(counted: Counted) -> None:
    found = counted.newest(host="true")
    assert {entry.split(":")[2] for entry in found if entry.split(":")[1] == "vm"} == {
        "guest-0",
        "guest-2",
        counted.api.VM.get_uuid(counted.api.host.get_control_domain(counted.api.host.get_by_uuid("host-0"))),
    }
    of_host = {
        entry.removeprefix("AVERAGE:host:host-0:"): value for entry, value in found.items() if ":host-0:" in entry
    }
    assert 0.01 < of_host.pop("loadavg") < 0.1  # rises to Dom0's tenth of a CPU
    assert of_host == pytest.approx(
        {
            **{f"cpu{number}": 1.1 / 4 for number in range(4)},
            "cpu_avg": 1.1 / 4,
            "hostload": 6.1 / 4,
            "running_vcpus": 6,
            "running_domains": 3,
            "memory_total_kib": 16 * 2**20,
            "memory_free_kib": 10 * 2**20,
            "memory_reclaimed": 0,
            "memory_reclaimed_max": 0,
            "pif_aggr_rx": 2000,
            "pif_aggr_tx": 3000,
            "pif_eth0_rx": 2000,
            "pif_eth0_tx": 3000,
        },
        rel=0.02,
    )
    of_guest = {
        entry.removeprefix("AVERAGE:vm:guest-0:"): value for entry, value in found.items() if ":guest-0:" in entry
    }
    idle_disk = {entry: value for entry, value in of_guest.items() if entry.startswith("vbd_xvda_")}
    assert (len(idle_disk), set(idle_disk.values())) == (14, {0.0})
    assert {entry: value for entry, value in of_guest.items() if entry not in idle_disk} == pytest.approx(
        {
            "cpu0": 0.25,
            "cpu1": 0.25,
            "cpu_usage": 0.25,
            "memory": 2 * GIB,
            "memory_target": 2 * GIB,
            "vif_0_rx": 1000,
            "vif_0_tx": 0,
        },
        rel=0.02,
    )


def test_a_member_answers_for_its_own_with_the_session_of_the_pool(counted: Counted) -> None:
    found = counted.newest(at=2)
    assert "AVERAGE:vm:guest-1:cpu_usage" in found
    assert not any("guest-0" in entry or "host:" in entry for entry in found)


def test_guests_are_chosen_by_their_uuids(counted: Counted) -> None:
    found = counted.newest(vm_uuid=["guest-2", "guest-1"])
    assert {entry.split(":")[2] for entry in found} == {"guest-2"}
    assert counted.get("/rrd_updates", start=-60, vm_uuid="none")[0] == 500


@pytest.mark.parametrize(
    ("accept", "query", "content_type"),
    [
        (None, {}, "text/xml"),
        (None, {"json": "true"}, "application/json"),
        ("*/*", {}, "application/json"),
        ("text/xml", {"json": "true"}, "text/xml"),
        ("application/json;q=0.5, text/xml", {"json": "true"}, "text/xml"),
        ("image/png", {"json": "true"}, "application/json"),
    ],
)
def test_the_accept_header_decides_before_the_json_key(
    counted: Counted, accept: str | None, query: dict[str, str], content_type: str
) -> None:
    for path in ("/rrd_updates", "/host_rrd", "/vm_rrd"):
        status, headers, body = counted.get(path, accept=accept, start=-60, uuid="guest-0", **query)
        assert (status, headers["content-type"]) == (200, content_type)
        if content_type == "text/xml":
            ElementTree.fromstring(body)
        else:
            json.loads(body)


@pytest.mark.parametrize(
    "who",
    [{}, {"session_id": "OpaqueRef:x"}, basic("root", "wrong"), basic("nobody", "migd"), {"Authorization": "Bearer x"}],
)
def test_nobody_is_answered_without_a_session_or_a_password(counted: Counted, who: dict[str, str]) -> None:
    status, headers, _ = counted.get_as(who, "/rrd_updates", start=-60)
    assert (status, headers["content-type"], headers["www-authenticate"]) == (
        401,
        "text/html",
        'Basic realm="rrd_updates"',
    )


def test_a_password_gets_a_session_that_ends_with_the_answer(counted: Counted) -> None:
    before = counted.logged_in()
    for at in (1, 2):
        assert counted.get_as(basic("root", "migd"), "/rrd_updates", at=at, start=-60)[0] == 200
    assert counted.logged_in() == before


@pytest.mark.parametrize(("path", "query"), [("/rrd_updates", {}), ("/vm_rrd", {})])
def test_what_is_missing_is_a_bad_request(counted: Counted, path: str, query: dict[str, str]) -> None:
    assert counted.get(path, **query)[0] == 400


def test_a_start_that_is_no_number_is_an_error_and_an_interval_that_is_none_is_left_out(counted: Counted) -> None:
    status, _, body = counted.get("/rrd_updates", start="yesterday")
    assert (status, b"found &#x27;yesterday&#x27;" in body) == (500, True)
    assert counted.newest(interval="9" * 5000) == counted.newest()


def test_the_task_of_a_request_is_completed(counted: Counted) -> None:
    task = counted.api.task.create("metrics", "")
    assert counted.get_as({}, "/rrd_updates", start=-60, task_id=task)[0] == 401
    assert counted.api.task.get_status(task) == "pending"
    assert counted.get("/rrd_updates", start=-60, task_id=task)[0] == 200
    record = counted.api.task.get_record(task)
    assert (record["status"], record["progress"], record["result"]) == ("success", 1.0, "")
    assert str(record["finished"]) > "1971"


def test_a_guests_history_goes_where_the_guest_goes(counted: Counted) -> None:
    api = counted.api
    api.VM.pool_migrate(api.VM.get_by_uuid("guest-0"), api.host.get_by_uuid("host-1"), {})
    counted.pass_time(5.0, 5.0, 5.0)
    assert not any("guest-0" in entry for entry in counted.newest())
    status, _, body = counted.get("/rrd_updates", at=2, start=-23, json="true", vm_uuid="guest-0")
    document = json.loads(body)
    column = document["meta"]["legend"].index("AVERAGE:vm:guest-0:cpu_usage")
    usage = [float(row["values"][column]) for row in document["data"]]
    # Of the step in which it moved, what it did on the source since the last measurement is lost.
    assert (status, len(usage) >= 4) == (200, True)
    assert all(0.0 < each < 0.26 for each in usage)
    assert (usage[0], usage[-1]) == pytest.approx((0.25, 0.25), rel=0.02)

    status, headers, _ = counted.get("/vm_rrd", uuid="guest-0")
    assert status == 302
    assert headers["location"].startswith(counted.pool.url.replace("127.0.0.1", "127.0.0.2") + "/vm_rrd?")
    status, _, body = counted.get("/vm_rrd", at=2, uuid="guest-0")
    assert (status, ElementTree.fromstring(body).findtext("ds/name")) == (200, "cpu0")


def test_the_history_of_a_halted_guest_is_the_coordinators(counted: Counted) -> None:
    vm = counted.api.VM.get_by_uuid("guest-1")
    db = counted.pool.server.pool.db
    counted.pool.do(lambda: db.update(db.get("VM", vm), power_state="Halted", resident_on="OpaqueRef:NULL"))
    counted.pool.do(lambda: counted.backend.stop("guest-1"))
    counted.pass_time(5.0)
    assert not any("guest-1" in entry for entry in counted.newest(at=2))
    status, headers, _ = counted.get("/vm_rrd", at=2, uuid="guest-1")
    assert (status, headers["location"].partition("?")[0]) == (302, counted.pool.url + "/vm_rrd")
    assert "rrd_unarchive=" in headers["location"]
    assert counted.get("/vm_rrd", uuid="guest-1", rrd_unarchive="")[0] == 200
    assert failure(counted.api.VM.query_data_source, vm, "cpu0") == [
        "VM_BAD_POWER_STATE",
        vm,
        "running, paused",
        "halted",
    ]


def test_what_was_not_measured_is_not_a_number(counted: Counted) -> None:
    counted.backend.is_down = {"host-1"}
    counted.pass_time(5.0, 5.0)
    counted.backend.is_down = set()
    counted.pass_time(5.0, 5.0)
    document = json.loads(counted.get("/rrd_updates", at=2, start=-23, json="true", vm_uuid="guest-1")[2])
    column = document["meta"]["legend"].index("AVERAGE:vm:guest-1:cpu_usage")
    usage = [row["values"][column] for row in document["data"]]
    assert float(usage[0]) == pytest.approx(0.25, rel=0.02)
    assert "NaN" in usage[1:4]
    assert float(usage[-1]) == pytest.approx(0.25, rel=0.02)


def test_a_guest_that_nobody_knows_is_an_error(counted: Counted) -> None:
    status, _, body = counted.get("/vm_rrd", uuid="unknown")
    assert (status, b"UUID_INVALID, VM, unknown" in body) == (500, True)


def test_data_sources_are_listed_recorded_queried_and_forgotten(counted: Counted) -> None:
    api, vm = counted.api, counted.api.VM.get_by_uuid("guest-0")
    sources = {each["name_label"]: each for each in api.VM.get_data_sources(vm)}
    assert sources["cpu0"] == {
        "name_label": "cpu0",
        "name_description": "CPU0 usage",
        "enabled": True,
        "standard": True,
        "units": "(fraction)",
        "min": 0.0,
        "max": 1.0,
        "value": 0.0,
    }
    assert (sources["vif_0_rx_errors"]["enabled"], sources["vif_0_rx_errors"]["standard"]) == (False, False)
    assert failure(api.VM.query_data_source, vm, "vif_0_rx_errors")[0] == "INTERNAL_ERROR"
    api.VM.record_data_source(vm, "vif_0_rx_errors")
    counted.pass_time(5.0, 5.0)
    assert api.VM.query_data_source(vm, "vif_0_rx_errors") == 0.0
    assert counted.newest(vm_uuid="guest-0")["AVERAGE:vm:guest-0:vif_0_rx_errors"] == 0.0
    api.VM.forget_data_source_archives(vm, "vif_0_rx_errors")
    assert "AVERAGE:vm:guest-0:vif_0_rx_errors" not in counted.newest(vm_uuid="guest-0")

    host = api.host.get_by_uuid("host-1")
    assert api.host.query_data_source(host, "cpu_avg") == pytest.approx(0.6 / 4, rel=0.02)
    assert failure(api.host.record_data_source, host, "moon_phase") == [
        "INTERNAL_ERROR",
        "Rrd_interface.Rrdd_error(Datasource_missing(moon_phase))",
    ]
    assert "pif_eth0_rx" in {each["name_label"] for each in api.host.get_data_sources(host)}
    api.host.forget_data_source_archives(host, "pif_eth0_rx")
    assert failure(api.host.query_data_source, host, "pif_eth0_rx")[0] == "INTERNAL_ERROR"


def test_extremes_of_new_guests_are_kept_where_the_pool_says_so(counted: Counted) -> None:
    def functions(uuid: str) -> set[str | None]:
        return {
            rra.findtext("cf") for rra in ElementTree.fromstring(counted.get("/vm_rrd", uuid=uuid)[2]).findall("rra")
        }

    api = counted.api
    api.pool.add_to_other_config(api.pool.get_all()[0], "create_min_max_in_new_VM_RRDs", "true")
    db = counted.pool.server.pool.db
    host = api.host.get_by_uuid("host-0")
    counted.pool.do(lambda: db.create("VM", uuid="new", resident_on=host, power_state="Running"))
    counted.backend.guest_list.append(replace(backend_of(hosts=1, guests=1).guest_list[0], uuid="new"))
    counted.pass_time(5.0)
    assert functions("guest-0") == {"AVERAGE"}
    assert functions("new") == {"AVERAGE", "MIN", "MAX"}
    assert ElementTree.fromstring(counted.get("/host_rrd")[2]).findtext("rra[3]/cf") == "MIN"
