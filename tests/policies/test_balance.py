"""Load is evened out with few moves, when it stays uneven, and never by more than a move is worth."""

from builders import guest, host, move, world
from migd_core.units import GIB
from migd_core.world import Move, Plan, World
from migd_policies.balance import Balance

POLICY = Balance()


def moves_of(plan: Plan) -> list[tuple[str, str, str]]:
    return [(one.guest, one.source, one.target) for one in plan.moves]


def crowded_a(**changes: object) -> World:
    """Return a world where four guests of one CPU and 4 GiB are on host a, and hosts b and c are empty."""
    guests = [guest(f"g{number}", on="a", **changes) for number in range(4)]  # type: ignore[arg-type]
    return world(host("a", cpus=4), host("b", cpus=4), host("c", cpus=4), *guests)


def test_guests_of_a_crowded_host_go_to_the_empty_ones():
    plan = POLICY.propose(crowded_a())
    assert moves_of(plan) == [("g0", "a", "b"), ("g1", "a", "c")]
    assert (plan.reason.code, plan.reason.unit, plan.reason.threshold) == ("uneven", "ratio", 0.1)
    assert plan.reason.text == (
        "load is spread by 0.53 over 3 hosts (threshold 0.1); guests to move: 2, which lowers it to 0.13"
    )


def test_a_move_says_what_it_does_to_the_spread():
    first = POLICY.propose(crowded_a()).moves[0].reason
    assert first.code == "evens-load"
    assert first.text == (
        "of host a 100 % of the CPUs and 25 % of the memory are taken, of host b 0 % of the CPUs and 0 % of the memory; "
        "with guest g0 moved the spread of load over hosts falls from 0.530 to 0.351"
    )


def test_an_even_cluster_is_left_alone_and_says_so():
    plan = POLICY.propose(world(host("a"), host("b"), guest("g0", on="a"), guest("g1", on="b")))
    assert (plan.moves, plan.reason.code) == ((), "within-threshold")
    assert plan.reason.text == "load is spread by 0.00 over the hosts at most (threshold 0.1)"


def test_a_moment_of_unevenness_moves_nothing():
    guests = [guest(f"g{number}", on="a") for number in range(2)]
    before = world(host("a", cpus=4, recent=(0.0, 0.0)), host("b", cpus=4, recent=(0.0, 0.0)), *guests)
    policy = Balance(memory_weight=0.0)
    plan = policy.propose(before)
    assert (plan.moves, plan.reason.code) == ((), "not-sustained")


def test_a_host_whose_load_flips_receives_nothing_on_the_strength_of_its_mean():
    guests = [guest(f"g{number}", on="a") for number in range(4)]
    policy = Balance(memory_weight=0.0)
    flips, steady = host("flips", cpus=4, recent=(1.5, 0.0)), host("steady", cpus=4, load=0.25)
    plan = policy.propose(world(host("a", cpus=4), flips, steady, *guests))
    assert {target for _, _, target in moves_of(plan)} <= {"steady"}


def test_one_host_cannot_be_evened_out():
    plan = POLICY.propose(world(host("a"), host("b", is_enabled=False), guest("g0", on="a")))
    assert (plan.moves, plan.reason.code) == ((), "no-hosts")


def test_a_gain_that_is_too_small_moves_nothing():
    """One guest on one of two hosts is uneven, and stays so wherever it is."""
    plan = POLICY.propose(world(host("a", cpus=2), host("b", cpus=2), guest("g0", on="a")))
    assert (plan.moves, plan.reason.code) == ((), "no-gain")


def test_memory_alone_is_evened_out_too():
    idle = crowded_a(demand=0.0, memory_bytes=16 * GIB)
    assert len(POLICY.propose(idle).moves) == 2
    assert Balance(memory_weight=0.0).propose(idle).reason.code == "within-threshold"


def test_network_load_counts_where_every_link_is_known():
    def talking(link_bytes_per_s: float) -> World:
        guests = [guest(f"g{number}", on="a", demand=0.0, memory_bytes=GIB, tx_bytes_per_s=3e7) for number in range(4)]
        return world(host("a"), host("b", link_bytes_per_s=link_bytes_per_s), *guests)

    assert len(POLICY.propose(talking(125e6)).moves) == 2
    assert POLICY.propose(talking(0.0)).reason.code == "within-threshold"


def test_a_guest_on_its_way_counts_as_arrived():
    before = crowded_a()
    under_way = world(*before.hosts.values(), *before.guests.values(), in_flight=[move("g0", "a", "b")])
    assert [target for _, _, target in moves_of(Balance(max_moves_per_host=2).propose(under_way))] == ["c"]


def test_a_host_without_the_memory_is_passed_over():
    guests = [guest(f"g{number}", on="a") for number in range(4)]
    plan = POLICY.propose(world(host("a"), host("b", memory_bytes=3 * GIB), host("c"), *guests))
    assert {target for _, _, target in moves_of(plan)} == {"c"}


def test_what_may_not_move_stays_and_barred_hosts_are_not_asked():
    immovable = crowded_a(immovable_because="it is tagged migd:never")
    assert POLICY.propose(immovable).reason.code == "no-gain"
    resting = crowded_a(cooldown_s=60.0)
    assert POLICY.propose(resting).reason.code == "no-gain"


def test_a_plan_has_no_more_moves_than_allowed():
    assert len(Balance(max_moves=1).propose(crowded_a()).moves) == 1


def test_while_as_many_as_allowed_are_moving_nothing_more_is_proposed():
    before = crowded_a()
    under_way = world(*before.hosts.values(), *before.guests.values(), in_flight=[move("g0", "a", "b")])
    plan = Balance(max_moves=1).propose(under_way)
    assert (plan.moves, plan.reason.code, plan.reason.value) == ((), "already-moving", 1.0)


def test_while_the_best_host_receives_a_guest_the_next_best_takes_others():
    """Host b is empty and the best place for every guest of a, until one is on its way there."""
    guests = [guest(f"g{number}", on="a") for number in range(8)]
    coming = guest("coming", on="d", demand=0.1, memory_bytes=GIB)
    there = (host("a", cpus=4), host("b", cpus=4), host("c", cpus=4, load=0.5), host("d", cpus=4, load=1.0))

    def target(*under_way: Move, per_host: int = 1) -> list[str]:
        policy = Balance(max_moves=1 + len(under_way), max_moves_per_host=per_host)
        plan = policy.propose(world(*there, *guests, coming, in_flight=under_way))
        return [to for _, _, to in moves_of(plan)]

    assert target() == ["b"]
    assert target(move("coming", "d", "b")) == ["c"]
    assert target(move("coming", "d", "b"), per_host=2) == ["b"]


def test_a_host_that_a_guest_is_leaving_is_left_by_no_other_and_the_reason_counts_it():
    guests = [guest(f"g{number}", on="a") for number in range(4)]
    hosts = [host(name, cpus=4) for name in "abc"]
    plan = POLICY.propose(world(*hosts, *guests, in_flight=[move("g0", "a", "b")]))
    assert (plan.moves, plan.reason.code) == ((), "no-gain")
    assert plan.reason.text == (
        "load is spread by 0.35 over 3 hosts (threshold 0.1), but no move lowers that by 0.017 in each of 3 periods; "
        "guests are on their way already off or to 2 of the 3 hosts"
    )
