"""From the most loaded host to the least loaded one that fits, and only when it lasts and pays."""

from builders import guest, host, move, world
from migd_core.health import HealthState, HostHealth
from migd_core.units import GIB
from migd_core.world import Host, Plan, World
from migd_policies.least_loaded import LeastLoaded

POLICY = LeastLoaded()


def moves_of(plan: Plan) -> list[tuple[str, str, str]]:
    return [(one.guest, one.source, one.target) for one in plan.moves]


def overloaded_a(*others: Host, recent: tuple[float, ...] = ()) -> World:
    """Return a world where six ranks want the four CPUs of host a."""
    ranks = [guest(f"rank{number}", on="a") for number in range(6)]
    return world(host("a", cpus=4, recent=recent), *ranks, *others)


def test_a_guest_leaves_the_overloaded_host_for_the_least_loaded_one():
    plan = POLICY.propose(overloaded_a(host("b", load=0.5), host("c", load=0.25)))
    assert moves_of(plan) == [("rank0", "a", "c")]
    assert (plan.reason.code, plan.reason.value, plan.reason.threshold) == ("overloaded", 1.5, 1.1)


def test_a_move_says_what_both_hosts_come_to():
    (moved,) = POLICY.propose(overloaded_a(host("b", load=0.5))).moves
    assert moved.reason.code == "overloaded-host"
    assert (moved.reason.value, moved.reason.threshold, moved.reason.unit) == (1.5, 1.1, "ratio")
    assert moved.reason.text == (
        "host a wanted at least 150 % of its CPUs in each of 3 periods (threshold 110 %); "
        "without guest rank0 it wants 125 %, and host b with it 75 %"
    )


def test_a_cluster_within_the_threshold_is_left_alone_and_says_so():
    plan = POLICY.propose(world(host("a", load=0.9), host("b", load=0.1), guest("rank0", on="a", demand=0.4)))
    assert plan.moves == ()
    assert (plan.reason.code, plan.reason.value, plan.reason.threshold) == ("within-threshold", 1.0, 1.1)


def test_full_hosts_of_spinning_ranks_are_not_overloaded():
    ranks = [guest(f"rank{number}", on="a") for number in range(4)]
    plan = POLICY.propose(world(host("a", cpus=4, load=0.05), host("b"), *ranks))
    assert plan.reason.code == "within-threshold"


def test_one_high_sample_is_no_trend():
    plan = POLICY.propose(overloaded_a(host("b"), recent=(1.5, 0.9)))
    assert (plan.moves, plan.reason.code) == ((), "not-sustained")


def test_a_host_that_was_seen_too_briefly_neither_gives_nor_takes():
    assert POLICY.propose(overloaded_a(host("b"), recent=(1.5,))).reason.code == "not-sustained"
    plan = POLICY.propose(overloaded_a(host("new", recent=(0.0,)), host("b", load=0.5)))
    assert moves_of(plan) == [("rank0", "a", "b")]


def test_a_host_that_is_idle_for_a_moment_is_not_the_least_loaded():
    plan = POLICY.propose(overloaded_a(host("flips", recent=(1.2, 0.0)), host("b", load=0.5)))
    assert moves_of(plan) == [("rank0", "a", "b")]


def test_the_least_loaded_host_is_the_one_least_loaded_with_the_guest_on_it():
    small, large = host("small", cpus=1, load=0.0), host("large", cpus=16, load=0.3)
    assert moves_of(POLICY.propose(overloaded_a(small, large))) == [("rank0", "a", "large")]


def test_a_host_without_the_memory_is_passed_over():
    full = host("b", memory_bytes=3 * GIB)
    assert moves_of(POLICY.propose(overloaded_a(full, host("c", load=0.5)))) == [("rank0", "a", "c")]
    plan = POLICY.propose(overloaded_a(full))
    assert (plan.moves, plan.reason.code) == ((), "no-host-fits")


def test_a_frozen_or_disabled_host_receives_nothing():
    frozen = host("b", frozen_because="last sample is 9.0 s old (limit 5 s)")
    plan = POLICY.propose(overloaded_a(frozen, host("c", is_enabled=False), host("d", load=0.5)))
    assert moves_of(plan) == [("rank0", "a", "d")]


def test_a_failing_host_receives_nothing_and_a_degraded_one_only_where_it_is_much_less_loaded():
    failing = host("b", health=HostHealth(state=HealthState.FAILING, reasons=("its memory is broken",)))
    worn = host("c", load=0.3, health=HostHealth(state=HealthState.DEGRADED, reasons=("a fan is slow",)))
    assert moves_of(POLICY.propose(overloaded_a(failing, worn, host("d", load=0.5)))) == [("rank0", "a", "d")]
    assert moves_of(POLICY.propose(overloaded_a(failing, worn, host("d", load=0.6)))) == [("rank0", "a", "c")]
    (moved,) = POLICY.propose(overloaded_a(failing, worn)).moves
    assert moved.reason.text.endswith("and host c with it 55 %")  # the load that it has, not the one it counts with
    assert POLICY.propose(overloaded_a(failing)).reason.code == "no-host-fits"


def test_a_frozen_host_gives_nothing():
    ranks = [guest(f"rank{number}", on="a") for number in range(6)]
    plan = POLICY.propose(world(host("a", frozen_because="it is silent"), host("b"), *ranks))
    assert (plan.moves, plan.reason.code) == ((), "within-threshold")
    assert POLICY.propose(world(host("a", frozen_because="it is silent"))).reason.code == "no-hosts"


def test_an_immovable_guest_stays_and_another_goes():
    ranks = [guest("pinned", on="a", demand=1.0, vcpus=2, immovable_because="it is tagged migd:never")]
    ranks += [guest(f"rank{number}", on="a") for number in range(4)]
    assert moves_of(POLICY.propose(world(host("a", cpus=4), host("b"), *ranks))) == [("rank0", "a", "b")]
    only_pinned = world(host("a", load=1.0), host("b"), ranks[0])
    assert POLICY.propose(only_pinned).reason.code == "no-movable-guest"


def test_a_guest_that_rests_after_its_last_move_stays_and_another_goes():
    resting = guest("rank0", on="a", cooldown_s=0.5)
    others = [guest(f"rank{number}", on="a") for number in range(1, 6)]
    assert moves_of(POLICY.propose(world(host("a"), host("b"), resting, *others))) == [("rank1", "a", "b")]
    assert POLICY.propose(world(host("a", load=1.0), host("b"), resting)).reason.code == "no-movable-guest"


def test_a_move_that_hardly_helps_is_not_made():
    plan = POLICY.propose(world(host("a", load=1.3), host("b", load=1.28), guest("rank0", on="a", demand=0.4)))
    assert (plan.moves, plan.reason.code, plan.reason.threshold) == ((), "margin", 0.05)


def test_the_only_guest_of_a_host_is_not_pushed_around():
    plan = POLICY.propose(world(host("a"), host("b"), guest("huge", on="a", vcpus=8)))
    assert (plan.moves, plan.reason.code) == ((), "margin")


def test_the_guest_that_lowers_the_higher_load_most_goes_first():
    guests = [guest("small", on="a", demand=0.5), guest("big", on="a", vcpus=3), guest("rest", on="a", vcpus=4)]
    plan = POLICY.propose(world(host("a", cpus=4), host("b", load=0.5), *guests))
    # rest would make b the fuller one (1.5), small leaves a at 1.75; with big, a comes to 1.125 and b to 1.25
    assert moves_of(plan) == [("big", "a", "b")]


def test_among_moves_that_relieve_alike_the_smaller_memory_goes():
    guests = [guest(f"rank{number}", on="a", memory_bytes=(9 - number) * GIB, demand=1.0) for number in range(5)]
    guests.append(guest("tiny", on="a", memory_bytes=1 * GIB, demand=0.99))
    assert moves_of(POLICY.propose(world(host("a", cpus=4), host("b"), *guests))) == [("tiny", "a", "b")]


def test_several_hosts_are_relieved_in_one_plan_onto_hosts_that_stay_below_them():
    ranks = [guest(f"{place}-{number}", on=place) for place in ("a", "b") for number in range(6)]
    plan = POLICY.propose(world(host("a"), host("b"), host("c"), host("d", load=0.1), *ranks))
    assert moves_of(plan) == [("a-0", "a", "c"), ("b-0", "b", "d")]


def test_no_host_gives_more_than_one_guest_at_a_time():
    busy = overloaded_a(host("b"), host("c"))
    assert len(POLICY.propose(busy).moves) == 1
    assert moves_of(LeastLoaded(max_moves_per_host=2).propose(busy)) == [("rank0", "a", "b"), ("rank1", "a", "c")]


def test_a_relieved_host_gives_no_further_guest():
    busy = world(host("a"), host("b"), *[guest(f"rank{number}", on="a") for number in range(5)])
    assert len(LeastLoaded(max_moves_per_host=4).propose(busy).moves) == 1


def test_moves_under_way_count_as_done():
    ranks = [guest(f"rank{number}", on="a") for number in range(5)]
    under_way = world(host("a"), host("b"), *ranks, in_flight=[move("rank0", "a", "b")])
    plan = POLICY.propose(under_way)
    assert (plan.moves, plan.reason.code, plan.reason.value) == ((), "within-threshold", 1.0)
    assert "once the moves under way are done" in plan.reason.text


def test_a_host_whose_guest_is_leaving_waits_for_it():
    ranks = [guest(f"rank{number}", on="a") for number in range(8)]
    plan = POLICY.propose(world(host("a"), host("b"), *ranks, in_flight=[move("rank0", "a", "b")]))
    assert (plan.moves, plan.reason.code) == ((), "already-moving")


def test_guests_on_their_way_to_a_host_fill_it():
    ranks = [guest(f"{place}-{number}", on=place) for place in ("a", "b") for number in range(6)]
    arriving = [move(f"b-{number}", "b", "c") for number in range(2)]
    plan = POLICY.propose(world(host("a"), host("b"), host("c"), host("d", load=0.3), *ranks, in_flight=arriving))
    assert moves_of(plan) == [("a-0", "a", "d")]


def test_while_the_best_host_receives_a_guest_the_next_best_takes_others():
    ranks = [guest(f"{place}-{number}", on=place) for place in ("a", "b") for number in range(6)]
    arriving = [move("b-0", "b", "c")]
    busy = world(host("a"), host("b"), host("c"), host("d", load=0.5), *ranks, in_flight=arriving)
    assert moves_of(POLICY.propose(busy)) == [("a-0", "a", "d")]
    assert moves_of(LeastLoaded(max_moves_per_host=2).propose(busy))[:1] == [("a-0", "a", "c")]


def test_a_host_that_only_a_receiving_host_could_relieve_says_that_it_waits():
    ranks = [guest(f"{place}-{number}", on=place) for place in ("a", "b") for number in range(6)]
    arriving = [move("b-0", "b", "c")]
    for another in ((), (host("d", load=1.4),)):  # none that fits, and none that would be any better
        plan = POLICY.propose(world(host("a"), host("b"), host("c"), *another, *ranks, in_flight=arriving))
        assert (plan.moves, plan.reason.code, plan.reason.value) == ((), "already-moving", 1.0)
        assert plan.reason.text == (
            "host a wants 150 % of its CPUs (threshold 110 %), but host c, which could relieve it, receives a guest "
            "already"
        )
