"""A guest's own routes: have its dirty pages counted, and what moving it would take."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from served import OverTcp

from migd_controller.events import AgentListens, SampleArrived
from migd_core.api import Role
from migd_core.messages import DirtyCurve


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[OverTcp]:
    served = OverTcp(tmp_path)
    async with served.answering():
        yield served


def counted(served: OverTcp, guest: str, ago_s: float) -> float:
    """Let the agent of host `a` say that it has counted a guest's pages, by its own clock; return when that was."""
    cluster = served.cluster
    cluster.now_s += 1.0
    cluster.sequence += 1
    sample = cluster.sample("a", {})
    curve = DirtyCurve((1.0, 4.0), (100, 250), measured_s=sample.monotonic_s - ago_s)
    guests = tuple(replace(each, dirty_curve=curve) if each.uuid == guest else each for each in sample.guests)
    served.control.dispatch(SampleArrived(sample=replace(sample, guests=guests)))
    return cluster.now_s - ago_s


async def test_a_curve_that_an_agent_counted_is_dated_by_the_controllers_clock(served: OverTcp) -> None:
    """A bug once: agents' clocks and the controller's were mixed up, and the answer was an error."""
    at_s = counted(served, "rank0", ago_s=3.0)
    status, body = await served.ask("GET", "/v1/guests/rank0/dirty", served.token(Role.VIEWER))
    assert status == 200
    assert body["curves"] == [{"measured_at": pytest.approx(at_s), "ages_s": [1.0, 4.0], "unique_pages": [100, 250]}]
    assert body["fit"]["window_s"] == 4.0


async def test_an_operator_has_a_guest_counted_and_a_viewer_may_only_look(served: OverTcp) -> None:
    viewer, operator = served.token(Role.VIEWER), served.token(Role.OPERATOR)
    assert (await served.ask("POST", "/v1/guests/rank0/probe", viewer))[0] == 403
    status, body = await served.ask("POST", "/v1/guests/rank0/probe", operator)
    assert (status, body["waits_for"]) == (
        202,
        "the agent of host a listens to no leases; does it reach the controller's probe.listen?",
    )
    served.control.dispatch(AgentListens(host="a", listens=True))
    status, body = await served.ask("POST", "/v1/guests/rank0/probe", operator)
    now_s = served.cluster.now_s
    assert (status, body) == (
        202,
        {
            "guest": "rank0",
            "guest_name": "rank0",
            "state": "asked",
            "asked_at": now_s,
            "measured_at": None,
            "waits_for": "",
            "waits_s": 0.0,
        },
    )
    at_s = counted(served, "rank0", ago_s=2.0)
    status, body = await served.ask("GET", "/v1/guests/rank0/probe", viewer)
    assert (status, body["state"], body["measured_at"]) == (200, "asked", pytest.approx(at_s))


async def test_every_other_host_is_judged_as_a_target(served: OverTcp) -> None:
    status, body = await served.ask("GET", "/v1/guests/rank0/targets", served.token(Role.VIEWER))
    assert status == 200
    assert [(each["target_name"], each["accepted"]) for each in body] == [("b", True)]
    assert body[0]["predicted_s"] > 0
    assert {gate["name"] for gate in body[0]["gates"]} >= {"capacity", "target", "placement"}


@pytest.mark.parametrize(("method", "what"), [("GET", "probe"), ("POST", "probe"), ("GET", "targets")])
async def test_a_guest_that_nobody_knows_is_named(served: OverTcp, method: str, what: str) -> None:
    status, body = await served.ask(method, f"/v1/guests/nobody/{what}", served.token(Role.OPERATOR))
    assert status == 404
    assert body["text"] == "no single running guest is called 'nobody'; `migctl guests` lists them"
