"""Methods of class VM_group."""

from collections.abc import Mapping
from typing import Final

from migd_xapi.database import Row
from migd_xapi.datamodel.classes import CLASSES
from migd_xapi.datamodel.types import Value
from migd_xapi.method import Methods
from migd_xapi.pool import Call
from migd_xapi.roles import VM_ADMIN

METHODS: Final = Methods()
_GIVEN: Final = ("name_label", "name_description", "placement")


@METHODS.add("VM_group.create", "VM_group record args", returns="VM_group ref", role=VM_ADMIN)
def create(call: Call, args: Mapping[str, Value]) -> str:
    """Return a new group, with no VM in it; fields that are not given have their defaults."""
    fields = CLASSES["VM_group"].fields
    values = {name: fields[name].type.accepted(args[name], name) for name in _GIVEN if name in args}
    return call.pool.db.create("VM_group", **values).ref


@METHODS.add("VM_group.destroy", "VM_group ref self", role=VM_ADMIN)
def destroy(call: Call, group: Row) -> None:
    """Delete a group; its VMs are in none then."""
    db = call.pool.db
    for ref in group["VMs"]:
        vm = db.get("VM", ref)
        db.update(vm, groups=tuple(each for each in vm["groups"] if each != group.ref))
    db.delete(group)
