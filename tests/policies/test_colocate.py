"""Guests that talk are brought to the level that was measured to be faster, whichever that is."""

from collections.abc import Mapping

from builders import flow, guest, host, move, topology, world
from migd_core.units import GIB
from migd_core.world import PAPER_LINKS, Level, Link, Plan, Topology, World
from migd_policies.colocate import Colocate

POLICY = Colocate()
MB = 1e6
STUCK = "it is tagged migd:never"


def links(**bandwidth_bytes_per_s: float) -> Mapping[Level, Link]:
    return {Level(name.replace("_", "-")): Link(rate, 0.0) for name, rate in bandwidth_bytes_per_s.items()}


def moves_of(plan: Plan) -> list[tuple[str, str, str]]:
    return [(one.guest, one.source, one.target) for one in plan.moves]


def pair(levels: Topology, a: str = "a", b: str = "b", bytes_per_s: float = 5 * MB, cpus: int = 4) -> World:
    """Return a world of hosts a and b with one rank each, or where `a` and `b` say, that talk with each other."""
    hosts = [host(name, cpus=cpus) for name in ("a", "b")]
    guests = [guest("rank0", on=a), guest("rank1", on=b)]
    return world(*hosts, *guests, flow("rank0", "rank1", bytes_per_s), topology=levels)


def test_guests_join_on_one_host_where_that_was_measured_faster():
    plan = POLICY.propose(pair(topology(PAPER_LINKS)))
    assert moves_of(plan) == [("rank0", "a", "b")]
    saved = 5 / 11.7 - 5 / 22.5
    assert abs(plan.reason.value - saved) < 1e-9
    assert (plan.moves[0].reason.code, plan.moves[0].reason.threshold) == ("faster-level", 0.05)


def test_guests_leave_a_common_host_where_the_switch_was_measured_faster():
    levels = topology(links(same_host=22.5 * MB, same_switch=1200 * MB))
    together = pair(levels, a="a", b="a")
    assert moves_of(POLICY.propose(together)) == [("rank0", "a", "b")]
    assert POLICY.propose(pair(levels)).reason.code == "no-gain"


def test_guests_are_brought_under_one_switch_when_the_peers_host_is_full():
    levels = topology(PAPER_LINKS, far="rack2", b="rack1", c="rack1")
    hosts = [host("far"), host("b", cpus=1), host("c")]
    guests = [guest("rank0", on="far"), guest("rank1", on="b", immovable_because=STUCK)]
    plan = POLICY.propose(world(*hosts, *guests, flow("rank0", "rank1", 1 * MB), topology=levels))
    assert moves_of(plan) == [("rank0", "far", "c")]


def test_the_level_that_is_better_by_measurement_is_taken_not_the_nearest():
    levels = topology(links(same_host=5 * MB, same_switch=100 * MB, wide_area=1 * MB), far="r2", b="r1", c="r1", d="r1")
    hosts = [host("far"), host("b"), host("c", load=0.5), host("d", load=0.2)]
    guests = [guest("rank0", on="far"), guest("rank1", on="b", immovable_because=STUCK)]
    plan = POLICY.propose(world(*hosts, *guests, flow("rank0", "rank1", 1 * MB), topology=levels))
    assert moves_of(plan) == [("rank0", "far", "d")]


def test_without_two_measured_levels_nothing_is_concluded():
    plan = POLICY.propose(pair(topology(links(same_switch=11.7 * MB))))
    assert (plan.moves, plan.reason.code, plan.reason.value) == ((), "levels-not-measured", 1.0)


def test_an_unmeasured_level_is_neither_left_nor_sought():
    levels = topology(links(same_switch=11.7 * MB, wide_area=1.2 * MB))
    assert POLICY.propose(pair(levels)).reason.code == "no-gain"
    assert POLICY.propose(pair(levels, a="a", b="a")).reason.code == "no-gain"


def test_without_traffic_there_is_nothing_to_bring_together():
    plan = POLICY.propose(world(host("a"), guest("rank0", on="a"), topology=topology(PAPER_LINKS)))
    assert (plan.moves, plan.reason.code) == ((), "no-flows")


def test_cpu_vetoes_what_talk_would_like_and_the_plan_says_so():
    plan = POLICY.propose(pair(topology(PAPER_LINKS), cpus=1))
    assert (plan.moves, plan.reason.code) == ((), "cpu-veto")
    assert (plan.reason.value, plan.reason.threshold) == (2.0, 1.0)
    assert "asked for 200 % of its CPUs (at most 100 %)" in plan.reason.text


def test_a_host_that_is_idle_for_a_moment_is_judged_by_its_highest_load():
    parts = [host("a"), host("b", recent=(0.9, 0.9)), guest("rank0", on="a")]
    parts += [guest("rank1", on="b", immovable_because=STUCK)]
    plan = POLICY.propose(world(*parts, flow("rank0", "rank1", 5 * MB), topology=topology(PAPER_LINKS)))
    assert (plan.reason.code, plan.reason.value) == ("cpu-veto", 0.9 + 0.25)


def test_a_trickle_is_not_worth_a_move():
    plan = POLICY.propose(pair(topology(PAPER_LINKS), bytes_per_s=0.1 * MB))
    assert (plan.moves, plan.reason.code, plan.reason.threshold) == ((), "no-gain", 0.05)
    assert 0 < plan.reason.value < 0.05


def test_all_of_a_guests_flows_count_not_the_greatest_alone():
    levels = topology(links(same_host=100 * MB, same_switch=10 * MB))
    parts = [host("a"), host("b"), guest("hub", on="a"), guest("big", on="b", immovable_because=STUCK)]
    parts += [guest(f"small{number}", on="a", immovable_because=STUCK) for number in range(3)]
    flows = [flow("hub", "big", 4 * MB), *[flow("hub", f"small{number}", 2 * MB) for number in range(3)]]
    assert POLICY.propose(world(*parts, *flows, topology=levels)).reason.code == "no-gain"


def test_memory_frozen_and_disabled_hosts_are_respected():
    levels = topology(PAPER_LINKS)
    talk = flow("rank0", "rank1", 5 * MB)
    for other in (
        host("b", memory_bytes=6 * GIB),
        host("b", frozen_because="it is silent"),
        host("b", is_enabled=False),
    ):
        parts = [host("a", memory_bytes=6 * GIB), other, guest("rank0", on="a"), guest("rank1", on="b")]
        plan = POLICY.propose(world(*parts, talk, topology=levels))
        assert [(one.source, one.target) for one in plan.moves] in ([], [("b", "a")])
        assert all(one.target != "b" for one in plan.moves)


def test_nothing_leaves_a_frozen_host():
    parts = [host("a", frozen_because="it is silent"), host("b", memory_bytes=4 * GIB)]
    parts += [guest("rank0", on="a"), guest("rank1", on="b")]
    plan = POLICY.propose(world(*parts, flow("rank0", "rank1", 5 * MB), topology=topology(PAPER_LINKS)))
    assert plan.moves == ()


def test_moves_of_one_plan_concern_guests_that_do_not_talk_with_each_other():
    hosts = [host(name, cpus=8) for name in ("a", "b", "c", "d")]
    guests = [guest(f"rank{number}", on=name) for number, name in enumerate(("a", "b", "c", "d"))]
    ring = [flow("rank0", "rank1", 5 * MB), flow("rank1", "rank2", 5 * MB), flow("rank3", "rank2", 1 * MB)]
    plan = POLICY.propose(world(*hosts, *guests, *ring, topology=topology(PAPER_LINKS)))
    assert [one.guest for one in plan.moves] == ["rank0", "rank2"]


def test_a_peer_under_way_counts_where_it_will_be():
    under_way = [move("rank1", "b", "a")]
    levels = topology(PAPER_LINKS)
    parts = [host("a"), host("b"), guest("rank0", on="a"), guest("rank1", on="b"), flow("rank0", "rank1", 5 * MB)]
    plan = POLICY.propose(world(*parts, topology=levels, in_flight=under_way))
    assert (plan.moves, plan.reason.code) == ((), "no-gain")


def test_each_move_of_a_plan_saves_enough_not_the_best_alone():
    hosts = [host(name, cpus=8) for name in ("a", "b", "c", "d")]
    guests = [guest(f"rank{number}", on=name) for number, name in enumerate(("a", "b", "c", "d"))]
    levels = topology(links(same_host=20 * MB, same_switch=10 * MB))
    # A flow of 2 MB/s takes 0.2 s a second across the switch and 0.1 on one host; one of 0.9 MB/s saves 0.045.
    before = world(*hosts, *guests, flow("rank0", "rank1", 2 * MB), flow("rank2", "rank3", 0.9 * MB), topology=levels)
    assert [one.guest for one in POLICY.propose(before).moves] == ["rank0"]
    assert [one.guest for one in Colocate(min_gain_ratio=0.04).propose(before).moves] == ["rank0", "rank2"]


def test_guests_exchange_places_as_one_set_where_hosts_have_room_for_no_other():
    levels = topology(links(same_host=100 * MB, same_switch=10 * MB))
    hosts = [host(name, cpus=2) for name in ("a", "b")]
    guests = [guest("left0", on="a"), guest("right0", on="a"), guest("left1", on="b"), guest("right1", on="b")]
    flows = [flow("left0", "left1", 5 * MB), flow("right0", "right1", 5 * MB)]
    plan = POLICY.propose(world(*hosts, *guests, *flows, topology=levels))
    assert len({one.together for one in plan.moves}) == 1
    assert plan.moves[0].together
    assert {(one.source, one.target) for one in plan.moves} == {("a", "b"), ("b", "a")}
    assert Colocate(max_moves=1).propose(world(*hosts, *guests, *flows, topology=levels)).moves == ()
