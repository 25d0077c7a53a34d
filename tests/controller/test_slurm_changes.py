"""What Slurm tells becomes jobs of migd, ends them, and leaves alone what an operator named."""

from collections.abc import Iterable

from cluster_of_events import Cluster, pool_guest, pool_host
from msgspec.structs import replace

from migd_controller.config import SlurmSection
from migd_controller.events import JobAdded, JobRemoved, PoolGuest, PoolHost
from migd_controller.memory import RememberedJob
from migd_controller.slurm_changes import Changes, changes, job_name
from migd_controller.slurm_jobs import Phase, SlurmJob
from migd_controller.slurm_nodes import NodeGuests

BRAMS = SlurmJob(
    number=7,
    name="brams",
    user="alice",
    phase=Phase.RUNNING,
    nodes=("n1", "n2"),
    started_at=999_000.0,
    limit_s=43200.0,
)
ADDED = JobAdded(
    name="brams-7",
    guests=("n1", "n2"),
    wall_time_limit_s=43200.0,
    started_at=999_000.0,
    slurm_job=7,
    run_of="alice/brams",
)
HPL = replace(BRAMS, number=8, name="hpl", user="bob", nodes=("n3",), limit_s=None)
NOTHING = Changes((), ())
HOSTS = [pool_host("a")]
NODES = [pool_guest(f"n{number}", "a") for number in range(1, 5)]


class Told(Cluster):
    """Guests n1 to n4 on one host where nothing else is said, and what Slurm says of them."""

    def __init__(self, hosts: Iterable[PoolHost] = HOSTS, guests: Iterable[PoolGuest] = NODES) -> None:
        super().__init__(hosts, guests)

    def found(self, *told: SlurmJob, asked_at: float | None = None, **section: object) -> Changes:
        nodes = NodeGuests(SlurmSection(**section), self.core.inventory.guests)  # type: ignore[arg-type]
        core = self.core
        asked_at = self.now_s if asked_at is None else asked_at
        return changes(core.memory.jobs, told, nodes.uuid_of, core.inventory.guest_name, asked_at)

    def take(self, *told: SlurmJob) -> Changes:
        """Take in what Slurm told, as the shell does, and return it."""
        self.now_s += 30.0
        found = self.found(*told)
        for event in found.events:
            self.tell(event)
        return found

    @property
    def jobs(self) -> dict[str, RememberedJob]:
        return self.core.memory.jobs


def test_a_job_that_runs_is_added_once_with_its_start_and_limit() -> None:
    cluster = Told()
    assert cluster.take(BRAMS) == Changes((ADDED,), ())
    assert cluster.jobs == {
        "brams-7": RememberedJob(
            name="brams-7",
            guests=("n1", "n2"),
            started_at=999_000.0,
            wall_time_limit_s=43200.0,
            slurm_job=7,
            run_of="alice/brams",
        )
    }
    assert cluster.take(BRAMS) == NOTHING


def test_a_job_that_slurm_no_longer_names_ends() -> None:
    cluster = Told()
    cluster.take(BRAMS, HPL)
    assert cluster.take(HPL) == Changes((JobRemoved(name="brams-7"),), ())
    assert list(cluster.jobs) == ["hpl-8"]


def test_a_job_ends_with_its_ranks_and_not_with_its_epilog() -> None:
    for phase in (Phase.OVER, Phase.WAITING):
        cluster = Told()
        cluster.take(BRAMS)
        assert cluster.take(replace(BRAMS, phase=phase)).events == (JobRemoved(name="brams-7"),)


def test_a_suspended_job_keeps_its_guests() -> None:
    cluster = Told()
    cluster.take(BRAMS)
    assert cluster.take(replace(BRAMS, phase=Phase.SUSPENDED)) == NOTHING


def test_guests_go_from_a_job_that_ended_to_the_next_at_once() -> None:
    cluster = Told()
    cluster.take(BRAMS)
    next_one = replace(BRAMS, number=9, started_at=999_500.0)
    assert cluster.take(next_one).events == (
        JobRemoved(name="brams-7"),
        replace(ADDED, name="brams-9", slurm_job=9, started_at=999_500.0),
    )
    assert list(cluster.jobs) == ["brams-9"]


def test_the_next_run_of_a_name_is_expected_to_take_as_long_as_the_last() -> None:
    cluster = Told()
    cluster.take(BRAMS)
    cluster.take()
    ran_s = cluster.now_s - 999_000.0
    assert cluster.core.memory.finished_s == {"alice/brams": (ran_s,)}
    cluster.take(replace(BRAMS, number=9, started_at=cluster.now_s))
    job = cluster.core.world(cluster.now_s).jobs["brams-9"]
    assert job.remaining is not None
    assert "earlier run" in job.remaining.basis


def test_a_job_by_hand_is_the_operators_and_the_conflict_is_named() -> None:
    cluster = Told()
    cluster.tell(JobAdded(name="mine", guests=("n2",)))
    found = cluster.take(BRAMS, HPL)
    assert [event.name for event in found.events] == ["hpl-8"]
    assert found.problems == (
        "job 7 (brams) is left out: its guest n2 belongs to job mine, and a guest can be of one job only",
    )
    cluster.take()
    assert list(cluster.jobs) == ["mine"]
    cluster.tell(JobRemoved(name="mine"))
    assert cluster.take(BRAMS).events == (ADDED,)


def test_of_two_jobs_that_share_a_node_the_older_is_taken() -> None:
    cluster = Told()
    younger = replace(HPL, nodes=("n2", "n3"), started_at=999_900.0)
    found = cluster.take(younger, BRAMS)
    assert found.events == (ADDED,)
    assert found.problems == (
        "job 8 (hpl) is left out: its guest n2 belongs to job brams-7, and a guest can be of one job only",
    )
    assert [event.name for event in cluster.take(younger).events] == ["brams-7", "hpl-8"]


def test_an_operators_job_that_is_called_like_one_of_slurm_stays() -> None:
    cluster = Told()
    cluster.tell(JobAdded(name="brams-7", guests=("n4",)))
    assert cluster.take(BRAMS) == Changes((), ("job 7 is left out: an operator named another job brams-7",))


def test_what_the_prolog_told_is_known_by_its_number_and_completed() -> None:
    cluster = Told()
    cluster.tell(JobAdded(name="from the prolog", guests=("n1", "n2"), slurm_job=7, wall_time_limit_s=3600.0))
    cluster.take(BRAMS)
    (job,) = cluster.jobs.values()
    assert (job.name, job.started_at, job.wall_time_limit_s) == ("from the prolog", 999_000.0, 43200.0)
    assert cluster.take(BRAMS) == NOTHING


def test_a_job_that_was_added_while_slurm_was_asked_goes_on() -> None:
    cluster = Told()
    asked_at = cluster.now_s
    cluster.now_s += 5.0
    cluster.tell(JobAdded(name="brams-7", guests=("n1", "n2"), slurm_job=7))
    assert cluster.found(asked_at=asked_at) == NOTHING
    assert cluster.found(asked_at=cluster.now_s + 1.0).events == (JobRemoved(name="brams-7"),)


def test_a_prolog_that_runs_is_not_the_end_of_what_it_told() -> None:
    cluster = Told()
    cluster.tell(JobAdded(name="brams-7", guests=("n1", "n2"), slurm_job=7))
    assert cluster.take(replace(BRAMS, phase=Phase.STARTING)) == NOTHING
    assert Told().take(replace(BRAMS, phase=Phase.STARTING)) == NOTHING


def test_another_limit_is_taken_over_and_what_an_operator_said_of_the_end_stays() -> None:
    cluster = Told()
    cluster.take(BRAMS)
    cluster.tell(JobAdded(name="brams-7", guests=("n1", "n2"), remaining_s=600.0))
    ends_at = cluster.jobs["brams-7"].ends_at
    assert cluster.take(BRAMS) == NOTHING
    assert cluster.take(replace(BRAMS, limit_s=None)).events == (replace(ADDED, wall_time_limit_s=None),)
    job = cluster.jobs["brams-7"]
    assert (job.ends_at, job.wall_time_limit_s, job.started_at) == (ends_at, None, 999_000.0)


def test_a_guest_that_is_restarted_makes_its_job_no_smaller() -> None:
    cluster = Told()
    cluster.take(BRAMS)
    gone = cluster.guests.pop("n2")
    cluster.tell_inventory()
    assert cluster.take(BRAMS) == NOTHING  # `migctl jobs` says which of its guests is missing
    cluster.guests["n2"] = gone
    cluster.tell_inventory()
    assert cluster.take(BRAMS) == NOTHING


def test_a_job_that_gave_nodes_back_is_smaller() -> None:
    cluster = Told()
    cluster.take(BRAMS)
    assert cluster.take(replace(BRAMS, nodes=("n1",))).events == (replace(ADDED, guests=("n1",)),)


def test_jobs_on_other_machines_are_none_of_ours() -> None:
    cluster = Told()
    assert cluster.take(BRAMS, replace(HPL, nodes=("metal1", "metal2"))) == Changes((ADDED,), ())
    mixed = replace(BRAMS, number=9, nodes=("n3", *(f"metal{number}" for number in range(5))))
    assert cluster.take(BRAMS, mixed).problems == (
        "job 9 runs on metal0, metal1, metal2 and 2 more too, which no running guest of this pool is",
    )


def test_a_mapping_that_fits_no_node_is_a_problem_that_names_its_mend() -> None:
    found = Told().found(replace(BRAMS, nodes=("n1.example.org", "n2.example.org")))
    assert found == Changes(
        (),
        (
            "none of the 2 nodes that jobs run on (n1.example.org, n2.example.org) is a running guest of this pool; "
            "[slurm] match and [slurm.nodes] say which guest a node is",
        ),
    )


def test_nodes_are_found_by_host_name_or_by_a_table() -> None:
    cluster = Told()
    told = replace(BRAMS, nodes=("N1.example.org", "n2.example.org"))
    assert cluster.found(told, match="hostname").events == (ADDED,)
    table = {"N1.example.org": "n1", "n2.example.org": "n2"}
    assert cluster.found(told, nodes=table).events == (ADDED,)


def test_a_name_that_two_guests_bear_is_nobodys() -> None:
    guests = {name: replace(pool_guest(name, "a"), name="same") for name in ("n1", "n2")}
    nodes = NodeGuests(SlurmSection(), guests)
    assert (nodes.uuid_of("same"), nodes.uuid_of("n2")) == (None, "n2")


def test_a_job_may_be_called_anything() -> None:
    assert [job_name(name, 5) for name in ("brams", "hpl dt/5", "", "../../é;$(x)", "x" * 100)] == [
        "brams-5",
        "hpl_dt_5-5",
        "-5",
        ".._..______x_-5",
        "x" * 64 + "-5",
    ]


def test_a_job_that_its_limit_ends_soon_is_left_alone() -> None:
    """The same cluster moves a rank of the job as long as it has the time to gain by it."""

    def moved(limit_s: float) -> tuple[list[str], set[str]]:
        hog = pool_guest("hog", "a", vcpus=4, tags=("migd:never",))
        ranks = [pool_guest("n1", "a"), pool_guest("n2", "b")]
        cluster = Told([pool_host("a"), pool_host("b")], [hog, *ranks])
        cluster.set_policy("least-loaded")
        cluster.take(replace(BRAMS, started_at=cluster.now_s, limit_s=limit_s))
        decision = cluster.run(20, {"hog": 4.0})
        failed = {gate.name for each in decision.candidates for gate in each.gates if not gate.passed}
        return [start.guest for start in cluster.started], failed

    assert moved(86400.0)[0] == ["n1"]
    assert moved(180.0) == ([], {"gain"})
