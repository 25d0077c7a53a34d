"""Twenty migrations that a human begins at random moments of a probe, and what a probe costs: `make test-xen-integrity`.

It has a lab of its own, whose guests are only those that are probed.
"""

import random
from collections import Counter
from typing import Any, Final

import pytest
from out_of_band import Human
from scene import BUSY, BUSY_PAGES_PER_S, TRAVELLER, TRAVELLER_PAGES_PER_S

from migd_agent.xen.log_dirty import APART_S

TRIES: Final = 20
SEED: Final = 4
REGION_PAGES: Final = 32 * 256
LAST_AGE_S: Final = 4.0
OBSERVED_S: Final = 20  # holds a probe of three sessions


@pytest.mark.timeout(2400)
def test_no_migration_at_any_moment_of_a_probe_leaves_a_stale_page(human: Human, figures: dict[str, Any]) -> None:
    """In every other try the probe is given up in the migration's first round, where nothing in its count tells."""
    rng = random.Random(SEED)
    probes: Counter[str] = Counter()
    migrations: Counter[int] = Counter()
    for number in range(TRIES):
        if number % 2:
            begins_s, probe = 0.0, human.close_in_first_round(TRAVELLER)
        else:
            begins_s = rng.uniform(0.0, 2 * LAST_AGE_S)
            probe = human.probe(TRAVELLER, LAST_AGE_S, sessions=rng.choice([1, 2]))
        migrated = human.migrate(TRAVELLER, begins_s).result()
        assert migrated.harm == "", f"try {number}, begun at {begins_s:.2f} s: {migrated.said}"
        said = probe.result()
        assert said is not None
        probes[said.get("error", "curve")] += 1
        migrations[migrated.exit_code] += 1
        assert not human.is_on(TRAVELLER)
    figures["integrity"] = {"probes": dict(probes), "migrations_by_exit_code": dict(migrations)}
    assert probes["StoodBack"] >= TRIES // 2


def test_the_curve_of_a_probe_is_that_of_the_guest(human: Human, figures: dict[str, Any]) -> None:
    """A steady writer's at first, then the size of the region that it goes through in turn: within a tenth.

    Nobody asks the guest meanwhile: a shell that answers writes some hundreds of pages.
    """
    human.await_steady(TRAVELLER, TRAVELLER_PAGES_PER_S)
    first = TRAVELLER.lines("WRITE")[-1]
    probed = human.probe(TRAVELLER, LAST_AGE_S, sessions=3).result()
    assert probed is not None
    lines = [line for line in TRAVELLER.lines("WRITE") if line["line"] > first["line"]]
    rate_pages_per_s = sum(line["pages"] for line in lines) / (lines[-1]["t"] - first["t"])
    # As in test_real_xen: what is younger says more of when an emulated CPU was had than of what was written.
    errors = {
        age_s: round(pages / min(REGION_PAGES, rate_pages_per_s * age_s) - 1, 4)
        for age_s, pages in zip(probed["ages_s"], probed["pages"], strict=True)
        if age_s >= 0.8
    }
    figures["probe_curve"] = {"pages_per_s": round(rate_pages_per_s), "error_ratio_by_age_s": errors}
    assert max(map(abs, errors.values())) < 0.1


def test_a_probe_of_a_guest_that_dirties_64_mib_a_second_costs_it_less_than_a_hundredth(
    human: Human, figures: dict[str, Any]
) -> None:
    """Averaged over the time for which a domain is left alone after a probe; by its own count, and by its CPU time.

    The guest has CPU to spare: what a probe makes each write cost shows in its CPU time before it shows in its count.
    """
    host = human.lab.nodes[1]
    human.lab.create([(BUSY, host)])
    human.await_steady(BUSY, BUSY_PAGES_PER_S)
    without = human.observe(BUSY, OBSERVED_S)
    begun = human.probe(BUSY, LAST_AGE_S, sessions=3)
    during = human.observe(BUSY, OBSERVED_S)
    probed = begun.result()
    assert probed is not None
    BUSY.destroy(host)
    lost_s = OBSERVED_S * max(1 - during.pages_per_s / without.pages_per_s, during.cpu_ratio - without.cpu_ratio)
    figures["probe_cost"] = {
        "pages_per_s_without": round(without.pages_per_s),
        "pages_per_s_during": round(during.pages_per_s),
        "cpu_ratio_without": round(without.cpu_ratio, 4),
        "cpu_ratio_during": round(during.cpu_ratio, 4),
        "agent_cpu_s": round(probed["cpu_s"], 3),
        "averaged_ratio": round(lost_s / APART_S, 6),
    }
    assert probed["pages"]
    assert lost_s / APART_S < 0.01
