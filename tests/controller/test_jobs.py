"""The life of jobs, from what operators say and guests tell to what is known of the next run of that name."""

import msgspec
import pytest
from cluster_of_events import CONFIG, Cluster, pool_guest, pool_host
from msgspec.structs import replace

from migd_controller import jobs
from migd_controller.commands import RecordJobOver
from migd_controller.core import first_memory
from migd_controller.events import (
    AnyEvent,
    InventoryChanged,
    JobAdded,
    JobLimited,
    JobProgressed,
    JobRemoved,
    MigrationAccepted,
    MigrationEnded,
    MigrationRequested,
    PoolReachability,
    SampleArrived,
    Tick,
)
from migd_controller.memory import Memory
from migd_core.job_limits import JobLimits, JobLimitsChange
from migd_core.progress import Progress
from migd_core.world import Job, Remaining

RANKS = ("rank0", "rank1")


class Jobs(Cluster):
    """Two ranks on one of two hosts; what they tell of their job's progress, and a job of them."""

    def __init__(self, memory: Memory | None = None) -> None:
        super().__init__([pool_host("a"), pool_host("b")], [pool_guest(rank, "a") for rank in RANKS], CONFIG, memory)

    def add(self, remaining_s: float | None = None, **values: object) -> None:
        self.tell(JobAdded(name="brams", guests=RANKS, remaining_s=remaining_s, **values))  # type: ignore[arg-type]

    def hear(self, **told: tuple[float, float]) -> None:
        """A sample of host a in which guests tell (done, total)."""
        self.now_s += 1.0
        self.sequence += 1
        sample = self.sample("a", {})
        guests = tuple(
            replace(guest, progress=Progress(*told[guest.uuid]) if guest.uuid in told else None)
            for guest in sample.guests
        )
        self.tell(SampleArrived(sample=replace(sample, guests=guests)))
        self.tell(SampleArrived(sample=self.sample("b", {})))

    def iterate(
        self, first: int, last: int, every_s: float = 10.0, total: float = 1000.0, teller: str = "rank0"
    ) -> None:
        """Let iterations go by, each told by its guest, with a control period after each."""
        for done in range(first, last + 1):
            self.now_s += every_s - 1.0
            self.hear(**{teller: (done, total)})
            self.tell(Tick())

    @property
    def job(self) -> Job:
        return self.core.world(self.now_s).jobs["brams"]

    @property
    def remaining(self) -> Remaining:
        found = self.job.remaining
        assert found is not None
        return found


def test_what_a_guest_tells_becomes_the_remaining_time() -> None:
    cluster = Jobs()
    cluster.add()
    cluster.iterate(1, 12)
    assert cluster.remaining == Remaining(
        9880.0, 0.9 * 9880.0, 1.1 * 9880.0, "progress: 12 of 1000 iterations at 10 s each"
    )
    assert (cluster.job.progress, cluster.job.iteration_s) == (Progress(12, 1000), 10.0)


def test_what_an_operator_tells_counts_alike() -> None:
    cluster = Jobs()
    cluster.add()
    for done in (10.0, 20.0, 30.0):
        cluster.now_s += 100.0
        cluster.tell(JobProgressed(name="brams", progress=Progress(done, 1000.0)))
    assert cluster.remaining.median_s == 9700.0
    before = cluster.core.memory
    cluster.tell(JobProgressed(name="unknown", progress=Progress(1)))
    assert cluster.core.memory is before


def test_progress_left_over_from_an_earlier_job_is_nobodys() -> None:
    cluster = Jobs()
    cluster.iterate(995, 1000)  # the job before, of which migd was not told
    cluster.add()
    for _ in range(20):
        cluster.hear(rank0=(1000, 1000))
        cluster.tell(Tick())
    assert cluster.job.progress is None
    cluster.iterate(1, 3)
    assert cluster.job.progress == Progress(3, 1000)


def test_one_guest_tells_for_the_job_until_it_falls_silent() -> None:
    cluster = Jobs()
    cluster.add()
    cluster.iterate(1, 10)
    for done in range(500, 505):
        cluster.hear(rank0=(10, 1000), rank1=(done, 1000))
        cluster.tell(Tick())
    assert cluster.job.progress == Progress(10, 1000)
    cluster.iterate(505, 520, teller="rank1")
    assert cluster.job.progress == Progress(520, 1000)
    assert cluster.remaining.basis.endswith("its progress is told by somebody else than before")


def test_progress_that_jumps_back_is_told_as_the_reason_why_something_else_counts() -> None:
    cluster = Jobs()
    cluster.add(remaining_s=7200.0)
    cluster.iterate(1, 12)
    cluster.hear(rank0=(2, 1000))
    cluster.tell(Tick())
    assert cluster.remaining.basis == (
        "said when the job was added; progress went back from 12 to 2: a restart, or a new phase; "
        "2 of 1000 iterations done, told once only, so how fast is not known"
    )


def test_the_same_name_with_the_same_guests_is_the_same_run_and_a_later_end_is_put_off() -> None:
    cluster = Jobs()
    cluster.add(remaining_s=3600.0, wall_time_limit_s=86400.0)
    started_at = cluster.now_s
    cluster.now_s += 1800.0
    cluster.add(remaining_s=5400.0)
    assert (cluster.job.started_at, cluster.job.wall_time_limit_s) == (started_at, 86400.0)
    assert cluster.remaining == Remaining(5400.0, 2700.0, 14400.0, "said when the job was added, put off by 1 h so far")


def test_the_same_name_with_other_guests_is_another_run() -> None:
    cluster = Jobs()
    cluster.add(remaining_s=3600.0)
    cluster.now_s += 600.0
    cluster.tell(JobAdded(name="brams", guests=("rank0",)))
    assert (cluster.job.started_at, cluster.job.guests) == (cluster.now_s, ("rank0",))


def test_how_long_a_job_ran_tells_how_long_the_next_of_its_name_will() -> None:
    cluster = Jobs()
    for ran_s in (3000.0, 3600.0, 4200.0):
        cluster.add()
        cluster.now_s += ran_s
        cluster.tell(JobRemoved(name="brams"))
    cluster.add()
    cluster.now_s += 600.0
    assert cluster.remaining.median_s == 3000.0
    assert cluster.remaining.basis == "history: 3 earlier runs of this name, 1 h each"


def test_a_job_whose_guests_are_all_gone_is_over_when_they_went() -> None:
    cluster = Jobs()
    cluster.add()
    cluster.now_s += 3600.0
    cluster.tell(InventoryChanged(gone=RANKS))
    cluster.tell(Tick())
    cluster.now_s += jobs.GONE_FOR_S - 1.0
    cluster.tell(Tick())
    assert cluster.job.missing == RANKS
    assert cluster.remaining.basis.endswith("2 of its 2 guests no longer run, so it may end at any moment")
    cluster.now_s += 1.0
    commands = cluster.tell(Tick())
    assert [command for command in commands if isinstance(command, RecordJobOver)] == [
        RecordJobOver(name="brams", ran_s=3600.0, text="all of its 2 guests have been gone for 5 min")
    ]
    assert cluster.core.memory.jobs == {}
    assert cluster.core.memory.finished_s == {"brams": (3600.0,)}


def test_guests_that_come_back_in_time_go_on_with_their_job() -> None:
    cluster = Jobs()
    cluster.add()
    cluster.tell(InventoryChanged(gone=RANKS))
    cluster.tell(Tick())
    cluster.now_s += jobs.GONE_FOR_S - 1.0
    cluster.tell_inventory()
    cluster.tell(Tick())
    cluster.now_s += jobs.GONE_FOR_S
    cluster.tell(Tick())
    assert cluster.core.memory.jobs["brams"].gone_at is None


def test_a_pool_that_cannot_be_reached_ends_no_job() -> None:
    cluster = Jobs()
    cluster.add()
    cluster.tell(InventoryChanged(gone=RANKS))
    cluster.tell(PoolReachability(is_reachable=False, problem="down"))
    for _ in range(3):
        cluster.now_s += jobs.GONE_FOR_S
        cluster.tell(Tick())
    assert list(cluster.core.memory.jobs) == ["brams"]


def test_a_job_whose_guests_partly_vanished_says_so_and_may_end_at_any_moment() -> None:
    cluster = Jobs()
    cluster.add(remaining_s=3600.0)
    cluster.tell(InventoryChanged(gone=("rank1",)))
    assert (cluster.job.guests, cluster.job.missing) == (("rank0",), ("rank1",))
    assert cluster.remaining == Remaining(
        3600.0,
        0.0,
        7200.0,
        "said when the job was added; 1 of its 2 guests no longer run, so it may end at any moment",
    )


def migrate(cluster: Jobs, during: float, lasts_s: float = 60.0) -> None:
    """Move rank1 by hand while its job goes at `during` of an iteration every 5 s."""
    cluster.tell(MigrationRequested(guest="rank1", target="b"))
    (cause,) = cluster.core.memory.in_flight
    cluster.tell(MigrationAccepted(cause=cause, task="t"))
    assert cluster.job.progress is not None
    done, ends_s = cluster.job.progress.done, cluster.now_s + lasts_s
    while cluster.now_s + 5.0 <= ends_s:
        cluster.now_s += 4.0
        done += during
        cluster.hear(rank0=(done, 1000))
        cluster.tell(Tick())
    cluster.guests["rank1"] = replace(cluster.guests["rank1"], host="b")
    cluster.tell(MigrationEnded(cause=cause, host_now="b"))


def test_a_migration_teaches_how_fast_its_job_goes_meanwhile_and_prices_the_next() -> None:
    cluster = Jobs()
    cluster.add(remaining_s=36000.0)
    cluster.iterate(1, 20, every_s=5.0)
    before = cluster.job.speed_while_migrating
    assert before is not None
    assert (before.median_ratio, before.basis) == (0.5, "no migration of this job was watched yet")
    migrate(cluster, during=0.8)
    learned = cluster.job.speed_while_migrating
    assert learned is not None
    assert learned.median_ratio == pytest.approx((2 * 0.5 + 0.8) / 3, abs=0.03)
    assert learned.basis.startswith("one migration of this job watched, 0.")
    cluster.tell(JobRemoved(name="brams"))
    cluster.add()
    assert cluster.job.speed_while_migrating == learned


def test_a_job_that_tells_nothing_teaches_nothing() -> None:
    cluster = Jobs()
    cluster.add(remaining_s=36000.0)
    cluster.run(1)
    cluster.tell(MigrationRequested(guest="rank1", target="b"))
    (cause,) = cluster.core.memory.in_flight
    cluster.now_s += 60.0
    cluster.tell(MigrationEnded(cause=cause, host_now="b"))
    assert cluster.core.memory.speeds == {}


def test_what_is_remembered_survives_a_restart_and_what_guests_tell_goes_on() -> None:
    cluster = Jobs()
    cluster.add()
    cluster.iterate(1, 12)
    kept = msgspec.msgpack.decode(msgspec.msgpack.encode(cluster.core.memory), type=Memory)
    assert kept == cluster.core.memory
    again = Jobs(memory=kept)
    again.now_s = cluster.now_s
    again.iterate(13, 15)
    # The first that is heard in a new life may be left over, so 13 is no news; 14 is.
    assert again.remaining.basis == "progress: 15 of 1000 iterations at 10 s each"


def test_a_memory_of_an_older_release_is_read() -> None:
    old = msgspec.msgpack.encode({"policy": "observe", "jobs": {"brams": {"name": "brams", "guests": ["rank0"]}}})
    memory = msgspec.msgpack.decode(old, type=Memory)
    found = jobs.described(memory, memory.jobs["brams"], {"rank0"}, 0.5, 1e6)
    assert (found.guests, found.remaining, found.started_at) == (("rank0",), None, None)


def test_names_and_runs_are_bounded_and_the_newest_stay() -> None:
    memory, now_s = first_memory(CONFIG), 0.0
    for number in range(jobs.NAMES_KEPT + 10):
        for _ in range(jobs.RUNS_KEPT + 2 if number == jobs.NAMES_KEPT else 1):
            memory = jobs.added(memory, JobAdded(name=f"job{number}", guests=("g",)), now_s)
            now_s += 10.0 + number
            memory = jobs.removed(memory, f"job{number}", now_s)
    assert len(memory.finished_s) == jobs.NAMES_KEPT
    assert len(memory.finished_s[f"job{jobs.NAMES_KEPT}"]) == jobs.RUNS_KEPT
    assert "job0" not in memory.finished_s


def test_a_load_grows_old_and_what_migd_moves_does_not_make_it_young() -> None:
    cluster = Jobs()
    cluster.run(6)
    cluster.tell(MigrationRequested(guest="rank1", target="b"))
    assert [command.guest for command in cluster.started] == ["rank1"]
    cluster.guests["rank1"] = replace(cluster.guests["rank1"], host="b")
    cluster.tell(MigrationEnded(cause=cluster.started[0].cause, host_now="b"))
    cluster.run(6)
    world = cluster.core.world(cluster.now_s)
    assert {uuid: host.load_stood_s for uuid, host in world.hosts.items()} == {"a": 55.0, "b": 55.0}
    cluster.run(3, wants={"rank0": 0.0})
    assert cluster.core.world(cluster.now_s).hosts["a"].load_stood_s == 10.0


def test_a_host_that_falls_silent_has_stood_for_no_time() -> None:
    cluster = Jobs()
    cluster.run(6)
    cluster.silent.add("a")
    cluster.run(3)
    assert cluster.core.world(cluster.now_s).hosts["a"].load_stood_s == 0.0


def test_what_a_job_asks_for_itself_stays_with_its_run_and_is_in_the_memory() -> None:
    cluster = Jobs()
    cluster.add(limits=JobLimitsChange(stall_per_hour_s=20.0, allowed_hours=("20:00-06:00",)))
    cluster.add(remaining_s=60.0)  # the same run: what is not said stays
    cluster.tell(JobLimited(name="brams", change=JobLimitsChange(no_stall_last_s=600.0, allowed_hours=None)))
    kept = JobLimits(stall_per_hour_s=20.0, no_stall_last_s=600.0)
    memory = msgspec.msgpack.decode(msgspec.msgpack.encode(cluster.core.memory), type=Memory)
    assert memory.jobs["brams"].limits == kept
    cluster.tell(JobLimited(name="unknown", change=JobLimitsChange(no_stall_last_s=1.0)))
    assert cluster.core.memory == memory
    cluster.tell(JobAdded(name="brams", guests=("rank0",)))  # another run
    assert cluster.core.memory.jobs["brams"].limits == JobLimits()


def test_a_change_of_limits_is_journaled_with_what_it_leaves_out_left_out() -> None:
    for change in (JobLimitsChange(), JobLimitsChange(stall_per_hour_s=None), JobLimitsChange(no_stall_last_s=1.0)):
        event = JobLimited(name="brams", change=change)
        assert msgspec.json.decode(msgspec.json.encode(event), type=AnyEvent) == event
