"""The price of a move, worked out by hand: what the migration takes, what it costs its job, what all jobs gain.

The guest has 1e9 bytes and, unless a test says otherwise, writes nothing, so one round sends it all: at 100 MB/s that
is 10 s. With 1 s of set-up, 0.1 s to suspend and 0.15 s to resume it takes 11.25 s and stands still for 0.05 + 0.15 s.
"""

from collections.abc import Mapping

import pytest

from builders import guest, host, job, move, world
from migd_controller.config import LedgerSection
from migd_controller.decision import Bound, Price
from migd_controller.ledger import price
from migd_core.messages import DirtyCurve
from migd_core.units import PAGE_BYTES
from migd_core.world import Flow, Guest, Host, Job, Move

MEMORY_BYTES = 1_000_000_000
IDLE = DirtyCurve(ages_s=(1.0, 2.0), unique_pages=(0, 0))
SETTINGS = LedgerSection(
    horizon_s=600.0,
    speed_while_migrating_ratio=0.6,
    bandwidth_ratio=0.8,
    bandwidth_bytes_per_s=50e6,
    warm_up_s=3.0,
)
AWAY = move("rank0", "a", "b")


def rank(curve: DirtyCurve | None = IDLE) -> Guest:
    return guest("rank0", on="a", memory_bytes=MEMORY_BYTES, dirty_curve=curve)


def priced(
    *parts: Host | Guest | Job | Flow,
    links: Mapping[str, float] | None = None,
    loads: Mapping[str, float] | None = None,
    in_flight: tuple[Move, ...] = (),
) -> Price:
    """Price the move of rank0 from a to b; hosts have 4 CPUs and 125 MB/s unless `links` says otherwise."""
    hosts = [
        host(name, link_bytes_per_s=(links or {}).get(name, 125e6), load=(loads or {}).get(name, 0.0))
        for name in ("a", "b", "c", "d")
    ]
    parts = parts if any(isinstance(part, Guest) and part.uuid == "rank0" for part in parts) else (rank(), *parts)
    return price(world(*hosts, *parts, in_flight=in_flight, pricing=SETTINGS.pricing), AWAY)


def sent_per_s(found: Price) -> float:
    """The bandwidth a price counts on: 1e9 bytes in what the migration takes besides its 1.25 s of ends."""
    return MEMORY_BYTES / (found.total_s - 1.25)


def test_a_guest_that_writes_nothing_costs_one_copy_its_pause_and_the_warm_up() -> None:
    found = priced()
    # 1e9 bytes / (0.8 × 125e6 bytes/s) = 10 s
    assert found.total_s == pytest.approx(1.0 + 10.0 + 0.1 + 0.15)
    assert found.pause_s == pytest.approx(0.05 + 0.15)
    assert found.sent_bytes == pytest.approx(1e9)
    # (11.25 − 0.2) × (1 − 0.85) + 0.2 + 3 = 1.6575 + 3.2: it computes only, and Dom0 has cores to spare
    assert found.cost_s == pytest.approx(4.8575)
    assert found.cost_at_most_s == found.cost_s
    assert (found.least, found.most) == (None, None)


@pytest.mark.parametrize(
    ("a", "b", "bytes_per_s"),
    [
        (125e6, 1250e6, 100e6),  # 0.8 × 125e6: the source is the slower
        (1250e6, 25e6, 20e6),  # 0.8 × 25e6: the target is
        (0.0, 1250e6, 1000e6),  # nobody reports the source's link
        (0.0, 0.0, 50e6),  # nobody reports either: what is configured, whole
    ],
)
def test_the_slower_nic_sets_the_pace(a: float, b: float, bytes_per_s: float) -> None:
    assert sent_per_s(priced(links={"a": a, "b": b, "c": 1.0})) == pytest.approx(bytes_per_s)


@pytest.mark.parametrize(
    ("in_flight", "bytes_per_s"),
    [
        ((move("x", "a", "c"),), 50e6),  # 0.8 × 125e6 by two: the other leaves the same host
        ((move("x", "c", "b"),), 50e6),  # … or arrives at the same one
        ((move("x", "b", "c"),), 50e6),  # … or leaves the one that this arrives at
        ((move("x", "a", "b"),), 50e6),  # one move is shared with once, though it meets this at both ends
        ((move("x", "a", "c"), move("y", "d", "b")), 100e6 / 3),
        ((move("x", "c", "d"),), 100e6),  # elsewhere
    ],
)
def test_moves_under_way_at_either_end_share_the_nic(in_flight: tuple[Move, ...], bytes_per_s: float) -> None:
    others = [guest(one.guest, on=one.source, demand=0.0) for one in in_flight]
    assert sent_per_s(priced(*others, in_flight=in_flight)) == pytest.approx(bytes_per_s)


def test_a_guest_nobody_counts_dirty_pages_of_is_priced_between_one_that_writes_nothing_and_one_that_writes_all() -> (
    None
):
    found = priced(rank(curve=None))
    pages = MEMORY_BYTES // PAGE_BYTES
    calm, wild = priced(rank()), priced(rank(DirtyCurve(ages_s=(5.0, 10.0), unique_pages=(pages, pages))))
    assert found.least == Bound(total_s=calm.total_s, pause_s=calm.pause_s, cost_s=calm.cost_s)
    assert found.most == Bound(total_s=wild.total_s, pause_s=wild.pause_s, cost_s=wild.cost_s)
    # All of it is written again in each of the 10 s rounds: five of them, and a sixth time while it stands still. A
    # curve counts whole pages, 244140 of the guest's 244140.6, which makes it a hair under 61.25 s.
    assert found.most.total_s == pytest.approx(1.25 + 6 * 10.0, rel=1e-5)
    assert found.most.pause_s == pytest.approx(0.2 + 10.0, rel=1e-5)
    # (61.25 − 10.2) × 0.15 + 10.2 + 3
    assert found.cost_at_most_s == pytest.approx(20.8575, rel=1e-5)


# Host a is asked for 4 + 1 of its 4 CPUs, so rank0 runs at 0.8 of its speed; on b it would run at 1: g = 0.8.
CROWDED: Mapping[str, float] = {"a": 1.0}


@pytest.mark.parametrize(
    ("remaining_s", "gain_s"),
    [
        (None, 0.2 * 600.0),  # nobody said: the horizon
        (200.0, 0.2 * 200.0),
        (900.0, 0.2 * 600.0),
        (0.0, 0.0),
    ],
)
def test_a_job_gains_for_as_long_as_it_runs_and_no_longer_than_the_horizon(
    remaining_s: float | None, gain_s: float
) -> None:
    found = priced(job("brams", "rank0", remaining_s=remaining_s), loads=CROWDED)
    assert found.gain_s == pytest.approx(gain_s)


def test_a_guest_without_a_job_gains_for_the_horizon() -> None:
    assert priced(loads=CROWDED).gain_s == pytest.approx(0.2 * 600.0)


@pytest.mark.parametrize(
    ("other_remaining_s", "gain_s"),
    [
        # rank0's job is over after 300 s, and nobody gains from then on; the neighbour does from its arrival, at 11.25 s
        (None, 0.2 * 300.0 + 0.2 * (300.0 - 11.25)),
        (900.0, 0.2 * 300.0 + 0.2 * (300.0 - 11.25)),
        (100.0, 0.2 * 300.0 + 0.2 * (100.0 - 11.25)),  # the neighbour's is over before
        (10.0, 0.2 * 300.0),
    ],
)
def test_a_neighbour_gains_while_its_own_job_and_that_of_the_guest_that_leaves_both_run(
    other_remaining_s: float | None, gain_s: float
) -> None:
    jobs = [job("brams", "rank0", remaining_s=300.0), job("other", "x", remaining_s=other_remaining_s)]
    # Host a is asked for 3 + 1 + 1 of its 4 CPUs: both run at 0.8 before, both at 1 after.
    assert priced(*jobs, guest("x", on="a"), loads={"a": 0.75}).gain_s == pytest.approx(gain_s)


def test_a_job_that_the_move_slows_down_counts_with_its_loss() -> None:
    jobs = [job("brams", "rank0", remaining_s=300.0), job("other", "x", remaining_s=200.0)]
    # rank0 has host a to itself and gains nothing on b, where x wants 4 of 4 CPUs and would get 4/5 of them: g = 1.25.
    # rank0 itself is slowed from 1 to 0.8 as well.
    found = priced(*jobs, guest("x", on="b", vcpus=4))
    assert found.gain_s == pytest.approx(-0.25 * 300.0 - 0.25 * (200.0 - 11.25))
