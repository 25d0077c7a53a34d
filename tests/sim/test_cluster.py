"""Cores, links, jobs and counters of the simulated cluster."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from pools import guest, host, migrate, pool, uuid_of

from migd_core import config
from migd_core.progress import Progress
from migd_core.units import GIB
from migd_core.world import Level
from migd_sim.model import Cluster, PoolSpec
from migd_sim.model.max_min import Stream, share_cores, share_links
from migd_sim.model.rates import DOM0_IDLE_VCPUS, STREAM_BYTES_PER_S
from migd_sim.model.spec import HogSpec, JobSpec, PhaseSpec
from migd_sim.model.writes import RandomWrites

RANKS = [guest(f"r{n}", "a" if n < 2 else "b") for n in range(4)]


def job(**values: object) -> JobSpec:
    plain = JobSpec(name="brams", ranks=("r0", "r1", "r2", "r3"), work_s=1.0)
    return replace(plain, **values)


def cluster_of(one: JobSpec, *more: object, cpus: int = 4) -> Cluster:
    return Cluster(pool(host("a", cpus=cpus), host("b", cpus=cpus), *RANKS, one, *more))  # type: ignore[arg-type]


def test_a_job_alone_steps_as_fast_as_its_work() -> None:
    cluster = cluster_of(job(work_s=0.5))
    cluster.run_until(100.0)
    assert cluster.jobs["brams"].steps_done == pytest.approx(200.0, rel=1e-3)


def test_the_slowest_rank_sets_the_pace() -> None:
    cluster = cluster_of(job(work_s=(1.0, 1.0, 1.0, 2.0)))
    cluster.run_until(100.0)
    assert cluster.jobs["brams"].steps_done == pytest.approx(50.0, rel=1e-3)


def test_a_hog_on_one_host_slows_the_whole_job_and_its_end_frees_it() -> None:
    """4 cores, less what Dom0 needs, under two ranks and a hog of 4 vCPUs: each vCPU gets a sixth."""
    hogged = guest("other", "b", vcpus=4)
    cluster = cluster_of(job(), hogged, HogSpec(guest="other", vcpus=4, starts_s=100.0, lasts_s=100.0))
    speeds = []
    for until_s in (99.0, 199.0, 299.0):
        cluster.run_until(until_s)
        speeds.append(cluster.jobs["brams"].steps_per_s)
    share = (4 - DOM0_IDLE_VCPUS) / 6
    assert speeds == [pytest.approx(1.0, rel=0.01), pytest.approx(share, rel=0.01), pytest.approx(1.0, rel=0.01)]


def test_phases_take_their_extra_work_and_time() -> None:
    """10 steps: one of threefold work and one, at the start of every 5, of 2 s more: 8 + 3 + ... by hand."""
    phases = (
        PhaseSpec(name="radiation", every_steps=10, work_factor=3.0),
        PhaseSpec(name="history", every_steps=5, extra_s=2.0),
    )
    cluster = cluster_of(job(phases=phases, steps=10))
    per_10_steps_s = 9 * 1.0 + 3.0 + 2 * 2.0
    cluster.run_until(per_10_steps_s * 1.001)
    assert cluster.jobs["brams"].is_over
    assert cluster.jobs["brams"].steps_done == 10
    cluster = cluster_of(job(phases=phases, steps=10))
    cluster.run_until(per_10_steps_s * 0.99)
    assert not cluster.jobs["brams"].is_over


def test_a_migration_on_the_nic_slows_talk() -> None:
    talking = job(work_s=0.001, exchange_bytes=1e6)
    cluster = cluster_of(talking)
    alone = cluster.next_event_s is None and cluster.jobs["brams"].steps_per_s
    cluster.start_migration(uuid_of(cluster, "r0"), uuid_of(cluster, "b"), lambda end: None)
    cluster.run_until(3.0)
    assert 0 < cluster.jobs["brams"].steps_per_s < alone


def test_a_job_stands_still_while_one_rank_is_stopped_for_its_final_copy() -> None:
    ranks = [replace(RANKS[0], writes=(RandomWrites(pages=50_000, tau_s=0.01),)), *RANKS[1:]]
    cluster = Cluster(pool(host("a"), host("b"), *ranks, job()))
    cluster.start_migration(uuid_of(cluster, "r0"), uuid_of(cluster, "b"), lambda end: None)
    while not cluster.guests[uuid_of(cluster, "r0")].stands_still:
        due_s = cluster.next_event_s
        assert due_s is not None
        cluster.run_until(due_s)
    assert cluster.next_event_s is not None
    assert cluster.jobs["brams"].steps_per_s == 0.0


def test_a_paused_or_stopped_rank_stops_its_job_until_it_goes_on() -> None:
    cluster = cluster_of(job())
    uuid = uuid_of(cluster, "r3")
    for stop, go in (
        (cluster.pause_guest, cluster.unpause_guest),
        (cluster.stop_guest, lambda found: cluster.start_guest(found, uuid_of(cluster, "b"))),
    ):
        stop(uuid)
        before = cluster.jobs["brams"].steps_done
        cluster.run_until(cluster.now_s + 10.0)
        assert cluster.jobs["brams"].steps_done == before
        go(uuid)
        cluster.run_until(cluster.now_s + 10.0)
        assert cluster.jobs["brams"].steps_done > before


def test_a_guest_that_does_not_run_cannot_be_paused_and_so_runs_once_it_is_started() -> None:
    cluster = cluster_of(job())
    uuid = uuid_of(cluster, "r3")
    cluster.stop_guest(uuid)
    with pytest.raises(ValueError, match="guest r3 does not run"):
        cluster.pause_guest(uuid)
    cluster.start_guest(uuid, uuid_of(cluster, "b"))
    assert not cluster.guests[uuid].is_paused


def test_a_guest_that_migrates_to_its_own_host_gets_a_new_domain_and_leaves_the_link_alone() -> None:
    cluster = cluster_of(job(exchange_bytes=1e6))
    cluster.run_until(10.0)
    speed, uuid = cluster.jobs["brams"].steps_per_s, uuid_of(cluster, "r0")
    here, domid = cluster.guests[uuid].host, cluster.guests[uuid].domid
    ends: list[bool] = []
    cluster.start_migration(uuid, str(here), lambda end: ends.append(end.ok))
    cluster.run_until(12.0)
    assert cluster.migrations[0].bytes_per_s == STREAM_BYTES_PER_S
    assert cluster.jobs["brams"].steps_per_s == pytest.approx(speed, rel=0.15)  # its pages are tracked, no more
    cluster.run_until(60.0)
    assert (ends, cluster.guests[uuid].host) == ([True], here)
    assert cluster.guests[uuid].domid > domid


def test_a_guest_without_a_host_does_not_run_until_it_is_started() -> None:
    spare = replace(guest("spare", "a"), host=None)
    cluster = cluster_of(job(), spare)
    cluster.run_until(10.0)
    state = cluster.guests[uuid_of(cluster, "spare")]
    assert (state.is_running, state.cpu_s) == (False, 0.0)
    cluster.start_guest(state.spec.uuid, next(iter(cluster.hosts)))
    assert state.is_running


def test_a_cluster_n_times_faster_does_the_same_in_an_nth_of_the_time() -> None:
    """What an agent measures a second stays consistent: the same CPU ratios, N times the bytes."""
    spec = pool(
        host("a"), host("b"), *RANKS, guest("other", "b", vcpus=4, base=0.1), job(exchange_bytes=1e6),
        HogSpec(guest="other", vcpus=4, starts_s=30.0, lasts_s=600.0),
    )  # fmt: skip
    plain, fast = Cluster(spec), Cluster(spec.faster(30))
    ends = []
    for cluster, times in ((plain, 1), (fast, 30)):
        cluster.run_until(60.0 / times)
        end = migrate(cluster, "r3", "a", within_s=60.0 / times)
        ends.append(
            (end.pages_by_round, round((end.ended_s - end.started_s) * times, 3), round(end.pause_s * times, 3))
        )
    assert ends[0] == ends[1]
    assert fast.jobs["brams"].steps_done == pytest.approx(plain.jobs["brams"].steps_done, rel=1e-6)
    one, other = plain.counters(uuid_of(plain, "b")), fast.counters(uuid_of(fast, "b"))
    assert other.cpu_s * 30 == pytest.approx(one.cpu_s, rel=1e-3)
    assert other.tx_bytes == pytest.approx(one.tx_bytes, rel=1e-3)


def test_counters_add_up_and_flows_are_seen_on_both_bridges() -> None:
    cluster = cluster_of(job(exchange_bytes=1e6))
    cluster.run_until(10.0)
    a, b = (cluster.counters(uuid_of(cluster, name)) for name in "ab")
    steps = cluster.jobs["brams"].steps_done
    assert sum(found.cpu_s for found in a.guests) + a.dom0_cpu_s == pytest.approx(a.cpu_s)
    macs = {found.name: found.mac for found in cluster.spec.guests}
    across = [(macs["r1"], macs["r2"]), (macs["r2"], macs["r1"]), (macs["r0"], macs["r3"]), (macs["r3"], macs["r0"])]
    for counters in (a, b):
        flows = {(flow.source_mac, flow.target_mac): flow.bytes for flow in counters.flows}
        for pair in across:
            assert flows[pair] == pytest.approx(1e6 * steps, rel=1e-6)
        assert counters.tx_bytes == pytest.approx(2e6 * steps, rel=1e-6)
    within = {(flow.source_mac, flow.target_mac) for flow in a.flows}
    assert (macs["r0"], macs["r1"]) in within


def test_a_dirty_curve_is_what_the_guest_writes_at_the_speed_it_has() -> None:
    ranks = [replace(RANKS[0], writes=(RandomWrites(pages=10_000, tau_s=2.0),)), *RANKS[1:]]
    cluster = Cluster(pool(host("a"), host("b"), *ranks, job()))
    cluster.run_until(5.0)
    curve = cluster.dirty_curve(uuid_of(cluster, "r0"), (0.5, 2.0, 20.0))
    assert curve.unique_pages == (2212, 6321, 10_000)


def test_a_dead_host_comes_back_empty_and_counts_anew() -> None:
    cluster = cluster_of(job())
    cluster.run_until(10.0)
    before = cluster.counters(uuid_of(cluster, "b"))
    cluster.fail_host(uuid_of(cluster, "b"))
    assert cluster.guests[uuid_of(cluster, "r3")].host is None
    cluster.restore_host(uuid_of(cluster, "b"))
    after = cluster.counters(uuid_of(cluster, "b"))
    assert after.boot_id != before.boot_id
    assert (after.cpu_s, after.guests) == (0.0, ())


def test_the_same_pool_gives_the_same_log_byte_for_byte() -> None:
    def run() -> tuple[list[str], object]:
        cluster = cluster_of(
            job(exchange_bytes=1e6),
            guest("other", "b", vcpus=4),
            HogSpec(guest="other", vcpus=4, starts_s=3.0, lasts_s=9.0),
        )
        migrate(cluster, "r3", "a")
        return cluster.log, cluster.counters(uuid_of(cluster, "a"))

    assert run() == run()
    assert len(run()[0]) == 4


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        ((host("a"), host("a")), "host a is given twice"),
        ((host("a"), guest("g", "nowhere")), "guest g: no host is called nowhere"),
        ((host("a"), guest("g", "a", memory_bytes=99 * GIB)), "host a: its guests need"),
        ((host("a"), guest("g", "a"), JobSpec(name="j", ranks=("x",))), "job j: no guest is called x"),
        ((host("a"), guest("g", "a"), JobSpec(name="j", ranks=("g", "g"))), "guest g has fewer vCPUs than ranks"),
        ((host("a"), HogSpec(guest="x", vcpus=1, starts_s=0.0, lasts_s=1.0)), "no guest is called so"),
    ],
)
def test_a_pool_that_contradicts_itself_is_refused_by_name(parts: tuple[object, ...], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Cluster(pool(*parts))  # type: ignore[arg-type]


def test_a_pool_file_is_readable_text() -> None:
    text = """
    name = "small"
    rule_set = "xcp-ng"
    hosts = [{ name = "a", cpus = 4, memory_bytes = 68719476736, switch = "rack1" }]
    [[guests]]
    name = "rank0"
    host = "a"
    vcpus = 1
    memory_bytes = 4294967296
    writes = [{ type = "random", pages = 1000, tau_s = 2.0 }, { type = "sweep", pages = 500, period_s = 1.5 }]
    [[jobs]]
    name = "brams"
    ranks = ["rank0"]
    work_s = 0.5
    """
    assert Cluster(config.parse(text, PoolSpec)).spec.guests[0].uuid


@given(
    st.floats(0.5, 64),
    st.dictionaries(st.text(min_size=1, max_size=3), st.tuples(st.integers(1, 16), st.floats(0, 1)), max_size=12),
)
def test_cores_are_never_over_used_nor_left_idle_while_somebody_waits(
    cores: float, vcpus: dict[str, tuple[int, float]]
) -> None:
    got = share_cores(cores, vcpus)
    wanted = {name: count * each for name, (count, each) in vcpus.items()}
    assert sum(got.values()) == pytest.approx(min(cores, sum(wanted.values())))
    level = max((got[name] / vcpus[name][0] for name in got), default=0.0)
    for name, (count, each) in vcpus.items():
        assert got[name] <= wanted[name] + 1e-9
        assert got[name] / count == pytest.approx(each) or got[name] / count == pytest.approx(level)


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from("abcd"), st.sampled_from("abcd"), st.one_of(st.just(float("inf")), st.floats(0, 300))
        ),
        max_size=10,
    )
)
def test_links_are_never_over_used_and_no_stream_could_have_more(wanted: list[tuple[str, str, float]]) -> None:
    capacities = {f"{name} {way}": 100.0 for name in "abcd" for way in ("tx", "rx")}
    streams = [Stream(str(number), (f"{a} tx", f"{b} rx"), demand) for number, (a, b, demand) in enumerate(wanted)]
    rates = share_links(capacities, streams)
    used = dict.fromkeys(capacities, 0.0)
    for stream in streams:
        assert rates[stream.name] <= stream.demand_bytes_per_s * (1 + 1e-9)
        for direction in stream.through:
            used[direction] += rates[stream.name]
    assert all(value <= 100.0 * (1 + 1e-9) for value in used.values())
    for stream in streams:
        is_satisfied = rates[stream.name] >= stream.demand_bytes_per_s * (1 - 1e-9)
        assert is_satisfied or any(used[direction] >= 100.0 * (1 - 1e-6) for direction in stream.through)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3), st.floats(0.1, 30.0)), max_size=12))
def test_whatever_is_asked_cores_and_links_hold_and_a_guest_is_on_one_host(asked: list[tuple[int, int, float]]) -> None:
    guests = [guest(f"r{n}", "abcd"[n % 4], vcpus=2, base=0.3) for n in range(6)]
    brams = JobSpec(name="brams", ranks=tuple(f"r{n}" for n in range(6)), work_s=0.2, exchange_bytes=2e6)
    far = host("a", cpus=2, link=50e6, switch="far")
    cluster = Cluster(pool(far, *(host(name, cpus=2, link=50e6) for name in "bcd"), *guests, brams))
    carried = dict.fromkeys(cluster.hosts, 50e6) | {
        uuid_of(cluster, "a"): cluster.spec.levels[Level.WIDE_AREA].bandwidth_bytes_per_s
    }
    guest_uuids, host_uuids = [*cluster.guests], [*cluster.hosts]
    before = {uuid: cluster.counters(uuid) for uuid in host_uuids}
    for number, target, later_s in asked:
        found = cluster.guests[guest_uuids[number]]
        if found.migration is None and found.host != host_uuids[target]:
            cluster.start_migration(guest_uuids[number], host_uuids[target], lambda end: None)
        cluster.run_until(cluster.now_s + later_s)
        for uuid in host_uuids:
            now = cluster.counters(uuid)
            elapsed_s = now.at_s - before[uuid].at_s
            assert now.cpu_s - before[uuid].cpu_s <= 2 * elapsed_s * (1 + 1e-9) + 1e-9
            assert now.tx_bytes - before[uuid].tx_bytes <= carried[uuid] * elapsed_s * (1 + 1e-6) + 2
            assert now.rx_bytes - before[uuid].rx_bytes <= carried[uuid] * elapsed_s * (1 + 1e-6) + 2
            before[uuid] = now
        listed = [one.uuid for uuid in host_uuids for one in cluster.counters(uuid).guests]
        assert sorted(listed) == sorted(guest_uuids)


def test_the_guest_of_the_first_rank_tells_whole_steps_if_its_job_reports_them() -> None:
    cluster = cluster_of(job(work_s=1.0, steps=100, reports_progress=True))
    cluster.run_until(7.5)
    told = {each.uuid: each.progress for host in cluster.hosts for each in cluster.counters(host).guests}
    assert {uuid: progress for uuid, progress in told.items() if progress is not None} == {
        cluster.jobs["brams"].guests[0]: Progress(7.0, 100.0)
    }
