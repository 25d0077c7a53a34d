"""What is taken in of what agents say: newest only, smoothed, aged by the controller's own clock."""

import math

import pytest
from msgspec.structs import replace

from migd_controller.events import Source
from migd_controller.telemetry import HEALTH_HELD_S, Telemetry
from migd_core.health import UNKNOWN, HealthState, HostHealth
from migd_core.messages import DirtyCurve, FlowSample, GuestSample, HostSample

GUEST = GuestSample(uuid="g", vcpus=2, cpu_ratio=0.2, memory_bytes=1, rx_bytes_per_s=10.0, tx_bytes_per_s=20.0)
SAMPLE = HostSample(
    host_uuid="h",
    boot_id="b1",
    sequence=5,
    monotonic_s=100.0,
    interval_s=1.0,
    cpus=4,
    cpu_ratio=0.2,
    dom0_cpu_ratio=0.0,
    memory_bytes=100,
    memory_free_bytes=50,
    rx_bytes_per_s=0.0,
    tx_bytes_per_s=0.0,
    guests=(GUEST,),
)


def busy(sequence: int, cpu_ratio: float = 1.0) -> HostSample:
    return replace(SAMPLE, sequence=sequence, cpu_ratio=cpu_ratio, guests=(replace(GUEST, cpu_ratio=cpu_ratio),))


def test_doubled_and_late_samples_change_nothing() -> None:
    telemetry = Telemetry(smoothing_s=1.0)
    assert telemetry.accept(busy(5), 10.0)
    assert not telemetry.accept(busy(5, 0.1), 11.0)
    assert not telemetry.accept(busy(4, 0.1), 12.0)
    assert telemetry.hosts["h"].cpu_ratio == 1.0
    assert telemetry.age_s("h", 13.0) == 3.0


def test_a_restarted_agent_counts_from_one_again_and_starts_afresh() -> None:
    telemetry = Telemetry(smoothing_s=5.0)
    telemetry.accept(busy(500), 10.0)
    assert telemetry.accept(replace(busy(1, 0.0), boot_id="b2"), 11.0)
    assert telemetry.hosts["h"].cpu_ratio == 0.0


def test_age_is_by_arrival_so_an_agents_clock_cannot_matter() -> None:
    telemetry = Telemetry(smoothing_s=1.0)
    telemetry.accept(replace(SAMPLE, monotonic_s=9e9), 10.0)
    assert telemetry.age_s("h", 12.5) == 2.5
    assert telemetry.age_s("unknown", 12.5) is None


def test_dropped_samples_are_dated_by_when_their_count_was_seen_to_grow() -> None:
    telemetry = Telemetry(smoothing_s=5.0)
    for sequence, dropped, now_s, seen_s in (
        (6, 40, 1.0, None),
        (7, 40, 2.0, None),
        (8, 41, 3.0, 3.0),
        (9, 41, 4.0, 3.0),
    ):
        telemetry.accept(replace(SAMPLE, sequence=sequence, samples_dropped=dropped), now_s)
        assert telemetry.hosts["h"].dropped_s == seen_s
    telemetry.accept(replace(SAMPLE, boot_id="restarted", sequence=1, samples_dropped=2), 5.0)
    assert telemetry.hosts["h"].dropped_s is None


def test_one_odd_second_moves_a_rate_by_its_share_of_the_period() -> None:
    telemetry = Telemetry(smoothing_s=5.0)
    telemetry.accept(busy(1, 0.0), 1.0)
    telemetry.accept(busy(2, 1.0), 2.0)
    assert telemetry.hosts["h"].guests["g"].cpu_ratio == pytest.approx(0.2)


def test_a_guest_that_is_no_longer_reported_has_no_rates() -> None:
    telemetry = Telemetry(smoothing_s=5.0)
    telemetry.accept(SAMPLE, 1.0)
    telemetry.accept(replace(SAMPLE, sequence=6, guests=()), 2.0)
    assert telemetry.hosts["h"].guests == {}


def test_a_dirty_curve_goes_along_with_its_guest_until_a_newer_one_comes_or_it_is_gone() -> None:
    telemetry = Telemetry(smoothing_s=5.0)
    curve = DirtyCurve((1.0,), (100,), measured_s=SAMPLE.monotonic_s - 3.0)
    telemetry.accept(replace(SAMPLE, guests=(replace(GUEST, dirty_curve=curve),)), 1000.0)
    telemetry.accept(replace(SAMPLE, host_uuid="i"), 1002.0)
    telemetry.accept(replace(SAMPLE, sequence=6, guests=()), 1002.0)
    dated = replace(curve, measured_s=997.0)
    assert (telemetry.curves("g"), telemetry.measured_at("g")) == ((dated,), 997.0)
    telemetry.forget(["g"])
    assert (telemetry.curves("g"), telemetry.measured_at("g")) == ((), -math.inf)


def test_a_new_flow_counts_at_once_and_an_ended_one_fades_to_nothing() -> None:
    telemetry = Telemetry(smoothing_s=2.0)
    telemetry.accept(replace(SAMPLE, flows=(FlowSample("m1", "m2", 64.0),)), 1.0)
    assert telemetry.hosts["h"].flows == {("m1", "m2"): 64.0}
    telemetry.accept(replace(SAMPLE, sequence=6), 2.0)
    assert telemetry.hosts["h"].flows == {("m1", "m2"): 32.0}
    for sequence in range(7, 20):
        telemetry.accept(replace(SAMPLE, sequence=sequence), 3.0)
    assert telemetry.hosts["h"].flows == {}


def test_flows_that_are_held_are_followed_as_if_they_were_told_again() -> None:
    told, held = Telemetry(smoothing_s=2.0), Telemetry(smoothing_s=2.0)
    rates = [(FlowSample("m1", "m2", 64.0),), (FlowSample("m1", "m2", 128.0),), *[()] * 3]
    for sequence in range(6, 30):
        flows = rates[(sequence - 6) // 5]
        repeated = replace(SAMPLE, sequence=sequence, flows=flows)
        told.accept(repeated, 1.0)
        held.accept(repeated if sequence % 5 == 1 else replace(repeated, flows=(), flows_held=True), 1.0)
        assert told.hosts["h"].flows == held.hosts["h"].flows
    assert told.hosts["h"].flows == {}


def test_samples_of_another_source_start_afresh_and_end_the_sources_problem() -> None:
    telemetry = Telemetry(smoothing_s=10.0)
    telemetry.problems["h"] = "connection refused"
    assert telemetry.accept(replace(busy(95), boot_id="rrd"), 10.0, Source.RRD)
    assert (telemetry.hosts["h"].source, telemetry.hosts["h"].cpu_ratio) == (Source.RRD, 1.0)
    assert telemetry.problems == {}
    assert telemetry.accept(busy(1, 0.1), 11.0)
    assert (telemetry.hosts["h"].source, telemetry.hosts["h"].cpu_ratio) == (Source.AGENT, 0.1)


def test_rows_from_before_start_afresh_where_xapis_clock_was_set_back() -> None:
    telemetry = Telemetry(smoothing_s=10.0)
    row = replace(busy(95), boot_id="rrd")
    assert telemetry.accept(row, 10.0, Source.RRD)
    assert not telemetry.accept(row, 11.0, Source.RRD)
    assert telemetry.accept(replace(row, sequence=35, cpu_ratio=0.2), 12.0, Source.RRD)
    assert (telemetry.hosts["h"].newest.sequence, telemetry.hosts["h"].cpu_ratio) == (35, 0.2)


def test_what_the_last_run_of_an_agent_found_bad_stands_until_the_next_has_looked() -> None:
    telemetry = Telemetry(smoothing_s=1.0)
    bad = HostHealth(state=HealthState.FAILING, reasons=("disk /dev/sda is dying",), watched=("smart",))
    well = HostHealth(state=HealthState.OK, watched=("smart",))
    assert telemetry.health("h") == UNKNOWN
    told = ((7, "b1", bad), (1, "b2", UNKNOWN), (2, "b2", bad), (3, "b2", well), (4, "b2", bad))
    seen = []
    for second, (sequence, boot_id, health) in enumerate(told):
        telemetry.accept(replace(SAMPLE, sequence=sequence, boot_id=boot_id, health=health), float(second))
        seen.append(telemetry.health("h").state.value)
    assert seen == ["failing", "failing", "failing", "ok", "failing"]
    for second in range(5, 70):
        telemetry.accept(replace(SAMPLE, sequence=second, boot_id="b2"), float(second))
        is_held = second - 4.0 < HEALTH_HELD_S
        assert telemetry.health("h") == (bad if is_held else UNKNOWN)
