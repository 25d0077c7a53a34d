"""The pool's own view of hosts and guests, kept from `InventoryChanged` events."""

import zlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import TypeVar

from msgspec.structs import replace

from migd_controller.events import InventoryChanged, PoolGuest, PoolHost
from migd_controller.placement import Needs, needs, why_not

Named = TypeVar("Named", PoolHost, PoolGuest)


def toolstacks_of(since: Mapping[str, str]) -> str:
    """Return a text that is another one once the toolstack of any host has started anew; empty if one does not tell.

    `since` is when that of each host (uuid) has started, in its own words.
    """
    return f"{zlib.crc32(repr(sorted(since.items())).encode()):08x}" if since and all(since.values()) else ""


class Inventory:
    """Hosts and running guests by uuid; part of the core's state, changed by events only."""

    def __init__(self) -> None:
        self.hosts: dict[str, PoolHost] = {}
        self.guests: dict[str, PoolGuest] = {}
        self.guest_of_mac: dict[str, str] = {}
        self.is_known = False
        self._settling: set[str] = set()  # guests that have arrived, and whose new domain was not told of yet
        self._barred: dict[Needs, Mapping[str, str]] = {}

    def apply(self, event: InventoryChanged) -> tuple[str, ...]:
        """Take in what the pool said; return the guests (uuids) that were booted anew."""
        rebooted = tuple(guest.uuid for guest in event.guests if self._is_rebooted(guest))
        if event.is_complete:
            self.hosts.clear()
            self.guests.clear()
            self.is_known = True
        for host in event.hosts:
            self.hosts[host.uuid] = host
        for guest in event.guests:
            self.guests[guest.uuid] = guest
        for uuid in event.gone:
            self.hosts.pop(uuid, None)
            self.guests.pop(uuid, None)
        if event.hosts or event.gone or event.is_complete:
            self._barred.clear()
        self._settling &= self.guests.keys()
        self.guest_of_mac = {mac: guest.uuid for guest in self.guests.values() for mac in guest.macs}
        return rebooted

    def _is_rebooted(self, guest: PoolGuest) -> bool:
        """Whether a guest has another domain without having been migrated.

        XAPI tells where a migrated guest is before it tells of its new domain there, so one such change is none.
        """
        known = self.guests.get(guest.uuid)
        if known is None:
            return False
        is_moved, is_other = known.host != guest.host, known.domid != guest.domid
        if is_moved and not is_other:
            self._settling.add(guest.uuid)
        if not is_other:
            return False
        was_settling = guest.uuid in self._settling
        self._settling.discard(guest.uuid)
        return not is_moved and not was_settling and -1 not in (known.domid, guest.domid)

    @property
    def toolstacks(self) -> str:
        """The hosts' toolstacks, as `toolstacks_of` tells them apart."""
        return toolstacks_of({host.uuid: host.toolstack_since for host in self.hosts.values()})

    def relocate(self, guest: str, host: str | None) -> None:
        """Take in where a guest is after a migration (None: nowhere), before the pool's next event says so."""
        known = self.guests.get(guest)
        if known is None:
            return
        if host is None:
            del self.guests[guest]
        else:
            if host != known.host:
                self._settling.add(guest)
            self.guests[guest] = replace(known, host=host, arriving_at=None)

    def unblock(self, lease: str) -> None:
        """Take in that the pool lets the guest on `lease` migrate again, before its next event says so."""
        for guest in self.guests.values():
            if guest.probed_by == lease:
                self.guests[guest.uuid] = replace(guest, probed_by="")
                return

    def barred(self, guest: PoolGuest) -> Mapping[str, str]:
        """Return the hosts (uuids) that this guest could not run on however empty they were, and why for each."""
        found = self._barred.get(needs(guest))
        if found is None:
            reasons = {uuid: why_not(guest, host) for uuid, host in self.hosts.items()}
            found = MappingProxyType({uuid: reason for uuid, reason in reasons.items() if reason is not None})
            self._barred[needs(guest)] = found
        return found

    def host_named(self, name_or_uuid: str) -> PoolHost | None:
        """Return the host of that uuid or, if just one bears it, that name."""
        return _named(self.hosts, name_or_uuid)

    def guest_named(self, name_or_uuid: str) -> PoolGuest | None:
        """Return the running guest of that uuid or, if just one bears it, that name."""
        return _named(self.guests, name_or_uuid)

    def host_name(self, uuid: str) -> str:
        """Return the host's name, or its uuid while it is not known."""
        return self.hosts[uuid].name if uuid in self.hosts else uuid

    def guest_name(self, uuid: str) -> str:
        """Return the guest's name, or its uuid while it is not known."""
        return self.guests[uuid].name if uuid in self.guests else uuid


def _named(things: Mapping[str, Named], name_or_uuid: str) -> Named | None:
    if name_or_uuid in things:
        return things[name_or_uuid]
    bearing = [thing for thing in things.values() if thing.name == name_or_uuid]
    return bearing[0] if len(bearing) == 1 else None
