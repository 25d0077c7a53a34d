"""How a move changes the step time of every job it touches."""

import pytest

from builders import flow, guest, host, job, move, topology, world
from migd_core.world import PAPER_LINKS, Level, Link
from migd_policies.scoring import counts, cpu_share_ratio, job_step_ratios

MB = 1e6


def test_a_guest_gets_all_it_wants_until_its_host_is_full():
    assert [cpu_share_ratio(load) for load in (0.0, 0.5, 1.0, 1.25, 4.0)] == [1.0, 1.0, 1.0, 0.8, 0.25]


def test_a_job_steps_faster_by_what_its_slowest_rank_gains():
    ranks = [guest("rank0", on="a", job="brams"), guest("rank1", on="b", job="brams")]
    hog = guest("hog", on="a", vcpus=4)
    before = world(host("a", cpus=4), host("b"), host("c"), *ranks, hog)
    # host a is wanted 1.25 times; without the rank the hog has it to itself
    assert job_step_ratios(before, move("rank0", "a", "c")) == {"brams": pytest.approx(0.8), "hog": pytest.approx(0.8)}


def test_moving_one_of_two_equally_slow_ranks_gains_nothing():
    ranks = [guest("rank0", on="a", job="brams"), guest("rank1", on="b", job="brams")]
    before = world(host("a", load=1.0), host("b", load=1.0), host("c"), *ranks)
    assert job_step_ratios(before, move("rank0", "a", "c")) == {"brams": pytest.approx(1.0)}


def test_a_job_on_the_target_pays_for_the_arrival():
    before = world(
        host("a", load=1.0), host("b"), guest("rank0", on="a", job="brams"), *[guest(f"x{n}", on="b") for n in range(4)]
    )
    ratios = job_step_ratios(before, move("rank0", "a", "b"))
    assert ratios["brams"] == pytest.approx(1.0)
    assert [ratios[f"x{n}"] for n in range(4)] == [pytest.approx(1.25)] * 4


def test_a_guest_that_wants_no_cpu_cannot_hold_its_job_back():
    ranks = [guest("head", on="a", demand=0.0, job="brams"), guest("rank1", on="b", job="brams")]
    before = world(host("a", load=2.0), host("b"), host("c"), *ranks)
    assert job_step_ratios(before, move("head", "a", "c")) == {"brams": pytest.approx(1.0)}


def test_a_guest_without_a_job_is_a_job_of_its_own():
    before = world(host("a", load=1.0), host("b"), guest("lone", on="a"))
    assert job_step_ratios(before, move("lone", "a", "b")) == {"lone": pytest.approx(0.8)}


def test_a_job_whose_guests_partly_vanished_is_judged_by_the_others():
    parts = [job("brams", "rank0", "gone"), guest("rank0", on="a")]
    before = world(host("a", load=1.0), host("b"), *parts)
    assert job_step_ratios(before, move("rank0", "a", "b")) == {"brams": pytest.approx(0.8)}


def test_communication_counts_by_the_level_it_crosses():
    ranks = [guest("rank0", on="a", job="brams"), guest("rank1", on="b", job="brams")]
    levels = topology(PAPER_LINKS, a="r1", b="r2", c="r2")
    before = world(host("a"), host("b"), host("c"), *ranks, flow("rank0", "rank1", 1.2 * MB), topology=levels)
    # both directions at once, half of each second goes into talk over 1.2 MB/s; over 11.7 MB/s it would be a twentieth, over 22.5 less still
    assert job_step_ratios(before, move("rank0", "a", "c"))["brams"] == pytest.approx(0.5 + 0.6 / 11.7)
    assert job_step_ratios(before, move("rank0", "a", "b"))["brams"] == pytest.approx(0.5 + 0.6 / 22.5)


def test_a_level_that_was_not_measured_changes_nothing_nor_does_a_nic_of_unknown_speed():
    ranks = [guest("rank0", on="a", job="brams"), guest("rank1", on="b", job="brams")]
    hosts = [host(name, link_bytes_per_s=0.0) for name in "ab"]
    before = world(*hosts, *ranks, flow("rank0", "rank1", 0.6 * MB), topology=topology())
    assert job_step_ratios(before, move("rank0", "a", "b")) == {"brams": pytest.approx(1.0)}


def test_ranks_of_a_host_share_its_nic():
    """Apart, three pairs keep a NIC of 10 MB/s busy for 0.6 s a second, each way; one pair less, for 0.4 s."""
    pairs = [(f"here{n}", f"there{n}") for n in range(3)]
    ranks = [guest(name, on=on, job="brams") for pair in pairs for name, on in zip(pair, "ab", strict=True)]
    flows = [flow(a, b, 4 * MB) for a, b in pairs]
    hosts = [host(name, cpus=8, link_bytes_per_s=10 * MB) for name in "ab"]
    before = world(*hosts, *ranks, *flows, topology=topology(PAPER_LINKS))
    # 2 MB/s at the 22.5 MB/s of one host are less than what is left of the NIC's work
    assert job_step_ratios(before, move("here0", "a", "b")) == {"brams": pytest.approx(0.4 + 0.4)}


def test_a_rank_that_leaves_its_neighbours_makes_them_share_the_nic():
    """A ring of six on two hosts sends two messages over each NIC; one of its inner ranks gone, four."""
    ranks = [guest(f"rank{n}", on="a" if n < 3 else "b", job="brams") for n in range(6)]
    flows = [flow(f"rank{n}", f"rank{(n + 1) % 6}", 2 * MB) for n in range(6)]
    hosts = [host(name, cpus=8, link_bytes_per_s=10 * MB) for name in "abc"]
    before = world(*hosts, *ranks, *flows, topology=topology({Level.SAME_HOST: Link(100 * MB, 0.0)}))
    # An end rank waits for 0.2 s of a message that it shares the NIC with, and for 0.01 s of one that stays. Of a
    # rank between two hosts both messages share a NIC with three others.
    assert job_step_ratios(before, move("rank1", "a", "c"))["brams"] == pytest.approx((1 - 0.21) + 2 * 0.4)


def test_flows_of_a_guest_with_several_ranks_are_carried_by_several():
    """Two vCPUs that are kept busy talk with one peer each; one alone would talk with both in turn."""
    peers = [guest("left", on="b", job="brams"), guest("right", on="b", job="brams")]
    flows = [flow("left", "middle", 2 * MB), flow("middle", "right", 2 * MB)]
    hosts = [host(name, cpus=8, link_bytes_per_s=0.0) for name in "abc"]
    levels = topology({Level.SAME_SWITCH: Link(10 * MB, 0.0), Level.SAME_HOST: Link(100 * MB, 0.0)})
    for vcpus, talks_s, then_s in ((1, 0.2, 0.02), (2, 0.1, 0.01)):
        middle = guest("middle", on="a", vcpus=vcpus, job="brams")
        before = world(*hosts, middle, *peers, *flows, topology=levels)
        assert job_step_ratios(before, move("middle", "a", "b"))["brams"] == pytest.approx(1 - talks_s + then_s)


def test_a_level_that_was_not_measured_is_not_sought():
    """Nobody knows what a message takes between two guests of one host, so leaving the NIC gains nothing."""
    ranks = [guest("rank0", on="a", job="brams"), guest("rank1", on="b", job="brams")]
    hosts = [host(name, link_bytes_per_s=10 * MB) for name in "ab"]
    before = world(*hosts, *ranks, flow("rank0", "rank1", 8 * MB), topology=topology({}))
    assert job_step_ratios(before, move("rank0", "a", "b")) == {"brams": pytest.approx(1.0)}


def test_a_rank_on_a_slower_host_makes_its_job_wait():
    ranks = [guest("rank0", on="a", job="brams"), guest("rank1", on="b", job="brams")]
    before = world(host("a", speed_ratio=0.8), host("b"), host("c"), *ranks)
    assert job_step_ratios(before, move("rank0", "a", "c")) == {"brams": pytest.approx(0.8)}
    assert job_step_ratios(before, move("rank1", "b", "a")) == {"brams": pytest.approx(1.0)}


def test_where_jobs_are_named_a_guest_of_none_is_no_reason_to_move_them():
    hog = guest("hog", on="a", vcpus=4)
    alone = world(host("a"), host("b"), guest("x", on="a"), hog)
    named = world(host("a"), host("b"), guest("rank0", on="b", job="brams"), guest("x", on="a"), hog)
    assert [counts(alone, "hog"), counts(named, "hog"), counts(named, "brams")] == [True, False, True]


def test_traffic_beyond_what_a_level_carries_still_leaves_time_to_compute():
    ranks = [guest("rank0", on="a", job="brams"), guest("rank1", on="b", job="brams")]
    levels = topology(PAPER_LINKS, a="r1", b="r2", c="r2")
    before = world(host("a"), host("b"), host("c"), *ranks, flow("rank0", "rank1", 4.6 * MB), topology=levels)
    assert job_step_ratios(before, move("rank0", "a", "c"))["brams"] == pytest.approx(0.05 + 0.95 * 1.2 / 11.7)


def test_the_job_of_a_peer_elsewhere_is_touched_too():
    parts = [guest("rank0", on="a", job="brams"), guest("viewer", on="c", demand=0.1)]
    levels = topology(PAPER_LINKS, a="r1", b="r2", c="r2")
    before = world(host("a"), host("b"), host("c"), *parts, flow("rank0", "viewer", 1.2 * MB), topology=levels)
    assert job_step_ratios(before, move("rank0", "a", "b"))["viewer"] == pytest.approx(0.5 + 0.6 / 11.7)


def test_moves_under_way_count_as_done():
    ranks = [guest(f"rank{n}", on="a", job=f"job{n}") for n in range(6)]
    hosts = [host("a", cpus=4), host("b", cpus=4), host("c", cpus=1)]
    before = world(*hosts, *ranks, in_flight=[move("rank0", "a", "b"), move("rank1", "a", "c")])
    # host a will hold four ranks, and host c one already: a second one halves both
    ratios = job_step_ratios(before, move("rank2", "a", "c"))
    assert ratios == {"job1": 2.0, "job2": 2.0, "job3": 1.0, "job4": 1.0, "job5": 1.0}


def test_there_and_back_changes_nothing():
    ranks = [guest("rank0", on="a", job="brams"), guest("rank1", on="b", job="brams")]
    before = world(
        host("a", load=0.9), host("b"), *ranks, flow("rank0", "rank1", 5 * MB), topology=topology(PAPER_LINKS)
    )
    there, back = move("rank0", "a", "b"), move("rank0", "b", "a")
    assert job_step_ratios(before, there)["brams"] < 1
    assert job_step_ratios(before.after(there), back)["brams"] > 1
