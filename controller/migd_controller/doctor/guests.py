"""Judges what keeps guests where they are: storage, networks, memory, CPUs, devices, and the pool itself."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from migd_controller.doctor.findings import listed, number, ok, problem, warning
from migd_controller.events import PoolGuest, PoolHost, Resource
from migd_controller.inventory import Inventory
from migd_controller.placement import cpu_why_not
from migd_core.api import FindingView

_NEVER: Final = "`xe vm-param-add uuid=… param-name=tags param-key=migd:never` if it is to stay"


def guest_findings(inventory: Inventory) -> list[FindingView]:
    """Return what is to be said of the pool's guests and hosts as far as they go together."""
    if not inventory.is_known or len(inventory.hosts) < 2:
        return []
    checks: tuple[Callable[[Inventory], Iterator[FindingView]], ...]
    checks = (_storage, _networks, _memory, _cpus, _devices, _blocked)
    return [finding for check in checks for finding in check(inventory)]


def _storage(inventory: Inventory) -> Iterator[FindingView]:
    found = _at_one_place(inventory, lambda guest: guest.storages, lambda host: host.storages)
    for storage, (guests, hosts) in found:
        where = f"host {listed(hosts)} alone has attached" if hosts else "no host has attached"
        yield warning(
            "storage",
            f"{number(len(guests), 'guest')} with disks on {storage.name}, which {where}, and so bound to it: "
            f"{listed(guests)}",
            f"`xe vdi-pool-migrate uuid=VDI sr-uuid=SHARED_SR` moves a disk to shared storage; {_NEVER}",
        )
    if not found:
        yield ok("storage", "every guest's disks are on storage that more than one host has attached")


def _networks(inventory: Inventory) -> Iterator[FindingView]:
    found = _at_one_place(inventory, lambda guest: guest.networks, lambda host: host.networks)
    for network, (guests, hosts) in found:
        where = f"host {listed(hosts)} alone is on" if hosts else "no host is on"
        yield warning(
            "networks",
            f"{number(len(guests), 'guest')} on network {network.name}, which {where}: {listed(guests)}",
            "give the other hosts an interface on it: `xe pif-list`, `xe pool-vlan-create`",
        )
    if not found:
        yield ok("networks", "every guest's networks reach more than one host")


def _at_one_place(
    inventory: Inventory,
    needed: Callable[[PoolGuest], Iterable[Resource]],
    had: Callable[[PoolHost], Iterable[str]],
) -> list[tuple[Resource, tuple[list[str], list[str]]]]:
    """Return what guests need that not two hosts have, each with the guests and the hosts (names)."""
    hosts_of: dict[str, list[str]] = defaultdict(list)
    for host in inventory.hosts.values():
        for uuid in had(host):
            hosts_of[uuid].append(host.name)
    guests_of: dict[Resource, list[str]] = defaultdict(list)
    for guest in inventory.guests.values():
        for each in needed(guest):
            if len(hosts_of[each.uuid]) < 2:
                guests_of[each].append(guest.name)
    return [(each, (guests_of[each], hosts_of[each.uuid])) for each in sorted(guests_of, key=lambda each: each.name)]


def _memory(inventory: Inventory) -> Iterator[FindingView]:
    may_shrink = [guest.name for guest in inventory.guests.values() if guest.memory_may_shrink]
    if not may_shrink:
        yield ok("memory", "no guest's memory may shrink while it moves")
        return
    yield warning(
        "memory",
        f"{number(len(may_shrink), 'guest')} with a dynamic memory minimum below the maximum, which a migration would "
        f"shrink, and so not moved: {listed(may_shrink)}",
        "`xe vm-memory-dynamic-range-set uuid=… min=MAX max=MAX`",
    )


def _cpus(inventory: Inventory) -> Iterator[FindingView]:
    vendors: dict[str, list[str]] = defaultdict(list)
    for host in inventory.hosts.values():
        vendors[host.cpu_vendor or "an unknown vendor"].append(host.name)
    if len(vendors) > 1:
        mix = "; ".join(f"{vendor}: {listed(names)}" for vendor, names in sorted(vendors.items()))
        yield warning(
            "cpus",
            f"CPUs of more than one vendor, between which no guest moves ({mix})",
            "put hosts of one vendor into a pool of their own, and let a job's guests be started on one vendor",
        )
    barred: dict[str, list[str]] = defaultdict(list)
    for guest in inventory.guests.values():
        for host in inventory.hosts.values():
            same_vendor = not guest.cpu_vendor or guest.cpu_vendor == host.cpu_vendor
            if host.uuid != guest.host and same_vendor and cpu_why_not(guest, host) is not None:
                barred[host.name].append(guest.name)
    for host_name, guests in sorted(barred.items()):
        yield warning(
            "cpus",
            f"{number(len(guests), 'guest')} started with CPU features that host {host_name} does not have: "
            f"{listed(guests)}",
            "shut it down and start it again: it is then started with what all hosts of the pool have",
        )
    if len(vendors) == 1 and not barred:
        yield ok("cpus", f"one vendor, and every guest's CPU features are had by all {len(inventory.hosts)} hosts")


def _devices(inventory: Inventory) -> Iterator[FindingView]:
    bound = [guest for guest in inventory.guests.values() if guest.devices]
    for guest in sorted(bound, key=lambda guest: guest.name):
        yield warning(
            "passthrough",
            f"guest {guest.name} has {' and '.join(guest.devices)} of its host, which it cannot leave",
            f"take the device from it (shut down; `xe vm-param-remove uuid={guest.uuid} param-name=other-config "
            f"param-key=pci`); {_NEVER}",
        )
    if not bound:
        yield ok("passthrough", "no guest has a device of its host")


def _blocked(inventory: Inventory) -> Iterator[FindingView]:
    """Guests that the pool does not let go, for no reason that another check tells."""
    for guest in sorted(inventory.guests.values(), key=lambda guest: guest.name):
        if guest.blocked_because and not guest.devices:
            yield problem(
                "guests",
                f"guest {guest.name} may not be migrated: {guest.blocked_because}",
                f"`xe vm-param-list uuid={guest.uuid}` shows allowed-operations and blocked-operations; guest tools "
                "that are missing are installed in the guest",
            )
