"""The agent's probe on real Xen: it ends as it should, whatever ends it, and no migration is harmed."""

from typing import Any

from out_of_band import Human
from scene import TRAVELLER


def test_log_dirty_is_off_after_a_probe_was_killed_and_the_agent_began_anew(human: Human) -> None:
    human.kill_a_probe(TRAVELLER)
    assert human.restart(human.node_of(TRAVELLER)) == 0
    assert not human.is_on(TRAVELLER)


def test_a_migration_that_began_after_the_kill_is_left_alone_by_the_next_start(human: Human) -> None:
    """It is in its first round then; the record is kept until it is over."""
    human.kill_a_probe(TRAVELLER)
    source = human.node_of(TRAVELLER)
    restarted = human.restart_in_first_round(TRAVELLER)
    migrated = human.migrate(TRAVELLER).result()
    assert restarted.result() == 1
    assert (migrated.harm, migrated.exit_code) == ("", 0), migrated.said
    assert human.restart(source) == 0


def test_a_migration_whose_first_round_meets_the_end_of_a_probe_is_left_alone(
    human: Human, figures: dict[str, Any]
) -> None:
    closed = human.close_in_first_round(TRAVELLER)
    migrated = human.migrate(TRAVELLER).result()
    said = figures["probe_beside_a_migration"] = closed.result()
    assert (migrated.harm, migrated.exit_code) == ("", 0), migrated.said
    assert said is not None
    assert said["error"] == "StoodBack"


def test_a_migration_that_was_hit_by_an_off_fails_and_the_guest_lives_on(human: Human) -> None:
    """It came between the look for it and the OFF, which takes more than bad luck."""
    source = human.node_of(TRAVELLER)
    late = human.off_in_first_round(TRAVELLER)
    migrated = human.migrate(TRAVELLER).result()
    assert late.result() == {"is_off": True}
    assert migrated.harm == "", migrated.said
    assert "Migration failed" in migrated.said
    assert human.node_of(TRAVELLER) == source
    assert not human.is_on(TRAVELLER)
