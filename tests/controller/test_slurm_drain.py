"""Nodes on a failing host get no new jobs; what migd drained it takes back, and nothing that anybody else did."""

import pytest

from migd_controller.slurm_drain import Node, Under, Update, nodes, updates
from migd_core.health import HealthState, HostHealth

FAILING = HostHealth(state=HealthState.FAILING, reasons=("fan 2: 0 RPM; 'stands' still",))
DRAINED = "migd: host xen03 is failing: fan 2: 0 RPM; stands still"

# As sinfo 22.05.8 printed it: n04 was completing jobs, n02 stands in two partitions.
PRINTED = b"""\
n01|draining|migd: host xen03 is failing: fan 2 stands | still
n02|drained|bad cable
n02|drained|bad cable
n03|down*|gone
n04|allocated+|none
"""


def asked(node: Node, health: HostHealth | None) -> list[Update]:
    return updates([node], lambda name: None if health is None else Under("xen03", health))


def test_what_sinfo_prints_is_read_node_by_node() -> None:
    assert nodes(PRINTED) == [
        Node("n01", "draining", "migd: host xen03 is failing: fan 2 stands | still"),
        Node("n02", "drained", "bad cable"),
        Node("n03", "down*", "gone"),
        Node("n04", "allocated+", "none"),
    ]
    assert nodes(b"") == nodes(b"sinfo: error: no such thing\n\xff\n") == []


def test_a_node_on_a_failing_host_is_drained_and_told_why() -> None:
    (update,) = asked(Node("n01", "allocated", "none"), FAILING)
    assert update == Update("n01", "DRAIN", "migd: host xen03 is failing: fan 2: 0 RPM;  stands  still")
    assert update.arguments == ("update", "NodeName=n01", "State=DRAIN", f"Reason={update.reason}")


def test_a_reason_is_cut_where_it_grows_too_long() -> None:
    (update,) = asked(Node("n01", "idle", "none"), HostHealth(state=HealthState.FAILING, reasons=("x" * 256,)))
    assert update.reason == ("migd: host xen03 is failing: " + "x" * 256)[:200]


@pytest.mark.parametrize("state", ["drained", "draining*", "down", "down*", "fail", "maint", "powered_down", "reboot^"])
def test_a_node_that_gets_no_jobs_is_left_as_it_is(state: str) -> None:
    assert asked(Node("n01", state, "somebody's"), FAILING) == []


@pytest.mark.parametrize("state", ["idle", "mixed", "allocated+", "completing", "idle*", "planned", "reserved"])
def test_a_node_that_may_get_jobs_is_drained(state: str) -> None:
    assert [update.state for update in asked(Node("n01", state, "none"), FAILING)] == ["DRAIN"]


@pytest.mark.parametrize("state", [HealthState.OK, HealthState.DEGRADED])
def test_what_migd_drained_comes_back_once_no_failing_host_is_under_it(state: HealthState) -> None:
    update = asked(Node("n01", "drained", DRAINED), HostHealth(state=state))
    assert update == [Update("n01", "UNDRAIN")]
    assert update[0].arguments == ("update", "NodeName=n01", "State=UNDRAIN")


@pytest.mark.parametrize("reason", ["bad cable", "none", "see migd: " + DRAINED, "Migd: host xen03"])
def test_what_somebody_else_drained_is_never_taken_back(reason: str) -> None:
    assert asked(Node("n01", "drained", reason), HostHealth(state=HealthState.OK)) == []


@pytest.mark.parametrize("health", [None, HostHealth(state=HealthState.UNKNOWN)])
def test_where_nothing_is_known_nothing_is_done(health: HostHealth | None) -> None:
    assert asked(Node("n01", "idle", "none"), health) == []
    assert asked(Node("n01", "drained", DRAINED), health) == []
