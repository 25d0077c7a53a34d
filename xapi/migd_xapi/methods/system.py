"""What the server says of its own methods."""

from migd_xapi.method import ASYNC, Methods
from migd_xapi.pool import Call


def listing(methods: Methods) -> Methods:
    """Return the methods that list `methods`, and themselves."""
    found = Methods()

    def names(call: Call) -> tuple[str, ...]:
        every = {**methods, **found}
        return tuple(sorted((*every, *(f"{ASYNC}{name}" for name, method in every.items() if method.is_async))))

    found.add("system.listMethods", returns="string set", role=None, is_async=False, needs_session=False)(names)
    found.add("host.list_methods", returns="string set")(names)
    return found
