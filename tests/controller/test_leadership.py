"""Of several controllers one leads: whatever is slow, lost, paused or dead, and within two leases again."""

import math
from collections.abc import Sequence

import pytest
from contending import LEASE_S, Contention, Fault
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from migd_controller.leadership import Add, Claim, Seat

HELD_BACK = st.builds(
    Fault,
    kind=st.sampled_from(["before", "late"]),
    who=st.integers(0, 2),
    at_s=st.floats(0.0, 60.0),
    lasts_s=st.floats(0.01, 25.0),
    of=st.sampled_from(["Add", "Read", "Change", "EndSession", "Remove"]),
)
FAULTS = HELD_BACK | st.builds(
    Fault,
    kind=st.sampled_from(["pause", "crash", "cut", "deaf", "slow"]),
    who=st.integers(0, 2),
    at_s=st.floats(0.0, 60.0),
    lasts_s=st.floats(0.01, 25.0),
)
RESTORED = st.builds(
    Fault, kind=st.just("restore"), who=st.just(0), at_s=st.floats(5.0, 60.0), lasts_s=st.floats(0.01, 20.0)
)
OFTEN = settings(max_examples=25, deadline=None)
FAULTS_END_S = 60.0


def settled(run: Contention, within_s: float) -> Contention:
    """Return the run, after its faults and so much longer."""
    run.run_until(FAULTS_END_S)
    run.run_until(run.calm_from_s() + within_s)
    return run


@OFTEN
@given(st.integers(2, 3), st.lists(FAULTS, max_size=8), st.integers(0, 2**32))
def test_never_do_two_lead_and_within_two_leases_one_does(controllers: int, faults: list[Fault], seed: int) -> None:
    run = settled(Contention(controllers, faults, seed), 2 * LEASE_S)
    assert run.problems == []
    assert len(run.leaders()) == 1


@OFTEN
@given(st.integers(2, 3), st.lists(FAULTS | RESTORED, min_size=1, max_size=8), st.integers(0, 2**32))
def test_an_older_database_of_the_pool_lets_no_two_change_it(controllers: int, faults: list[Fault], seed: int) -> None:
    """A new coordinator may have claims of some seconds ago, and no session."""
    run = settled(Contention(controllers, faults, seed), 4 * LEASE_S)
    assert run.problems == []
    assert len(run.leaders()) == 1


class EndsNoSession(Seat):
    """Takes over without ending the session of the last leader."""

    _unfenced = ()


class ForgetsEarlierSessions(Seat):
    """Knows of the session of the last holder only, not of those that this one had not ended yet."""

    def _add(self, base: Claim | None) -> Add:
        claim = super()._add(base).claim
        return Add(replace(claim, sessions=claim.sessions[:1]))


class LooksNotAbove(Seat):
    """Takes its claim for read back whatever stands above it."""

    def _has_read(self, claims: Sequence[Claim], now_s: float) -> Seat:
        own = [claim.number for claim in claims if self.bid is not None and claim.life == self.life]
        return super()._has_read([claim for claim in claims if claim.number <= max(own, default=2**62)], now_s)


class TakesOverEarly(Seat):
    """Waits for two seconds less than a lease."""

    @property
    def takes_over_at_s(self) -> float:
        return super().takes_over_at_s - 2.0


class CountsFromTheAnswer(Seat):
    """Counts its lease from when its renewal was read back."""

    @property
    def valid_until_s(self) -> float:
        return self.since_s + self.lease_s if self.held is not None else -math.inf


PAUSED = Fault("before", 0, 8.0, 60.0, of="Change")
# What each needs to go wrong, at some of these times.
WITHOUT: list[tuple[type[Seat], list[list[Fault]]]] = [
    (EndsNoSession, [[PAUSED]] * 2),
    (ForgetsEarlierSessions, [[PAUSED, Fault("before", 1, 8.0, 60.0, of="EndSession")]] * 8),
    (LooksNotAbove, [[Fault("before", 0, 8.0, LEASE_S + n / 20, of="Read")] for n in range(20)]),
    (TakesOverEarly, [[Fault("pause", 0, 8.0, 5.5)]] * 2),
    (
        CountsFromTheAnswer,
        [[Fault("late", 0, 8.0, 1.8, of="Read"), Fault("cut", 0, 9.8 + n / 10, 9.0)] for n in range(20)],
    ),
]


@pytest.mark.parametrize(("without", "tries"), WITHOUT, ids=lambda each: getattr(each, "__name__", ""))
def test_without_any_one_of_its_guards_two_lead(without: type[Seat], tries: list[list[Fault]]) -> None:
    def problems(seat: type[Seat]) -> list[str]:
        found = []
        for seed, faults in enumerate(tries):
            run = Contention(3, faults, seed, seat)
            run.run_until(30.0)
            run.run_until(min(70.0, run.calm_from_s() + 1.0))
            found += run.problems
        return found

    assert problems(Seat) == []
    assert problems(without) != []
