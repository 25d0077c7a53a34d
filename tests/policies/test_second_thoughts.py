"""A migration under way is given up when finishing it costs more than it will ever gain, and not before that is sure."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders import check_let_finish, guest, host, job, move, promise_of, world
from migd_core.messages import DirtyCurve
from migd_core.units import GIB
from migd_core.world import World
from migd_policies.ledger import price
from migd_policies.second_thoughts import Copying, Promise, reconsider

BUSY = DirtyCurve((0.1, 1.0, 10.0, 20.0), (400, 4_000, 30_000, 50_000))
AWAY = move("rank0", "a", "b")
ASSUMED = 0.9 * 125e6


def under_way() -> World:
    """rank0 is on its way off a host that is asked for 5 of its 4 CPUs: it will step in 0.8 of the time."""
    return world(
        host("a", load=1.0),
        host("b"),
        guest("rank0", on="a", memory_bytes=4 * GIB, dirty_curve=BUSY),
        job("brams", "rank0", remaining_s=600.0),
        in_flight=[AWAY],
    )


def promised(gain_s: float) -> Promise:
    """What the ledger makes of `under_way`, with another gain: no job of anybody else gains."""
    before = replace(under_way(), moves_in_flight=())
    return replace(promise_of(price(before, [AWAY])), gain_s=gain_s)


def seen(bytes_per_s: float, for_s: float = 20.0) -> Copying:
    return Copying(bytes_per_s * for_s, for_s)


def test_one_that_copies_as_fast_as_was_assumed_goes_on() -> None:
    found = reconsider(under_way(), AWAY, 20.0, seen(ASSUMED), promised(120.0))
    assert found is not None
    assert found.is_worth_finishing
    assert found.bandwidth_bytes_per_s == pytest.approx(ASSUMED)


def test_one_that_crawls_is_given_up_and_says_why() -> None:
    found = reconsider(under_way(), AWAY, 20.0, seen(ASSUMED / 20), promised(120.0))
    assert found is not None
    assert not found.is_worth_finishing
    assert found.text.startswith("it copies at no more than 5.36 MiB/s (assumed 107 MiB/s), so it would take ")


@settings(deadline=None, max_examples=60)
@given(
    beyond=st.floats(1.0, 4.0),
    link_bytes_per_s=st.sampled_from([11.7e6, 125e6, 1.25e9]),
    load=st.floats(0.8, 3.0),
    memory_gib=st.integers(1, 64),
    part=st.floats(0.0, 1.0),
)
def test_one_that_was_worth_beginning_and_goes_as_predicted_is_never_given_up(
    beyond: float, link_bytes_per_s: float, load: float, memory_gib: int, part: float
) -> None:
    """However little the job runs beyond the break-even, and whenever one looks."""
    parts = (
        host("a", load=load, link_bytes_per_s=link_bytes_per_s),
        host("b", link_bytes_per_s=link_bytes_per_s),
        guest("rank0", on="a", memory_bytes=memory_gib * GIB, dirty_curve=BUSY),
    )
    even_s = price(world(*parts), [AWAY]).break_even_s
    assert even_s is not None
    parts += (job("brams", "rank0", remaining_s=beyond * even_s),)
    check_let_finish(parts, AWAY, part)


def test_what_was_lost_already_does_not_count() -> None:
    """Nearly done, a migration that would not be begun again is finished all the same."""
    slow = seen(ASSUMED / 3, for_s=100.0)
    early, late = (reconsider(under_way(), AWAY, elapsed_s, slow, promised(30.0)) for elapsed_s in (10.0, 115.0))
    assert early is not None
    assert late is not None
    assert not early.is_worth_finishing
    assert late.is_worth_finishing


def test_a_link_that_dropped_changes_nothing_of_what_was_promised() -> None:
    """A neighbour was to gain from the arrival on; what the move would take if it began now is not that."""
    parts = [host("a", load=0.75), guest("rank0", on="a", dirty_curve=BUSY), guest("x", on="a")]
    jobs = [job("brams", "rank0", remaining_s=600.0), job("other", "x", remaining_s=600.0)]
    promise = promise_of(price(world(host("b"), *parts, *jobs), [AWAY]))
    as_it_was, dropped = (
        reconsider(
            world(host("b", link_bytes_per_s=link), *parts, *jobs, in_flight=[AWAY]), AWAY, 20.0, seen(2e7), promise
        )
        for link in (125e6, 4e6)
    )
    assert as_it_was is not None
    assert dropped is not None
    assert dropped.net_s == pytest.approx(as_it_was.net_s)


@pytest.mark.parametrize(
    "copying", [Copying(), seen(ASSUMED / 20, for_s=5.0), seen(ASSUMED / 1000)], ids=["nothing", "soon", "elsewhere"]
)
def test_nothing_is_concluded_from_too_little(copying: Copying) -> None:
    assert reconsider(under_way(), AWAY, 20.0, copying, promised(120.0)) is None


def test_nothing_is_concluded_of_a_guest_whose_pages_nobody_counts() -> None:
    then = under_way()
    blind = replace(then, guests={"rank0": replace(then.guests["rank0"], dirty_curves=())})
    assert reconsider(blind, AWAY, 20.0, seen(ASSUMED / 20), promised(120.0)) is None


def test_samples_add_up() -> None:
    assert Copying().further(100.0, 1.0).further(50.0, 2.0) == Copying(150.0, 3.0)
