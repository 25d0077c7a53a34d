"""XAPI records become what the controller knows of hosts and guests. No I/O: records in, values out."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from migd_controller.events import InventoryChanged, PoolGuest, PoolHost

Record = Mapping[str, Any]
NULL_REF: Final = "OpaqueRef:NULL"
# The call that migrates a guest, which is also the name of its task.
MIGRATE: Final = "Async.VM.pool_migrate"
# The classes to watch, as event.from names them.
CLASSES: Final = ("host", "host_metrics", "vm", "vif", "task")


class PoolMirror:
    """The pool's records as the event stream tells them, and the inventory they amount to."""

    def __init__(self) -> None:
        self._tables: dict[str, dict[str, Record]] = {name: {} for name in CLASSES}
        self._hosts: dict[str, PoolHost] = {}
        self._guests: dict[str, PoolGuest] = {}
        self._is_complete = True

    def apply(self, events: Iterable[Record]) -> InventoryChanged | None:
        """Take in one batch of events; return what changed in the inventory, None if nothing did."""
        for event in events:
            table = self._tables.get(event["class"])
            if table is None:
                continue
            if event["operation"] == "del":
                table.pop(event["ref"], None)
            else:
                table[event["ref"]] = event["snapshot"]
        hosts, guests = self._inventory()
        changed = InventoryChanged(
            hosts=tuple(host for uuid, host in hosts.items() if self._hosts.get(uuid) != host),
            guests=tuple(guest for uuid, guest in guests.items() if self._guests.get(uuid) != guest),
            gone=tuple(sorted((self._hosts.keys() | self._guests.keys()) - hosts.keys() - guests.keys())),
            is_complete=self._is_complete,
        )
        self._hosts, self._guests = hosts, guests
        if not (changed.hosts or changed.guests or changed.gone or changed.is_complete):
            return None
        self._is_complete = False
        return changed

    @property
    def tasks(self) -> Mapping[str, Record]:
        """The records of the pool's tasks, by reference."""
        return self._tables["task"]

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where the pool's hosts answer."""
        return tuple(sorted(record["address"] for record in self._tables["host"].values()))

    def disagrees_with(self, counts: Mapping[str, Any]) -> bool:
        """Return whether the pool has other numbers of objects than are known here."""
        return any(len(table) != int(counts[name]) for name, table in self._tables.items())

    @property
    def migrating(self) -> frozenset[str]:
        """The tasks that migrate a guest now."""
        found = (migration_task_of(vm) for vm in self._tables["vm"].values())
        return frozenset(task for task in found if task is not None)

    def _inventory(self) -> tuple[dict[str, PoolHost], dict[str, PoolGuest]]:
        vms = self._tables["vm"].values()
        host_uuids = {ref: record["uuid"] for ref, record in self._tables["host"].items()}
        control_domains: dict[str, list[Record]] = {ref: [] for ref in host_uuids}
        for vm in vms:
            if vm["is_control_domain"] and vm["resident_on"] in host_uuids:
                control_domains[vm["resident_on"]].append(vm)
        hosts = {
            record["uuid"]: _host(record, self._tables["host_metrics"].get(record["metrics"]), control_domains[ref])
            for ref, record in self._tables["host"].items()
        }
        guests = {vm["uuid"]: _guest(vm, self._tables["vif"], host_uuids) for vm in vms if _is_running_guest(vm)}
        return hosts, guests


def migration_task_of(vm: Record) -> str | None:
    """Return the task that migrates this guest now, None if none does."""
    return next((task for task, operation in vm["current_operations"].items() if operation == "pool_migrate"), None)


def is_pending_migration(task: Record) -> bool:
    """Return whether this task migrates a guest, or will once the pool lets it begin."""
    return bool(task["name_label"] == MIGRATE and task["status"] == "pending")


def _is_running_guest(vm: Record) -> bool:
    return (
        not (vm["is_control_domain"] or vm["is_a_template"] or vm["is_a_snapshot"])
        and vm["power_state"] in ("Running", "Paused")
        and vm["resident_on"] != NULL_REF
    )


def _needed_bytes(vm: Record) -> int:
    """What XAPI counts for a guest on a host, resident or arriving: memory_check.ml, dynamic-min plus overhead."""
    return int(vm["memory_dynamic_min"]) + int(vm["memory_overhead"])


def _host(host: Record, metrics: Record | None, control_domains: Sequence[Record]) -> PoolHost:
    total = int(metrics["memory_total"]) if metrics is not None else 0
    return PoolHost(
        uuid=host["uuid"],
        name=host["name_label"],
        is_enabled=bool(host["enabled"]),
        is_live=bool(metrics["live"]) if metrics is not None else False,
        cpus=int(host["cpu_info"].get("cpu_count", "0")),
        memory_for_guests_bytes=max(0, total - int(host["memory_overhead"]) - sum(map(_needed_bytes, control_domains))),
        is_evacuating="evacuate" in host["current_operations"].values(),
        address=host["address"],
        control_domains=tuple(sorted(vm["uuid"] for vm in control_domains)),
    )


def _guest(vm: Record, vifs: Mapping[str, Record], host_uuids: Mapping[str, str]) -> PoolGuest:
    target = vm["scheduled_to_be_resident_on"]
    return PoolGuest(
        uuid=vm["uuid"],
        name=vm["name_label"],
        host=host_uuids.get(vm["resident_on"], vm["resident_on"]),
        vcpus=max(1, int(vm["VCPUs_at_startup"])),
        memory_bytes=_needed_bytes(vm),
        macs=tuple(sorted(vifs[ref]["MAC"].lower() for ref in vm["VIFs"] if ref in vifs)),
        tags=tuple(sorted(vm["tags"])),
        arriving_at=host_uuids.get(target) if target != NULL_REF else None,
        blocked_because=_blocked_because(vm),
        memory_may_shrink=int(vm["memory_dynamic_min"]) < int(vm["memory_dynamic_max"]),
    )


def _blocked_because(vm: Record) -> str:
    if "pool_migrate" in vm["blocked_operations"]:
        reason = vm["blocked_operations"]["pool_migrate"]
        return f"blocked_operations forbids it ({reason})" if reason else "blocked_operations forbids it"
    if vm["power_state"] != "Running":
        return f"its power state is {vm['power_state']}"
    others = sorted(op for op in vm["current_operations"].values() if op != "pool_migrate")
    if others:
        return f"{', '.join(others)} is under way"
    if "pool_migrate" not in vm["allowed_operations"] and not vm["current_operations"]:
        return "pool_migrate is not among its allowed operations (missing tools, a passed-through device, ...)"
    return ""
