"""What becomes of an operator's wish to have a guest probed: it comes first, and breaks no rule."""

import pytest
from cluster_of_events import pool_guest
from msgspec.structs import replace
from probed_cluster import PROBE, WINDOW_S, Probed

from migd_controller import probe_requests
from migd_controller.events import (
    AgentListens,
    InventoryChanged,
    MigrationRequested,
    Paused,
    ProbeEnded,
    ProbeRequested,
    Resumed,
)
from migd_controller.probing import ASKED_FOR_S, REST_S
from migd_core.errors import Refused
from migd_core.messages import PROBE_AROUND_S, DirtyCurve
from migd_core.units import GIB

APART_S = (WINDOW_S + PROBE_AROUND_S) / PROBE.guest_time_ratio


def refusal(cluster: Probed, guest: str = "g") -> str:
    core = cluster.core
    with pytest.raises(Refused) as caught:
        probe_requests.refuse_if_never(guest, core.inventory, core.telemetry, core.config)
    return str(caught.value)


def test_a_guest_that_was_asked_for_comes_before_those_that_were_never_counted() -> None:
    cluster = Probed(pool_guest("g", on="a"), pool_guest("h", on="a"))
    cluster.curves["h"] = DirtyCurve((1.0,), (10,))
    cluster.tell(ProbeRequested(guest="h"))
    cluster.run(1)
    (lease,) = cluster.begun
    assert lease.guest == "h"


def test_a_wish_does_not_make_a_probe_come_sooner_than_a_hundredth_of_the_guests_time_allows() -> None:
    """And is over once there is a curve."""
    cluster = Probed(pool_guest("g", on="a"))
    cluster.run(1)
    (lease,) = cluster.begun
    began_s = cluster.now_s
    cluster.says(lease, "done")
    cluster.run(1)
    cluster.tell(ProbeEnded(lease=lease.lease))
    cluster.tell(ProbeRequested(guest="g"))
    text, left_s = cluster.waits_for()
    assert text == f"it may be probed for 1 % of its time, and so once in {int(APART_S / 60)} min"
    assert left_s == pytest.approx(began_s + APART_S - cluster.now_s)
    while len(cluster.begun) == 1:
        cluster.run(1)
    assert cluster.now_s - began_s >= APART_S
    assert cluster.core.memory.probe_asked == {"g": pytest.approx(began_s + 5.0)}
    cluster.says(cluster.begun[1], "done")
    cluster.run(1)
    assert cluster.core.memory.probe_asked == {}


def test_a_guest_that_was_asked_for_is_not_probed_while_it_migrates_or_while_migd_is_paused() -> None:
    cluster = Probed(pool_guest("g", on="a"))
    cluster.tell(Paused())
    cluster.tell(ProbeRequested(guest="g"))
    cluster.run(3)
    assert cluster.begun == []
    assert cluster.waits_for() == ("migd is paused; `migctl resume` goes on", 0.0)
    cluster.tell(Resumed())
    cluster.tell(MigrationRequested(guest="g", target="b"))
    cluster.run(3)
    assert cluster.begun == []
    assert cluster.waits_for()[0] == "the guest is being migrated, and no guest is probed then"


def test_a_guest_that_was_asked_for_waits_for_the_others_of_its_host() -> None:
    cluster = Probed(pool_guest("g", on="a"), pool_guest("h", on="a"))
    cluster.run(1)
    (lease,) = cluster.begun
    assert lease.guest == "g"
    cluster.tell(ProbeRequested(guest="h"))
    assert cluster.waits_for("h") == ("the dirty pages of g are counted on its host", lease.over_at - cluster.now_s)
    cluster.says(lease, "failed", "no such domain")
    cluster.run(1)
    cluster.tell(ProbeEnded(lease=lease.lease))
    text, left_s = cluster.waits_for("h")
    assert text == "the last probe on its host came to nothing"
    assert REST_S - 5.0 <= left_s <= REST_S


def test_a_wish_that_nothing_comes_of_is_forgotten() -> None:
    cluster = Probed(pool_guest("g", on="a"))
    cluster.tell(Paused())
    cluster.tell(ProbeRequested(guest="g"))
    cluster.run(1)
    assert list(cluster.core.memory.probe_asked) == ["g"]
    cluster.now_s += ASKED_FOR_S
    cluster.run(1)
    assert cluster.core.memory.probe_asked == {}


def test_what_will_never_be_probed_is_refused_with_the_reason() -> None:
    never = Probed(
        pool_guest("g", on="a"), config=replace(Probed().core.config, probe=replace(PROBE, guest_time_ratio=0))
    )
    never.run(1)
    assert refusal(never) == "no guest is probed: [probe] guest_time_ratio is 0 in the controller's configuration"
    tagged = Probed(replace(pool_guest("g", on="a"), tags=("migd:no-probe",)))
    tagged.run(1)
    assert refusal(tagged) == "guest g carries the tag migd:no-probe, which keeps it from being probed"
    silent = Probed(pool_guest("g", on="a"), warm_s=0)
    assert refusal(silent) == "no agent speaks for host a, and only agents count dirty pages; see docs/dom0.md"


def test_a_guest_whose_agent_does_not_listen_waits_until_it_does() -> None:
    """As it is for some seconds after an agent was restarted: it was refused once, for no lasting reason."""
    cluster = Probed(pool_guest("g", on="a"))
    cluster.tell(AgentListens(host="a", listens=False))
    cluster.tell(ProbeRequested(guest="g"))
    cluster.run(3)
    assert cluster.begun == []
    assert cluster.waits_for()[0].startswith("the agent of host a listens to no leases;")
    cluster.tell(AgentListens(host="a", listens=True))
    assert cluster.waits_for() == ("", 0.0)
    cluster.run(1)
    (lease,) = cluster.begun
    assert lease.guest == "g"


def test_a_guest_that_the_pool_keeps_from_moving_says_so() -> None:
    cluster = Probed(pool_guest("g", on="a"))
    blocked = replace(cluster.guests["g"], blocked_because="a backup runs")
    cluster.tell(InventoryChanged(hosts=(), guests=(blocked,), gone=(), is_complete=False))
    assert cluster.waits_for()[0] == "the pool says of the guest: a backup runs"


def test_what_a_move_to_each_host_would_take_is_judged_and_nothing_is_done() -> None:
    cluster = Probed(pool_guest("g", on="a", memory_bytes=4 * GIB), hosts=3)
    cluster.run(1)
    before = cluster.core.memory
    found = {each.target: each for each in cluster.core.by_hand("g", cluster.now_s)}
    assert sorted(found) == ["b", "c"]
    assert all(each.price is not None and each.price.total_s > 4 * GIB / 125e6 for each in found.values())
    # It is on lease at the moment, which is what keeps it here.
    assert {gate.name for each in found.values() for gate in each.gates if not gate.passed} == {"movable"}
    assert cluster.core.memory == before
