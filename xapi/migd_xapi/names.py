"""Whom a pool file means by a name: a host or a guest, whatever somebody calls it now."""

from collections.abc import Sequence

from migd_xapi.backend import BackendGuest, BackendHost
from migd_xapi.database import Row
from migd_xapi.faults import Fault, FaultRefused
from migd_xapi.pool import Pool


class Names:
    """The names of a pool file; uuids will do too."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def host(self, name: str) -> Row:
        """Return the host of that name. Raises FaultRefused."""
        return self._pool.db.by_uuid("host", _uuid("host", name, self._pool.backend.hosts()))

    def vm(self, name: str) -> Row:
        """Return the guest of that name. Raises FaultRefused."""
        return self._pool.db.by_uuid("VM", _uuid("guest", name, self._pool.backend.guests()))

    def check(self, fault: Fault) -> None:
        """Raise FaultRefused where a fault names somebody who is not there."""
        if (host := getattr(fault, "host", None)) is not None:
            self.host(host)
        if (guest := getattr(fault, "guest", None)) is not None:
            self.vm(guest)


def _uuid(kind: str, name: str, known: Sequence[BackendHost] | Sequence[BackendGuest]) -> str:
    for each in known:
        if name in (each.name, each.uuid):
            return each.uuid
    raise FaultRefused(f"no {kind} has the name or uuid {name}")
