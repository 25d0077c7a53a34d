"""A controller's API on a real Unix socket, with answers that the test chooses."""

import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer
from typing import Any

import msgspec
import pytest

from migd_core.api import (
    ROUTES,
    AuditView,
    AutomationView,
    CandidateView,
    ComparisonView,
    ContenderView,
    DecisionView,
    EvacuationView,
    ExaminationView,
    ExplainView,
    FindingView,
    GateView,
    GuestView,
    HoldView,
    HostView,
    IntervalView,
    JobAutomationView,
    JobView,
    LeavingView,
    LinkView,
    MigrationView,
    NewTokenView,
    PolicyChangeView,
    PolicyView,
    Problem,
    RecommendationView,
    RecordView,
    Role,
    StatusView,
    TokenView,
    Verdict,
)
from migd_core.automation import Automation
from migd_core.progress import Progress
from migd_core.units import GIB
from migd_core.world import Level

Route = tuple[str, str]


@dataclass
class StubController:
    """Answers each route with the body set for it, checked against `ROUTES`, and remembers what it was asked."""

    socket: Path
    answers: dict[Route, Any] = field(default_factory=dict)
    problems: dict[Route, tuple[int, bytes]] = field(default_factory=dict)
    asked: list[tuple[str, str, Any]] = field(default_factory=list)
    routes_asked: set[Route] = field(default_factory=set)

    def refuse(self, route: Route, status: int, problem: Problem | bytes) -> None:
        """Answer this route with an error from now on."""
        body = problem if isinstance(problem, bytes) else msgspec.json.encode(problem)
        self.problems[route] = (status, body)

    def answer(self, method: str, target: str, body: bytes) -> tuple[int, bytes]:
        route = _route(method, target.partition("?")[0])
        if route is None:
            return 404, b"404: Not Found"
        request_type, answer_type = ROUTES[route]
        self.routes_asked.add(route)
        self.asked.append((method, target, msgspec.json.decode(body, type=request_type) if request_type else None))
        if route in self.problems:
            return self.problems[route]
        encoded = msgspec.json.encode(self.answers[route])
        msgspec.json.decode(encoded, type=answer_type)
        return 200, encoded


def _route(method: str, path: str) -> Route | None:
    for route in ROUTES:
        pattern = re.sub(r"\{\w+\}", "[^/]+", route[1])
        if route[0] == method and re.fullmatch(pattern, path):
            return route
    return None


class _Server(ThreadingMixIn, UnixStreamServer):
    daemon_threads = True
    stub: StubController


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def handle_one_request(self) -> None:
        self.client_address = ("unix", 0)
        super().handle_one_request()

    def _serve(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        status, body = self.server.stub.answer(self.command, self.path, self.rfile.read(length))
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def controller(tmp_path: Path) -> Iterator[StubController]:
    stub = StubController(tmp_path / "controller.sock", answers())
    server = _Server(str(stub.socket), _Handler)
    server.stub = stub
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield stub
    server.shutdown()
    server.server_close()
    thread.join()


NOW_S = 1_780_000_000.0


def answers(named: Callable[[str], str] = str) -> dict[Route, Any]:
    """Return what a controller of three hosts would answer; `named` makes the names of hosts, guests and jobs."""
    rank0, rank1, web = named("rank0"), named("rank1"), named("web")
    xen01, xen02, xen03 = named("xen01"), named("xen02"), named("xen03")
    stale = f"host {xen03}: last sample is 14.2 s old (limit 5 s); its guests are frozen until it reports again"

    def gate(name: str, passed: bool, text: str) -> GateView:
        return GateView(name=name, passed=passed, text=text)

    def candidate(guest: str, source: str, target: str, *gates: GateView) -> CandidateView:
        return CandidateView(
            guest=f"uuid-{guest}",
            guest_name=guest,
            source=f"uuid-{source}",
            source_name=source,
            target=f"uuid-{target}",
            target_name=target,
            why=f"host {source} wants 187 % of its CPUs, host {target} 41 %",
            accepted=all(each.passed for each in gates),
            gates=list(gates),
            predicted_s=12.4,
            predicted_pause_s=0.31,
            predicted_bytes=1.4 * GIB,
            gain_s=240.0,
            cost_s=7.1,
            total=IntervalView(low=11.0, median=12.4, high=16.0),
            pause=IntervalView(low=0.31, median=0.31, high=0.31),
            cost=IntervalView(low=5.2, median=7.1, high=11.0),
            gain=IntervalView(low=45.0, median=200.0, high=780.0),
        )

    fits = gate("capacity", True, f"guest {rank0} needs 1.00 GiB, host {xen02} has 12.0 GiB free after moves in flight")
    hot = gate("cooldown", False, "2 min since its last migration or attempt (cooldown 30 min)")
    decision = DecisionView(
        cause="D812",
        at=NOW_S - 3,
        policy="least-loaded",
        code="partly-refused",
        text=f"host {xen01} was overloaded for 3 periods; 1 of 2 proposed moves passed the gates",
        candidates=[candidate(rank0, xen01, xen02, fits), candidate(rank1, xen01, xen02, fits, hot)],
    )
    earlier = msgspec.structs.replace(decision, cause="D811", at=NOW_S - 8, candidates=decision.candidates[1:])
    running = MigrationView(
        cause="D812.1",
        guest=f"uuid-{rank0}",
        guest_name=rank0,
        source=f"uuid-{xen01}",
        source_name=xen01,
        target=f"uuid-{xen02}",
        target_name=xen02,
        state="running",
        started_at=NOW_S - 3,
        requested_by="least-loaded",
        progress_ratio=0.42,
        predicted_s=12.4,
        predicted_pause_s=0.31,
    )
    moved = msgspec.structs.replace(
        running, cause="D700.1", state="moved", started_at=NOW_S - 900, progress_ratio=1.0, actual_s=13.1, ok=True
    )
    stayed = msgspec.structs.replace(
        moved, cause="D640.1", state="stayed", ok=False, text=f"HOST_NOT_ENOUGH_FREE_MEMORY: host {xen02} has filled up"
    )
    hold = HoldView(
        guest=f"uuid-{web}",
        guest_name=web,
        target=f"uuid-{xen02}",
        target_name=xen02,
        then="needs-a-human",
        scope="guest",
        code="VM_CRASHED",
        text=f"VM_CRASHED({web}): it crashed; see its console and the logs of both hosts",
        cause="D600.1",
        at=NOW_S - 7200,
        failures=1,
    )
    status = StatusView(
        version="0.1.0",
        uptime_s=11_100.0,
        policy="least-loaded",
        is_paused=False,
        period_s=5.0,
        hosts=3,
        hosts_frozen=1,
        guests=3,
        jobs=1,
        migrations=[running],
        xapi_connected=True,
        samples_received=6660,
        last_decision=decision,
        holds=[hold],
    )
    policies = [
        PolicyView(
            name="least-loaded",
            summary="Moves guests from the most loaded host to the least loaded one that fits.",
            is_active=True,
            config={"margin_ratio": 0.25, "sustained_periods": 3},
        ),
        PolicyView(name="observe", summary="Never moves a guest.", is_active=False, config={}),
    ]
    job = JobView(name=named("brams"), guests=["uuid-0", "uuid-1"], guest_names=[rank0, rank1], remaining_s=21_600.0)
    job = msgspec.structs.replace(
        job,
        remaining_least_s=18_000.0,
        remaining_most_s=25_200.0,
        remaining_basis="progress: 120 of 5000 iterations at 4.4 s each",
        progress=Progress(120.0, 5000.0),
        speed_while_migrating_ratio=0.5,
    )

    links = [
        LinkView(level=Level.SAME_GUEST, source="unknown"),
        LinkView(
            level=Level.SAME_HOST,
            source="measured",
            bandwidth_bytes_per_s=22.5e6,
            latency_s=60e-6,
            measured_at=NOW_S - 3600,
            between=f"{rank0} and {rank1}",
        ),
        LinkView(level=Level.SAME_SWITCH, source="configured", bandwidth_bytes_per_s=11.7e6, latency_s=80e-6),
        LinkView(level=Level.WIDE_AREA, source="unknown"),
    ]

    token = TokenView(name="grafana", role=Role.VIEWER, created_at=NOW_S - 86400)

    def host(name: str, load_ratio: float | None, frozen_because: str | None = None) -> HostView:
        return HostView(
            uuid=f"uuid-{name}",
            name=name,
            cpus=8,
            load_ratio=load_ratio,
            memory_bytes=64 * GIB,
            memory_free_bytes=12 * GIB,
            guests=1,
            is_enabled=True,
            source="agent",
            frozen_because=frozen_because,
        )

    def guest(name: str, on: str, *, demand: float, used: float, immovable_because: str | None = None) -> GuestView:
        return GuestView(
            uuid=f"uuid-{name}",
            name=name,
            host=f"uuid-{on}",
            host_name=on,
            vcpus=2,
            cpu_used_vcpus=used,
            cpu_demand_vcpus=demand,
            memory_bytes=GIB,
            rx_bytes_per_s=11.7e6,
            tx_bytes_per_s=3.1e6,
            dirty_pages_per_s=5120.0,
            job=job.name if name != web else None,
            immovable_because=immovable_because,
        )

    active = ContenderView(
        label="least-loaded",
        policy="least-loaded",
        config={"margin_ratio": 0.25, "sustained_periods": 3},
        is_active=True,
        since=NOW_S - 7200,
        watched_s=7140.0,
        blind_s=60.0,
        moves=3,
        failed=1,
        under_way=1,
        placed=2,
        pause_s=1.4,
        predicted_s=310.0,
        due_s=290.0,
        gained_s=120.0,
        cost_s=41.0,
        net_s=79.0,
        ahead_s=0.0,
    )
    shadow = msgspec.structs.replace(
        active,
        label="patient",
        policy="job-time",
        config={"sustained_periods": 12},
        is_active=False,
        blind_s=0.0,
        failed=0,
        gained_s=250.0,
        net_s=209.0,
        ahead_s=130.0,
        last=msgspec.structs.replace(decision, cause="D812/patient", policy="job-time"),
    )
    broken = msgspec.structs.replace(
        shadow,
        label="mine",
        policy="mine",
        config={},
        moves=0,
        gained_s=0.0,
        cost_s=0.0,
        net_s=0.0,
        ahead_s=-79.0,
        problem="policy mine failed with ZeroDivisionError: division by zero; nothing moves because of it",
        last=None,
    )
    change = PolicyChangeView(
        before=policies[0],
        after=policies[1],
        plan=msgspec.structs.replace(decision, policy="observe", text="observing only", candidates=[]),
        falls_away=decision.candidates[:1],
        under_way=[running],
        compared=["patient", "mine"],
    )
    asks = gate(
        "automation", False, "automation is recommend: an operator has to approve it (`migctl recommendations`)"
    )
    recommended = RecommendationView(
        name="D812.r1",
        at=NOW_S - 120,
        lapses_at=NOW_S + 780,
        policy="least-loaded",
        standing="open",
        is_for_safety=False,
        moves=[candidate(rank0, xen01, xen02, fits, asks)],
    )
    urgent = msgspec.structs.replace(recommended, name="D813.r1", policy="evacuate", is_for_safety=True)
    automation = AutomationView(
        level=Automation.RECOMMEND,
        configured=Automation.AUTOMATIC,
        chosen=Automation.RECOMMEND,
        lapse_s=900.0,
        refused_for_s=3600.0,
        allowed_hours=["Mon-Fri 20:00-06:00"],
        time_zone="Europe/Berlin",
        is_allowed_hour=False,
        jobs=[
            JobAutomationView(
                job=job.name,
                level=Automation.OFF,
                own=Automation.OFF,
                allowed_hours=["22:00-04:00"],
                is_allowed_hour=False,
            )
        ],
    )
    leaving = [
        LeavingView(
            guest=f"uuid-{rank0}",
            guest_name=rank0,
            state="moving",
            target=f"uuid-{xen02}",
            target_name=xen02,
            migration="D812.1",
            progress_ratio=0.42,
            predicted_s=12.4,
        ),
        LeavingView(
            guest=f"uuid-{rank1}",
            guest_name=rank1,
            state="waiting",
            target=f"uuid-{xen02}",
            target_name=xen02,
            text="waits for its turn",
        ),
        LeavingView(guest=f"uuid-{web}", guest_name=web, state="stays", text="it is tagged migd:never"),
    ]
    evacuation = EvacuationView(
        host=f"uuid-{xen01}", host_name=xen01, is_under_way=True, maintenance="it is in maintenance", guests=leaving
    )
    record = RecordView(
        is_on=True,
        folder="/var/lib/migd/record",
        parts=3,
        size_bytes=150 << 20,
        keep_bytes=1 << 30,
        since=NOW_S - 7200,
        problem="/var/lib/migd/record: No space left on device",
    )
    return {
        ("PUT", "/v1/hosts/{host}/maintenance"): msgspec.structs.replace(
            host(xen01, 1.87), is_enabled=False, maintenance="it is in maintenance for another 6 h"
        ),
        ("DELETE", "/v1/hosts/{host}/maintenance"): host(xen01, 1.87),
        ("GET", "/v1/hosts/{host}/evacuation"): msgspec.structs.replace(evacuation, is_under_way=False, maintenance=""),
        ("POST", "/v1/hosts/{host}/evacuation"): evacuation,
        ("DELETE", "/v1/hosts/{host}/evacuation"): msgspec.structs.replace(evacuation, is_under_way=False),
        ("GET", "/v1/automation"): automation,
        ("PUT", "/v1/automation"): automation,
        ("GET", "/v1/recommendations"): [urgent, recommended],
        ("POST", "/v1/recommendations/{name}/approve"): msgspec.structs.replace(
            recommended,
            standing="approved",
            decision="D830",
            text="an operator has approved D812.r1",
            migrations=[running],
        ),
        ("POST", "/v1/recommendations/{name}/refuse"): msgspec.structs.replace(
            recommended, standing="refused", text="an operator has refused it"
        ),
        ("POST", "/v1/policy/dry-run"): change,
        ("GET", "/v1/policies/comparison"): ComparisonView(
            text="patient would have saved 2 min 10 s more of job time than least-loaded, in use, in 1 h 59 min",
            best="patient",
            contenders=[active, shadow, broken],
            took_ratio=1.08,
            gained_ratio=0.41,
            checked=2,
            step_ratio=0.83,
            expected_step_ratio=0.8,
        ),
        ("GET", "/v1/record"): record,
        ("PUT", "/v1/record"): record,
        ("GET", "/v1/shadows"): [broken, shadow],
        ("POST", "/v1/shadows"): msgspec.structs.replace(shadow, last=None),
        ("DELETE", "/v1/shadows/{label}"): shadow,
        ("GET", "/v1/status"): status,
        ("GET", "/v1/doctor"): ExaminationView(
            version="0.1.0",
            findings=[
                FindingView(check="pool", verdict=Verdict.OK, text="https://pool.example.org answers"),
                FindingView(
                    check="clocks",
                    verdict=Verdict.WARNING,
                    text=f"the clock of host {xen01} is 4.0 s ahead of the controller's",
                    mend=f"on {xen01}: `chronyc makestep`",
                ),
            ],
        ),
        ("GET", "/v1/hosts"): [host(xen01, 1.87), host(xen02, 0.41), host(xen03, None, stale)],
        ("GET", "/v1/guests"): [
            guest(rank0, xen01, demand=2.0, used=1.1),
            guest(rank1, xen01, demand=2.0, used=1.1),
            guest(web, xen03, demand=0.2, used=0.2, immovable_because="it carries the tag migd:never"),
        ],
        ("GET", "/v1/jobs"): [job],
        ("POST", "/v1/jobs"): job,
        ("PATCH", "/v1/jobs/{name}"): job,
        ("DELETE", "/v1/jobs/{name}"): job,
        ("POST", "/v1/jobs/{name}/progress"): job,
        ("GET", "/v1/links"): links,
        ("PUT", "/v1/links"): links,
        ("GET", "/v1/policies"): policies,
        ("PUT", "/v1/policy"): policies[0],
        ("GET", "/v1/plan"): decision,
        ("GET", "/v1/migrations"): [running, moved, stayed],
        ("POST", "/v1/migrations"): running,
        ("POST", "/v1/migrations/{name}/cancel"): msgspec.structs.replace(running, is_cancelling=True),
        ("POST", "/v1/guests/{guest}/release"): [hold],
        ("POST", "/v1/pause"): msgspec.structs.replace(status, is_paused=True),
        ("POST", "/v1/resume"): status,
        ("GET", "/v1/tokens"): [token, msgspec.structs.replace(token, name="old", expires_at=NOW_S, has_expired=True)],
        ("POST", "/v1/tokens"): NewTokenView(
            name="grafana", role=Role.VIEWER, created_at=NOW_S, token="migd_" + "x" * 43
        ),
        ("DELETE", "/v1/tokens/{name}"): token,
        ("GET", "/v1/audit"): [
            AuditView(
                at=NOW_S - 60,
                name="anna@example.org",
                role=Role.OPERATOR,
                address="192.0.2.7",
                method="POST",
                path="/v1/migrations",
                body=f'{{"guest":"{rank0}","host":"{xen02}"}}',
                status=409,
                text="migd is paused; `migctl resume` allows migrations again (see `migctl explain D811`)",
            ),
            AuditView(
                at=NOW_S - 90,
                name="root",
                role=Role.ADMIN,
                address="socket, uid 0",
                method="POST",
                path="/v1/pause",
                status=200,
            ),
        ],
        ("GET", "/v1/explain/{subject}"): ExplainView(
            subject=rank1,
            text=f"guest {rank1} is on host {xen01}; policy least-loaded proposed to move it in D812: see its gates",
            decisions=[decision, earlier],
            migrations=[moved],
        ),
    }


@pytest.fixture
def ordinary() -> dict[Route, Any]:
    """The answers of a small cluster."""
    return answers()


@pytest.fixture
def long_named() -> dict[Route, Any]:
    """The same cluster, where every name has 90 characters."""
    return answers(lambda name: f"{name}-{'forecast-of-south-america-' * 4}"[:88] + name[-2:])


Migctl = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def migctl(controller: StubController) -> Migctl:
    """Run `migctl` as a process of its own, its output piped, against the stub unless told otherwise."""

    def run(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        variables = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR")}
        return subprocess.run(
            [sys.executable, "-m", "migd_cli", *arguments],
            env={**variables, "MIGD_SOCKET": str(controller.socket), "TZ": "UTC", **environment},
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=30,
        )

    return run
