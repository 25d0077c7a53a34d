"""The paper's migrations follow from Xen 3.0.3's stop rules, with nothing fitted (Neves et al. 2007, section 5.4, Fig. 7)."""

import pytest
from pools import migrate, two_hosts

from migd_core.units import MIB, PAGE_BYTES
from migd_sim.model.spec import GuestSpec
from migd_sim.model.writes import ArraySweep, RandomWrites

LINK_BYTES_PER_S = 11.7e6  # Fast Ethernet, less its headers
MEMORY_BYTES = 320 * MIB
# HPL N=8000: a matrix of 8000 x 8000 doubles over three ranks; the panel updates rewrite what is left of it in seconds.
HPL_PAGES = 8000 * 8000 * 8 // 3 // PAGE_BYTES


def paper_guest(*writes: RandomWrites | ArraySweep) -> GuestSpec:
    return GuestSpec(name="g", host="a", vcpus=1, memory_bytes=MEMORY_BYTES, writes=writes, base_demand_vcpus=1.0)


def test_an_idle_guest_takes_30_s() -> None:
    """An idle guest dirties about 75 pages a second, the same few hundred over and over."""
    end = migrate(two_hosts(paper_guest(RandomWrites(pages=300, tau_s=4.0)), link=LINK_BYTES_PER_S, rules="xen-legacy"))
    assert end.ended_s - end.started_s == pytest.approx(30.0, rel=0.05)
    assert len(end.pages_by_round) <= 4
    assert end.pause_s < 0.5


@pytest.mark.parametrize("tau_s", [1.0, 1.5, 2.0])
def test_a_guest_under_hpl_takes_104_s_of_which_15_stand_still(tau_s: float) -> None:
    hpl = RandomWrites(pages=HPL_PAGES, tau_s=tau_s)
    end = migrate(two_hosts(paper_guest(hpl), link=LINK_BYTES_PER_S, rules="xen-legacy"))
    assert end.ended_s - end.started_s == pytest.approx(104.0, rel=0.05)
    assert end.pause_s == pytest.approx(15.0, abs=3.0)


def test_the_same_guest_under_a_sweep_that_takes_as_long_as_an_hpl_panel_does_too() -> None:
    end = migrate(
        two_hosts(paper_guest(ArraySweep(pages=HPL_PAGES, period_s=2.5)), link=LINK_BYTES_PER_S, rules="xen-legacy")
    )
    assert end.ended_s - end.started_s == pytest.approx(104.0, rel=0.05)
    assert end.pause_s == pytest.approx(15.0, abs=1.0)
