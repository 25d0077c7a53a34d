"""The methods of the API that do more than read or write a field, one module a class."""

from migd_xapi import generic
from migd_xapi.method import Methods
from migd_xapi.methods import data_source, event, host, message, pool, session, system, task, vm, vm_group, vm_power


def all_methods() -> Methods:
    """Return every method of the server: the generic ones, and over them those that have code of their own."""
    found = generic.methods()
    for module in (data_source, event, host, message, pool, session, task, vm, vm_group, vm_power):
        found.update(module.METHODS)
    found.update(system.listing(found))
    return found
