"""Nobody gains from a guest before it has arrived: not a neighbour left behind, nor a job that waits for another's."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders import check_let_finish, guest, host, job, move, world
from migd_core.messages import DirtyCurve
from migd_core.units import GIB
from migd_core.world import Guest, Host, Job, Move
from migd_policies.ledger import price

IDLE = DirtyCurve(ages_s=(1.0, 2.0), unique_pages=(0, 0))
AWAY = move("rank0", "a", "b")
LINKS = (11.7e6, 125e6, 1.25e9)


def rank(name: str, on: str, memory_bytes: int = 4 * GIB, vcpus: int = 1) -> Guest:
    return guest(name, on=on, memory_bytes=memory_bytes, vcpus=vcpus, dirty_curve=IDLE)


@st.composite
def crowded(draw: st.DrawFn) -> tuple[list[Host | Guest], list[str], list[Move]]:
    """Two or three hosts, the first one full, up to three moves among them, and the names of all guests."""
    link, rate = draw(st.sampled_from(LINKS)), draw(st.sampled_from((10, 1_000, 20_000)))
    curve = DirtyCurve((0.1, 1.0, 10.0, 20.0), (rate // 10, rate, rate * 6, rate * 8))
    hosts = [
        host("a", load=draw(st.sampled_from((0.3, 0.75, 1.0, 1.5, 1.5))), link_bytes_per_s=link),
        host("b", load=draw(st.sampled_from((0.0, 0.2, 0.9))), link_bytes_per_s=link),
        host("c"),
    ]
    memory, vcpus = st.sampled_from((1, 4, 16)), st.sampled_from((1, 2, 4))
    movers = [
        guest(name, on=on, vcpus=draw(vcpus), memory_bytes=draw(memory) * GIB, dirty_curve=curve)
        for name, on in (("m0", "a"), ("m1", draw(st.sampled_from("ab"))), ("m2", "b"))[: draw(st.integers(1, 3))]
    ]
    others = [guest(f"x{n}", on=on) for n, on in enumerate(draw(st.lists(st.sampled_from("abc"), max_size=4)))]
    moves = [
        move(one.uuid, one.host, draw(st.sampled_from([each for each in "abc" if each != one.host]))) for one in movers
    ]
    guests = [*movers, *others]
    return [*hosts, *guests], [one.uuid for one in guests], moves


def jobs_of(data: st.DataObject, names: list[str], remaining_s: st.SearchStrategy[float]) -> list[Job]:
    """All of the guests, in up to three jobs."""
    of = {name: data.draw(st.sampled_from(("J", "K", "L"))) for name in names}
    return [
        job(each, *[name for name in names if of[name] == each], remaining_s=data.draw(remaining_s))
        for each in sorted(set(of.values()))
    ]


@settings(deadline=None, max_examples=200)
@given(drawn=crowded(), data=st.data())
def test_no_move_pays_that_arrives_when_every_job_is_over(
    drawn: tuple[list[Host | Guest], list[str], list[Move]], data: st.DataObject
) -> None:
    parts, names, moves = drawn
    soonest_s = min(each.migration.total_s.median for each in price(world(*parts), moves).moves)
    jobs = jobs_of(data, names, st.sampled_from((0.3, 0.8, 1.0)).map(lambda part: part * soonest_s))
    assert price(world(*parts, *jobs), moves).net_s <= 0.0


@settings(deadline=None, max_examples=200)
@given(drawn=crowded(), data=st.data(), part=st.floats(0.0, 1.0))
def test_second_thoughts_let_finish_what_paid_when_it_began_and_goes_as_predicted(
    drawn: tuple[list[Host | Guest], list[str], list[Move]], data: st.DataObject, part: float
) -> None:
    """Whoever gains: the job of the guest, or neighbours once it has left."""
    parts, names, (first, *_) = drawn
    jobs = jobs_of(data, names, st.sampled_from((60.0, 300.0, 3_600.0, 86_400.0)))
    check_let_finish([*parts, *jobs], first, part)


def test_a_neighbour_gains_from_the_arrival_on() -> None:
    """A host asked for 5 of its 4 CPUs: both jobs are to step in 0.8 of the time, that of the neighbour later."""
    parts = [host("a", load=0.75), host("b"), rank("rank0", "a"), rank("x", "a")]
    found = price(world(*parts, job("brams", "rank0"), job("other", "x", remaining_s=600.0)), [AWAY])
    (mine,) = found.moves
    took_s = mine.migration.total_s.median
    gains = {each.job: each.gain_s for each in found.jobs}
    assert gains["other"] == pytest.approx(0.2 * (600.0 - took_s))
    assert found.break_even_s == pytest.approx((found.cost_s.median + 0.2 * took_s) / 0.4)


def test_a_guest_whose_pages_nobody_counted_may_arrive_as_late_as_it_can() -> None:
    parts = [host("a", load=0.75), host("b"), guest("rank0", on="a"), rank("x", "a")]
    found = price(world(*parts, job("brams", "rank0"), job("other", "x", remaining_s=600.0)), [AWAY])
    (mine,) = found.moves
    assert mine.most is not None
    assert mine.most.total_s.median > mine.migration.total_s.median
    gains = {each.job: each.gain_s for each in found.jobs}
    assert gains["other"] == pytest.approx(0.2 * (600.0 - mine.most.total_s.median))


def test_a_job_that_is_over_before_a_guest_arrives_beside_it_loses_nothing() -> None:
    parts = [host("a"), host("b"), rank("rank0", "a", vcpus=2), rank("x", "b", vcpus=4)]
    short, long = (
        price(world(*parts, job("brams", "rank0"), job("other", "x", remaining_s=left_s)), [AWAY])
        for left_s in (10.0, 600.0)
    )
    (mine,) = short.moves
    took_s = mine.migration.total_s.median
    assert took_s > 10.0
    assert {each.job: each.gain_s for each in short.jobs}["other"] == 0.0
    assert {each.job: each.gain_s for each in long.jobs}["other"] == pytest.approx(-0.5 * (600.0 - took_s))


def test_jobs_that_change_places_wait_for_each_other() -> None:
    """Both copies share both links: each job gains when the second has arrived, and only its own is in its cost."""
    parts = [host("a", load=0.75), host("b"), rank("big", "a", vcpus=2), rank("small", "b", memory_bytes=GIB)]
    jobs = [job("one", "big", remaining_s=600.0), job("two", "small", remaining_s=600.0)]
    found = price(world(*parts, *jobs), [move("big", "a", "b"), move("small", "b", "a")])
    took_s = {each.move.guest: each.migration.total_s.median for each in found.moves}
    gains = {each.job: each for each in found.jobs}
    rate = gains["one"].gain_rate
    assert rate > 0
    assert gains["one"].gain_s == pytest.approx(rate * (600.0 - took_s["small"]))


def test_a_job_whose_guests_all_move_waits_for_none_besides_them() -> None:
    """What it does while each is copied is in the cost already."""
    parts = [host(name, load=1.0 if name in "ab" else 0.0) for name in "abcd"]
    ranks = [rank("rank0", "a"), rank("rank1", "b")]
    moves = [move("rank0", "a", "c"), move("rank1", "b", "d")]
    found = price(world(*parts, *ranks, job("brams", "rank0", "rank1", remaining_s=600.0)), moves)
    assert found.gain_s == pytest.approx(0.2 * 600.0)
