"""Random guests, what was measured of them, and what migrating them takes page by page."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from migd_core.messages import DirtyCurve
from migd_core.precopy import RULE_SETS
from migd_core.units import PAGE_BYTES
from migd_policies.dirty_fit import probe_ages_s
from migd_sim.pages import Copied, copy_guest, counted_curve, draw

# A bandwidth is known within this.
KNOWN_WITHIN: Final = 0.03
# Sessions of a guest at random phases, as `probe_ages_s` asks for them: one a lease.
SESSIONS: Final = (2, 3)
# From the end of one lease to the next session of the same guest (migd_agent.xen.log_dirty.APART_S), and from the last
# session to the migration.
APART_S: Final = (900.0, 960.0)
BEFORE_S: Final = (10.0, 300.0)


@dataclass(frozen=True)
class Ends:
    """What a migration takes besides copying: seconds in all, and of the pause."""

    total_s: float
    pause_s: float


@dataclass(frozen=True)
class Measured:
    """One guest: curves of two or three sessions, oldest first, a bandwidth that is nearly right, and the truth.

    It is migrated at `start_s`, by the clock of the curves.
    """

    family: str
    memory_pages: int
    bytes_per_s: float
    known_bytes_per_s: float
    curves: tuple[DirtyCurve, ...]
    copied: dict[str, Copied]
    ends: Ends
    start_s: float

    @property
    def memory_bytes(self) -> int:
        return self.memory_pages * PAGE_BYTES

    def total_s(self, rule_set: str) -> float:
        copied = self.copied[rule_set]
        return self.ends.total_s + copied.live_s + copied.final_s

    def pause_s(self, rule_set: str) -> float:
        return self.ends.pause_s + self.copied[rule_set].final_s


def measured(families: tuple[str, ...], each: int, seed: int) -> Iterator[Measured]:
    """Yield `each` guests of each family; the same for the same seed."""
    for family in families:
        for number in range(each):
            yield _measured(family, np.random.default_rng([seed, *family.encode(), number]))


def _measured(family: str, rng: np.random.Generator) -> Measured:
    drawn = draw(family, rng)
    known = drawn.bytes_per_s * rng.uniform(1 - KNOWN_WITHIN, 1 + KNOWN_WITHIN)
    ages_s = probe_ages_s(drawn.memory_bytes, known)
    at_s, curves = rng.uniform(0.0, 300.0), []
    for _ in range(rng.integers(SESSIONS[0], SESSIONS[1] + 1)):
        curves.append(counted_curve(drawn.guest, ages_s, at_s, rng))
        ended_s = at_s + ages_s[-1]
        at_s = ended_s + rng.uniform(*APART_S)
    start_s = ended_s + rng.uniform(*BEFORE_S)
    copied = {
        name: copy_guest(drawn.guest, drawn.bytes_per_s / PAGE_BYTES, rules, start_s, rng)
        for name, rules in RULE_SETS.items()
    }
    # Set-up, suspend and resume as the predictor takes them, a tenth more or less.
    setup_s, suspend_s, resume_s = (
        rng.uniform(0.9, 1.1),
        0.1 * rng.uniform(0.9, 1.1),
        0.15 * rng.uniform(0.9, 1.1),
    )
    return Measured(
        family=family,
        memory_pages=drawn.guest.memory_pages,
        bytes_per_s=drawn.bytes_per_s,
        known_bytes_per_s=known,
        curves=tuple(curves),
        copied=copied,
        ends=Ends(setup_s + suspend_s + resume_s, suspend_s / 2 + resume_s),
        start_s=start_s,
    )
