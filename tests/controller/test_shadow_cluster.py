"""The clusters that policies are compared on."""

from dataclasses import replace

from builders import guest, host, move, world
from migd_controller.migration import Migration
from migd_controller.shadow_cluster import as_unmoved
from migd_core.units import GIB
from migd_core.world import World

MIGRATION = Migration(cause="D1.1", guest="rank0", source="a", target="b", requested_by="p", asked_at=990.0)
HAND = move("other", "a", "b")


def migrating(rank0_on: str = "a") -> World:
    """A migration of the active policy and one by hand are under way, both from `a` to `b`."""
    rank0 = guest("rank0", on=rank0_on, immovable_because="it is being migrated")
    found = world(
        host("a", memory_bytes=16 * GIB),
        host("b", memory_bytes=16 * GIB),
        rank0,
        guest("other", on="a"),
        in_flight=[move("rank0", "a", "b"), HAND],
    )
    return replace(found, guests={**found.guests, "rank0": replace(found.guests["rank0"], arriving_at="b")})


def test_what_the_active_policy_has_under_way_is_not_and_what_others_have_is() -> None:
    unmoved = as_unmoved(migrating(), {}, [MIGRATION])
    assert unmoved.moves_in_flight == (HAND,)
    rank0 = unmoved.guests["rank0"]
    assert (rank0.host, rank0.arriving_at, rank0.immovable_because) == ("a", None, None)
    assert {uuid: each.memory_free_bytes for uuid, each in unmoved.hosts.items()} == {"a": 8 * GIB, "b": 12 * GIB}


def test_a_guest_that_the_pool_says_has_arrived_is_back_before_its_task_ends() -> None:
    unmoved = as_unmoved(migrating(rank0_on="b"), {}, [MIGRATION])
    assert unmoved.guests["rank0"].host == "a"
    assert {uuid: each.memory_free_bytes for uuid, each in unmoved.hosts.items()} == {"a": 8 * GIB, "b": 12 * GIB}


def test_a_guest_moved_before_and_moving_again_is_where_it_was_at_first() -> None:
    found = world(host("a"), host("b"), host("c"), guest("rank0", on="a"), in_flight=[move("rank0", "a", "b")])
    assert as_unmoved(found, {"rank0": "c"}, [MIGRATION]).guests["rank0"].host == "c"


def test_a_guest_on_a_frozen_host_stays_immovable() -> None:
    found = migrating()
    frozen = replace(found.hosts["a"], frozen_because="it is silent")
    found = replace(found, hosts={**found.hosts, "a": frozen})
    assert as_unmoved(found, {}, [MIGRATION]).guests["rank0"].immovable_because == "it is being migrated"
