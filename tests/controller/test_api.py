"""The API as `migctl` meets it: over a Unix socket, from a real core and a real journal."""

import asyncio
import io
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from cluster_of_events import Cluster, pool_guest, pool_host
from sets_of_moves import Wanting

from migd_controller.api import MAX_BODY_BYTES, Api
from migd_controller.commands import CancelMigration, PoolCommand, StartMigration
from migd_controller.config import LinkSection, TopologySection
from migd_controller.contest import MAX_SHADOWS
from migd_controller.control import Clock, Control
from migd_controller.daemon import serving
from migd_controller.events import (
    InventoryChanged,
    MigrationAccepted,
    MigrationEnded,
    MigrationProgressed,
    MigrationTaskLost,
    PoolReachability,
    SampleArrived,
    ShadowTurn,
    Tick,
)
from migd_controller.intake import IntakeCounts
from migd_controller.journal import Journal, JournalError
from migd_controller.memory import Memory
from migd_controller.timeline import Timeline
from migd_core.api import ROUTES, LinkView, Problem
from migd_core.errors import MigdError
from migd_core.job_limits import JobLimits
from migd_core.progress import Progress
from migd_core.units import GIB
from migd_core.world import Level, Link

WANTS = {"hog": 4.0}


class Numbered(Clock):
    """The cluster's own time."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def now_s(self) -> float:
        return self._cluster.now_s


class Served:
    """A controller without a pool: what it would ask of one is kept in `asked`."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster = cluster
        self.socket = folder / "run" / "controller.sock"
        self.journal = Journal(folder / "journal.sqlite")
        self.control = Control(cluster.core, self.journal, Numbered(cluster))
        self.asked: list[PoolCommand] = []
        self.control.submit = self.asked.append
        self.counts = IntakeCounts()
        self.timeline = Timeline()

    @asynccontextmanager
    async def answering(self, mode: str = "0660") -> AsyncIterator[None]:
        async with (
            serving(Api(self.control, self.counts, self.timeline).application(), self.socket, mode),
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(self.socket))) as self._client,
        ):
            yield

    async def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Return the answer, decoded as `migctl` decodes it."""
        status, answer = await self.raw(method, path, msgspec.json.encode(body) if body is not None else b"")
        assert status in (200, 201, 202), answer
        return msgspec.json.decode(answer, type=ROUTES[_route(method, path)][1])

    async def refused(self, method: str, path: str, body: Any = None) -> tuple[int, str, str]:
        """Return status, code and text of a refusal."""
        status, answer = await self.raw(method, path, msgspec.json.encode(body) if body is not None else b"")
        assert status >= 400, answer
        problem = msgspec.json.decode(answer, type=Problem)
        return status, problem.code, problem.text

    async def raw(self, method: str, path: str, body: Any = b"") -> tuple[int, bytes]:
        async with self._client.request(method, f"http://migd{path}", data=body) as answer:
            assert answer.content_type == "application/json"
            return answer.status, await answer.read()


def _route(method: str, path: str) -> tuple[str, str]:
    parts = path.partition("?")[0].split("/")
    for route in ROUTES:
        pattern = route[1].split("/")
        if (route[0], len(pattern)) == (method, len(parts)) and all(
            a == b or a.startswith("{") for a, b in zip(pattern, parts, strict=True)
        ):
            return route
    raise AssertionError(f"no route for {method} {path}")


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    """Two hosts that report; a hog and two ranks on `a`, nothing on `b`."""
    guests = [pool_guest("hog", "a", vcpus=4), pool_guest("rank0", "a"), pool_guest("rank1", "a")]
    cluster = Cluster([pool_host("a"), pool_host("b")], guests)
    cluster.run(10, WANTS)
    served = Served(cluster, tmp_path)
    async with served.answering():
        yield served
    served.journal.close()


async def test_status_tells_the_whole_at_a_glance(served: Served) -> None:
    served.counts.received, served.counts.last_refusal = 7, "an agent was refused"
    status = await served.ask("GET", "/v1/status")
    assert (status.policy, status.hosts, status.hosts_frozen, status.guests) == ("observe", 2, 0, 3)
    assert (status.xapi_connected, status.is_paused, status.migrations) == (True, False, [])
    assert (status.samples_received, status.last_refusal) == (7, "an agent was refused")
    assert status.last_decision.policy == "observe"


async def test_status_says_what_is_wrong_with_the_pool(served: Served) -> None:
    served.control.dispatch(PoolReachability(is_reachable=False, problem="connection refused"))
    status = await served.ask("GET", "/v1/status")
    assert (status.xapi_connected, status.xapi_problem) == (False, "connection refused")


async def test_status_names_hosts_of_the_topology_that_the_pool_does_not_have(served: Served) -> None:
    assert (await served.ask("GET", "/v1/status")).topology_problem == ""
    core = served.control.core
    core.config = msgspec.structs.replace(
        core.config, topology=TopologySection(switches={"rack1": ["a", "xen7"], "rack2": ["b"]})
    )
    status = await served.ask("GET", "/v1/status")
    assert status.topology_problem.startswith("[topology.switches] names xen7, which no host of the pool is called")


async def test_hosts_and_guests_are_listed_by_name(served: Served) -> None:
    a, b = await served.ask("GET", "/v1/hosts")
    assert (a.name, a.guests, a.source, b.name, b.guests) == ("a", 3, "agent", "b", 0)
    assert a.load_ratio > 0.9
    guests = await served.ask("GET", "/v1/guests")
    assert [guest.name for guest in guests] == ["hog", "rank0", "rank1"]
    assert {guest.host_name for guest in guests} == {"a"}


async def test_a_silent_host_is_listed_with_the_age_of_its_sample(served: Served) -> None:
    served.cluster.now_s += 60.0
    hosts = await served.ask("GET", "/v1/hosts")
    assert [host.load_ratio for host in hosts] == [None, None]
    assert hosts[0].frozen_because == "last sample is 60.0 s old (limit 5 s)"


async def test_a_host_tells_how_many_samples_its_agent_dropped_and_when_that_was_seen(served: Served) -> None:
    (before, *_) = await served.ask("GET", "/v1/hosts")
    assert (before.samples_dropped, before.dropped_age_s) == (0, None)
    cluster = served.cluster
    lossy = msgspec.structs.replace(cluster.sample("a", {}), sequence=cluster.sequence + 1, samples_dropped=3)
    cluster.tell(SampleArrived(sample=lossy))
    cluster.now_s += 2.0
    (after, *_) = await served.ask("GET", "/v1/hosts")
    assert (after.samples_dropped, after.dropped_age_s) == (3, 2.0)


async def test_a_job_that_tells_its_progress_is_listed_and_explained_by_it(served: Served) -> None:
    await served.ask("POST", "/v1/jobs", {"name": "brams", "guests": ["rank0"], "wall_time_limit_s": 86400})
    for done in (10, 20, 30):
        served.cluster.now_s += 100.0
        told = await served.ask("POST", "/v1/jobs/brams/progress", {"done": done, "total": 1000})
    assert (told.remaining_s, told.remaining_least_s, told.remaining_most_s) == (9700.0, 8730.0, 10670.0)
    assert (told.progress, told.iteration_s) == (Progress(30, 1000), 10.0)
    served.cluster.now_s += 4000.0
    (silent,) = await served.ask("GET", "/v1/jobs")
    assert silent.remaining_basis == (
        "wall-time limit of 24 h, of which 1 h 12 min have passed; users ask for about 6 times of what they need; "
        "no progress for 1 h 7 min (limit 1 h)"
    )
    explained = await served.ask("GET", "/v1/explain/rank0")
    assert f"): {silent.remaining_basis}" in explained.text
    assert ". Its job brams has about " in explained.text


@pytest.mark.parametrize(
    ("name", "body", "status", "text"),
    [
        ("wrf", {"done": 1}, 404, "no job is called wrf; known jobs: brams"),
        ("brams", {"done": 7, "total": 5}, 400, "expected at least the 7 iterations done as the total, found 5"),
        ("brams", {"done": -1}, 400, "expected iterations done, 0 or more, found -1"),
        ("brams", {"total": 5}, 400, "missing required field `done`"),
    ],
)
async def test_progress_that_cannot_be_is_refused(
    served: Served, name: str, body: dict[str, Any], status: int, text: str
) -> None:
    await served.ask("POST", "/v1/jobs", {"name": "brams", "guests": ["rank0"]})
    found = await served.refused("POST", f"/v1/jobs/{name}/progress", body)
    assert (found[0], text in found[2]) == (status, True)


async def test_levels_that_were_measured_count_instead_of_what_is_configured(served: Served) -> None:
    core = served.control.core
    links = {
        Level.SAME_HOST: LinkSection(bandwidth_bytes_per_s=1e6, latency_s=1e-3),
        Level.SAME_SWITCH: LinkSection(bandwidth_bytes_per_s=2e6, latency_s=2e-3),
    }
    core.config = msgspec.structs.replace(core.config, topology=TopologySection(links=links))
    body = {"bandwidth_bytes_per_s": 22.5e6, "latency_s": 6e-5, "between": "rank0 and rank1"}
    await served.ask("PUT", "/v1/links", {"links": {"same-host": body}})
    measured_at = served.cluster.now_s
    served.cluster.now_s += 60.0
    assert await served.ask("GET", "/v1/links") == [
        LinkView(level=Level.SAME_GUEST, source="unknown"),
        LinkView(level=Level.SAME_HOST, source="measured", measured_at=measured_at, **body),  # type: ignore[arg-type]
        LinkView(level=Level.SAME_SWITCH, source="configured", bandwidth_bytes_per_s=2e6, latency_s=2e-3),
        LinkView(level=Level.WIDE_AREA, source="unknown"),
    ]
    assert core.world(served.cluster.now_s).topology.links == {
        Level.SAME_HOST: Link(22.5e6, 6e-5),
        Level.SAME_SWITCH: Link(2e6, 2e-3),
    }
    kept = msgspec.msgpack.decode(msgspec.msgpack.encode(core.memory), type=Memory)
    assert kept == core.memory


@pytest.mark.parametrize(
    ("link", "why"),
    [
        ({"near": {"bandwidth_bytes_per_s": 1.0, "latency_s": 0.0}}, "Invalid enum value 'near'"),
        ({"same-host": {"bandwidth_bytes_per_s": 0.0, "latency_s": 0.0}}, "Expected `float` > 0.0"),
        ({"same-host": {"bandwidth_bytes_per_s": 1.0, "latency_s": -1.0}}, "Expected `float` >= 0.0"),
        ({"same-host": {"bandwidth_bytes_per_s": 1.0}}, "missing required field `latency_s`"),
    ],
)
async def test_a_measurement_that_cannot_be_is_refused(served: Served, link: dict[str, Any], why: str) -> None:
    status, _, text = await served.refused("PUT", "/v1/links", {"links": link})
    assert (status, why in text) == (400, True)


async def test_a_job_is_added_listed_changed_and_removed(served: Served) -> None:
    body = {"name": "brams", "guests": ["rank0", "rank1", "rank0"], "remaining_s": 3600}
    added = await served.ask("POST", "/v1/jobs", body)
    assert (added.guest_names, added.remaining_s) == (["rank0", "rank1"], 3600.0)
    served.cluster.now_s += 600.0
    (listed,) = await served.ask("GET", "/v1/jobs")
    assert listed.remaining_s == 3000.0
    await served.ask("POST", "/v1/jobs", {**body, "guests": ["rank0"]})
    assert (await served.ask("GET", "/v1/jobs"))[0].guests == ["rank0"]
    await served.ask("DELETE", "/v1/jobs/brams")
    assert await served.ask("GET", "/v1/jobs") == []


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        ({"name": " ", "guests": ["rank0"]}, 409, "a job needs a name and at least one guest"),
        ({"name": "j", "guests": []}, 409, "a job needs a name and at least one guest"),
        (
            {"name": "j", "guests": ["rank0"], "remaining_s": -1},
            409,
            "remaining_s: expected a time from 0 s to 1e+09 s, found -1.0",
        ),
        (
            {"name": "j", "guests": ["rank0"], "wall_time_limit_s": 1e300},
            409,
            "wall_time_limit_s: expected a time from 0 s to 1e+09 s, found 1e+300",
        ),
        (
            {"name": "j", "guests": ["nobody"]},
            404,
            "no single running guest is called 'nobody'; `migctl guests` lists guests by name and uuid",
        ),
        (
            {"name": "j", "guests": ["rank0"]},
            409,
            "guest rank0 belongs to job taken already; `migctl job rm taken` frees it",
        ),
        ({"name": "j"}, 400, "POST /v1/jobs: Object missing required field `guests`"),
        ({"name": "j", "guests": ["rank0"], "remaining": 1}, 400, "POST /v1/jobs: Object contains unknown field"),
    ],
)
async def test_a_wrong_job_is_refused_with_what_is_wrong(
    served: Served, body: dict[str, Any], status: int, text: str
) -> None:
    await served.ask("POST", "/v1/jobs", {"name": "taken", "guests": ["rank0"]})
    found = await served.refused("POST", "/v1/jobs", body)
    assert (found[0], found[2][: len(text)]) == (status, text)
    assert [job.name for job in await served.ask("GET", "/v1/jobs")] == ["taken"]


async def test_a_jobs_limits_are_changed_one_by_one_and_shown_beside_what_is_used_up(served: Served) -> None:
    body = {"name": "brams", "guests": ["rank0"], "limits": {"stall_per_hour_s": 20, "allowed_hours": ["20:00-06:00"]}}
    added = await served.ask("POST", "/v1/jobs", body)
    assert added.limits == JobLimits(stall_per_hour_s=20.0, allowed_hours=("20:00-06:00",))
    changed = await served.ask("PATCH", "/v1/jobs/brams", {"no_stall_last_s": 600, "allowed_hours": None})
    assert changed.limits == JobLimits(stall_per_hour_s=20.0, no_stall_last_s=600.0)
    (listed,) = await served.ask("GET", "/v1/jobs")
    assert (listed.stalled_s, listed.stall_per_hour_s, listed.no_stall_last_s) == (0.0, 20.0, 600.0)
    lifted = await served.ask("PATCH", "/v1/jobs/brams", {"stall_per_hour_s": None, "no_stall_last_s": None})
    assert (lifted.limits, lifted.stall_per_hour_s, lifted.no_stall_last_s) == (JobLimits(), 3600.0, 0.0)


@pytest.mark.parametrize(
    ("change", "status", "text"),
    [
        ({"stall_per_hour_s": -1}, 400, "Expected `float` >= 0.0 - at `$.stall_per_hour_s`"),
        ({"stall_budget": 1}, 400, "Object contains unknown field `stall_budget`"),
        (
            {"allowed_hours": ["20:00-06:00", "at night"]},
            409,
            "allowed_hours: 'at night' is no part of a day; write it like 20:00-06:00 or Mon-Fri 20:00-06:00",
        ),
    ],
)
async def test_limits_that_cannot_be_are_refused_and_change_nothing(
    served: Served, change: dict[str, Any], status: int, text: str
) -> None:
    before = await served.ask("POST", "/v1/jobs", {"name": "brams", "guests": ["rank0"]})
    found = await served.refused("PATCH", "/v1/jobs/brams", change)
    assert (found[0], text in found[2]) == (status, True)
    found = await served.refused("POST", "/v1/jobs", {"name": "brams", "guests": ["rank0"], "limits": change})
    assert found[0] == status
    assert (await served.ask("GET", "/v1/jobs"))[0].limits == before.limits == JobLimits()


async def test_an_unknown_job_is_refused_with_the_known_ones(served: Served) -> None:
    assert await served.refused("DELETE", "/v1/jobs/j") == (
        404,
        "UnknownName",
        "no job is called j; known jobs: there are none, `migctl job add` makes one",
    )


async def test_a_policy_is_set_with_text_from_a_command_line_and_outlives_a_restart(served: Served) -> None:
    body = {"name": "least-loaded", "config": {"sustained_periods": "3"}}
    active = await served.ask("PUT", "/v1/policy", body)
    assert (active.name, active.is_active, active.config["sustained_periods"]) == ("least-loaded", True, 3)
    policies = await served.ask("GET", "/v1/policies")
    assert [policy.name for policy in policies if policy.is_active] == ["least-loaded"]
    remembered = served.journal.memory()
    assert remembered is not None
    assert (remembered.policy, remembered.policy_config["sustained_periods"]) == ("least-loaded", 3)


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        ({"name": "least-laoded"}, 404, "least-loaded"),
        ({"name": "least-loaded", "config": {"sustained_periods": "often"}}, 400, "sustained_periods"),
        ({"name": "least-loaded", "config": {"sustained": 3}}, 400, "sustained"),
    ],
)
async def test_a_wrong_policy_is_refused_and_the_old_one_stays(
    served: Served, body: dict[str, Any], status: int, text: str
) -> None:
    found = await served.refused("PUT", "/v1/policy", body)
    assert found[0] == status
    assert text in found[2]
    assert (await served.ask("GET", "/v1/status")).policy == "observe"


async def test_a_dry_run_says_what_another_policy_would_change_and_changes_nothing(served: Served) -> None:
    await served.ask("PUT", "/v1/policy", {"name": "least-loaded"})
    await served.ask("POST", "/v1/shadows", {"name": "observe"})
    before = served.cluster.core.memory
    change = await served.ask("POST", "/v1/policy/dry-run", {"name": "observe"})
    assert (change.before.name, change.after.name, change.plan.candidates) == ("least-loaded", "observe", [])
    (lost,) = change.falls_away
    assert (lost.source_name, lost.target_name, lost.accepted) == ("a", "b", True)
    assert (change.under_way, change.compared) == ([], ["observe"])
    back = await served.ask("POST", "/v1/policy/dry-run", {"name": "least-loaded", "config": {"margin_ratio": "0.5"}})
    assert (back.before.config["margin_ratio"], back.after.config["margin_ratio"]) == (0.05, 0.5)
    same = await served.ask("POST", "/v1/policy/dry-run", {"name": "least-loaded"})
    assert (same.falls_away, same.compared, len(same.plan.candidates)) == ([], [], 1)
    assert served.cluster.core.memory is before
    assert served.asked == []


async def test_a_shadow_is_added_compared_and_removed_and_outlives_a_restart(served: Served) -> None:
    empty = await served.ask("GET", "/v1/policies/comparison")
    assert (empty.contenders, empty.text[:41]) == ([], "no policy runs beside the active one; `mi")
    body = {"name": "least-loaded", "config": {"sustained_periods": "3"}, "label": "eager"}
    added = await served.ask("POST", "/v1/shadows", body)
    assert (added.label, added.policy, added.config["sustained_periods"]) == ("eager", "least-loaded", 3)
    served.control.dispatch(Tick())
    served.control.dispatch(ShadowTurn())
    (listed,) = await served.ask("GET", "/v1/shadows")
    assert (listed.moves, listed.under_way, listed.last.candidates[0].accepted) == (1, 1, True)
    compared = await served.ask("GET", "/v1/policies/comparison")
    assert [(view.label, view.is_active) for view in compared.contenders] == [("observe", True), ("eager", False)]
    assert compared.contenders[1].ahead_s == -compared.contenders[1].cost_s < 0
    assert (compared.best, compared.text[:8]) == ("observe", "observe,")
    assert served.asked == []
    remembered = served.journal.memory()
    assert remembered is not None
    assert remembered.contest.shadows.keys() == {"eager"}
    assert (await served.ask("DELETE", "/v1/shadows/eager")).label == "eager"
    assert await served.ask("GET", "/v1/shadows") == []


async def test_a_wrong_shadow_is_refused(served: Served) -> None:
    assert (await served.refused("POST", "/v1/shadows", {"name": "least-laoded"}))[:2] == (404, "UnknownName")
    assert (await served.refused("POST", "/v1/shadows", {"name": "observe", "config": {"x": 1}}))[0] == 400
    assert (await served.refused("POST", "/v1/shadows", {"name": "observe", "label": "x" * 65}))[2] == (
        "label: expected at most 64 characters, found 65"
    )
    assert await served.refused("DELETE", "/v1/shadows/mine") == (
        404,
        "UnknownName",
        "no shadow policy is called mine; those that are asked: there are none, `migctl policy shadow add` adds one",
    )
    for number in range(MAX_SHADOWS):
        await served.ask("POST", "/v1/shadows", {"name": "observe", "label": f"s{number:02}"})
    found = await served.refused("POST", "/v1/shadows", {"name": "observe"})
    assert found[2].startswith("there are 16 shadow policies already, which is as many as are asked: s00, s01,")
    again = await served.ask("POST", "/v1/shadows", {"name": "balance", "label": "s03"})
    assert again.policy == "balance"


async def test_a_plan_shows_what_would_move_and_moves_nothing(served: Served) -> None:
    await served.ask("PUT", "/v1/policy", {"name": "least-loaded"})
    plan = await served.ask("GET", "/v1/plan")
    (candidate,) = plan.candidates
    assert (candidate.source_name, candidate.target_name, candidate.accepted) == ("a", "b", True)
    assert {gate.name for gate in candidate.gates} >= {"capacity", "gain", "cooldown"}
    assert served.asked == []


async def test_a_guest_is_migrated_by_hand_and_its_history_is_told(served: Served) -> None:
    asked = await served.ask("POST", "/v1/migrations", {"guest": "rank0", "host": "b"})
    assert (asked.guest_name, asked.state, asked.ok) == ("rank0", "asked", None)
    (start,) = served.asked
    assert isinstance(start, StartMigration)
    assert (start.cause, start.guest, start.source, start.target) == (asked.cause, "rank0", "a", "b")
    assert start.predicted_at_most_s >= asked.predicted_s
    served.control.dispatch(MigrationAccepted(cause=asked.cause, task="OpaqueRef:t"))
    served.control.dispatch(MigrationProgressed(cause=asked.cause, progress_ratio=0.5))
    (running,) = (await served.ask("GET", "/v1/status")).migrations
    assert (running.state, running.progress_ratio) == ("running", 0.5)
    assert (await served.ask("GET", "/v1/migrations"))[0].progress_ratio == 0.5
    served.control.dispatch(MigrationEnded(cause=asked.cause, host_now="b"))
    (done,) = await served.ask("GET", "/v1/migrations?limit=1")
    assert (done.state, done.ok, done.requested_by) == ("moved", True, "by hand")
    assert done.progress_ratio == 1.0


async def test_a_move_by_hand_that_is_not_safe_is_refused_with_the_decision_to_look_at(served: Served) -> None:
    await served.ask("POST", "/v1/pause")
    status, code, text = await served.refused("POST", "/v1/migrations", {"guest": "rank0", "host": "b"})
    assert (status, code) == (409, "Refused")
    cause = served.cluster.core.last_decision.cause
    assert text == f"migd is paused; `migctl resume` allows migrations again (see `migctl explain {cause}`)"
    assert served.asked == []
    explained = await served.ask("GET", f"/v1/explain/{cause}")
    assert [gate.name for gate in explained.decisions[0].candidates[0].gates if not gate.passed] == ["pause"]


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"guest": "nobody", "host": "b"}, "no single running guest is called 'nobody'"),
        ({"guest": "rank0", "host": "c"}, "no single host is called 'c'; `migctl hosts` lists them by name and uuid"),
    ],
)
async def test_a_migration_of_something_unknown_is_refused_by_name(
    served: Served, body: dict[str, str], text: str
) -> None:
    status, _, found = await served.refused("POST", "/v1/migrations", body)
    assert (status, found[: len(text)]) == (404, text)


@pytest.mark.parametrize("limit", ["0", "1001", "-1", "many"])
async def test_a_wrong_limit_is_refused(served: Served, limit: str) -> None:
    assert await served.refused("GET", f"/v1/migrations?limit={limit}") == (
        409,
        "Refused",
        f"limit: expected a whole number from 1 to 1000, found '{limit}'",
    )


async def test_a_migration_under_way_is_cancelled_by_its_id(served: Served) -> None:
    asked = await served.ask("POST", "/v1/migrations", {"guest": "rank0", "host": "b"})
    served.control.dispatch(MigrationAccepted(cause=asked.cause, task="OpaqueRef:t"))
    view = await served.ask("POST", f"/v1/migrations/{asked.cause.lower()}/cancel")
    assert (view.cause, view.state, view.is_cancelling) == (asked.cause, "running", True)
    assert served.asked[-1] == CancelMigration(cause=asked.cause, task="OpaqueRef:t")


@pytest.mark.parametrize("guest", ["rank0", "uuid of rank0"])
async def test_a_migration_under_way_is_cancelled_by_its_guest(served: Served, guest: str) -> None:
    asked = await served.ask("POST", "/v1/migrations", {"guest": "rank0", "host": "b"})
    name = asked.guest if guest != "rank0" else guest
    view = await served.ask("POST", f"/v1/migrations/{name}/cancel")
    assert (view.cause, view.is_cancelling) == (asked.cause, True)


async def test_what_is_not_under_way_cannot_be_cancelled(served: Served) -> None:
    text = "no migration of a guest D9.1, nor D9.1 itself, is under way; those that are: "
    refused = await served.refused("POST", "/v1/migrations/D9.1/cancel")
    assert refused == (404, "UnknownName", text + "there are none, `migctl history` lists those that are over")
    asked = await served.ask("POST", "/v1/migrations", {"guest": "rank0", "host": "b"})
    _, _, found = await served.refused("POST", "/v1/migrations/D9.1/cancel")
    assert found == f"{text}{asked.cause} (rank0)"


async def test_a_migration_whose_task_is_lost_cannot_be_cancelled_until_it_has_another(served: Served) -> None:
    asked = await served.ask("POST", "/v1/migrations", {"guest": "rank0", "host": "b"})
    served.control.dispatch(MigrationAccepted(cause=asked.cause, task="OpaqueRef:t"))
    served.control.dispatch(MigrationTaskLost(cause=asked.cause))
    status, _, text = await served.refused("POST", f"/v1/migrations/{asked.cause}/cancel")
    assert status == 409
    assert text.startswith(f"migration {asked.cause} cannot be cancelled: the pool has lost its task")
    (view,) = (await served.ask("GET", "/v1/status")).migrations
    assert (view.state, view.text[:26]) == ("running", "the pool has lost its task")
    served.control.dispatch(MigrationAccepted(cause=asked.cause, task="OpaqueRef:u"))
    await served.ask("POST", f"/v1/migrations/{asked.cause}/cancel")
    assert served.asked[-1] == CancelMigration(cause=asked.cause, task="OpaqueRef:u")


async def test_a_guest_that_is_held_back_as_every_guest_is_is_told_whose_hold_that_is(served: Served) -> None:
    asked = await served.ask("POST", "/v1/migrations", {"guest": "rank0", "host": "b"})
    served.control.dispatch(
        MigrationEnded(cause=asked.cause, host_now="a", code="RBAC_PERMISSION_DENIED", text="RBAC_PERMISSION_DENIED()")
    )
    others = [guest.name for guest in await served.ask("GET", "/v1/guests") if guest.name != "rank0"]
    status, _, text = await served.refused("POST", f"/v1/guests/{others[0]}/release")
    assert status == 409
    assert text.startswith(f"guest {others[0]} is held back as every guest is, since rank0 failed: RBAC_PERMISSION_")
    assert text.endswith("or with `migctl release rank0`")


async def test_a_guest_that_is_held_back_is_told_everywhere_and_released(served: Served) -> None:
    asked = await served.ask("POST", "/v1/migrations", {"guest": "rank0", "host": "b"})
    text = "VM_LACKS_FEATURE(rank0)"
    served.control.dispatch(MigrationEnded(cause=asked.cause, host_now="a", code="VM_LACKS_FEATURE", text=text))
    (hold,) = (await served.ask("GET", "/v1/status")).holds
    assert (hold.guest_name, hold.then, hold.scope, hold.rest_s) == ("rank0", "never", "guest", None)
    reason = f"{text}: install the guest tools in it, or start them"
    assert hold.text == reason
    rank0 = next(guest for guest in await served.ask("GET", "/v1/guests") if guest.name == "rank0")
    assert reason in rank0.immovable_because
    assert reason in (await served.ask("GET", "/v1/explain/rank0")).text
    assert reason in (await served.refused("POST", "/v1/migrations", {"guest": "rank0", "host": "b"}))[2]
    assert await served.ask("POST", "/v1/guests/rank0/release") == [hold]
    assert (await served.ask("GET", "/v1/status")).holds == []
    remembered = served.journal.memory()
    assert remembered is not None
    assert remembered.holds == {}
    await served.ask("POST", "/v1/migrations", {"guest": "rank0", "host": "b"})


async def test_a_guest_that_rests_is_told_with_the_reason(served: Served) -> None:
    asked = await served.ask("POST", "/v1/migrations", {"guest": "rank0", "host": "b"})
    served.control.dispatch(
        MigrationEnded(cause=asked.cause, host_now="a", code="HOST_DISABLED", text="HOST_DISABLED(b)")
    )
    (hold,) = (await served.ask("GET", "/v1/status")).holds
    assert (hold.then, hold.rest_s) == ("retry-later", 1800.0)
    rest = "rests for 30 min: its last migration failed, HOST_DISABLED(b): the target is disabled"
    rank0 = next(guest for guest in await served.ask("GET", "/v1/guests") if guest.name == "rank0")
    assert (rank0.resting_because, rank0.immovable_because) == (rest, None)
    assert (await served.ask("GET", "/v1/explain/rank0")).text == f"guest rank0 is on host a and {rest}"


async def test_a_guest_that_is_not_held_back_cannot_be_released(served: Served) -> None:
    assert await served.refused("POST", "/v1/guests/rank0/release") == (
        404,
        "UnknownName",
        "no guest called rank0 is held back; those that are: there are none, `migctl guests` says why one is not moved",
    )


async def test_pause_and_resume_answer_with_the_status(served: Served) -> None:
    assert (await served.ask("POST", "/v1/pause")).is_paused
    assert not (await served.ask("POST", "/v1/resume")).is_paused


async def test_a_decision_is_explained_by_its_id_or_that_of_its_migration(served: Served) -> None:
    asked = await served.ask("POST", "/v1/migrations", {"guest": "rank0", "host": "b"})
    for subject in (asked.cause, asked.cause.lower(), asked.cause.partition(".")[0]):
        explained = await served.ask("GET", f"/v1/explain/{subject}")
        assert explained.subject == asked.cause.partition(".")[0]
        assert [migration.cause for migration in explained.migrations] == [asked.cause]
        assert explained.decisions[0].candidates[0].guest_name == "rank0"


async def test_a_guest_is_explained_though_its_name_looks_like_the_id_of_a_decision(served: Served) -> None:
    asked = await served.ask("POST", "/v1/migrations", {"guest": "rank0", "host": "b"})
    decision = asked.cause.partition(".")[0]
    for name in (decision, f"{decision.lower()}.example"):
        served.control.dispatch(InventoryChanged(guests=(pool_guest(name, "a"),)))
        explained = await served.ask("GET", f"/v1/explain/{name}")
        assert (explained.subject, explained.decisions) == (name, [])
        assert explained.text.startswith(f"guest {name} is on host a")
    assert (await served.ask("GET", f"/v1/explain/{asked.cause}")).subject == decision


async def test_only_what_is_the_id_of_a_decision_is_taken_for_one(served: Served) -> None:
    cause = (await served.ask("POST", "/v1/migrations", {"guest": "rank0", "host": "b"})).cause
    status, code, text = await served.refused("GET", f"/v1/explain/{cause}.example")
    assert (status, code) == (404, "UnknownName")
    assert f"no single running guest or decision is called '{cause}.example'" in text


async def test_a_guest_is_explained_by_what_was_decided_about_it(served: Served) -> None:
    explained = await served.ask("GET", "/v1/explain/rank1")
    assert explained.text.startswith("guest rank1 is on host a; policy observe does not propose to move it")
    asked = await served.ask("POST", "/v1/migrations", {"guest": "rank1", "host": "b"})
    explained = await served.ask("GET", "/v1/explain/rank1")
    assert explained.text == "guest rank1 is on host a and is being migrated"
    assert [migration.cause for migration in explained.migrations] == [asked.cause]
    assert [decision.cause for decision in explained.decisions] == [asked.cause.partition(".")[0]]


async def test_a_set_of_moves_is_planned_and_explained_in_its_order(tmp_path: Path) -> None:
    hosts = [pool_host(name, memory_for_guests_bytes=4 * GIB) for name in "abc"]
    cluster = Wanting(hosts, [pool_guest("x", "a"), pool_guest("y", "b")], {"x": "b", "y": "c"})
    served = Served(cluster, tmp_path)
    async with served.answering():
        for host in cluster.hosts:
            for _ in range(2):
                cluster.now_s, cluster.sequence = cluster.now_s + 0.5, cluster.sequence + 1
                served.control.dispatch(SampleArrived(sample=cluster.sample(host, {})))
        (planned,) = (await served.ask("GET", "/v1/plan")).sets
        assert [(s.guest_name, s.target_name, s.state, s.after) for s in planned.steps] == [
            ("y", "c", "running", []),
            ("x", "b", "waiting", [1]),
        ]
        assert served.asked == []
        served.control.dispatch(Tick())
        explained = await served.ask("GET", "/v1/explain/x")
        name = explained.sets[0].name
        waits = "waits for y to c (step 1)"
        assert explained.text.startswith(f"guest x is on host a; its move to b is step 2 of {name}, which {waits}")
        assert explained.sets[0].steps[1].text == waits
        served.control.dispatch(
            MigrationEnded(cause=served.asked[0].cause, host_now="b", code="INTERNAL_ERROR", text="no")
        )
        (over,) = (await served.ask("GET", f"/v1/explain/{name}")).sets
        assert [(s.state, s.text) for s in over.steps] == [
            ("failed", "y stayed: no"),
            ("dropped", "it needs y to c (step 1), which failed"),
        ]
        assert over.is_over
    served.journal.close()


async def test_a_guest_that_vanished_in_its_migration_is_explained_still(served: Served) -> None:
    asked = await served.ask("POST", "/v1/migrations", {"guest": "rank1", "host": "b"})
    ended = MigrationEnded(cause=asked.cause, host_now=None, code="INTERNAL_ERROR", text="the domain has gone")
    served.control.dispatch(ended)
    explained = await served.ask("GET", "/v1/explain/rank1")
    assert explained.text == (
        "guest rank1 is not running in this pool; the domain has gone: it no longer runs since its migration "
        f"{asked.cause}; see the logs of both hosts, and start it"
    )
    assert [(m.state, m.text) for m in explained.migrations] == [("gone", "the domain has gone")]


async def test_what_cannot_be_explained_is_refused_by_name(served: Served) -> None:
    status, code, text = await served.refused("GET", "/v1/explain/D999")
    assert (status, code) == (404, "UnknownName")
    assert "'D999'" in text


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/v1/nothing", 404), ("POST", "/v1/status", 405)])
async def test_an_unknown_route_points_to_the_versions(served: Served, method: str, path: str, status: int) -> None:
    found = await served.refused(method, path)
    assert found[0] == status
    assert found[2].endswith("is `migctl` newer than the controller?")


async def test_garbage_and_a_body_that_is_too_large_are_refused(served: Served) -> None:
    status, answer = await served.raw("POST", "/v1/jobs", b"{")
    assert (status, msgspec.json.decode(answer, type=Problem).code) == (400, "ConfigError")
    status, answer = await served.raw("POST", "/v1/jobs", io.BytesIO(b" " * (MAX_BODY_BYTES + 1)))
    assert status == 413
    assert str(MAX_BODY_BYTES) in msgspec.json.decode(answer, type=Problem).text


async def test_a_journal_that_cannot_be_written_refuses_what_was_asked(served: Served) -> None:
    with served.journal.transaction() as database:
        database.exec_driver_sql("PRAGMA query_only = ON")
    status, code, text = await served.refused("POST", "/v1/migrations", {"guest": "rank0", "host": "b"})
    assert (status, code) == (500, "JournalError")
    assert "nothing is migrated without it" in text
    assert served.asked == []
    with served.journal.transaction() as database:
        database.exec_driver_sql("PRAGMA query_only = OFF")
    with pytest.raises(
        JournalError
    ):  # the next tick ends the process: the core holds a migration that is not on record
        served.control.dispatch(Tick())


@pytest.mark.parametrize("mode", ["0660", "600"])
async def test_the_socket_is_for_those_whom_its_mode_lets_in(tmp_path: Path, mode: str) -> None:
    served = Served(Cluster([pool_host("a")], []), tmp_path)
    async with served.answering(mode):
        assert stat.S_IMODE(served.socket.stat().st_mode) == int(mode, 8)
        await served.ask("GET", "/v1/status")
    assert not served.socket.exists()
    served.journal.close()


async def test_a_socket_that_a_dead_controller_left_behind_is_taken_over(tmp_path: Path) -> None:
    served = Served(Cluster([pool_host("a")], []), tmp_path)
    server = await asyncio.start_unix_server(lambda reader, writer: None, str(tmp_path / "left.sock"))
    served.socket = tmp_path / "left.sock"
    with pytest.raises(MigdError, match="another controller answers on it; give this one its own socket"):
        async with served.answering():
            pass
    server.close()
    assert served.socket.exists()
    async with served.answering():
        await served.ask("GET", "/v1/status")
    served.journal.close()


async def test_a_file_in_the_place_of_the_socket_is_left_as_it_is(tmp_path: Path) -> None:
    served = Served(Cluster([pool_host("a")], []), tmp_path)
    served.socket = tmp_path / "notes.txt"
    served.socket.write_text("mine")
    with pytest.raises(MigdError, match=r"notes\.txt: is there already and is no socket; move it away, or set socket"):
        async with served.answering():
            pass
    assert served.socket.read_text() == "mine"
    served.journal.close()


async def test_two_operators_who_approve_the_same_get_one_migration_and_one_clear_answer(served: Served) -> None:
    await served.ask("PUT", "/v1/automation", {"level": "recommend"})
    await served.ask("PUT", "/v1/policy", {"name": "least-loaded"})
    for _ in range(10):
        served.cluster.run(1, WANTS)
        served.control.dispatch(Tick())
    ((name, moves),) = [(each.name, each.moves) for each in await served.ask("GET", "/v1/recommendations")]
    path = f"/v1/recommendations/{name.lower()}/approve"
    answers = await asyncio.gather(served.raw("POST", path), served.raw("POST", path))
    (won, _), (lost, problem) = sorted(answers)
    assert (won, lost) == (202, 409)
    assert (
        f"{name} is no longer open: an operator has approved {name}, 0.0 s ago; `migctl explain D" in problem.decode()
    )
    assert [command.guest for command in served.asked if isinstance(command, StartMigration)] == [moves[0].guest]
    assert await served.ask("GET", "/v1/recommendations") == []


async def test_an_approval_that_does_not_hold_any_more_is_refused_with_its_reasons(served: Served) -> None:
    await served.ask("PUT", "/v1/automation", {"level": "recommend"})
    await served.ask("PUT", "/v1/policy", {"name": "least-loaded"})
    for _ in range(10):
        served.cluster.run(1, WANTS)
        served.control.dispatch(Tick())
    (found,) = await served.ask("GET", "/v1/recommendations")
    status = await served.ask("GET", "/v1/status")
    assert (status.automation, status.recommendations) == ("recommend", 1)
    explained = await served.ask("GET", f"/v1/explain/{found.moves[0].guest_name}")
    assert f"moving it is recommended: `migctl approve {found.name}` lets it move" in explained.text
    await served.ask("POST", "/v1/pause")
    status, code, text = await served.refused("POST", f"/v1/recommendations/{found.name}/approve")
    assert (status, code) == (409, "Refused")
    assert text.startswith(f"{found.name} does not hold any more: migd is paused; `migctl resume` allows migrations")
    cause = text.rpartition("explain ")[2].rstrip("`)")
    assert (await served.ask("GET", f"/v1/explain/{cause}.r1")).subject == cause
    assert (await served.ask("POST", f"/v1/recommendations/{found.name}/refuse")).standing == "refused"
    assert (await served.refused("POST", f"/v1/recommendations/{found.name}/refuse"))[0] == 409
    assert (await served.refused("POST", "/v1/recommendations/D9999.r1/refuse"))[0] == 404


async def test_an_approval_of_what_has_lost_its_reason_is_refused_and_says_so(served: Served) -> None:
    await served.ask("PUT", "/v1/automation", {"level": "recommend"})
    await served.ask("PUT", "/v1/policy", {"name": "evacuate"})
    await served.ask("PUT", "/v1/hosts/a/maintenance", {})
    served.cluster.run(1)
    served.control.dispatch(Tick())
    (found,) = await served.ask("GET", "/v1/recommendations")
    await served.ask("DELETE", "/v1/hosts/a/maintenance")
    status, code, text = await served.refused("POST", f"/v1/recommendations/{found.name}/approve")
    assert (status, code) == (409, "Refused")
    assert text == f"{found.name} is no longer open: host a is neither failing nor closed any more, 0.0 s ago"
    assert await served.ask("GET", "/v1/recommendations") == []


async def test_automation_is_chosen_for_the_cluster_and_for_a_job(served: Served) -> None:
    await served.ask("POST", "/v1/jobs", {"name": "brams", "guests": ["rank0"]})
    assert (await served.ask("PUT", "/v1/automation", {"level": "recommend"})).level == "recommend"
    view = await served.ask("PUT", "/v1/automation", {"level": "off", "job": "brams"})
    assert [(each.job, each.level, each.own) for each in view.jobs] == [("brams", "off", "off")]
    back = await served.ask("PUT", "/v1/automation", {"level": None})
    assert (back.level, back.configured, back.chosen) == ("automatic", "automatic", None)
    assert (await served.refused("PUT", "/v1/automation", {"level": "off", "job": "nobody"}))[0] == 404
    assert (await served.refused("PUT", "/v1/automation", {"level": "sometimes"}))[0] == 400


async def test_a_host_is_taken_out_of_service_and_emptied(served: Served) -> None:
    now_s = served.cluster.now_s
    closed = await served.ask("PUT", "/v1/hosts/b/maintenance", {"until": now_s + 60.0})
    assert (closed.name, closed.is_enabled, closed.maintenance) == (
        "b",
        False,
        "it is in maintenance for another 60 s",
    )
    assert (
        "until: expected a time to come"
        in (await served.refused("PUT", "/v1/hosts/b/maintenance", {"until": now_s - 60.0}))[2]
    )
    planned = await served.ask("GET", "/v1/hosts/a/evacuation")
    assert {(each.state, each.text) for each in planned.guests} == {("stays", "no host may receive")}
    assert (await served.ask("DELETE", "/v1/hosts/b/maintenance")).maintenance == ""
    begun = await served.ask("POST", "/v1/hosts/a/evacuation")
    assert (begun.is_under_way, [each.state for each in begun.guests]) == (True, ["waiting"] * 3)
    served.cluster.run(1, WANTS)
    served.control.dispatch(Tick())
    moving = (await served.ask("GET", "/v1/hosts/a/evacuation")).guests[0]
    assert (moving.state, moving.target_name) == ("moving", "b")
    assert not (await served.ask("DELETE", "/v1/hosts/a/evacuation")).is_under_way
    assert (await served.refused("POST", "/v1/hosts/nowhere/evacuation"))[0] == 404


async def test_what_a_prolog_tells_of_is_known_as_a_job_of_slurm(served: Served) -> None:
    body = {"name": "brams-7", "guests": ["rank0"], "slurm_job": 7, "run_of": "alice/brams"}
    assert (await served.ask("POST", "/v1/jobs", body)).slurm_job == 7
    job = served.control.core.memory.jobs["brams-7"]
    assert (job.slurm_job, job.kept_as) == (7, "alice/brams")
    status, _, text = await served.refused("POST", "/v1/jobs", {**body, "slurm_job": 0})
    assert (status, "slurm_job" in text) == (400, True)
