"""`migctl measure migration --simulate` on the paper's cluster gives Figures 5 to 8 (Neves et al. 2007).

What a pool file takes from the paper is no result here: the run times without Xen, what links carry (Figs. 3 and 4), the
1.1 % of Fig. 6 and the 4 % of Fig. 8 that Xen costs. That the rest follows from these, and from what docs/measuring.md says is
assumed, is.
"""

from pathlib import Path

import pytest

from migd_cli.experiment.runs import Plan
from migd_cli.experiment.simulated import planned, simulated_runs
from migd_cli.experiment.summary import Summary, summary

PAPER = Path(__file__).parents[2] / "examples" / "paper"
GFLOP = 2 / 3 * 8000**3 / 1e9
# The paper's figures are read off its text, to two or three digits; each is met to half a unit of the last, or as said.


def measured(name: str, target: str, noise_ratio: float = 0.0, repeat: int = 2) -> Summary:
    """The experiment as the command makes it; without noise all runs are alike."""
    plan = planned(
        Plan(
            guest="rank0",
            home="",
            target=target,
            at_s=60.0,
            repeat=repeat,
            warm_up=0,
            seed=1,
            simulated=str(PAPER / f"{name}.toml"),
            baseline=str(PAPER / f"{name}-native.toml"),
            noise_ratio=noise_ratio,
        )
    )
    found = summary(plan, simulated_runs(plan))
    assert [(arm.failed, arm.disturbed) for arm in found.arms] == [(0, 0)] * len(found.arms)
    return found


def run_times_s(found: Summary) -> list[float]:
    return [arm.run_time_s.mean for arm in found.arms if arm.run_time_s is not None]


def test_figure_5_hpl_with_two_guests_a_node_is_9_percent_slower_on_xen() -> None:
    """+9 % and 2.35 against 2.6 GFlop/s do not quite agree in the paper (they are 10.6 %); this lies between them."""
    found = measured("hpl-6", target="")
    native_s, xen_s = run_times_s(found)
    assert GFLOP / native_s == pytest.approx(2.6, abs=0.005)
    assert GFLOP / xen_s == pytest.approx(2.35, abs=0.05)
    assert found.by_virtualization is not None
    assert found.by_virtualization.ratio == pytest.approx(0.09, abs=0.01)


def test_figure_6_hpl_with_one_guest_a_node_is_1_percent_slower_on_xen() -> None:
    found = measured("hpl-3", target="")
    assert found.by_virtualization is not None
    assert found.by_virtualization.ratio == pytest.approx(0.011, abs=0.0005)


def test_figure_7_a_migration_of_one_of_three_guests_under_hpl_takes_104_s_and_costs_28_percent() -> None:
    """Of 28.4 %, 27 follow from a queue and a window that are assumed; 15 s of standing still were derived."""
    found = measured("hpl-3", target="node4")
    assert found.migration_s is not None
    assert found.pause_s is not None
    assert found.by_migration is not None
    assert found.migration_s.mean == pytest.approx(104.0, rel=0.025)
    assert found.pause_s.mean == pytest.approx(15.0, abs=1.0)
    assert found.by_migration.ratio == pytest.approx(0.284, abs=0.015)


def test_figure_8_sp_takes_1409_s_with_a_migration_and_1267_without_xen() -> None:
    """The 91 s (85 to 98) that a migration costs come out as 77: a sixth too little, and 1 % of the run time."""
    found = measured("sp", target="node5")
    native_s, xen_s, migrated_s = run_times_s(found)
    assert native_s == pytest.approx(1267.0, abs=0.5)
    assert xen_s / native_s - 1 == pytest.approx(0.04, abs=0.005)
    assert migrated_s == pytest.approx(1409.0, rel=0.012)
    assert found.by_migration is not None
    assert found.by_migration.mean == pytest.approx(91.0, rel=0.2)


def test_with_thirty_runs_of_each_the_confidence_holds_what_is_without_noise() -> None:
    """And all three differences of Fig. 8 are shown."""
    exact, found = measured("sp", "node5"), measured("sp", "node5", noise_ratio=0.01, repeat=30)
    for name in ("by_migration", "by_virtualization", "by_both"):
        difference, truth = getattr(found, name), getattr(exact, name)
        assert difference.is_shown
        # What a slower host costs is not made good by a faster one, so the means lie a little higher with noise.
        assert difference.low - 5.0 < truth.mean < difference.high + 5.0
