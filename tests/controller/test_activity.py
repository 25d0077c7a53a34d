"""What a guest did is kept as means over bins, and each dirty curve with the rates of its time."""

import sys
from collections.abc import Sequence

import pytest

from migd_controller.activity import BINS, NAMES, NARROW, Activity
from migd_core.messages import DirtyCurve, GuestSample
from migd_policies.quiet_start import Counted
from migd_policies.rhythm import Series

CPU, NETWORK, DISK = NAMES


def kept(values: Sequence[float]) -> object:
    """What is equal to these means as half-precision floats keep them."""
    return pytest.approx(values, rel=1 / 2**11, abs=0.03)


def sample(network: float = 0.0, disk: float = 0.0) -> GuestSample:
    return GuestSample(
        uuid="g",
        vcpus=2,
        cpu_ratio=0.5,
        memory_bytes=1,
        rx_bytes_per_s=network / 4,
        tx_bytes_per_s=network * 3 / 4,
        read_bytes_per_s=disk / 2,
        written_bytes_per_s=disk / 2,
    )


def watched(activity: Activity, name: str, width_s: float) -> Series:
    return next(each for each in activity.watched.series if (each.name, each.width_s) == (name, width_s))


def followed(seconds: int, interval_s: float = 1.0) -> Activity:
    """A guest whose network traffic is the number of the second, from second 1 on."""
    activity = Activity(0.0)
    for n in range(1, int(seconds / interval_s) + 1):
        activity.follow(sample(network=n * interval_s), interval_s, n * interval_s)
    return activity


def test_rates_become_means_of_2_s_and_these_of_12_s_and_72_s() -> None:
    activity = followed(145)
    narrow, middle, wide = (watched(activity, NETWORK, width_s) for width_s in (2.0, 12.0, 72.0))
    assert (narrow.values[:3], narrow.end_s) == (kept([1.5, 3.5, 5.5]), 144.0)
    assert (middle.values[:2], middle.end_s) == (kept([6.5, 18.5]), 144.0)
    assert (wide.values, wide.end_s) == (kept([36.5, 108.5]), 144.0)
    assert set(watched(activity, CPU, 2.0).values) == {1.0}, "vCPUs, not their share"
    assert set(watched(activity, DISK, 2.0).values) == {0.0}


def test_samples_of_another_length_than_a_bin_fill_it_in_part_and_several() -> None:
    """XAPI's own measurements come in steps of 5 s."""
    narrow = watched(followed(25, interval_s=5.0), NETWORK, 2.0)
    assert narrow.values == kept([5, 5, 7.5, 10, 10, 15, 15, 17.5, 20, 20, 25, 25])
    assert narrow.end_s == 24.0


def test_the_newest_bins_are_kept_and_no_more() -> None:
    narrow = watched(followed(6 * NARROW.most), NETWORK, 2.0)
    assert len(narrow.values) == NARROW.most
    assert narrow.values[-2:] == kept([6 * NARROW.most - 2.5, 6 * NARROW.most - 0.5])


def test_a_short_gap_is_filled_and_a_long_one_begins_anew() -> None:
    activity = followed(20)
    activity.follow(sample(network=100.0), 1.0, 31.0)  # ten seconds of nothing before
    assert watched(activity, NETWORK, 2.0).values[-5:] == kept([100.0] * 5)
    activity.follow(sample(network=7.0), 1.0, 100.0)
    activity.follow(sample(network=7.0), 1.0, 101.0)
    assert watched(activity, NETWORK, 2.0).values == kept([7.0])
    activity.follow(sample(network=8.0), 1.0, 50.0)  # the clock was set back
    assert list(watched(activity, NETWORK, 2.0).values) == []


def test_a_mean_over_days_begins_anew() -> None:
    """An agent may send one with every second; as many bins as that time has would hold up everything else."""
    activity = followed(20)
    activity.follow(sample(network=5.0), 9e5, 9e5 + 20.0)
    assert list(watched(activity, NETWORK, 2.0).values) == []
    activity.follow(sample(network=7.0), 2.0, 9e5 + 22.0)
    assert watched(activity, NETWORK, 2.0).values == kept([7.0])


@pytest.mark.parametrize(("ago_s", "mean"), [(0.0, 96.5), (20.0, 76.5), (90.0, 6.5)])
def test_a_dirty_curve_is_kept_with_the_rates_while_it_was_counted(ago_s: float, mean: float) -> None:
    """Its last age is 8 s, so it was counted in the 8 s before it ended."""
    activity, curve = followed(100), DirtyCurve((1.0, 8.0), (1, 2), 1.0)
    activity.count(curve, ago_s)
    assert activity.watched.counted == (Counted(curve, kept({CPU: 1.0, NETWORK: mean, DISK: 0.0})),)


def test_a_curve_from_before_the_guest_was_watched_is_not_kept() -> None:
    activity = followed(100)
    activity.count(DirtyCurve((1.0, 8.0), (1, 2), 1.0), 95.0)
    activity.count(DirtyCurve((1.0, 200.0), (1, 2), 1.0), 0.0)
    assert activity.watched.counted == ()


def test_a_dozen_curves_are_kept() -> None:
    activity = followed(100)
    for pages in range(20):
        activity.count(DirtyCurve((1.0, 8.0), (1, pages), 1.0), 0.0)
    assert [each.curve.unique_pages[-1] for each in activity.watched.counted] == list(range(8, 20))


def test_a_rate_beyond_what_can_be_kept_is_kept_as_the_greatest() -> None:
    activity = Activity(0.0)
    activity.follow(sample(network=9e14), 2.0, 2.0)
    assert watched(activity, NETWORK, 2.0).values == [65504e6]


def test_memory_does_not_grow_while_a_guest_is_watched() -> None:
    activity = followed(2)
    before = sys.getsizeof(activity.block)
    for n in range(2 * 3600):
        activity.follow(sample(network=float(n)), 1.0, n + 3.0)
    assert sys.getsizeof(activity.block) == before < 5200


def test_what_is_kept_at_one_width_does_not_touch_the_others() -> None:
    """For long enough that the ring of each width goes round."""
    activity = Activity(0.0)
    for n in range(1, 400 * 36 + 1):
        activity.follow(sample(network=2e6, disk=1e6), 2.0, 2.0 * n)
    found = [(each.name, each.width_s, len(each.values), set(each.values)) for each in activity.watched.series]
    assert found == [
        (name, bins.width_s, bins.most, {rate})
        for bins in BINS
        for name, rate in zip(NAMES, (1.0, 2e6, 1e6), strict=True)
    ]
