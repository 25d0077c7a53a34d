"""The bandwidth that a migration is priced with, where the level that it crosses was measured.

The guest of 1e9 bytes writes nothing, so one copy is all that it sends; set-up, suspend and resume take 1.25 s more.
"""

import pytest

from builders import guest, host, move, topology, world
from migd_controller.config import LedgerSection
from migd_controller.ledger import price
from migd_core.messages import DirtyCurve
from migd_core.world import Level, Link, Move, Topology

MEMORY_BYTES = 1_000_000_000
SWITCHES = {"a": "here", "b": "here", "c": "there", "d": "there", "e": "elsewhere"}
WAN = {Level.WIDE_AREA: Link(10e6, 5e-3)}
ACROSS = move("g", "a", "c")


def sent_per_s(asked: Move, known: Topology, *in_flight: Move) -> float:
    """The bandwidth that the move of `g` is priced with; every NIC gives one migration 100 MB/s."""
    idle = DirtyCurve(ages_s=(1.0, 2.0), unique_pages=(0, 0))
    moving = guest("g", on=asked.source, memory_bytes=MEMORY_BYTES, dirty_curve=idle)
    others = [guest(other.guest, on=other.source) for other in in_flight]
    seen = world(
        *(host(name, link_bytes_per_s=125e6) for name in SWITCHES), moving, *others,
        topology=known, in_flight=in_flight, pricing=LedgerSection(bandwidth_ratio=0.8).pricing,
    )  # fmt: skip
    found = price(seen, asked)
    return MEMORY_BYTES / (found.total_s - 1.25)


def test_a_migration_across_the_wide_area_is_priced_with_what_was_measured_there() -> None:
    assert sent_per_s(ACROSS, topology(WAN, **SWITCHES)) == pytest.approx(10e6)


def test_a_level_that_was_measured_faster_than_the_nic_changes_nothing() -> None:
    known = topology({Level.WIDE_AREA: Link(1e9, 0.0), Level.SAME_SWITCH: Link(110e6, 0.0)}, **SWITCHES)
    assert sent_per_s(ACROSS, known) == pytest.approx(100e6)
    assert sent_per_s(move("g", "a", "b"), known) == pytest.approx(100e6)


def test_only_the_level_that_is_crossed_counts() -> None:
    known = topology({**WAN, Level.SAME_SWITCH: Link(40e6, 0.0)}, **SWITCHES)
    assert sent_per_s(move("g", "a", "b"), known) == pytest.approx(40e6)
    assert sent_per_s(ACROSS, known) == pytest.approx(10e6)


def test_a_level_that_was_not_measured_is_priced_by_the_nic() -> None:
    assert sent_per_s(ACROSS, topology(**SWITCHES)) == pytest.approx(100e6)
    assert sent_per_s(ACROSS, topology({Level.SAME_SWITCH: Link(40e6, 0.0)}, **SWITCHES)) == pytest.approx(100e6)


@pytest.mark.parametrize(
    ("other", "bandwidth"),
    [
        (move("other", "b", "d"), 5e6),  # the same two switches, other NICs
        (move("other", "d", "b"), 5e6),
        (move("other", "b", "e"), 10e6),  # from the same switch to another
        (move("other", "a", "b"), 10e6),  # shares the NIC, which has 50 MB/s for each
    ],
)
def test_migrations_between_the_same_two_switches_share_what_lies_between(other: Move, bandwidth: float) -> None:
    assert sent_per_s(ACROSS, topology(WAN, **SWITCHES), other) == pytest.approx(bandwidth)


def test_within_a_switch_only_migrations_between_the_same_two_hosts_share_the_level() -> None:
    known = topology({Level.SAME_SWITCH: Link(40e6, 0.0)}, **SWITCHES | {"c": "here"})
    assert sent_per_s(move("g", "a", "b"), known, move("other", "a", "c")) == pytest.approx(40e6)
    assert sent_per_s(move("g", "a", "b"), known, move("other", "b", "a")) == pytest.approx(20e6)
