"""One turn of the loop: what the core decides is on disk before anybody carries it out, from the start on."""

from contextlib import closing
from pathlib import Path

from cluster_of_events import CONFIG
from msgspec.structs import replace

from migd_controller.commands import EndProbe, FollowMigration, PoolCommand, ProbeCommand, RecordSet
from migd_controller.control import Clock, Control
from migd_controller.core import Core
from migd_controller.events import Tick
from migd_controller.journal import Journal
from migd_controller.leases import Lease
from migd_controller.memory import Memory
from migd_controller.migration import Migration
from migd_controller.move_sets import MoveSet, SetStep, StepState
from migd_core.world import Reason

STEP = SetStep(
    number=0,
    guest="g1",
    source="a",
    target="b",
    reason=Reason("wanted", "a test wants it"),
    guest_name="g1",
    source_name="a",
    target_name="b",
)
SET = MoveSet(name="D1.s1", policy="no-longer-installed", at=1.0, steps=(STEP,))


def test_what_a_start_takes_up_and_drops_is_on_disk_before_it_is_carried_out(tmp_path: Path) -> None:
    """The policy of the last life is gone, so its set is dropped; its lease was ending, its migration under way."""
    lease = Lease(lease="D2.p1", guest="g2", host="a", asked_at=1.0, over_at=2.0, is_ending=True)
    migration = Migration(cause="D1.1", guest="g3", source="a", target="b", requested_by="x", asked_at=1.0, task="t")
    remembered = Memory(
        policy=SET.policy, sets={SET.name: SET}, leases={lease.lease: lease}, in_flight={migration.cause: migration}
    )
    with closing(Journal(tmp_path / "journal.sqlite")) as journal:
        journal.write(1.0, Tick(), [RecordSet(move_set=SET)], remembered)
        core = Core(CONFIG, remembered)
        control = Control(core, journal, Clock())
        seen: list[tuple[type[PoolCommand | ProbeCommand], Memory | None, list[StepState]]] = []

        def submit(command: PoolCommand | ProbeCommand) -> None:
            with closing(Journal(tmp_path / "journal.sqlite")) as on_disk:
                (found,) = on_disk.sets_of("D1")
                seen.append((type(command), on_disk.memory(), [step.state for step in found.steps]))

        control.submit = submit
        control.adopt()
    dropped = [StepState.DROPPED]
    assert core.memory.sets == {}
    assert seen == [(EndProbe, core.memory, dropped), (FollowMigration, core.memory, dropped)]
    assert replace(core.memory, leases={}) == replace(remembered, sets={}, leases={})
