"""Potential: MigBSP's computation + communication - memory, in seconds, on what is measured."""

import pytest

from builders import flow, guest, host, job, move, topology, world
from migd_core.pricing import Pricing
from migd_core.units import GIB
from migd_core.world import PAPER_LINKS, Plan
from migd_policies.potential import Potential

LONG = Pricing(horizon_s=3600.0)
SHORT = Pricing(horizon_s=600.0)


def going(plan: Plan) -> list[tuple[str, str]]:
    return [(one.guest, one.target) for one in plan.moves]


def test_the_potential_is_what_computing_saves_less_what_memory_takes():
    before = world(host("a", load=1.0), host("b"), guest("lone", on="a"), pricing=SHORT)
    (only,) = Potential().propose(before).moves
    # a fifth of 600 s is saved; 4 GiB at nine tenths of 125 MB/s and 1.25 s of set-up and ends are paid
    assert only.reason.value == pytest.approx(600.0 * 0.2 - (4 * GIB / 112.5e6 + 1.25))
    assert (only.guest, only.target) == ("lone", "b")
    assert only.reason.text.startswith(
        "guest lone to host b: computation 120 s + communication 0.0 s − memory 39 s = 81 s"
    )


def test_a_load_that_comes_and_goes_is_a_pattern_that_counts_less():
    before = world(host("a", load=1.0, recent=(2.5, 1.25)), host("b"), guest("lone", on="a"), pricing=SHORT)
    (only,) = Potential().propose(before).moves
    assert only.reason.value == pytest.approx(0.5 * 600.0 * 0.2 - (4 * GIB / 112.5e6 + 1.25))


def test_what_takes_longer_to_carry_than_it_saves_stays():
    before = world(host("a", load=1.0), host("b"), guest("lone", on="a", memory_bytes=12 * GIB), pricing=SHORT)
    plan = Potential().propose(before)
    assert plan.moves == ()
    assert plan.reason.code == "no-potential"


def test_a_job_that_ends_soon_has_no_potential():
    parts = [guest("rank0", on="a"), job("brams", "rank0", remaining_s=100.0)]
    assert Potential().propose(world(host("a", load=1.0), host("b"), *parts)).reason.code == "no-potential"


def test_one_of_two_equally_slow_ranks_has_potential_but_is_not_viable():
    ranks = [guest("rank0", on="a", job="brams"), guest("rank1", on="b", job="brams")]
    plan = Potential().propose(world(host("a", load=1.0), host("b", load=1.0), host("c"), *ranks))
    assert plan.moves == ()
    assert plan.reason.code == "not-viable"


def test_talk_counts_with_the_peers_in_the_set():
    ranks = [guest("rank0", on="a", job="brams"), guest("rank1", on="b", job="brams")]
    levels = topology(PAPER_LINKS, a="r1", b="r2", c="r2")
    before = world(
        host("a"), host("b"), host("c"), *ranks, flow("rank0", "rank1", 0.6e6), topology=levels, pricing=LONG
    )
    plan = Potential().propose(before)
    assert len(plan.moves) == 0, "4 GiB over 1.2 MB/s take an hour"
    small = [guest(one.name, on=one.host, job="brams", memory_bytes=GIB // 4) for one in ranks]
    before = world(
        host("a"), host("b"), host("c"), *small, flow("rank0", "rank1", 0.6e6), topology=levels, pricing=LONG
    )
    ((name, target),) = going(Potential().propose(before))
    assert (name, target) in (("rank0", "b"), ("rank0", "c"), ("rank1", "a"))


def test_guests_near_the_best_move_with_it():
    hosts = [host("a", load=1.0), host("b", load=1.0), host("c"), host("d")]
    before = world(*hosts, guest("x", on="a"), guest("y", on="b"))
    assert going(Potential(max_moves=2).propose(before)) == [("x", "c"), ("y", "c")]
    assert len(Potential().propose(before).moves) == 1


def test_guests_to_be_kept_apart_do_not_meet():
    guests = [guest(name, on=on, tags=("migd:apart=db",)) for name, on in (("x", "a"), ("y", "b"))]
    before = world(host("a", load=1.0), host("b", load=1.0), host("c", cpus=16), *guests)
    assert len(Potential(max_moves=2).propose(before).moves) == 1


def test_nothing_is_added_to_what_is_under_way():
    before = world(
        host("a", load=2.0), host("b"), guest("x", on="a"), guest("y", on="a"), in_flight=[move("x", "a", "b")]
    )
    assert Potential().propose(before).reason.code == "already-moving"
