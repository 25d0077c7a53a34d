"""A move that nothing else stops waits for a quiet phase of its guest, is judged anew, and does not wait for long."""

import msgspec
from cluster_of_events import CONFIG, Cluster, pool_guest, pool_host
from msgspec.structs import replace as replaced

from migd_controller.config import ControllerConfig, PhasesSection
from migd_controller.decision import Candidate, Decision, Gate
from migd_controller.events import JobAdded, MigrationRequested, SampleArrived, Tick
from migd_controller.memory import Memory
from migd_controller.quiet import PHASE, QuietWait, remembered
from migd_controller.views import guest_text
from migd_core.health import HealthState, HostHealth
from migd_core.messages import DirtyCurve, HostSample
from migd_core.units import GIB
from migd_core.world import Reason

BUSY = DirtyCurve((0.1, 1.0, 4.0, 8.0), (5_000, 50_000, 200_000, 400_000))
CALM = DirtyCurve((0.1, 1.0, 4.0, 8.0), (250, 2_500, 10_000, 20_000))
AT_WORK_S, QUIET_S = 90, 60


class Phased(Cluster):
    """A rank beside three others and, from `crowd` on, a hog; it works for 90 s and writes to its disk for 60."""

    def __init__(self, config: ControllerConfig = CONFIG) -> None:
        hog = pool_guest("hog", "a", vcpus=2, tags=("migd:never",))
        ranks = [pool_guest(f"rank{n}", "a", memory_bytes=2 * GIB) for n in range(3)]
        super().__init__([pool_host("a"), pool_host("b")], [hog, *ranks], config)
        self.set_policy("least-loaded")
        self.tell(JobAdded(name="brams", guests=tuple(rank.uuid for rank in ranks), remaining_s=86400.0))
        self.tell(JobAdded(name="a render", guests=("hog",), remaining_s=1.0))  # nobody gains by it
        self.wants = {"hog": 0.5}
        self.at_s = 0
        self.skips_quiet = False

    def pass_s(self, seconds: int) -> None:
        """Let time pass, a sample a second and a tick every five."""
        for _ in range(seconds):
            self.at_s += 1
            self.now_s += 1.0
            self.sequence += 1
            for host in self.hosts:
                self.tell(SampleArrived(sample=self._sample(host)))
            if self.at_s % 5 == 0:
                self.tell(Tick())

    def crowd(self) -> None:
        self.wants = {"hog": 2.0}

    @property
    def into_s(self) -> int:
        return self.at_s % (AT_WORK_S + QUIET_S)

    def _sample(self, host: str) -> HostSample:
        is_quiet = self.into_s >= AT_WORK_S and not self.skips_quiet
        found = super().sample(host, self.wants)
        # A probe ends in the middle of each part.
        curve = CALM if is_quiet else BUSY
        curve = replaced(curve, measured_s=self.now_s - self.into_s % 30)
        is_counted = self.into_s in (60, 120)
        return replaced(
            found,
            guests=tuple(
                replaced(
                    guest,
                    tx_bytes_per_s=3e5 if is_quiet else 14e6,
                    dirty_curve=curve if is_counted else None,
                )
                for guest in found.guests
            ),
        )

    @property
    def decision(self) -> Decision:
        assert self.core.last_decision is not None
        return self.core.last_decision

    def phase_gate(self) -> Gate:
        return next(gate for gate in self.decision.candidates[0].gates if gate.name == PHASE)


def watched_until_into(into_s: int, config: ControllerConfig = CONFIG) -> Phased:
    """Six periods have gone by, and so much of the seventh when the hog begins to want two cores."""
    cluster = Phased(config)
    cluster.pass_s(6 * (AT_WORK_S + QUIET_S) + into_s - 15)
    cluster.crowd()
    cluster.pass_s(15)
    while not cluster.decision.candidates:
        cluster.pass_s(5)
    return cluster


def test_a_move_waits_for_the_quiet_phase_and_is_made_in_it() -> None:
    cluster = watched_until_into(60)
    assert cluster.started == []
    assert cluster.decision.reason.code == "refused"
    gate = cluster.phase_gate()
    assert not gate.passed
    assert gate.text.startswith("waits until 14:03:")
    assert ", and no longer than until 14:17:" in gate.text
    assert gate.value is not None
    assert gate.threshold is not None
    assert gate.value < gate.threshold
    (guest,) = cluster.core.memory.quiet_waits
    assert guest_text(cluster.core, guest, guest, cluster.now_s).startswith(
        f"guest {guest} is on host a; policy least-loaded moves it, which waits until 14:03:"
    )
    while not cluster.started and cluster.into_s < AT_WORK_S + QUIET_S - 1:
        cluster.pass_s(1)
    assert AT_WORK_S < cluster.into_s <= AT_WORK_S + 20
    assert [start.guest for start in cluster.started] == [guest]
    assert cluster.phase_gate().text.startswith("the guest is in a quiet phase of ")
    assert cluster.core.memory.quiet_waits == {}


def test_the_price_is_that_of_the_phase_in_which_the_move_begins() -> None:
    cluster = watched_until_into(60)
    waiting = cluster.decision.candidates[0].price
    while not cluster.started:
        cluster.pass_s(1)
    begun = cluster.decision.candidates[0].price
    assert waiting is not None
    assert begun is not None
    assert begun.total_s < waiting.total_s / 2
    (migration,) = cluster.core.memory.in_flight.values()
    assert migration.predicted_s == begun.total_s


def test_asking_for_the_plan_changes_nothing_of_who_waits() -> None:
    cluster = watched_until_into(60)
    before = cluster.core.memory
    assert not cluster.core.plan(cluster.now_s).candidates[0].is_accepted
    assert cluster.core.memory is before
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(before), type=Memory) == before


def test_a_phase_that_does_not_come_is_waited_for_until_the_deadline() -> None:
    cluster = watched_until_into(60, replaced(CONFIG, phases=PhasesSection(wait_at_most_s=60.0)))
    (wait,) = cluster.core.memory.quiet_waits.values()
    cluster.skips_quiet = True
    while not cluster.started and cluster.now_s < wait.since + 200.0:
        cluster.pass_s(1)
    assert cluster.now_s == wait.since + 60.0
    assert cluster.phase_gate().text.startswith("it has waited 60 s for a quiet phase of ")


def test_without_the_time_to_wait_nobody_does_and_nothing_is_looked_at() -> None:
    cluster = watched_until_into(60, replaced(CONFIG, phases=PhasesSection(wait_at_most_s=0.0)))
    assert len(cluster.started) == 1
    assert PHASE not in [gate.name for gate in cluster.decision.candidates[0].gates]


def test_an_operators_own_move_waits_for_nothing() -> None:
    cluster = watched_until_into(60)
    cluster.tell(MigrationRequested(guest="rank0", target="b"))
    assert [start.guest for start in cluster.started] == ["rank0"]


def test_a_guest_leaves_a_failing_host_at_once() -> None:
    cluster = Phased()
    cluster.set_policy("evacuate")
    cluster.pass_s(6 * (AT_WORK_S + QUIET_S) + 60)
    cluster.health["a"] = HostHealth(state=HealthState.FAILING, reasons=("disk sda is dying",))
    cluster.pass_s(5)
    assert len(cluster.started) == 1
    assert cluster.phase_gate() == Gate(
        name=PHASE, passed=True, text="the guest leaves for its safety, and waits for no quiet phase"
    )


def test_a_restart_forgets_phases_and_so_waits_for_none() -> None:
    cluster = watched_until_into(60)
    later = Cluster(cluster.hosts.values(), cluster.guests.values(), CONFIG, cluster.core.memory)
    later.now_s = cluster.now_s
    later.run(4, cluster.wants)
    assert len(later.started) == 1


def decided(at: float, *gates: Gate) -> Decision:
    candidates = (Candidate(guest="g", source="a", target="b", why="", gates=gates),) if gates else ()
    return Decision(cause="D1", at=at, policy="p", reason=Reason("r", "r"), candidates=candidates)


WAITS, POOR, GOOD = (
    Gate(name=name, passed=passed, text="") for name, passed in ((PHASE, False), ("gain", False), ("x", True))
)


def test_a_wish_has_one_deadline_however_often_it_is_proposed_anew() -> None:
    waits = remembered({}, decided(100.0, GOOD, WAITS), 60.0)
    assert waits == {"g": QuietWait(since=100.0, proposed_at=100.0)}
    waits = remembered(waits, decided(105.0), 60.0)
    waits = remembered(waits, decided(110.0, POOR), 60.0)
    assert waits == {"g": QuietWait(since=100.0, proposed_at=110.0)}
    assert remembered(waits, decided(169.0), 60.0) == waits
    assert remembered(waits, decided(170.0), 60.0) == {}
    assert remembered(waits, decided(115.0, GOOD), 60.0) == {}, "it was made"


def test_what_is_stopped_by_something_else_does_not_wait() -> None:
    assert remembered({}, decided(100.0, POOR, WAITS), 60.0) == {}


def test_a_clock_set_back_makes_no_wait_longer() -> None:
    waits = {"g": QuietWait(since=100.0, proposed_at=110.0)}
    assert remembered(waits, decided(50.0, WAITS), 60.0) == {"g": QuietWait(since=50.0, proposed_at=50.0)}
