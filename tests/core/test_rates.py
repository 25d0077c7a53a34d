"""What two readings of counters say, and what they cannot say."""

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from readings import flow, guest, host

from migd_core.counters import FlowCounter, GuestCounters, HostCounters
from migd_core.frames import decode_sample, encode_sample
from migd_core.messages import MAX_FLOWS, MAX_GUESTS, DirtyCurve, FlowSample, GuestSample, HostSample
from migd_core.rates import MAX_BYTES_PER_S, Formed, Stamp, counted, form
from migd_core.units import GIB

STAMP = Stamp(boot_id="agent", sequence=7, monotonic_s=100.0)
WRAP = 2**32


def formed(before: HostCounters, now: HostCounters) -> Formed:
    return form(before, now, STAMP)


def sample(before: HostCounters, now: HostCounters) -> HostSample:
    found = formed(before, now).sample
    assert found is not None
    return found


def test_rates_are_differences_over_the_time_between_the_readings() -> None:
    before = host(10.0, guest("a", vcpus=2, cpu_s=5.0, rx_bytes=100, tx_bytes=0), cpu_s=6.0, dom0_cpu_s=1.0)
    now = host(
        12.0,
        guest("a", vcpus=2, cpu_s=7.0, rx_bytes=300, tx_bytes=5000),
        cpu_s=10.0,
        dom0_cpu_s=1.5,
        rx_bytes=2000,
        tx_bytes=4000,
        link_bytes_per_s=125e6,
    )
    assert sample(before, now) == HostSample(
        host_uuid=now.host_uuid,
        boot_id="agent",
        sequence=7,
        monotonic_s=100.0,
        interval_s=2.0,
        cpus=4,
        cpu_ratio=0.5,
        dom0_cpu_ratio=0.0625,
        memory_bytes=16 * GIB,
        memory_free_bytes=8 * GIB,
        rx_bytes_per_s=1000.0,
        tx_bytes_per_s=2000.0,
        link_bytes_per_s=125e6,
        guests=(
            GuestSample(
                uuid="a", vcpus=2, cpu_ratio=0.5, memory_bytes=GIB, rx_bytes_per_s=100.0, tx_bytes_per_s=2500.0
            ),
        ),
    )


def test_a_guest_seen_once_has_no_rate() -> None:
    assert sample(host(1.0), host(2.0, guest("new", cpu_s=0.9))).guests == ()


def test_a_guest_that_vanished_is_not_mentioned() -> None:
    assert formed(host(1.0, guest("gone")), host(2.0, cpu_s=0.0)) == Formed(sample(host(1.0), host(2.0)))


@pytest.mark.parametrize(
    "differs",
    [
        pytest.param({"domid": 9, "cpu_s": 50.5}, id="another domid: it migrated"),
        pytest.param({"cpu_s": 1.0}, id="its CPU time fell"),
        pytest.param({"vcpus": 2, "cpu_s": 50.5}, id="another number of vCPUs"),
        pytest.param({"cpu_s": 50.5, "tx_bytes": 10}, id="its bytes fell by more than a wrap explains"),
    ],
)
def test_a_guest_that_counts_anew_has_no_rate_for_one_interval(differs: dict[str, float]) -> None:
    before = host(1.0, guest("a", cpu_s=50.0, tx_bytes=2**40), cpu_s=100.0)
    now = host(2.0, guest("a", **{"tx_bytes": 2**40, "cpu_s": 50.5} | differs), cpu_s=100.5)
    later = host(3.0, replace(now.guests[0], cpu_s=now.guests[0].cpu_s + 0.5), cpu_s=101.0)
    assert formed(before, now) == Formed(replace(sample(before, now), guests=()))
    assert [guest.cpu_ratio for guest in sample(now, later).guests] == [0.5 / now.guests[0].vcpus]


@pytest.mark.parametrize(
    "differs",
    [
        pytest.param({"boot_id": "another"}, id="the host was rebooted"),
        pytest.param({"cpu_s": 1.0}, id="its CPU time fell"),
        pytest.param({"cpus": 8}, id="another number of CPUs"),
    ],
)
def test_a_host_that_counts_anew_has_no_sample_for_one_interval(differs: dict[str, object]) -> None:
    assert formed(host(1.0, cpu_s=50.0), host(2.0, **{"cpu_s": 50.5} | differs)) == Formed(None)


@pytest.mark.parametrize("now_s", [5.0, 4.0, -1e12, float("nan"), float("inf")])
def test_time_that_does_not_pass_gives_no_sample_and_a_reason(now_s: float) -> None:
    outcome = formed(host(5.0), host(now_s))
    assert outcome.sample is None
    assert outcome.host_refused is not None


def test_jitter_just_above_one_is_one() -> None:
    busy = sample(host(0.0, guest("a", cpu_s=0.0)), host(1.0, guest("a", cpu_s=1.03), cpu_s=4.1, dom0_cpu_s=4.1))
    assert (busy.guests[0].cpu_ratio, busy.cpu_ratio, busy.dom0_cpu_ratio) == (1.0, 1.0, 1.0)


def test_dom0_never_uses_more_than_the_host() -> None:
    assert sample(host(0.0), host(1.0, cpu_s=1.0, dom0_cpu_s=1.02)).dom0_cpu_ratio == 0.25


@pytest.mark.parametrize(
    ("differs", "why"),
    [
        ({"cpu_s": 1.5}, "1.50 s of CPU used in 1.00 s on 1 CPUs"),
        ({"cpu_s": float("nan")}, "cpu_s of nan"),
        ({"tx_bytes": -1}, "a byte counter of -1"),
        ({"rx_bytes": int(2 * MAX_BYTES_PER_S)}, "2000000000000 bytes in 1.00 s"),
        ({"vcpus": 0}, "0 vCPUs, 1073741824 bytes of memory"),
        ({"memory_bytes": 2**63}, "1 vCPUs, 9223372036854775808 bytes of memory"),
    ],
)
def test_a_guest_with_impossible_counters_is_left_out_by_name_and_the_others_stay(
    differs: dict[str, float], why: str
) -> None:
    before = host(0.0, guest("bad"), guest("good"))
    now = host(1.0, guest("bad", **differs), guest("good", cpu_s=0.5), cpu_s=2.0)
    outcome = formed(before, now)
    assert outcome.guests_refused == {"bad": why}
    assert [guest.uuid for guest in sample(before, now).guests] == ["good"]


@pytest.mark.parametrize(
    "differs",
    [
        {"cpu_s": 100.0},
        {"cpus": 0},
        {"memory_free_bytes": 17 * GIB},
        {"memory_bytes": 0},
        {"rx_bytes": -5},
        {"link_bytes_per_s": float("inf")},
        {"link_bytes_per_s": 0.5},
        {"dom0_cpu_s": float("nan")},
    ],
)
def test_a_host_with_impossible_counters_gives_no_sample_and_a_reason(differs: dict[str, float]) -> None:
    outcome = formed(host(0.0), host(1.0, **differs))
    assert outcome.sample is None
    assert outcome.host_refused


def test_guests_that_use_more_than_their_host_are_all_left_out() -> None:
    before = host(0.0, guest("a"), guest("b"))
    now = host(1.0, guest("a", cpu_s=1.0), guest("b", cpu_s=1.0), cpu_s=0.1)
    outcome = formed(before, now)
    assert outcome.all_guests_refused == "guests use 2.0 CPUs but the host reports 0.1 of 4"
    assert outcome.sample is not None
    assert outcome.sample.guests == ()


def test_a_guest_listed_twice_is_left_out() -> None:
    before, now = host(0.0, guest("a"), guest("b")), host(1.0, guest("a"), guest("a"), guest("b"))
    assert formed(before, now).guests_refused == {"a": "listed 2 times"}


def test_more_guests_than_a_sample_holds_are_left_out_by_name() -> None:
    guests = [guest(f"g{number:05}") for number in range(MAX_GUESTS + 2)]
    outcome = formed(host(0.0, *guests), host(1.0, *guests))
    assert list(outcome.guests_refused) == ["g01024", "g01025"]


def test_a_32_bit_counter_may_wrap() -> None:
    assert counted(WRAP - 100, 50) == 150
    assert sample(host(0.0, tx_bytes=WRAP - 100), host(1.0, tx_bytes=900)).tx_bytes_per_s == 1000.0


def test_a_counter_that_fell_further_than_a_wrap_explains_was_reset() -> None:
    assert counted(WRAP // 4, 50) is None
    assert counted(WRAP + 1, 0) is None


def test_a_flow_has_a_rate_between_two_readings_of_the_switch_and_one_that_is_new_began_at_zero() -> None:
    before = host(0.0, flows=(flow("m1", "m2", 100), flow("m2", "m1", 900), flow("m4", "m1", 900)), flows_at_s=0.0)
    now = (flow("m1", "m2", 300), flow("m2", "m1", 900), flow("m3", "m1", 50), flow("m4", "m1", 80))
    assert sample(before, host(1.0, flows=now, flows_at_s=2.0)).flows == (
        FlowSample("m1", "m2", 100.0),
        FlowSample("m4", "m1", 40.0),
        FlowSample("m3", "m1", 25.0),
    )


@pytest.mark.parametrize(
    ("before_s", "now_s", "is_held"), [(None, None, False), (1.0, None, False), (None, 2.0, True), (2.0, 2.0, True)]
)
def test_without_two_readings_of_the_switch_the_last_flows_hold_unless_there_is_none(
    before_s: float | None, now_s: float | None, is_held: bool
) -> None:
    flows = (flow("m1", "m2", 100),)
    found = sample(host(0.0, flows=flows, flows_at_s=before_s), host(1.0, flows=flows, flows_at_s=now_s))
    assert (found.flows, found.flows_held) == ((), is_held)


def test_of_more_flows_than_fit_the_busiest_are_told_busiest_first() -> None:
    names = [f"m{number}" for number in range(1, MAX_FLOWS + 3)]  # m5 sends 5 bytes a second
    before = host(0.0, flows=tuple(flow(name, "m", 0) for name in names), flows_at_s=0.0)
    counts = tuple(flow(name, "m", number) for number, name in enumerate(names, start=1))
    now = host(1.0, flows=counts, flows_at_s=1.0)
    told = [found.source_mac for found in sample(before, now).flows]
    assert told == list(reversed(names[2:]))


def test_a_dirty_curve_goes_along_with_its_guest() -> None:
    curve = DirtyCurve((0.1, 1.0), (5, 9), measured_s=99.0)
    stamp = dataclasses.replace(STAMP, dirty_curves={"a": curve, "gone": curve})
    found = form(host(0.0, guest("a")), host(1.0, guest("a")), stamp).sample
    assert found is not None
    assert [guest.dirty_curve for guest in found.guests] == [curve]


anything = st.integers(-(2**65), 2**65)
any_time = st.floats()
names = st.sampled_from(["a", "b", "c"])
odd_names = st.sampled_from(["", "x" * 200]) | st.text(max_size=3)


def mostly(usual: st.SearchStrategy[Any], odd: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Draw what a working machine shows nine times out of ten, so that not every reading is refused at once."""
    return st.sampled_from([usual] * 9 + [odd]).flatmap(lambda strategy: strategy)


def readings(number: int) -> st.SearchStrategy[HostCounters]:
    """Draw the first or the second (`number` 0 or 1) reading of a host, with broken counters here and there."""
    seconds = mostly(st.floats(number, number + 1), any_time)
    count = mostly(st.integers(number * 1000, number * 1000 + 1000), anything)
    some_guest = st.builds(
        GuestCounters,
        uuid=mostly(names, odd_names),
        domid=mostly(st.just(1), anything),
        vcpus=mostly(st.just(2), anything),
        cpu_s=seconds,
        memory_bytes=count,
        rx_bytes=count,
        tx_bytes=count,
    )
    some_flow = st.builds(FlowCounter, mostly(names, odd_names), mostly(names, odd_names), count)
    return st.builds(
        HostCounters,
        host_uuid=st.just("h"),
        boot_id=mostly(st.just("boot"), st.just("another")),
        at_s=seconds,
        cpus=mostly(st.just(4), anything),
        cpu_s=seconds,
        dom0_cpu_s=seconds,
        memory_bytes=mostly(st.just(2000), anything),
        memory_free_bytes=count,
        rx_bytes=count,
        tx_bytes=count,
        link_bytes_per_s=seconds,
        guests=st.lists(some_guest, max_size=4).map(tuple),
        flows=st.lists(some_flow, max_size=4).map(tuple),
        flows_at_s=st.none() | seconds,
    )


@given(before=readings(0), now=readings(1))
def test_whatever_is_read_a_sample_passes_the_bounds_of_the_wire(before: HostCounters, now: HostCounters) -> None:
    found = formed(before, now).sample
    if found is not None:
        assert decode_sample(encode_sample(found)) == found


steps = st.tuples(
    st.floats(0.05, 5),  # seconds since the last reading
    st.dictionaries(st.sampled_from("abcde"), st.tuples(st.floats(0, 1), st.integers(0, 10**9)), max_size=5),
    st.booleans(),  # counters of 32 bits
)


@given(history=st.lists(steps, min_size=2, max_size=8))
def test_guests_that_come_and_go_never_get_an_impossible_rate_nor_one_when_seen_once(
    history: list[tuple[float, dict[str, tuple[float, int]], bool]],
) -> None:
    at_s, total_s = 0.0, 0.0
    used: dict[str, float] = {}
    sent: dict[str, int] = {}
    domids: dict[str, int] = {}
    before = host(0.0)
    for number, (elapsed_s, running, is_narrow) in enumerate(history, start=1):
        at_s += elapsed_s
        for name in [name for name in used if name not in running]:
            del used[name], sent[name]
        for name, (share, count) in running.items():
            if name not in used:
                used[name], sent[name], domids[name] = 0.0, 0, number
            used[name] += share * elapsed_s
            total_s += share * elapsed_s
            sent[name] += count
        now = host(
            at_s,
            *(
                guest(
                    name, domid=domids[name], cpu_s=used[name], tx_bytes=sent[name] % WRAP if is_narrow else sent[name]
                )
                for name in running
            ),
            cpus=5,
            cpu_s=total_s,
        )
        outcome = formed(before, now)
        if number > 1:
            assert outcome.sample is not None
            known = {guest.uuid: guest.domid for guest in before.guests}
            for found in outcome.sample.guests:
                assert known.get(found.uuid) == domids[found.uuid]
                assert 0 <= found.cpu_ratio <= 1
                assert found.tx_bytes_per_s >= 0
        before = now


@given(ratio=st.floats(0, 1), elapsed_s=st.floats(0.05, 1000), start_s=st.floats(0, 1e6), vcpus=st.integers(1, 64))
def test_what_a_guest_really_did_is_what_is_said(ratio: float, elapsed_s: float, start_s: float, vcpus: int) -> None:
    used_s = ratio * vcpus * elapsed_s
    before = host(start_s, guest("a", vcpus=vcpus, cpu_s=7.0), cpus=64, cpu_s=7.0)
    now = host(start_s + elapsed_s, guest("a", vcpus=vcpus, cpu_s=7.0 + used_s), cpus=64, cpu_s=7.0 + used_s)
    (found,) = sample(before, now).guests
    assert found.cpu_ratio == pytest.approx(ratio, abs=1e-6)
