"""Rows, generations, and references kept on both sides."""

import pytest

from migd_xapi.database import Database, Row
from migd_xapi.datamodel.types import NULL
from migd_xapi.failure import Failure


@pytest.fixture
def db() -> Database:
    return Database()


def changed(db: Database, since: int) -> set[str]:
    return {row.ref for row in db.changed_since(since)}


def test_a_new_object_has_every_field_of_its_class(db: Database) -> None:
    vm = db.create("VM", name_label="a")
    assert len(vm.values) == 92
    assert (vm["name_label"], vm["power_state"], vm["resident_on"], vm["tags"]) == ("a", "Halted", NULL, ())


def test_a_field_that_the_class_lacks_is_refused(db: Database) -> None:
    with pytest.raises(KeyError, match="VM has no field nmae_label"):
        db.create("VM", nmae_label="a")


def test_residence_shows_on_both_hosts_and_changes_both(db: Database) -> None:
    here, there = db.create("host"), db.create("host")
    vm = db.create("VM", resident_on=here.ref)
    assert (here["resident_VMs"], there["resident_VMs"]) == ((vm.ref,), ())
    before = db.generation
    db.update(vm, resident_on=there.ref)
    assert (here["resident_VMs"], there["resident_VMs"]) == ((), (vm.ref,))
    assert changed(db, before) == {vm.ref, here.ref, there.ref}


def test_sets_of_references_show_on_the_other_side(db: Database) -> None:
    group = db.create("VM_group")
    vm = db.create("VM", groups=(group.ref,))
    assert group["VMs"] == (vm.ref,)
    db.update(vm, groups=())
    assert group["VMs"] == ()


def test_an_object_that_goes_leaves_the_views_of_others(db: Database) -> None:
    host = db.create("host")
    vm = db.create("VM", resident_on=host.ref)
    db.delete(vm)
    assert host["resident_VMs"] == ()
    with pytest.raises(Failure, match="HANDLE_INVALID"):
        db.get("VM", vm.ref)
    with pytest.raises(Failure, match="UUID_INVALID"):
        db.by_uuid("VM", vm["uuid"])


def test_writing_what_is_there_already_changes_nothing(db: Database) -> None:
    vm = db.create("VM", name_label="a")
    before = db.generation
    db.update(vm, name_label="a")
    assert db.generation == before


def test_what_came_and_went_since_a_generation_is_not_told(db: Database) -> None:
    old = db.create("VM")
    before = db.generation
    db.delete(db.create("VM"))
    db.delete(old)
    assert [stone.ref for stone in db.deleted_since(before)] == [old.ref]


def renderings(row: Row) -> dict[str, object]:
    return row.renderings


def test_a_change_forgets_what_writers_made_of_the_row(db: Database) -> None:
    host = db.create("host")
    host.renderings["xml"] = "old"
    db.create("VM", resident_on=host.ref)
    assert renderings(host) == {}
