"""How much CPU guests want, from how much they got."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migd_controller.demand import demand_vcpus


def test_a_host_with_cpu_to_spare_hides_nothing() -> None:
    assert demand_vcpus(0.6, {"a": (2, 0.5), "b": (4, 0.2)}) == {"a": 1.0, "b": pytest.approx(0.8)}


def test_a_saturated_host_holds_its_busiest_guests_back() -> None:
    """4 CPUs under a 4-vCPU hog and two ranks: each vCPU gets 2/3, and each wants a whole one."""
    got = {"hog": (4, 0.66), "rank0": (1, 0.66), "rank1": (1, 0.65), "idle": (2, 0.03)}
    assert demand_vcpus(1.0, got) == {"hog": 4.0, "rank0": 1.0, "rank1": 1.0, "idle": pytest.approx(0.06)}


def test_a_guest_half_idle_is_held_back_for_the_vcpus_that_are_not() -> None:
    """4 CPUs under four ranks and 4 busy vCPUs of 8: each gets half a CPU, so the 8 vCPUs show a quarter."""
    got = {"hog": (8, 0.25), **{f"rank{n}": (1, 0.5) for n in range(4)}}
    assert demand_vcpus(1.0, got) == {"hog": 4.0, **{f"rank{n}": 1.0 for n in range(4)}}


def test_nobody_wants_anything_on_an_empty_host() -> None:
    assert demand_vcpus(0.99, {}) == {}


@given(
    st.floats(0, 1),
    st.dictionaries(st.text(min_size=1), st.tuples(st.integers(1, 64), st.floats(0, 1)), max_size=20),
)
def test_a_guest_wants_at_least_what_it_got_and_at_most_its_vcpus(
    cpu_ratio: float, guests: dict[str, tuple[int, float]]
) -> None:
    for uuid, wanted in demand_vcpus(cpu_ratio, guests).items():
        vcpus, used = guests[uuid]
        assert vcpus * used <= wanted <= vcpus
