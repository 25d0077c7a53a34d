"""XAPI records become what the controller knows of hosts and guests. No I/O: records in, values out."""

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from math import inf
from typing import Any, Final

from msgspec.structs import replace

from migd_controller.events import InventoryChanged, PoolGuest, PoolHost, Resource
from migd_controller.leases import lease_of_block
from migd_core.errors import MigdError

Record = Mapping[str, Any]


class Thin(Mapping[str, Any]):
    """A record of which few fields are kept: a tuple of values beside names that all records of a class share.

    A pool may have 80,000 records that migd reads, and dictionaries of them take three times the memory.
    """

    __slots__ = ("_names", "_values")

    def __init__(self, names: tuple[str, ...], record: Record) -> None:
        """Keep those of `names` that the record has."""
        self._names, self._values = names, tuple([_kept(record.get(name, _ABSENT)) for name in names])

    def __getitem__(self, name: str) -> Any:
        try:
            value = self._values[self._names.index(name)]
        except ValueError:
            raise KeyError(name) from None
        if value is _ABSENT:
            raise KeyError(name)
        return value

    def __iter__(self) -> Iterator[str]:
        return (name for name, value in zip(self._names, self._values, strict=True) if value is not _ABSENT)

    def __len__(self) -> int:
        return sum(value is not _ABSENT for value in self._values)


_ABSENT: Final = object()


def _kept(value: Any) -> Any:
    """Return one value for all lists and maps of strings that are equal: guests may do the same, on CPUs that are."""
    match value:
        case list() if all(isinstance(each, str) for each in value):
            return _the_list(tuple(value))
        case dict() if all(isinstance(each, str) for each in value.values()):
            return _the_map(tuple(value.items()))
    return value


@lru_cache(4096)
def _the_list(items: tuple[str, ...]) -> list[str]:
    return list(items)


@lru_cache(4096)
def _the_map(items: tuple[tuple[str, str], ...]) -> dict[str, str]:
    return dict(items)


NULL_REF: Final = "OpaqueRef:NULL"
# The call that migrates a guest, which is also the name of its task.
MIGRATE: Final = "Async.VM.pool_migrate"
# The classes to watch, as event.from names them.
CLASSES: Final = (
    *("host", "host_metrics", "pbd", "pif"),
    *("vm", "vbd", "vdi", "vif", "vm_group"),
    *("sr", "network"),
    "task",
)
# Those that failures name by reference.
NAMED: Final = ("host", "vm", "sr", "network")
# What is read of the records that there are most of, or that change most often: a VM's has a hundred fields, and a pool
# may have 20,000 VMs. A change of other fields is none.
FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "host": (
        *("uuid", "name_label", "address", "enabled", "metrics", "PBDs", "PIFs", "memory_overhead"),
        *("current_operations", "cpu_info", "virtual_hardware_platform_versions", "other_config"),
    ),
    "host_metrics": ("memory_total", "live"),
    "sr": ("uuid", "name_label"),
    "vbd": ("VM", "VDI", "empty"),
    "vdi": ("SR",),
    "vif": ("VM", "MAC", "network"),
    "vm": (
        *("uuid", "name_label", "tags", "other_config", "groups", "domid", "domain_type", "power_state"),
        *("is_a_template", "is_a_snapshot", "is_control_domain", "resident_on", "scheduled_to_be_resident_on"),
        *("allowed_operations", "blocked_operations", "current_operations"),
        *("VCPUs_at_startup", "memory_dynamic_min", "memory_dynamic_max", "memory_overhead"),
        *("hardware_platform_version", "last_boot_CPU_flags"),
        *("VIFs", "VBDs", "VGPUs", "VUSBs", "attached_PCIs"),
    ),
}
# Classes whose records tell of guests everywhere, and those that hosts are made of.
_OF_MANY_GUESTS: Final = frozenset({"sr", "network", "vm_group"})
_CONTROL_DOMAIN: Final = "vm of a host"
_OF_HOSTS: Final = frozenset({"host", "host_metrics", "pbd", "pif", "sr", "network", _CONTROL_DOMAIN})
_REF: Final = re.compile(r"OpaqueRef:[0-9A-Za-z-]+")


class UnreadableRecords(MigdError):
    """What the pool tells are no records of XenAPI; the text says what is wrong with them."""


@dataclass(frozen=True, slots=True)
class PoolView:
    """The pool's tasks by reference, those of them that migrate a guest now, and the names of things by reference."""

    tasks: Mapping[str, Record] = field(default_factory=dict)
    migrating: frozenset[str] = frozenset()
    names: Mapping[str, str] = field(default_factory=dict)

    def readable(self, text: str) -> str:
        """Return a text of the pool with names in place of references."""
        return _REF.sub(lambda ref: self.names.get(ref[0], ref[0]), text)


def thinned(class_name: str, record: Record) -> Record:
    """Return what is read here of a record that an event tells of."""
    fields = FIELDS.get(class_name)
    return record if fields is None else Thin(fields, record)


def batch_of(answer: Any) -> tuple[str, Sequence[Record], Mapping[str, int]]:
    """Return token, events and counts of objects in an answer to `event.from`. Raises UnreadableRecords."""
    match answer:
        case {"token": str(token), "events": list(events), "valid_ref_counts": dict(counts)}:
            with contextlib.suppress(TypeError, ValueError):
                return token, events, {name: int(count) for name, count in counts.items()}
    raise UnreadableRecords(f"its answer to event.from has no token, events and counts: {str(answer)[:200]}")


class PoolMirror:
    """The pool's records as the event stream tells them, and the inventory they amount to."""

    def __init__(self) -> None:
        self._tables: dict[str, dict[str, Record]] = {name: {} for name in CLASSES}
        self._host_uuids: dict[str, str] = {}
        self._hosts: dict[str, PoolHost] = {}
        self._guests: dict[str, PoolGuest] = {}  # by reference
        self._is_complete = True
        self._names: Mapping[str, str] = {}

    def apply(self, events: Iterable[Record]) -> InventoryChanged | None:
        """Take in one batch of events; return what changed in the inventory, None if nothing did.

        Raises UnreadableRecords; this mirror is then of no use any more.
        """
        try:
            return self._applied(events)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise UnreadableRecords(
                f"its records are not those of XenAPI: {type(error).__name__}: {str(error)[:200]}; is it a XAPI?"
            ) from error

    def _applied(self, events: Iterable[Record]) -> InventoryChanged | None:
        changed, vms = self._taken_in(events)
        if not (self._is_complete or changed - {"task"}):
            return None
        if changed & {*NAMED}:
            self._names = {ref: record["name_label"] for each in NAMED for ref, record in self._tables[each].items()}
        host_uuids = self._uuids("host")
        if changed & _OF_MANY_GUESTS or host_uuids != self._host_uuids:
            vms = dict.fromkeys((*self._tables["vm"], *vms))
        self._host_uuids = host_uuids
        hosts = self._hosts_now() if changed & _OF_HOSTS else self._hosts
        gone = set(self._hosts.keys() - hosts.keys())
        guests: list[PoolGuest] = []
        for ref in vms:
            vm, known = self._tables["vm"].get(ref), self._guests.pop(ref, None)
            if vm is not None and _is_running_guest(vm):
                guest = self._guests[ref] = self._guest(vm)
                if guest != known:
                    guests.append(guest)
            elif known is not None:
                gone.add(known.uuid)
        told = InventoryChanged(
            hosts=tuple(host for uuid, host in hosts.items() if self._hosts.get(uuid) != host),
            guests=tuple(guests),
            gone=tuple(sorted(gone)),
            is_complete=self._is_complete,
        )
        self._hosts = hosts
        if not (told.hosts or told.guests or told.gone or told.is_complete):
            return None
        self._is_complete = False
        return told

    def _taken_in(self, events: Iterable[Record]) -> tuple[set[str], dict[str, None]]:
        """Return the classes of which records changed, and the VMs whose own records did, in order of the events."""
        changed: set[str] = set()
        vms: dict[str, None] = {}
        vdis: set[str] = set()
        for event in events:
            name, ref = event["class"], event["ref"]
            table = self._tables.get(name)
            if table is None:
                continue
            old, new = table.get(ref), None if event["operation"] == "del" else event["snapshot"]
            if new == old:
                continue
            if new is None:
                del table[ref]
            else:
                table[ref] = new
            changed.add(name)
            records = [record for record in (old, new) if record is not None]
            match name:
                case "vm":
                    vms[ref] = None
                    if any(record["is_control_domain"] for record in records):
                        changed.add(_CONTROL_DOMAIN)
                case "vif" | "vbd":
                    vms |= {record["VM"]: None for record in records}
                case "vdi":
                    vdis.add(ref)
        if vdis:
            vms |= {vbd["VM"]: None for vbd in self._tables["vbd"].values() if vbd["VDI"] in vdis}
        return changed, vms

    def view(self) -> PoolView:
        """Return what to know of the pool besides its inventory, as it is now."""
        migrating = (migration_task_of(vm) for vm in self._tables["vm"].values())
        return PoolView(
            tasks=dict(self._tables["task"]),
            migrating=frozenset(task for task in migrating if task is not None),
            names=self._names,
        )

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where the pool's hosts answer."""
        return tuple(sorted(record["address"] for record in self._tables["host"].values()))

    def disagrees_with(self, counts: Mapping[str, int]) -> bool:
        """Return whether the pool has other numbers of objects than are known here."""
        return any(len(table) != counts.get(name, len(table)) for name, table in self._tables.items())

    def _hosts_now(self) -> dict[str, PoolHost]:
        control_domains: dict[str, list[Record]] = {ref: [] for ref in self._host_uuids}
        for vm in self._tables["vm"].values():
            if vm["is_control_domain"] and vm["resident_on"] in control_domains:
                control_domains[vm["resident_on"]].append(vm)
        storages, networks = self._uuids("sr"), self._uuids("network")
        hosts = {}
        for ref, record in self._tables["host"].items():
            pbds = [pbd["SR"] for pbd in self._found("pbd", record["PBDs"]) if pbd["currently_attached"]]
            pifs = [pif["network"] for pif in self._found("pif", record["PIFs"])]
            metrics = self._tables["host_metrics"].get(record["metrics"])
            hosts[record["uuid"]] = replace(
                _host(record, metrics, control_domains[ref]),
                storages=tuple(sorted({storages[each] for each in pbds if each in storages})),
                networks=tuple(sorted({networks[each] for each in pifs if each in networks})),
            )
        return hosts

    def _guest(self, vm: Record) -> PoolGuest:
        vifs = self._found("vif", vm["VIFs"])
        disks = self._found("vdi", [vbd["VDI"] for vbd in self._found("vbd", vm["VBDs"]) if not vbd["empty"]])
        networks = [network for network in self._found("network", [vif["network"] for vif in vifs]) if network["PIFs"]]
        groups = self._found("vm_group", vm.get("groups", ()))  # pools before 2024 have none
        return replace(
            _guest(vm, self._host_uuids),
            macs=tuple(sorted(vif["MAC"].lower() for vif in vifs)),
            storages=_resources(self._found("sr", [disk["SR"] for disk in disks])),
            networks=_resources(networks),  # one without interfaces is internal to a host, and can be had on any
            group=next(iter(_resources(each for each in groups if each["placement"] == "anti_affinity")), None),
        )

    def _uuids(self, name: str) -> dict[str, str]:
        return {ref: record["uuid"] for ref, record in self._tables[name].items()}

    def _found(self, name: str, refs: Iterable[str]) -> list[Record]:
        """The records that there are: an event about one object may come before that about another."""
        table = self._tables[name]
        return [table[ref] for ref in refs if ref in table]


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
    cpu = host["cpu_info"]
    return PoolHost(
        uuid=host["uuid"],
        name=host["name_label"],
        is_enabled=bool(host["enabled"]),
        is_live=bool(metrics["live"]) if metrics is not None else False,
        cpus=int(cpu.get("cpu_count", "0")),
        memory_for_guests_bytes=max(0, total - int(host["memory_overhead"]) - sum(map(_needed_bytes, control_domains))),
        is_evacuating="evacuate" in host["current_operations"].values(),
        address=host["address"],
        control_domains=tuple(sorted(vm["uuid"] for vm in control_domains)),
        hardware_versions=tuple(sorted(int(version) for version in host["virtual_hardware_platform_versions"])),
        cpu_mhz=_mhz(cpu.get("speed", "")),
        cpu_vendor=cpu.get("vendor", ""),
        cpu_features_hvm=cpu.get("features_hvm_host") or cpu.get("features_hvm", ""),
        cpu_features_pv=cpu.get("features_pv_host") or cpu.get("features_pv", ""),
        toolstack_since=toolstack_since(host),
    )


def toolstack_since(host: Record) -> str:
    """Return when a host's toolstack has started, in XAPI's words; empty where it does not tell."""
    return str(host.get("other_config", {}).get("agent_start_time", ""))


def _mhz(text: str) -> float:
    """Return what XAPI writes as a clock; 0 where it is none, which slows nobody down."""
    try:
        mhz = float(text)
    except ValueError:
        return 0.0
    return mhz if 0.0 < mhz < inf else 0.0


def _guest(vm: Record, host_uuids: Mapping[str, str]) -> PoolGuest:
    target = vm["scheduled_to_be_resident_on"]
    cpu = vm["last_boot_CPU_flags"]
    return PoolGuest(
        uuid=vm["uuid"],
        name=vm["name_label"],
        host=host_uuids.get(vm["resident_on"], vm["resident_on"]),
        vcpus=max(1, int(vm["VCPUs_at_startup"])),
        memory_bytes=_needed_bytes(vm),
        tags=tuple(sorted(vm["tags"])),
        arriving_at=host_uuids.get(target) if target != NULL_REF else None,
        blocked_because=_blocked_because(vm),
        probed_by=probed_by(vm),
        busy_with=", ".join(sorted(op for op in vm["current_operations"].values() if op != "pool_migrate")),
        memory_may_shrink=int(vm["memory_dynamic_min"]) < int(vm["memory_dynamic_max"]),
        hardware_version=int(vm["hardware_platform_version"]),
        cpu_vendor=cpu.get("vendor", ""),
        cpu_features=cpu.get("features", ""),
        is_paravirtual=vm["domain_type"] == "pv",
        domid=int(vm["domid"]),
        devices=_devices(vm),
    )


def _resources(records: Iterable[Record]) -> tuple[Resource, ...]:
    found = {record["uuid"]: Resource(record["uuid"], record["name_label"]) for record in records}
    return tuple(found[uuid] for uuid in sorted(found))


def _devices(vm: Record) -> tuple[str, ...]:
    """Say what of the host's hardware is passed through: PCI devices, also by `other_config:pci`, GPUs, USB devices."""
    by_hand = list(filter(None, vm.get("other_config", {}).get("pci", "").split(",")))
    kinds = {
        "PCI device": len(vm.get("attached_PCIs", ())) or len(by_hand),
        "GPU": len(vm.get("VGPUs", ())),
        "USB device": len(vm.get("VUSBs", ())),
    }
    return tuple(f"{count} {kind}{'s' if count > 1 else ''}" for kind, count in kinds.items() if count)


def probed_by(vm: Record) -> str:
    """Return the lease for which migd keeps this guest from being migrated, empty if it does not."""
    return lease_of_block(vm["blocked_operations"].get("pool_migrate", ""))


def _blocked_because(vm: Record) -> str:
    if probed_by(vm):
        return ""  # migd itself keeps it back, and not from now on
    if "pool_migrate" in vm["blocked_operations"]:
        reason = vm["blocked_operations"]["pool_migrate"]
        return f"blocked_operations forbids it ({reason})" if reason else "blocked_operations forbids it"
    if vm["power_state"] != "Running":
        return f"its power state is {vm['power_state']}"
    if "pool_migrate" not in vm["allowed_operations"] and not vm["current_operations"]:
        return "pool_migrate is not among its allowed operations (missing tools, a passed-through device, ...)"
    return ""
