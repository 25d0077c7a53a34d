"""What is kept over time: how fine, for how long, and what is worked out of it."""

import sqlite3
from pathlib import Path

import msgspec
from cluster_of_events import Cluster, pool_host
from msgspec.structs import replace

from builders import guest, host, job, world
from migd_controller.timeline import STEPS, JobMoment, Moment, Timeline, merged, moment, speeds_per_s
from migd_controller.timeline_store import TimelineStore
from migd_policies.job_progress import Report, Track


def at(at_s: float, mean: float = 0.5, **jobs: JobMoment) -> Moment:
    return Moment(at_s, mean, mean + 0.2, mean - 0.2, 0, jobs)


def test_a_moment_has_the_loads_of_hosts_that_report_and_how_far_jobs_are() -> None:
    seen = world(
        host("a", load=0.25),
        host("b", load=0.75),
        host("c", frozen_because="silent"),
        guest("rank0", on="a", job="brams", demand=1.0, used=0.5),
        guest("rank1", on="b", job="brams", demand=1.0, used=1.0),
        guest("lost", on="c", job="brams", demand=1.0, used=0.0),
        job("idle"),
        now_s=1000.0,
    )
    found = moment(seen, {"brams": Track(reports=(Report(990.0, 7.0),))})
    assert found == Moment(
        1000.0, 0.75, 1.0, 0.5, 0, {"brams": JobMoment(7.0, 990.0, 0.5), "idle": JobMoment(None, None, None)}
    )


def test_merged_moments_keep_extremes_and_the_last_progress() -> None:
    early = Moment(10.0, 0.2, 0.9, 0.1, 2, {"brams": JobMoment(5.0, 9.0, 0.4), "over": JobMoment(9.0, 8.0, None)})
    late = Moment(20.0, 0.4, 0.5, 0.3, 0, {"brams": JobMoment(8.0, 19.0, 0.8)})
    silent = Moment(30.0, None, None, None, 1)
    found = merged([early, late, silent])
    assert (found.at, found.load_most_ratio, found.load_least_ratio, found.under_way) == (30.0, 0.9, 0.1, 2)
    assert found.load_mean_ratio is not None
    assert round(found.load_mean_ratio, 9) == 0.3
    assert found.jobs["over"] == JobMoment(9.0, 8.0, None)
    assert (found.jobs["brams"].done, found.jobs["brams"].told_at) == (8.0, 19.0)


def test_a_month_is_kept_in_a_bounded_number_of_moments() -> None:
    timeline = Timeline()
    for n in range(40 * 1440):
        timeline.add(at(60.0 * n))
    end_s = 60.0 * (40 * 1440 - 1)
    month = timeline.since(end_s - 30 * 86400)
    assert month[0].at <= end_s - 30 * 86400 + 1200
    assert len(month) <= sum(size for _, size in STEPS)
    times = [each.at for each in month]
    assert times == sorted(set(times))
    assert times[-1] == end_s
    assert [each.at for each in timeline.since(end_s - 300)] == [end_s - 60 * n for n in (5, 4, 3, 2, 1, 0)]


def test_a_clock_that_is_set_back_adds_nothing() -> None:
    timeline = Timeline()
    timeline.add(at(100.0))
    assert timeline.add(at(90.0)) == []
    assert [each.at for each in timeline.since(0.0)] == [100.0]


def watch(store: TimelineStore, minutes: int) -> list[float]:
    """Let a cluster be observed once a minute; return when."""
    cluster, times = Cluster([pool_host("a")], []), []
    for _ in range(minutes):
        cluster.now_s += 55.0
        cluster.run(1)
        store.observe(cluster.core)
        times.append(cluster.now_s)
    return times


def test_the_timeline_goes_on_after_a_restart(tmp_path: Path) -> None:
    first = TimelineStore(tmp_path / "timeline.sqlite")
    times = watch(first, 30)
    first.close()
    second = TimelineStore(tmp_path / "timeline.sqlite")
    kept = [each.at for each in second.timeline.since(times[0])]
    second.close()
    assert kept == times[:-1]  # the last minute was not over


def test_a_damaged_file_costs_the_past_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "timeline.sqlite"
    path.write_bytes(b"this is no database" * 100)
    store = TimelineStore(path)
    assert store.timeline.add(at(100.0)) == []
    assert [each.at for each in store.timeline.since(0.0)] == [100.0]
    store.close()


def test_a_damaged_moment_costs_the_past_and_nothing_else(tmp_path: Path) -> None:
    """SQLite has no checksum that would tell it of a disk's wrong byte."""
    whole = msgspec.msgpack.encode(at(60.0, brams=JobMoment(done=5.0)))
    for number, body in enumerate((whole[:-1], whole.replace(b"brams", b"br\xffms"), b"\xc1", "text")):
        path = tmp_path / f"{number}.sqlite"
        first = TimelineStore(path)
        watch(first, 3)
        first.close()
        with sqlite3.connect(path) as other:
            other.execute("UPDATE moments SET body = ?", (body,))
        other.close()
        store = TimelineStore(path)
        assert store.timeline.add(at(100.0)) == []
        assert [each.at for each in store.timeline.since(0.0)] == [100.0]
        store.close()


def test_a_file_that_cannot_be_written_any_more_is_given_up(tmp_path: Path) -> None:
    path = tmp_path / "timeline.sqlite"
    store = TimelineStore(path)
    with sqlite3.connect(path) as other:
        other.execute("DROP TABLE moments")
    other.close()

    assert len(watch(store, 3)) == len(store.timeline.since(0.0))
    store.close()


def test_speed_is_what_was_done_over_the_window_before() -> None:
    moments = [at(10.0 * n, brams=JobMoment(done, 10.0 * n)) for n, done in enumerate([0.0, 20.0, 40.0, 50.0, 60.0])]
    assert speeds_per_s(moments, "brams", window_s=10.0) == [None, 2.0, 2.0, 1.0, 1.0]


def test_speed_is_not_known_where_nothing_new_was_told() -> None:
    twice = [at(0.0, brams=JobMoment(0.0, 0.0)), at(10.0, brams=JobMoment(30.0, 10.0))]
    moments = [*twice, replace(twice[1], at=15.0), at(20.0), at(25.0, brams=JobMoment(45.0, 25.0))]
    assert speeds_per_s(moments, "brams", window_s=10.0) == [None, 3.0, None, None, 1.0]


def test_progress_that_falls_is_another_run() -> None:
    moments = [at(10.0 * n, brams=JobMoment(done, 10.0 * n)) for n, done in enumerate([0.0, 20.0, 5.0, 15.0])]
    assert speeds_per_s(moments, "brams", window_s=10.0) == [None, 2.0, None, 1.0]
