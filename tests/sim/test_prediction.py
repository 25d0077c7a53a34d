"""What is predicted from a curve of the shortest window that is probed, against what the simulated migration takes."""

import pytest
from pools import migrate, two_hosts

from migd_controller.config import ProbeSection
from migd_controller.probing import ages_s
from migd_core.messages import DirtyCurve
from migd_core.precopy import RULE_SETS
from migd_core.units import GIB, MIB, PAGE_BYTES
from migd_policies.precopy_prediction import MigrationPrediction, predict
from migd_sim.model import MigrationEnd
from migd_sim.model.spec import GuestSpec
from migd_sim.model.writes import ArraySweep, RandomWrites, Writes, unique_pages

# The shortest window that is probed; a longer one is right more often.
AGES_S = ages_s(ProbeSection(ages=8, window_at_most_s=4.0), 1, 1.0)
HPL_PAGES = 8000 * 8000 * 8 // 3 // PAGE_BYTES


def both(*writes: Writes, memory_bytes: int, link: float, rules: str) -> tuple[MigrationPrediction, MigrationEnd]:
    """The prediction and what the migration takes."""
    moving = GuestSpec(name="g", host="a", vcpus=1, memory_bytes=memory_bytes, writes=writes, base_demand_vcpus=1.0)
    curve = DirtyCurve(ages_s=AGES_S, unique_pages=tuple(round(unique_pages(writes, age_s)) for age_s in AGES_S))
    end = migrate(two_hosts(moving, link=link, rules=rules))  # type: ignore[arg-type]
    return predict(memory_bytes, curve, link, RULE_SETS[rules]), end


def hpl(writes: Writes) -> tuple[MigrationPrediction, MigrationEnd]:
    return both(writes, memory_bytes=320 * MIB, link=11.7e6, rules="xen-legacy")


@pytest.mark.parametrize("tau_s", [0.5, 1.0, 1.5, 2.0, 3.0, 5.0])
def test_random_writes_are_predicted_though_they_go_on_beyond_the_window(tau_s: float) -> None:
    expected, end = hpl(RandomWrites(pages=HPL_PAGES, tau_s=tau_s))
    assert expected.total_s == pytest.approx(end.ended_s - end.started_s, rel=0.03)
    assert expected.pause_s == pytest.approx(end.pause_s, abs=0.6)


@pytest.mark.parametrize("period_s", [2.0, 2.5, 3.0])
def test_a_sweep_that_ends_within_the_window_is_predicted(period_s: float) -> None:
    expected, end = hpl(ArraySweep(pages=HPL_PAGES, period_s=period_s))
    assert expected.total_s == pytest.approx(end.ended_s - end.started_s, rel=0.03)
    assert expected.pause_s == pytest.approx(end.pause_s, abs=1.0)


@pytest.mark.parametrize("period_s", [4.0, 5.0, 7.0, 10.0])
def test_a_sweep_that_no_end_is_seen_of_is_predicted_too_dear_never_too_cheap(period_s: float) -> None:
    """All of the guest's memory is taken as written in the end, twice what HPL has."""
    expected, end = hpl(ArraySweep(pages=HPL_PAGES, period_s=period_s))
    assert end.ended_s - end.started_s < expected.total_s < 1.25 * (end.ended_s - end.started_s)
    assert end.pause_s < expected.pause_s < 30.0


@pytest.mark.parametrize("rules", ["xen-4.6", "xen-legacy"])
@pytest.mark.parametrize(
    "writes",
    [
        (ArraySweep(pages=131_072, period_s=20.0), RandomWrites(pages=8192, tau_s=2.0)),
        (ArraySweep(pages=100_000, period_s=30.0), RandomWrites(pages=40_000, tau_s=2.0)),
        (RandomWrites(pages=200_000, tau_s=30.0), RandomWrites(pages=40_000, tau_s=1.0)),
    ],
    ids=["demo", "slow-sweep", "two-speeds"],
)
def test_a_mixture_of_fast_and_slow_writes_is_predicted_within_a_tenth(writes: tuple[Writes, ...], rules: str) -> None:
    expected, end = both(*writes, memory_bytes=8 * GIB, link=117e6, rules=rules)
    assert expected.total_s == pytest.approx(end.ended_s - end.started_s, rel=0.1)
    assert expected.pause_s == pytest.approx(end.pause_s, abs=0.3)


@pytest.mark.parametrize("hot_pages", [40_000, 150_000])
def test_a_great_slow_sweep_under_fast_writes_is_predicted_up_to_a_third_too_cheap(hot_pages: int) -> None:
    """The fast writes' slope falls within the window, and the sweep's is taken to fall with it: what a fit would mend."""
    writes = (ArraySweep(pages=500_000, period_s=20.0), RandomWrites(pages=hot_pages, tau_s=2.0))
    expected, end = both(*writes, memory_bytes=8 * GIB, link=117e6, rules="xen-4.6")
    assert 2 / 3 < expected.total_s / (end.ended_s - end.started_s) < 1
    assert 1 / 2 < expected.pause_s / end.pause_s < 1
