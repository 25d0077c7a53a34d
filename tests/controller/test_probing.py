"""Guests are probed one a host, now and then, and nobody migrates them meanwhile."""

from typing import Any

import pytest
from cluster_of_events import CONFIG, pool_guest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from msgspec.structs import replace
from probed_cluster import PROBE, WINDOW_S, Probed

from migd_controller.commands import BeginProbe, EndProbe, RecordDecision, RevokeProbe, StartMigration
from migd_controller.config import ProbeSection
from migd_controller.core import Core
from migd_controller.events import (
    AgentListens,
    MigrationEnded,
    MigrationRequested,
    Paused,
    PoolReachability,
    ProbeEnded,
    ProbeRequested,
    Resumed,
    SampleArrived,
    Source,
    Tick,
)
from migd_controller.leases import Lease, block_text, lease_of_block
from migd_controller.probing import MARGIN_S, REST_S, ages_s
from migd_core.messages import PROBE_AROUND_S, DirtyCurve, ProbeState
from migd_core.units import GIB


def test_a_guest_without_a_curve_is_given_on_lease_once_its_host_reports() -> None:
    cluster = Probed(pool_guest("g", on="a"))
    cluster.run(1)
    (lease,) = cluster.begun
    assert lease == Lease(
        lease="D1.p1",
        guest="g",
        host="a",
        asked_at=cluster.now_s,
        over_at=cluster.now_s + WINDOW_S + PROBE_AROUND_S + MARGIN_S,
        boot_id="boot",
        until_s=cluster.now_s + WINDOW_S + PROBE_AROUND_S,
        ages_s=ages_s(PROBE, 4 * GIB, 0.9 * 125e6),
        guest_name="g",
        host_name="a",
    )
    assert lease.ages_s[0] == 0.05
    assert lease.ages_s[-1] == pytest.approx(19.09, abs=0.01)


def test_the_agents_deadline_comes_before_the_controllers_however_late_the_sample_was() -> None:
    cluster = Probed(pool_guest("g", on="a"))
    cluster.run(1)
    for late_s in (0.0, 3.0):
        cluster = Probed(pool_guest("g", on="a"), memory=None)
        arrived_s = cluster.now_s
        cluster.now_s += late_s
        cluster.tell(Tick())
        (lease,) = cluster.begun
        # At the latest: the sample may have been on its way.
        agents_deadline_s = arrived_s + lease.until_s - cluster.sample("a", {}).monotonic_s + late_s
        assert lease.over_at - agents_deadline_s == pytest.approx(MARGIN_S)


def test_each_host_probes_one_guest_at_a_time_and_those_without_a_curve_come_first() -> None:
    cluster = Probed(pool_guest("g", on="a"), pool_guest("h", on="a"), pool_guest("i", on="b"))
    cluster.curves["g"] = DirtyCurve((1.0,), (10,))
    cluster.run(1)
    assert [lease.guest for lease in cluster.begun] == ["h", "i"]
    cluster.run(3)
    assert len(cluster.begun) == 2


def test_a_curve_ends_the_lease_and_the_guest_may_move_once_the_pool_lets_it() -> None:
    cluster = Probed(pool_guest("g", on="a"))
    cluster.run(1)
    (lease,) = cluster.begun
    assert cluster.immovable("g") == "migd counts its dirty pages (D1.p1); it may be migrated again in 29 s at most"
    cluster.says(lease, "under-way")
    cluster.run(1)
    assert cluster.ended == []
    cluster.says(lease, "done")
    cluster.run(1)
    assert cluster.ended == [("D1.p1", "")]
    assert "the pool is about to allow migrations again" in (cluster.immovable("g") or "")
    cluster.tell(ProbeEnded(lease="D1.p1"))
    assert cluster.immovable("g") is None
    assert cluster.core.memory.leases == {}


def test_a_lease_that_nobody_speaks_of_is_ended_by_its_time_and_asked_for_once() -> None:
    cluster = Probed(pool_guest("g", on="a"))
    cluster.run(1)
    (lease,) = cluster.begun
    while cluster.now_s < lease.over_at:
        assert cluster.ended == []
        cluster.run(1)
    cluster.run(5)
    assert cluster.ended == [("D1.p1", "its agent has not said what became of it")]


@pytest.mark.parametrize("state", ["refused", "stood-back", "failed", "expired"])
def test_a_lease_that_came_to_nothing_lets_the_host_rest(state: ProbeState) -> None:
    cluster = Probed(pool_guest("g", on="a"), pool_guest("h", on="a"))
    cluster.run(1)
    cluster.says(cluster.begun[0], state, "why")
    cluster.run(1)
    assert cluster.ended == [("D1.p1", f"{state}: why")]
    told_at = cluster.now_s
    cluster.tell(ProbeEnded(lease="D1.p1", text=f"{state}: why"))
    while len(cluster.begun) == 1:
        cluster.run(1)
    assert cluster.begun[1].guest == "h"
    assert cluster.now_s - told_at == pytest.approx(REST_S, abs=CONFIG.period_s)


def test_guests_whose_probes_are_refused_take_turns_and_keep_nobody_else_from_being_probed() -> None:
    """A probe that did not begin is no probe: the guest need not wait as after one."""
    cluster = Probed(pool_guest("g", on="a"), pool_guest("h", on="a"), pool_guest("i", on="a"))
    for _ in range(5):
        before = len(cluster.begun)
        while len(cluster.begun) == before:
            cluster.run(1)
        lease = cluster.begun[-1]
        cluster.says(lease, "done" if lease.guest == "i" else "refused")
        cluster.run(1)
        cluster.tell(ProbeEnded(lease=lease.lease))
    assert [lease.guest for lease in cluster.begun] == ["g", "h", "i", "g", "h"]
    assert cluster.begun[3].asked_at - cluster.begun[0].asked_at < PROBE.apart_s


def test_a_guest_is_probed_for_no_more_than_its_share_of_time() -> None:
    cluster = Probed(pool_guest("g", on="a"))
    for _ in range(3):
        before = len(cluster.begun)
        while len(cluster.begun) == before:
            cluster.run(1)
        cluster.says(cluster.begun[-1], "done")
        cluster.run(1)
        cluster.tell(ProbeEnded(lease=cluster.begun[-1].lease))
    first, second, third = (lease.asked_at for lease in cluster.begun)
    apart_s = (WINDOW_S + PROBE_AROUND_S) / 0.01
    assert second - first == pytest.approx(apart_s, abs=CONFIG.period_s)
    assert third - second == pytest.approx(apart_s, abs=CONFIG.period_s)


@pytest.mark.parametrize(
    "values",
    [
        {"tags": ("migd:no-probe",)},
        {"tags": ("migd:never",)},
        {"blocked_because": "blocked_operations forbids it (backup)"},
        {"busy_with": "clean_reboot"},
        {"arriving_at": "b"},
    ],
)
def test_a_guest_that_is_not_idle_or_not_to_be_probed_is_left_alone(values: dict[str, Any]) -> None:
    cluster = Probed(pool_guest("g", on="a", **values))
    cluster.run(3)
    assert cluster.begun == []


@pytest.mark.parametrize("what", ["no agent listens", "it stopped listening", "agentless", "silent", "paused", "off"])
def test_a_host_that_cannot_probe_now_gets_no_lease(what: str) -> None:
    off = replace(CONFIG, probe=replace(PROBE, guest_time_ratio=0.0))
    cluster = Probed(pool_guest("g", on="a"), config=off if what == "off" else replace(CONFIG, probe=PROBE))
    match what:
        case "no agent listens":
            cluster.core.telemetry.listening.clear()
        case "it stopped listening":
            cluster.tell(AgentListens(host="a", listens=False))
        case "agentless":
            cluster.tell(SampleArrived(sample=replace(cluster.sample("a", {}), boot_id="rrd"), source=Source.RRD))
            cluster.tell(Tick())
            cluster.silent = set(cluster.hosts)
        case "silent":
            cluster.tell(SampleArrived(sample=cluster.sample("a", {})))
            cluster.silent, cluster.now_s = set(cluster.hosts), cluster.now_s + 60.0
        case "paused":
            cluster.tell(Paused())
    cluster.run(3)
    assert cluster.begun == []


def test_a_guest_is_not_probed_while_migd_moves_it() -> None:
    cluster = Probed(pool_guest("g", on="a"))
    cluster.core.telemetry.listening.clear()
    cluster.run(1)
    cluster.tell(MigrationRequested(guest="g", target="b"))
    assert len(cluster.started) == 1
    cluster.tell(AgentListens(host="a", listens=True))
    cluster.run(3)
    assert cluster.begun == []


def test_a_guest_rests_from_probes_too_after_a_failed_migration_and_no_longer() -> None:
    """What is remembered of its failure is remembered for a day more, so that a further one counts as in a row."""
    cluster = Probed(pool_guest("g", on="a"))
    cluster.tell(Paused())
    cluster.run(1)
    cluster.tell(Resumed())
    cluster.tell(MigrationRequested(guest="g", target="b"))
    (start,) = cluster.started
    cluster.tell(MigrationEnded(cause=start.cause, host_now="a", code="ANSWER_LOST"))
    rest_s = CONFIG.guards.retry_after_s
    cluster.run(int(rest_s / CONFIG.period_s) - 1)
    assert cluster.begun == []
    cluster.run(2)
    assert [lease.guest for lease in cluster.begun] == ["g"]


def test_a_request_by_hand_for_a_guest_on_lease_is_refused_and_the_probe_given_up() -> None:
    cluster = Probed(pool_guest("g", on="a"))
    cluster.run(1)
    (lease,) = cluster.begun
    decided, revoked = cluster.tell(MigrationRequested(guest="g", target="b"))
    assert isinstance(decided, RecordDecision)
    (candidate,) = decided.decision.candidates
    assert [gate.name for gate in candidate.gates if not gate.passed] == ["movable"]
    assert revoked == RevokeProbe(lease=lease)


def test_a_pause_gives_every_probe_up() -> None:
    cluster = Probed(pool_guest("g", on="a"), pool_guest("h", on="b"))
    cluster.run(1)
    assert cluster.tell(Paused()) == [RevokeProbe(lease=lease) for lease in cluster.begun]


@pytest.mark.parametrize("tag", ["migd:no-probe", "migd:never"])
def test_a_guest_that_is_tagged_in_mid_probe_is_left_alone_from_the_next_tick_on(tag: str) -> None:
    """It is said again until the agent has heard of it."""
    cluster = Probed(pool_guest("g", on="a"), pool_guest("h", on="b"))
    cluster.run(1)
    of_g, _ = cluster.begun
    cluster.guests["g"] = replace(cluster.guests["g"], tags=(tag,))
    cluster.tell_inventory()
    cluster.run(2)
    assert [command for command in cluster.commands if isinstance(command, RevokeProbe)] == [
        RevokeProbe(lease=of_g)
    ] * 2


def test_what_was_counted_of_a_guest_that_stopped_while_the_pool_was_silent_is_forgotten() -> None:
    """What starts again is another run of it, and the whole inventory after the silence names no guest that is gone."""
    cluster = Probed(pool_guest("g", on="a"))
    cluster.run(1)
    cluster.says(cluster.begun[0], "done")
    cluster.run(1)
    assert len(cluster.core.telemetry.curves("g")) == 1
    stopped = cluster.guests.pop("g")
    cluster.curves.clear()
    cluster.tell_inventory()
    cluster.guests["g"] = stopped
    cluster.tell_inventory()
    assert cluster.core.telemetry.curves("g") == ()


@pytest.mark.parametrize("leap_s", [9e11, MARGIN_S + 0.1])
def test_an_agent_whose_clock_leaps_gets_no_lease(leap_s: float) -> None:
    """Its own deadline is told in that clock, and is what ends a probe that the controller hears nothing of."""
    cluster = Probed(pool_guest("g", on="a"))
    cluster.sequence += 1
    sample = cluster.sample("a", {})
    cluster.tell(SampleArrived(sample=replace(sample, monotonic_s=sample.monotonic_s + leap_s)))
    cluster.tell(Tick())
    assert cluster.begun == []
    text = f"the clock of its host, or the way of its samples, went {leap_s:.1f} s wrong in 39 s"
    assert cluster.waits_for() == (text, 0.0)
    cluster.run(14)
    assert len(cluster.begun) == 1, "a minute of samples without a leap is enough"


@pytest.mark.parametrize(("lost_ratio", "begun"), [(1.0, 0), (0.25, 0), (0.1, 1), (0.0, 1)])
def test_an_agent_whose_clock_goes_slow_gets_no_lease(lost_ratio: float, begun: int) -> None:
    """One that has leapt ahead, and is to lose that again, ends a probe too late; it may be met right after a start."""
    cluster = Probed(pool_guest("g", on="a"), warm_s=0)
    begins_s = cluster.now_s
    for number in range(1, 5):
        assert cluster.begun == []
        cluster.now_s += 1.0
        cluster.sequence += 1
        sample = cluster.sample("a", {})
        slow_s = begins_s + (1.0 - lost_ratio) * number
        cluster.tell(SampleArrived(sample=replace(sample, monotonic_s=slow_s)))
        if number == 1:
            cluster.tell(Tick())
            assert "has been seen but once" in cluster.waits_for()[0]
    cluster.tell(Tick())
    assert len(cluster.begun) == begun


def test_a_silence_is_part_of_what_is_watched() -> None:
    """Where samples come more seldom than once a minute, each is held against the one before."""
    cluster = Probed(pool_guest("g", on="a"), warm_s=1)
    cluster.now_s += 300.0
    cluster.measure(1, {})
    cluster.tell(Tick())
    assert len(cluster.begun) == 1


def test_a_probe_that_was_given_up_costs_its_host_no_rest() -> None:
    cluster = Probed(pool_guest("g", on="a"), pool_guest("h", on="a"))
    cluster.run(1)
    cluster.says(cluster.begun[0], "revoked")
    cluster.run(1)
    assert cluster.ended == [("D1.p1", "revoked")]
    cluster.tell(ProbeEnded(lease="D1.p1", text="revoked"))
    cluster.run(1)
    assert [lease.guest for lease in cluster.begun] == ["g", "h"]


def test_a_lease_that_the_pool_refused_lets_the_host_rest() -> None:
    cluster = Probed(pool_guest("g", on="a"), pool_guest("h", on="a"))
    cluster.run(1)
    cluster.tell(ProbeEnded(lease="D1.p1", text="RBAC_PERMISSION_DENIED"))
    cluster.run(10)
    assert len(cluster.begun) == 1
    cluster.run(5)
    assert [lease.guest for lease in cluster.begun] == ["g", "h"]


def test_a_restarted_controller_goes_on_with_its_leases_and_gives_each_its_full_time() -> None:
    cluster = Probed(pool_guest("g", on="a"))
    cluster.run(1)
    (lease,) = cluster.begun
    restarted = Core(cluster.core.config, cluster.core.memory)
    set_back_s = lease.asked_at - 86400.0
    assert restarted.adopt(set_back_s) == []
    (known,) = restarted.memory.leases.values()
    assert known == replace(lease, over_at=set_back_s + PROBE.window_at_most_s + PROBE_AROUND_S + MARGIN_S)


def test_a_restarted_controller_ends_what_was_ending() -> None:
    cluster = Probed(pool_guest("g", on="a"))
    cluster.run(1)
    cluster.says(cluster.begun[0], "done")
    cluster.run(1)
    (end,) = Core(cluster.core.config, cluster.core.memory).adopt(cluster.now_s)
    assert isinstance(end, EndProbe)
    assert end.lease.lease == "D1.p1"


def test_a_block_that_migd_does_not_remember_is_taken_away_once_its_agent_must_be_done() -> None:
    cluster = Probed(pool_guest("g", on="a", probed_by="D7.p1"))
    assert cluster.immovable("g") == "migd has kept it from being migrated for D7.p1, and is about to allow it again"
    cluster.run(9)
    assert cluster.ended == []
    cluster.run(2)
    assert cluster.ended == [("D7.p1", "its agent has not said what became of it")]
    cluster.tell(ProbeEnded(lease="D7.p1"))
    assert cluster.immovable("g") is None


def test_a_report_of_a_host_that_the_lease_is_not_for_changes_nothing() -> None:
    cluster = Probed(pool_guest("g", on="a"))
    cluster.run(1)
    cluster.says(replace(cluster.begun[0], host="b"), "done")
    cluster.run(2)
    assert cluster.ended == []


def test_ages_rise_by_one_factor_to_half_of_what_sending_all_memory_takes() -> None:
    section = ProbeSection(first_age_s=0.05, ages=4)
    assert ages_s(section, 4000, 1000.0) == (0.05, 0.215443, 0.928318, 4.0)
    assert ages_s(section, 20_000, 1000.0)[-1] == pytest.approx(10.0)
    assert ages_s(section, 10**12, 1000.0)[-1] == pytest.approx(40.0)
    assert ages_s(section, 1, 0.0)[-1] == pytest.approx(40.0)


def test_somebody_elses_block_is_no_lease() -> None:
    assert lease_of_block(block_text("D1.p1")) == "D1.p1"
    assert lease_of_block("backup") == ""


class Life(RuleBasedStateMachine):
    """A pool, agents and a controller that dies, in any order. Each agent obeys its own clock only.

    `blocked` is the pool's, `probing` the agents': neither is what the core believes.
    """

    def __init__(self) -> None:
        super().__init__()
        guests = [pool_guest(f"g{number}", on="ab"[number % 2]) for number in range(4)]
        guards = replace(CONFIG.guards, max_concurrent_per_source=4, max_concurrent_per_target=4)
        probe = replace(PROBE, apart_s=0.0, guest_time_ratio=1.0)
        self.cluster = Probed(*guests, config=replace(CONFIG, guards=guards, probe=probe))
        self.blocked: dict[str, str] = {}
        self.migrating: dict[str, StartMigration] = {}
        self.probing: dict[str, Lease] = {}
        self.pending: list[BeginProbe | EndProbe] = []
        self.seen = 0
        self.time_passes(steps=1)

    def carry_out(self) -> None:
        """Take up what the core has commanded; probes are carried out later, one by one."""
        fresh, self.seen = self.cluster.commands[self.seen :], len(self.cluster.commands)
        for command in fresh:
            match command:
                case StartMigration(guest=guest):
                    assert guest not in self.probing, "a guest that is being probed is migrated"
                    if guest in self.blocked:
                        self.tell(
                            MigrationEnded(cause=command.cause, host_now=command.source, code="CHANGED_MEANWHILE")
                        )
                    else:
                        self.migrating[guest] = command
                case BeginProbe() | EndProbe():
                    self.pending.append(command)
                case RevokeProbe(lease=lease) if self.probing.get(lease.guest) == lease:
                    del self.probing[lease.guest]
                    self.cluster.says(lease, "revoked")

    def tell(self, event: Any) -> None:
        self.cluster.tell(event)
        self.carry_out()

    @rule(steps=st.integers(1, 8))
    def time_passes(self, steps: int) -> None:
        for _ in range(steps):
            for guest, lease in list(self.probing.items()):
                if self.cluster.now_s >= lease.until_s:
                    del self.probing[guest]
            self.cluster.run(1)
            self.carry_out()

    @precondition(lambda self: self.pending)
    @rule()
    def the_pool_answers_everything(self) -> None:
        while self.pending:
            self.ask_the_pool(self.pending.pop(0))

    @precondition(lambda self: self.pending)
    @rule(data=st.data())
    def the_pool_answers_one(self, data: st.DataObject) -> None:
        self.ask_the_pool(self.pending.pop(data.draw(st.integers(0, len(self.pending) - 1))))

    def ask_the_pool(self, command: BeginProbe | EndProbe) -> None:
        """Do to the pool what a command about a probe asks for, and tell the core."""
        lease = command.lease
        match command:
            case EndProbe():
                # As the executor does: what is to begin for this lease is over before its end is carried out.
                self.pending = [each for each in self.pending if each.lease.lease != lease.lease]
                if self.blocked.get(lease.guest) == lease.lease:
                    del self.blocked[lease.guest]
                self.tell(ProbeEnded(lease=lease.lease, text=command.text))
            case BeginProbe() if lease.guest in self.migrating or lease.guest in self.blocked:
                self.tell(ProbeEnded(lease=lease.lease, text="not idle"))
            case BeginProbe():
                self.blocked[lease.guest] = lease.lease
                if self.cluster.now_s < lease.until_s:
                    self.probing[lease.guest] = lease

    @precondition(lambda self: self.probing)
    @rule(data=st.data(), state=st.sampled_from(["done", "failed", "stood-back", None]))
    def an_agent_is_done(self, data: st.DataObject, state: ProbeState | None) -> None:
        lease = self.probing.pop(data.draw(st.sampled_from(sorted(self.probing))))
        if state is not None:  # else it was killed, and nobody hears of it
            self.cluster.says(lease, state)

    @rule(guest=st.integers(0, 3))
    def somebody_asks_for_a_move(self, guest: int) -> None:
        known = self.cluster.guests[f"g{guest}"]
        self.tell(MigrationRequested(guest=known.uuid, target="b" if known.host == "a" else "a"))

    @rule(guest=st.integers(0, 3))
    def somebody_asks_for_a_probe(self, guest: int) -> None:
        self.tell(ProbeRequested(guest=f"g{guest}"))

    @precondition(lambda self: self.migrating)
    @rule(data=st.data())
    def a_migration_ends(self, data: st.DataObject) -> None:
        command = self.migrating.pop(data.draw(st.sampled_from(sorted(self.migrating))))
        self.cluster.guests[command.guest] = replace(self.cluster.guests[command.guest], host=command.target)
        self.tell(MigrationEnded(cause=command.cause, host_now=command.target))

    @rule(set_back_s=st.sampled_from([0.0, 3600.0, -3600.0]))
    def the_controller_is_killed(self, set_back_s: float) -> None:
        """What it had asked for and the pool had not yet done is lost, but for migrations, which go on."""
        restarted = Core(self.cluster.core.config, self.cluster.core.memory)
        self.pending = []
        # An agent's clock does not care.
        self.probing = {
            guest: replace(lease, until_s=lease.until_s - set_back_s) for guest, lease in self.probing.items()
        }
        self.cluster.core, self.cluster.now_s = restarted, self.cluster.now_s - set_back_s
        self.cluster.commands += restarted.adopt(self.cluster.now_s)
        self.tell(PoolReachability(is_reachable=True))
        for host in self.cluster.hosts:
            self.tell(AgentListens(host=host, listens=True))
        self.the_pool_tells()
        self.time_passes(steps=1)

    @rule()
    def the_pool_tells(self) -> None:
        for uuid, guest in self.cluster.guests.items():
            arriving = self.migrating[uuid].target if uuid in self.migrating else None
            told = replace(guest, probed_by=self.blocked.get(uuid, ""), arriving_at=arriving)
            self.cluster.guests[uuid] = told
        self.cluster.tell_inventory()
        self.carry_out()

    @precondition(lambda self: len(self.probing) > 1)
    @rule()
    def somebody_pauses_for_a_moment(self) -> None:
        self.tell(Paused())
        self.time_passes(steps=1)
        self.tell(Resumed())

    @invariant()
    def no_guest_is_probed_and_migrated_at_once(self) -> None:
        assert not self.probing.keys() & self.migrating.keys()

    @invariant()
    def a_guest_that_is_probed_is_kept_from_being_migrated(self) -> None:
        for guest, lease in self.probing.items():
            if self.cluster.now_s < lease.until_s:
                assert self.blocked.get(guest) == lease.lease

    def teardown(self) -> None:
        """Left alone for a while, the pool has no block of migd's."""
        self.tell(Paused())
        for _ in range(200):
            self.the_pool_answers_everything()
            if not self.blocked:
                return
            self.the_pool_tells()
            self.time_passes(steps=1)
        raise AssertionError(f"blocks stay: {self.blocked}")


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
