"""A controller killed at any of its commands ends where one that nobody killed does, and does nothing twice.

Each run is repeated once for every command that it issues, with the controller killed just before that command is
carried out, and once more with it killed just after, when nobody has heard the answer yet.
"""

import contextlib
import tempfile
from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final, get_args

import pytest
from journaled_loop import Death, JournaledLoop
from msgspec.structs import replace

from migd_controller.commands import PoolCommand, ProbeCommand, StartMigration
from migd_controller.config import ControllerConfig, GuardsSection, ProbeSection, TelemetrySection, XapiSection
from migd_controller.events import CancelRequested, JobAdded, MigrationRequested, Paused, Resumed
from migd_core import config
from migd_sim.model import PoolSpec
from migd_sim.run.scenario import Scenario
from migd_sim.run.told import Told

PERIOD_S: Final = 5.0
NOTHING: Final = Path("unused")
SCENARIOS: Final = Path(__file__).parents[1] / "scenarios"
# What came to nothing is tried again within the run.
GUARDS: Final = GuardsSection(cooldown_s=20.0, retry_after_s=20.0)
PROBE: Final = ProbeSection(window_at_least_s=4.0, window_at_most_s=4.0, apart_s=60.0, guest_time_ratio=1.0)
TELEMETRY: Final = TelemetrySection(secret_key_file=NOTHING, agents_file=NOTHING, stale_after_s=PERIOD_S + 1.0)
XAPI: Final = XapiSection(url="unused", username="unused", password_file=NOTHING)


@dataclass(frozen=True)
class Run:
    """The cluster of a scenario, and what happens there at which time (s) in place of what the scenario says."""

    name: str
    until_s: float
    happenings: Sequence[tuple[float, Callable[[JournaledLoop], None]]] = ()

    def play(self, folder: Path, death: Death | None = None) -> JournaledLoop:
        scenario = config.load(SCENARIOS / self.name / "scenario.toml", Scenario)
        settings = ControllerConfig(
            telemetry=TELEMETRY, xapi=XAPI, period_s=PERIOD_S, guards=GUARDS, probe=PROBE, ledger=scenario.ledger
        )
        told, pool = Told(scenario.wants), _probed(scenario.pool, scenario.wants)
        loop = JournaledLoop(pool, settings, "observe", instead=told, folder=folder, death=death)
        for job in loop.cluster.jobs.values():
            remaining_s = scenario.jobs_remaining_s[job.name]
            loop.tell(JobAdded(name=job.name, guests=tuple(dict.fromkeys(job.guests)), remaining_s=remaining_s))
        for at_s, happens in self.happenings:
            loop.live_until(at_s, PERIOD_S)
            happens(loop)
        loop.live_until(self.until_s, PERIOD_S)
        return loop


def _probed(pool: PoolSpec, guests: Container[str]) -> PoolSpec:
    """Return the pool in which these guests (names) are probed, and no others."""
    others = tuple(each if each.name in guests else replace(each, tags=("migd:no-probe",)) for each in pool.guests)
    return replace(pool, guests=others)


def by_hand(guest: str, host: str) -> Callable[[JournaledLoop], None]:
    """An operator asks for a move."""

    def ask(loop: JournaledLoop) -> None:
        uuids = {
            each.name: each.uuid for parts in (loop.cluster.spec.hosts, loop.cluster.spec.guests) for each in parts
        }
        loop.tell(MigrationRequested(guest=uuids[guest], target=uuids[host]))

    return ask


def cancel_all(loop: JournaledLoop) -> None:
    """An operator cancels what is under way."""
    for cause in tuple(loop.core.memory.in_flight):
        loop.tell(CancelRequested(cause=cause))


def restart(loop: JournaledLoop) -> None:
    """The controller is killed and started, whatever else becomes of it."""
    loop.stop()
    loop.start()


# Two guests change places over a spare host, in three steps that have to be made in their order; the controller is
# killed in the first of them, whatever else becomes of it.
SWAP: Final = Run("two-guests-change-places-over-a-spare-host", 300.0, [(82.0, restart)])
# Probes are revoked by a pause; a move by hand is cancelled, and the guest stays.
CANCEL: Final = Run(
    "two-guests-change-places-over-a-spare-host",
    70.0,
    [
        (12.0, lambda loop: loop.tell(Paused())),
        (20.0, lambda loop: loop.tell(Resumed())),
        (41.0, by_hand("rank1", "c")),
        (43.0, cancel_all),
    ],
)
RUNS: Final = {"swap": SWAP, "cancel": CANCEL}


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """A folder in memory where there is such a place: how fast the disk is makes no difference to what is found."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as name:
        yield Path(name)


@pytest.fixture(scope="module")
def undisturbed() -> Iterator[Mapping[str, JournaledLoop]]:
    """Each run as it goes with nobody killed at a command."""
    with folder() as swap, folder() as cancel:
        loops = {"swap": SWAP.play(swap), "cancel": CANCEL.play(cancel)}
        yield loops
        for loop in loops.values():
            loop.journal.close()


def test_the_runs_issue_every_command_there_is(undisturbed: Mapping[str, JournaledLoop]) -> None:
    found = {type(command) for loop in undisturbed.values() for command in loop.issued}
    assert found == set(get_args(PoolCommand) + get_args(ProbeCommand))
    assert undisturbed["swap"].moved() == ["rank0", "idle", "rank0"]
    assert [(end.ok, end.reason) for end in undisturbed["cancel"].ends] == [(False, "cancelled")]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("name", RUNS)
def test_whichever_command_a_controller_dies_at_the_end_is_the_same(
    undisturbed: Mapping[str, JournaledLoop], name: str, after: bool
) -> None:
    expected = undisturbed[name]
    for number, command in enumerate(expected.issued):
        died_at = f"killed {'after' if after else 'before'} {type(command).__name__}, its command {number}"
        with folder() as own:
            loop = RUNS[name].play(own, Death(number, after))
            assert loop.lives == expected.lives + 1, died_at
            assert (loop.placement(), loop.moved()) == (expected.placement(), expected.moved()), died_at
            assert nothing_is_wrong(loop) == [], died_at
            loop.journal.close()


def nothing_is_wrong(loop: JournaledLoop) -> list[str]:
    """Say what is stale, lost or done twice; nothing is."""
    memory, now_s = loop.core.memory, loop.control.clock.now_s()
    asked = Counter(command.cause for command in loop.issued if isinstance(command, StartMigration))
    wrong = [f"{cause} was asked for {times} times" for cause, times in asked.items() if times > 1]
    held = {lease.guest: lease.lease for lease in memory.leases.values()}
    wrong += [f"{guest} is blocked by {lease}" for guest, lease in loop.blocks.items() if held.get(guest) != lease]
    wrong += [f"{each.lease} does not end" for each in memory.leases.values() if each.over_at + PERIOD_S < now_s]
    history = loop.journal.migrations(100)[::-1]
    for guest in {each.guest for each in history}:
        own = [each for each in history if each.guest == guest]
        wrong += [
            f"{each.cause} is forgotten" for each in own if not each.is_over and each.cause not in memory.in_flight
        ]
        wrong += [
            f"{later.cause} comes {later.asked_at - earlier.ended_at:g} s after {earlier.cause}"
            for earlier, later in pairwise(own)
            if earlier.ended_at is None or later.asked_at - earlier.ended_at < GUARDS.cooldown_s
        ]
    for decision in {each.cause.partition(".")[0] for each in history}:
        sets = loop.journal.sets_of(decision)
        wrong += [f"set {each.name} is forgotten" for each in sets if not each.is_over and each.name not in memory.sets]
    return wrong
