"""Brings the records up to a backend whose hosts and guests come and go by themselves; each change is an event."""

from migd_xapi import domains, memory, vm_inventory
from migd_xapi.backend import BackendGuest, BackendHost
from migd_xapi.database import Row
from migd_xapi.datamodel.types import NULL
from migd_xapi.server import Server


class Following:
    """A pool that follows its backend."""

    def __init__(self, server: Server) -> None:
        self._server, self._pool = server, server.pool
        self._names = {guest.uuid: guest.name for guest in self._pool.backend.guests()}

    def follow(self) -> None:
        """Write down what has changed by now."""
        pool = self._pool
        for host in pool.backend.hosts():
            row = pool.db.find_by_uuid("host", host.uuid)
            if row is None:
                row = self._server.hosts.add(host)
                pool.db.update(row, address=pool.coordinator["address"])
            self._host(row, host)
        guests = pool.backend.guests()
        for guest in guests:
            self._guest(pool.db.find_by_uuid("VM", guest.uuid), guest)
        for host in pool.backend.hosts():
            self._memory(pool.db.by_uuid("host", host.uuid), host)
        there = {guest.uuid for guest in guests}
        for uuid in [uuid for uuid in self._names if uuid not in there]:
            vm = pool.db.find_by_uuid("VM", uuid)
            if vm is not None and vm["current_operations"]:
                continue
            del self._names[uuid]
            if vm is not None:
                vm_inventory.remove(pool, vm)

    def _host(self, row: Row, host: BackendHost) -> None:
        pool = self._pool
        metrics = pool.db.get("host_metrics", row["metrics"])
        if (metrics["live"], metrics["memory_total"]) != (host.is_up, host.memory_bytes):
            self._server.hosts.refresh(row, host)

    def _memory(self, row: Row, host: BackendHost) -> None:
        """Let the pool count as free what Xen says is free, but not in mid-arrival: both would count the guest."""
        pool = self._pool
        if host.memory_free_bytes is None or any(
            row.ref in (vm["scheduled_to_be_resident_on"], vm["resident_on"]) and vm["current_operations"]
            for vm in pool.db.rows("VM")
        ):
            return
        used = sum(memory.needed_bytes(pool.db.get("VM", ref)) for ref in row["resident_VMs"])
        overhead = max(0, host.memory_bytes - host.memory_free_bytes - used)
        pool.db.update(row, memory_overhead=overhead)
        metrics = pool.db.get("host_metrics", row["metrics"])
        pool.db.update(metrics, memory_free=host.memory_free_bytes)

    def _guest(self, vm: Row | None, guest: BackendGuest) -> None:
        pool = self._pool
        if vm is None:
            vm = vm_inventory.add(pool, guest)
            vm_inventory.refresh(pool, vm)
            self._names[guest.uuid] = guest.name
            return
        if guest.name != self._names.get(guest.uuid):
            pool.db.update(vm, name_label=guest.name)
            self._names[guest.uuid] = guest.name
        if "pool_migrate" in vm["current_operations"].values():
            return  # who moves it writes down how it ends
        vm_inventory.resize(pool, vm, guest)
        has_domain = vm["power_state"] in ("Running", "Paused")
        if guest.host is None:
            if has_domain:
                domains.ended(pool, vm)
            return
        host = pool.db.by_uuid("host", guest.host)
        if not has_domain:
            domains.began(pool, vm, host, is_paused=guest.is_paused)
            return
        pool.db.update(vm, resident_on=host.ref, scheduled_to_be_resident_on=NULL, domid=pool.backend.domid(guest.uuid))
        state = "Paused" if guest.is_paused else "Running"
        if vm["power_state"] != state:
            domains.changed(pool, vm, state)
