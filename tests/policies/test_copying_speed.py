"""How fast a job is taken to go while one of its guests is copied."""

import pytest

from builders import flow, guest, host, job, move, topology, world
from migd_core.pricing import Interval
from migd_core.world import PAPER_LINKS, World
from migd_policies.copying_speed import COPYING_VCPUS, HIGH_RATIO, LOW_RATIO, TRACKED_RATIO, expected_speed

MB = 1e6


def two_ranks(*, bytes_per_s: float = 0.0, load: float = 0.0, cpus: int = 8) -> World:
    """One rank a host; `load` is what else the first host is asked for."""
    hosts = [host(name, cpus=cpus, load=load if name == "a" else 0.0, link_bytes_per_s=10 * MB) for name in "abc"]
    ranks = [guest("rank0", on="a", job="brams"), guest("rank1", on="b", job="brams")]
    talking = [flow("rank0", "rank1", bytes_per_s)] if bytes_per_s else []
    return world(*hosts, *ranks, *talking, job("brams", "rank0", "rank1"), topology=topology(PAPER_LINKS))


def v(before: World) -> Interval:
    return expected_speed(before, move("rank0", "a", "c"), "brams")


def test_a_job_that_only_computes_is_slowed_by_the_tracking_of_its_pages_alone() -> None:
    found = v(two_ranks())
    assert found == Interval(LOW_RATIO * TRACKED_RATIO, TRACKED_RATIO, pytest.approx(HIGH_RATIO * TRACKED_RATIO))


def test_the_part_of_a_step_that_is_talk_over_the_copys_nic_goes_at_half_speed() -> None:
    # 4 MB/s each way of a NIC of 10
    assert v(two_ranks(bytes_per_s=8 * MB)).median == pytest.approx(1 / (0.6 / TRACKED_RATIO + 0.4 / 0.5))


def test_on_a_full_host_ranks_give_their_cpu_to_dom0() -> None:
    full = v(two_ranks(cpus=2, load=0.5))
    assert full.median == pytest.approx(TRACKED_RATIO / (1 + COPYING_VCPUS / 2))


def test_who_of_its_job_runs_elsewhere_is_not_slowed() -> None:
    busy = world(
        host("a", cpus=8),
        host("b", load=1.0),
        host("c"),
        guest("rank0", on="a", job="brams"),
        guest("rank1", on="b", job="brams"),
    )
    assert v(busy).median == pytest.approx(TRACKED_RATIO)
