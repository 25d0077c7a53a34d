"""Rhythms are found where there are any, and hardly ever where there are none."""

from collections.abc import Callable

import numpy as np
import pytest

from migd_policies.rhythm import Part, Rhythm, Series, Sought, seek

BINS = 256
Draw = Callable[[np.random.Generator], np.ndarray]


def turns(lasts: Callable[[bool], float], noise: float, rng: np.random.Generator) -> np.ndarray:
    """A rate of 10 and of 2 by turns, each for as many bins as `lasts` says of it."""
    values: list[float] = []
    is_low = False
    while len(values) < BINS:
        values += [2.0 if is_low else 10.0] * max(1, round(lasts(is_low)))
        is_low = not is_low
    return np.array(values[:BINS]) + rng.normal(0.0, noise, BINS)


def periodic(period: float, low: float, jitter: float, noise: float = 1.0) -> Draw:
    """A rate that is low for a share of each period, whose two parts last now longer and now shorter."""

    def draw(rng: np.random.Generator) -> np.ndarray:
        share = {True: low, False: 1.0 - low}
        return turns(lambda is_low: period * share[is_low] * rng.normal(1.0, jitter), noise, rng)

    return draw


def red(bins: float) -> Draw:
    """Noise that forgets in so many bins (infinite: a random walk)."""

    def draw(rng: np.random.Generator) -> np.ndarray:
        shocks, keeps = rng.normal(0.0, 1.0, BINS), np.exp(-1.0 / bins)
        values = np.zeros(BINS)
        for n in range(1, BINS):
            values[n] = keeps * values[n - 1] + shocks[n]
        return values + 100.0

    return draw


def by_chance(mean: float, shape: float = 1.0) -> Draw:
    """Phases as in `periodic`, but each ends by chance: exponential for shape 1, more alike for more."""
    return lambda rng: turns(lambda _: rng.gamma(shape, mean / shape), 0.3, rng)


APERIODIC: dict[str, Draw] = {
    "white noise": lambda rng: rng.normal(10.0, 1.0, BINS),
    "red noise": red(20.0),
    "a random walk": red(np.inf),
    "a level that changes once": lambda rng: np.repeat((1.0, 3.0), (at := rng.integers(1, BINS), BINS - at)),
    "rare bursts": lambda rng: np.where(rng.random(BINS) < 0.03, 10.0, 1.0) + rng.normal(0.0, 0.1, BINS),
    "short phases": by_chance(5.0),
    "long phases": by_chance(40.0),
    "phases of nearly one length": by_chance(15.0, shape=4.0),
    "a trend": lambda rng: np.linspace(0.0, 10.0, BINS) + rng.normal(0.0, 0.5, BINS),
    "nothing at all": lambda rng: np.full(BINS, 7.0),
}


def found(draw: Draw, seed: int, runs: int = 150) -> list[Rhythm]:
    rng = np.random.default_rng(seed)
    sought = [seek([Series("network traffic", 2.0, 5000.0, draw(rng))]) for _ in range(runs)]
    return [rhythm for each in sought for rhythm in each.rhythms]


@pytest.mark.parametrize("what", APERIODIC)
def test_what_does_not_repeat_is_hardly_ever_taken_for_a_rhythm(what: str) -> None:
    """At a chance of 1 in 10,000, two of 150 would come up once in 10,000 runs of this."""
    assert len(found(APERIODIC[what], seed=20070)) <= 1


@pytest.mark.parametrize(
    ("period", "low", "jitter"), [(10, 0.4, 0.05), (20, 0.1, 0.02), (30, 0.3, 0.1), (44, 0.4, 0.05), (50, 0.4, 0.02)]
)
def test_what_repeats_is_found_with_its_period_and_how_long_its_low_part_lasts(
    period: float, low: float, jitter: float
) -> None:
    rhythms = found(periodic(period, low, jitter), seed=20071)
    assert len(rhythms) >= 0.9 * 150
    off = [abs(rhythm.period_s / (2.0 * period) - 1.0) for rhythm in rhythms]
    lows = [min(rhythm.parts, key=lambda part: part.rate) for rhythm in rhythms]
    assert np.median(off) < 0.03
    assert np.median([part.rate for part in lows]) < 4.0
    assert abs(np.median([part.lasts for part in lows]) - low) < 0.06


def test_fewer_than_five_periods_are_no_rhythm_yet() -> None:
    values = np.tile(np.repeat((10.0, 2.0), 50), 4)
    assert seek([Series("network traffic", 2.0, 0.0, values)]).rhythms == ()
    assert len(seek([Series("network traffic", 2.0, 0.0, np.tile(values, 2))]).rhythms) == 1


def test_a_rhythm_says_when_its_parts_begin_and_which_one_a_rate_is_of() -> None:
    """Ten periods of 30 s of 10 and 10 s of 2; the last ends at 1000 s, with the low part."""
    values = np.tile(np.repeat((10.0, 2.0), (15, 5)), 10)
    (rhythm,) = seek([Series("disk traffic", 2.0, 1000.0, values)]).rhythms
    low, high = sorted(rhythm.parts, key=lambda part: part.rate)
    assert (rhythm.period_s, low, high) == (40.0, Part(2.0, 0.75, 0.25), Part(10.0, 0.0, 0.75))
    assert [rhythm.begins_in_s(low, at) for at in (1000.0, 1029.0, 1030.0, 1039.0, 1040.0)] == [
        30.0,
        1.0,
        0.0,
        0.0,
        30.0,
    ]
    assert [rhythm.begins_in_s(high, at) for at in (1000.0, 1030.0, 1039.0)] == [0.0, 10.0, 1.0]
    assert [rhythm.part_of(rate) for rate in (0.0, 2.0, 4.0, 6.0, 7.0, 8.0, 20.0)] == [
        low,
        low,
        low,
        None,
        None,
        high,
        high,
    ]
    assert rhythm.text == "disk traffic repeats every 40 s, autocorrelation 0.90 (needs 0.48)"


def test_of_several_rates_the_surest_counts_at_each_width_and_narrow_bins_come_first() -> None:
    rng = np.random.default_rng(1)
    clear, noisy = periodic(20, 0.4, 0.0, 0.1)(rng), periodic(20, 0.4, 0.0, 6.0)(rng)
    series = [
        Series(name, width_s, 0.0, values) for width_s in (12.0, 2.0) for name, values in (("a", noisy), ("b", clear))
    ]
    assert [(each.name, each.period_s) for each in seek(series).rhythms] == [("b", 40.0), ("b", 240.0)]


def test_without_a_rhythm_the_highest_peak_is_told_with_what_it_needed() -> None:
    series = Series("CPU use", 2.0, 0.0, APERIODIC["red noise"](np.random.default_rng(2)))
    sought = seek([series])
    assert sought.correlation is not None
    assert sought.needed is not None
    assert sought.text == (
        f"it repeats in no period that is sure: CPU use has an autocorrelation of {sought.correlation:.2f} at the most "
        f"(needs {sought.needed:.2f})"
    )
    assert seek([]) == Sought((), "it was not watched for 5 periods of anything")
