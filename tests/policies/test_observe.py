"""The policy of a new installation never moves anything."""

from builders import guest, host, world
from migd_core.world import Plan, Reason
from migd_policies.observe import Observe


def test_observe_moves_nothing_however_overloaded_the_cluster_is():
    ranks = [guest(f"rank{number}", on="a") for number in range(8)]
    plan = Observe().propose(world(host("a", cpus=4), host("b"), *ranks))
    text = "policy observe never moves a guest; the most loaded of 2 hosts, a, wants 200 % of its CPUs"
    assert plan == Plan((), Reason("observe", text, value=2.0, unit="ratio"))


def test_observe_says_so_when_no_host_reports():
    plan = Observe().propose(world(host("a", frozen_because="no agent has reported from it yet")))
    assert plan == Plan((), Reason("observe", "policy observe never moves a guest; no host reports its load"))
