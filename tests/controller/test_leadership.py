"""Of several controllers one leads: whatever is slow, lost, paused or dead, and within two leases again."""

from contending import LEASE_S, Contention, Fault
from hypothesis import given, settings
from hypothesis import strategies as st

SETTLED_S = 5.0  # for the first leader: a lease, and some calls
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
LONG = settings(max_examples=60, deadline=None)


def end_of(faults: list[Fault]) -> float:
    return max([20.0, *(fault.at_s + fault.lasts_s for fault in faults)])


@LONG
@given(st.integers(2, 3), st.lists(FAULTS, max_size=8), st.integers(0, 2**32))
def test_never_do_two_lead_and_in_the_end_one_does(controllers: int, faults: list[Fault], seed: int) -> None:
    run = Contention(controllers, faults, seed)
    end_s = end_of(faults)
    run.run_until(end_s)
    assert run.problems == []
    led = []
    run.run_until(end_s + 2 * LEASE_S, lambda: led.append(run.leaders()))
    assert run.problems == []
    assert len(led[-1]) == 1


RESTORED = st.builds(
    Fault, kind=st.just("restore"), who=st.just(0), at_s=st.floats(5.0, 60.0), lasts_s=st.floats(0.01, 20.0)
)


@LONG
@given(st.integers(2, 3), st.lists(FAULTS | RESTORED, min_size=1, max_size=8), st.integers(0, 2**32))
def test_an_older_database_of_the_pool_lets_no_two_change_it(controllers: int, faults: list[Fault], seed: int) -> None:
    """A new coordinator may have claims of some seconds ago, and no session."""
    run = Contention(controllers, faults, seed)
    end_s = end_of(faults)
    run.run_until(end_s + 4 * LEASE_S)
    assert run.problems == []
    assert len(run.leaders()) == 1
