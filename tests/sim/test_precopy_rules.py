"""Pre-copy by hand: rounds, stops and pauses that can be worked out on paper."""

import numpy as np
import pytest
from pools import Rules, guest, host, migrate, pool, two_hosts, uuid_of

from migd_core.precopy import RULE_SETS
from migd_core.units import GIB, PAGE_BYTES
from migd_sim.model import CannotMigrate, Cluster, MigrationEnd
from migd_sim.model.cluster import UNACKNOWLEDGED
from migd_sim.model.precopy import ACKNOWLEDGE_S, RESUME_S, SETUP_S, SUSPEND_S
from migd_sim.model.spec import TRACKED_SPEED_RATIO, GuestSpec
from migd_sim.model.writes import ArraySweep, RandomWrites
from migd_sim.pages import PagedGuest, Passes, copy_guest

PAGES = GIB // PAGE_BYTES
LINK = 100e6
ROUND_1_S = GIB / LINK


def writing(*writes: RandomWrites | ArraySweep) -> GuestSpec:
    """A guest of 1 GiB with one busy vCPU, so that it runs at full speed but for the tracking of its pages."""
    return GuestSpec(name="g", host="a", vcpus=1, memory_bytes=GIB, writes=writes, base_demand_vcpus=1.0)


def test_a_guest_that_writes_nothing_is_copied_once() -> None:
    end = migrate(two_hosts(writing(), link=LINK, rules="xen-4.6"))
    assert end.pages_by_round == (PAGES, 0)
    assert end.ended_s - end.started_s == pytest.approx(SETUP_S + ROUND_1_S + SUSPEND_S + RESUME_S)
    assert end.pause_s == pytest.approx(SUSPEND_S + RESUME_S)


@pytest.mark.parametrize("rules", ["xen-4.6", "xenserver", "xcp-ng"])
def test_a_hot_guest_is_stopped_after_five_rounds_and_all_it_wrote_is_sent_still(rules: Rules) -> None:
    """20,000 pages rewritten at once: every round after the first sends them again, and so does the pause."""
    end = migrate(two_hosts(writing(RandomWrites(pages=20_000, tau_s=0.001)), link=LINK, rules=rules))
    assert end.pages_by_round == (PAGES, *[20_000] * 5)
    again_s = 20_000 * PAGE_BYTES / LINK
    assert end.pause_s == pytest.approx(SUSPEND_S + RESUME_S + again_s)
    assert end.ended_s - end.started_s == pytest.approx(SETUP_S + ROUND_1_S + 4 * again_s + end.pause_s)
    assert end.sent_bytes == GIB + 5 * 20_000 * PAGE_BYTES


def test_a_slow_sweep_is_dirty_by_as_much_as_it_went_on_in_the_round() -> None:
    """A guest under copy runs at the tracked speed, so its sweep advances by that much less."""
    period_s = 1000.0
    end = migrate(two_hosts(writing(ArraySweep(pages=100_000, period_s=period_s)), link=LINK, rules="xen-4.6"))
    expected = 100_000 * ROUND_1_S * TRACKED_SPEED_RATIO / period_s
    assert end.pages_by_round[1] == pytest.approx(expected, abs=1)
    assert end.pages_by_round[2] < 50
    assert len(end.pages_by_round) == 3


@pytest.mark.parametrize(
    ("rules", "few_pages"), [("xen-legacy", 49), ("xen-4.6", 49), ("xenserver", 49), ("xcp-ng", 50)]
)
def test_few_pages_end_the_live_phase_after_its_first_round(rules: Rules, few_pages: int) -> None:
    """So many pages, all dirty again after the first round, stop the guest; with one more another round is copied."""

    def live_rounds(hot: int) -> int:
        written = writing(RandomWrites(pages=hot, tau_s=0.1))
        return len(migrate(two_hosts(written, link=LINK, rules=rules)).pages_by_round) - 1

    assert live_rounds(few_pages) == 1
    assert live_rounds(few_pages + 1) > 1


def test_legacy_xen_stops_at_three_times_the_memory_or_29_rounds() -> None:
    """Half the memory rewritten in a twentieth of the time a copy takes: the volume ends it. Hotter still: the rounds."""
    capped = migrate(two_hosts(writing(RandomWrites(pages=PAGES // 2, tau_s=0.6)), link=LINK, rules="xen-legacy"))
    live = sum(capped.pages_by_round[:-1])
    assert 3 * PAGES <= live < 3.3 * PAGES
    assert len(capped.pages_by_round) < 30
    many = migrate(two_hosts(writing(RandomWrites(pages=2_000, tau_s=0.05)), link=LINK, rules="xen-legacy"))
    assert len(many.pages_by_round) == 30


def test_legacy_xen_skips_pages_that_are_written_again_before_their_turn() -> None:
    hot = writing(RandomWrites(pages=20_000, tau_s=0.01))
    first_round = migrate(two_hosts(hot, link=LINK, rules="xen-legacy")).pages_by_round[0]
    assert first_round == pytest.approx(PAGES - 20_000, rel=0.01)


def test_legacy_xen_skips_nothing_of_what_a_slow_sweep_wrote_last() -> None:
    """Pages written in the first 10 s of a pass of 40 come again 30 s later, when the second round is long over."""
    sweep = writing(ArraySweep(pages=100_000, period_s=40.0))
    first, second = migrate(two_hosts(sweep, link=LINK, rules="xen-legacy")).pages_by_round[:2]
    round_1_s = first * PAGE_BYTES / LINK
    assert second == pytest.approx(100_000 * round_1_s * TRACKED_SPEED_RATIO / 40.0, abs=1)


@pytest.mark.parametrize(("share", "period_s"), [(0.5, 4.0), (0.5, 5.0), (0.9, 5.0)])
def test_legacy_xen_copies_a_sweep_in_the_time_that_page_by_page_copying_takes(share: float, period_s: float) -> None:
    """On average over where the sweep stands at the start: here each page is copied when its turn comes."""
    pages = round(share * PAGES)
    end = migrate(two_hosts(writing(ArraySweep(pages=pages, period_s=period_s)), link=LINK, rules="xen-legacy"))
    pass_s = period_s / TRACKED_SPEED_RATIO
    passes = np.arange(200)
    swept = Passes(np.arange(pages), passes * pass_s, (passes + 1) * pass_s, np.zeros(200, dtype=np.int64))
    nobody_draws, rules = np.random.default_rng(0), RULE_SETS["xen-legacy"]
    paged = [
        copy_guest(PagedGuest(PAGES, [swept]), LINK / PAGE_BYTES, rules, start * pass_s, nobody_draws)
        for start in (1.0, 1.25, 1.5, 1.75)
    ]
    assert end.ended_s - end.started_s - SETUP_S - SUSPEND_S - RESUME_S == pytest.approx(
        np.mean([copied.live_s + copied.final_s for copied in paged]), rel=0.07
    )


def test_two_migrations_from_one_host_share_its_link() -> None:
    cluster = Cluster(pool(host("a"), host("b"), host("c"), guest("g", "a"), guest("h", "a")))
    ends: list[MigrationEnd] = []
    cluster.start_migration(uuid_of(cluster, "g"), uuid_of(cluster, "b"), ends.append)
    cluster.start_migration(uuid_of(cluster, "h"), uuid_of(cluster, "c"), ends.append)
    cluster.run_until(200.0)
    for end in ends:
        assert end.ended_s - end.started_s == pytest.approx(SETUP_S + 2 * ROUND_1_S + SUSPEND_S + RESUME_S, rel=0.01)


def test_bandwidth_that_changes_in_mid_round_counts_from_then_on() -> None:
    cluster = two_hosts(writing(), link=LINK, rules="xen-4.6")
    ends: list[MigrationEnd] = []
    cluster.start_migration(uuid_of(cluster, "g"), uuid_of(cluster, "b"), ends.append)
    cluster.run_until(SETUP_S + ROUND_1_S / 2)
    cluster.set_link(uuid_of(cluster, "b"), LINK / 4)
    cluster.run_until(200.0)
    expected_s = SETUP_S + ROUND_1_S / 2 + 4 * ROUND_1_S / 2 + SUSPEND_S + RESUME_S
    assert ends[0].ended_s == pytest.approx(expected_s)


def test_a_link_that_was_slowed_twice_recovers_when_the_later_slowness_ends() -> None:
    cluster = two_hosts(writing(), link=LINK, rules="xen-4.6")
    host_uuid = uuid_of(cluster, "a")
    carried = []
    cluster.set_link(host_uuid, LINK / 10, lasts_s=10.0)
    cluster.run_until(5.0)
    cluster.set_link(host_uuid, LINK / 2, lasts_s=10.0)
    for until_s in (12.0, 16.0):
        cluster.run_until(until_s)
        carried.append(cluster.hosts[host_uuid].link_bytes_per_s)
    assert carried == [LINK / 2, LINK]


def test_a_cancelled_guest_stays_and_a_stopped_one_cannot_be_called_back() -> None:
    cluster = two_hosts(writing(RandomWrites(pages=20_000, tau_s=0.001)), link=LINK, rules="xen-4.6")
    ends: list[MigrationEnd] = []
    uuid = uuid_of(cluster, "g")
    migration = cluster.start_migration(uuid, uuid_of(cluster, "b"), ends.append)
    cluster.run_until(5.0)
    assert cluster.cancel(migration)
    assert (ends[0].ok, ends[0].reason) == (False, "cancelled")
    assert cluster.guests[uuid].host == uuid_of(cluster, "a")
    again = cluster.start_migration(uuid, uuid_of(cluster, "b"), ends.append)
    while not cluster.guests[uuid].stands_still:
        due_s = cluster.next_event_s
        assert due_s is not None
        cluster.run_until(due_s)
    assert not cluster.cancel(again)
    cluster.run_until(100.0)
    assert ends[1].ok


def test_a_guest_that_acknowledges_no_suspend_runs_on_where_it_was() -> None:
    cluster = two_hosts(writing(), link=LINK, rules="xen-4.6")
    uuid = uuid_of(cluster, "g")
    cluster.hang_suspend(uuid, lasts_s=60.0)
    end = migrate(cluster)
    assert (end.ok, end.reason, end.stood_still) == (False, UNACKNOWLEDGED, False)
    assert end.ended_s == pytest.approx(SETUP_S + ROUND_1_S + ACKNOWLEDGE_S)
    assert (end.pause_s, len(end.pages_by_round)) == (0.0, 1)
    assert cluster.guests[uuid].host == uuid_of(cluster, "a")
    assert migrate(cluster).ok


def test_a_guest_that_acknowledges_no_suspend_can_be_called_back() -> None:
    cluster = two_hosts(writing(), link=LINK, rules="xen-4.6")
    uuid = uuid_of(cluster, "g")
    cluster.hang_suspend(uuid)
    migration = cluster.start_migration(uuid, uuid_of(cluster, "b"), lambda end: None)
    cluster.run_until(SETUP_S + ROUND_1_S + ACKNOWLEDGE_S / 2)
    assert not cluster.guests[uuid].stands_still
    assert cluster.cancel(migration)


def test_the_guest_stands_still_for_the_pause_and_runs_on_under_a_new_domid() -> None:
    cluster = two_hosts(writing(), link=LINK, rules="xen-4.6")
    uuid = uuid_of(cluster, "g")
    migrate(cluster)
    target = cluster.counters(uuid_of(cluster, "b"))
    (counters,) = target.guests
    assert counters.uuid == uuid
    assert counters.cpu_s == pytest.approx(cluster.now_s - (SETUP_S + ROUND_1_S + SUSPEND_S + RESUME_S), rel=0.01)
    assert cluster.counters(uuid_of(cluster, "a")).guests == ()


@pytest.mark.parametrize("dies", ["a", "b"])
def test_a_migration_fails_when_either_host_dies(dies: str) -> None:
    cluster = two_hosts(writing(), link=LINK, rules="xen-4.6")
    ends: list[MigrationEnd] = []
    cluster.start_migration(uuid_of(cluster, "g"), uuid_of(cluster, "b"), ends.append)
    cluster.run_until(3.0)
    cluster.fail_host(uuid_of(cluster, dies))
    assert (ends[0].ok, ends[0].reason) == (False, f"host {dies} died")
    expected = None if dies == "a" else uuid_of(cluster, "a")
    assert cluster.guests[uuid_of(cluster, "g")].host == expected


def test_a_migration_that_fails_in_the_final_copy_says_that_the_guest_stood_still() -> None:
    cluster = two_hosts(writing(RandomWrites(pages=20_000, tau_s=0.001)), link=LINK, rules="xen-4.6")
    ends: list[MigrationEnd] = []
    cluster.start_migration(uuid_of(cluster, "g"), uuid_of(cluster, "b"), ends.append)
    while not cluster.guests[uuid_of(cluster, "g")].stands_still:
        due_s = cluster.next_event_s
        assert due_s is not None
        cluster.run_until(due_s)
    cluster.fail_host(uuid_of(cluster, "b"))
    assert (ends[0].ok, ends[0].stood_still) == (False, True)


def test_what_cannot_be_migrated_is_named() -> None:
    cluster = two_hosts(writing(), link=LINK, rules="xen-4.6")
    uuid, target = uuid_of(cluster, "g"), uuid_of(cluster, "b")
    cluster.start_migration(uuid, target, lambda end: None)
    with pytest.raises(CannotMigrate, match="guest g is being migrated"):
        cluster.start_migration(uuid, target, lambda end: None)
    cluster.stop_guest(uuid)
    with pytest.raises(CannotMigrate, match="guest g does not run"):
        cluster.start_migration(uuid, target, lambda end: None)
    cluster.start_guest(uuid, uuid_of(cluster, "a"))
    cluster.fail_host(target)
    with pytest.raises(CannotMigrate, match="host b is down"):
        cluster.start_migration(uuid, target, lambda end: None)
