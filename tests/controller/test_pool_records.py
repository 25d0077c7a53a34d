"""XAPI records become what the controller knows of hosts and guests."""

import asyncio
import xmlrpc.client
from functools import cache
from io import BytesIO
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migd_controller.events import PoolGuest, PoolHost, Resource
from migd_controller.pool_records import CLASSES, FIELDS, NULL_REF, PoolMirror, migration_task_of, thinned
from migd_controller.xapi_transport import Transport
from migd_xapi.events import Subscription, events_from
from migd_xapi.server import Server
from migd_xapi.settings import GuestSettings, Settings
from migd_xapi.wire.xml_rpc import success
from scripted_pool import backend_of

GIB = 1 << 30


def event(class_: str, ref: str, snapshot: dict[str, Any] | None, operation: str = "mod") -> dict[str, Any]:
    found: dict[str, Any] = {"class": class_, "ref": ref, "operation": operation}
    if snapshot is not None:
        found["snapshot"] = snapshot
    return found


def host(**values: Any) -> dict[str, Any]:
    return {
        "uuid": "uuid-a",
        "name_label": "a",
        "enabled": True,
        "address": "192.0.2.1",
        "PBDs": [],
        "PIFs": [],
        "virtual_hardware_platform_versions": ["0", "1", "2"],
        "metrics": "metrics-a",
        "memory_overhead": str(GIB),
        "cpu_info": {"cpu_count": "16"},
        "current_operations": {},
        **values,
    }


def vm(**values: Any) -> dict[str, Any]:
    return {
        "uuid": "uuid-g",
        "name_label": "g",
        "power_state": "Running",
        "resident_on": "host-a",
        "domid": "7",
        "scheduled_to_be_resident_on": NULL_REF,
        "is_control_domain": False,
        "is_a_template": False,
        "is_a_snapshot": False,
        "memory_dynamic_min": str(4 * GIB),
        "memory_dynamic_max": str(4 * GIB),
        "memory_overhead": "1000",
        "VCPUs_at_startup": "2",
        "VIFs": ["vif-g"],
        "VBDs": [],
        "groups": [],
        "hardware_platform_version": "0",
        "last_boot_CPU_flags": {},
        "domain_type": "hvm",
        "tags": [],
        "blocked_operations": {},
        "allowed_operations": ["pool_migrate"],
        "current_operations": {},
        **values,
    }


def mirror_of(*events: dict[str, Any]) -> PoolMirror:
    mirror = PoolMirror()
    mirror.apply(
        [
            event("host", "host-a", host()),
            event("host_metrics", "metrics-a", {"memory_total": str(64 * GIB), "live": True}),
            event("vm", "dom0-a", vm(uuid="dom0", is_control_domain=True, memory_dynamic_min=str(2 * GIB))),
            event("vif", "vif-g", {"VM": "vm-g", "MAC": "00:16:3E:00:00:0A", "network": NULL_REF}),
            *events,
        ]
    )
    return mirror


def guest(**values: Any) -> PoolGuest:
    changed = mirror_of().apply([event("vm", "vm-g", vm(**values))])
    assert changed is not None
    return changed.guests[0]


def test_the_first_batch_is_complete_and_later_ones_hold_what_changed() -> None:
    mirror = PoolMirror()
    first = mirror.apply([event("host", "host-a", host()), event("vm", "vm-g", vm())])
    assert first is not None
    assert first.is_complete
    later = mirror.apply([event("vm", "vm-g", vm(tags=["migd:never"]))])
    assert later is not None
    assert not later.is_complete
    assert later.hosts == ()
    assert [changed.tags for changed in later.guests] == [("migd:never",)]


def test_nothing_is_said_when_nothing_of_interest_changed() -> None:
    mirror = mirror_of(event("vm", "vm-g", vm()))
    assert mirror.apply([event("vm", "vm-g", vm(other_config={"folder": "/x"}))]) is None


def test_memory_for_guests_excludes_hypervisor_and_dom0() -> None:
    changed = mirror_of().apply([event("host", "host-a", host(name_label="renamed"))])
    assert changed is not None
    assert changed.hosts == (
        PoolHost(
            uuid="uuid-a",
            name="renamed",
            is_enabled=True,
            is_live=True,
            cpus=16,
            memory_for_guests_bytes=64 * GIB - GIB - (2 * GIB + 1000),
            address="192.0.2.1",
            control_domains=("dom0",),
            hardware_versions=(0, 1, 2),
        ),
    )


def test_a_guest_needs_dynamic_min_and_overhead() -> None:
    assert guest() == PoolGuest(
        uuid="uuid-g",
        name="g",
        host="uuid-a",
        vcpus=2,
        memory_bytes=4 * GIB + 1000,
        macs=("00:16:3e:00:00:0a",),
        domid=7,
    )


def test_a_migrating_guest_names_its_target_and_is_not_blocked() -> None:
    moving = guest(
        scheduled_to_be_resident_on="host-a",
        current_operations={"OpaqueRef:task": "pool_migrate"},
        allowed_operations=["hard_reboot", "hard_shutdown"],
    )
    assert moving.arriving_at == "uuid-a"
    assert moving.blocked_because == ""


def test_what_the_pool_does_not_allow_has_its_reason() -> None:
    assert (
        guest(blocked_operations={"pool_migrate": "backup"}).blocked_because == "blocked_operations forbids it (backup)"
    )
    assert guest(power_state="Paused").blocked_because == "its power state is Paused"
    assert guest(allowed_operations=[]).blocked_because.startswith("pool_migrate is not among its allowed operations")


def test_an_operation_under_way_makes_a_guest_busy_not_blocked() -> None:
    busy = guest(current_operations={"t": "snapshot"}, allowed_operations=[])
    assert (busy.busy_with, busy.blocked_because) == ("snapshot", "")


def disk(number: int, storage: str, *, empty: bool = False) -> list[dict[str, Any]]:
    return [
        event("vbd", f"vbd-{number}", {"VM": "vm-g", "empty": empty, "VDI": f"vdi-{number}"}),
        event("vdi", f"vdi-{number}", {"SR": f"ref-{storage}"}),
        event("sr", f"ref-{storage}", {"uuid": storage, "name_label": storage.upper()}),
    ]


def test_a_guest_needs_the_storage_of_its_disks_but_not_of_an_empty_drive() -> None:
    mirror = mirror_of(*disk(1, "nfs"), *disk(2, "local"), *disk(3, "nfs"), *disk(4, "iso", empty=True))
    changed = mirror.apply([event("vm", "vm-g", vm(VBDs=["vbd-1", "vbd-2", "vbd-3", "vbd-4"]))])
    assert changed is not None
    assert changed.guests[0].storages == (Resource("local", "LOCAL"), Resource("nfs", "NFS"))


def test_a_host_has_the_storage_that_is_attached_to_it() -> None:
    mirror = mirror_of(*disk(1, "nfs"), *disk(2, "iscsi"))
    mirror.apply(
        [event("pbd", f"pbd-{sr}", {"SR": f"ref-{sr}", "currently_attached": sr == "nfs"}) for sr in ("nfs", "iscsi")]
    )
    changed = mirror.apply([event("host", "host-a", host(PBDs=["pbd-nfs", "pbd-iscsi"]))])
    assert changed is not None
    assert changed.hosts[0].storages == ("nfs",)


def test_networks_are_needed_where_hosts_have_interfaces_on_them() -> None:
    """One without any is internal to whatever host the guest is on."""
    mirror = mirror_of(
        event("network", "ref-lan", {"uuid": "lan", "name_label": "LAN", "PIFs": ["pif"]}),
        event("network", "ref-inner", {"uuid": "inner", "name_label": "inner", "PIFs": []}),
        event("vif", "vif-1", {"VM": "vm-g", "MAC": "a", "network": "ref-lan"}),
        event("vif", "vif-2", {"VM": "vm-g", "MAC": "b", "network": "ref-inner"}),
        event("pif", "pif", {"network": "ref-lan"}),
    )
    changed = mirror.apply(
        [event("host", "host-a", host(PIFs=["pif"])), event("vm", "vm-g", vm(VIFs=["vif-1", "vif-2"]))]
    )
    assert changed is not None
    assert changed.hosts[0].networks == ("lan",)
    assert changed.guests[0].networks == (Resource("lan", "LAN"),)


def test_only_anti_affinity_groups_keep_guests_apart_and_old_pools_have_none() -> None:
    mirror = mirror_of(
        event("vm_group", "g1", {"uuid": "g1", "name_label": "apart", "placement": "anti_affinity"}),
        event("vm_group", "g2", {"uuid": "g2", "name_label": "any", "placement": "normal"}),
    )
    old = vm()
    del old["groups"]
    for record, group in ((vm(groups=["g1"]), Resource("g1", "apart")), (vm(groups=["g2"]), None), (old, None)):
        mirror.apply([event("vm", "vm-g", None, "del")])
        changed = mirror.apply([event("vm", "vm-g", record)])
        assert changed is not None
        assert changed.guests[0].group == group


def test_cpu_and_virtual_hardware_are_told_as_the_pool_has_them() -> None:
    found = guest(
        last_boot_CPU_flags={"vendor": "GenuineIntel", "features": "1-2"},
        hardware_platform_version="2",
        domain_type="pv",
    )
    assert (found.cpu_vendor, found.cpu_features, found.hardware_version, found.is_paravirtual) == (
        "GenuineIntel",
        "1-2",
        2,
        True,
    )
    info = {
        "cpu_count": "16",
        "speed": "2394.230",
        "vendor": "AuthenticAMD",
        "features_hvm": "f",
        "features_pv": "1",
        "features_pv_host": "3",
    }
    changed = mirror_of().apply([event("host", "host-a", host(cpu_info=info))])
    assert changed is not None
    (told,) = changed.hosts
    assert (told.cpu_mhz, told.cpu_vendor, told.cpu_features_hvm, told.cpu_features_pv) == (
        2394.23,
        "AuthenticAMD",
        "f",
        "3",
    )


@pytest.mark.parametrize("speed", ["", "unknown", "nan", "inf", "-1"])
def test_a_clock_that_is_none_is_not_known(speed: str) -> None:
    changed = mirror_of().apply([event("host", "host-a", host(cpu_info={"cpu_count": "8", "speed": speed}))])
    assert changed is not None
    assert changed.hosts[0].cpu_mhz == 0.0


def test_progress_of_a_task_does_not_change_the_inventory() -> None:
    mirror = mirror_of(event("vm", "vm-g", vm()))
    assert mirror.apply([event("task", "t1", {"status": "pending"})]) is None


def test_a_guest_that_a_migration_would_shrink_is_marked() -> None:
    assert guest(memory_dynamic_max=str(8 * GIB)).memory_may_shrink


def test_templates_snapshots_halted_guests_and_dom0_are_no_guests() -> None:
    mirror = mirror_of(
        event("vm", "t", vm(uuid="t", is_a_template=True)),
        event("vm", "s", vm(uuid="s", is_a_snapshot=True)),
        event("vm", "h", vm(uuid="h", power_state="Halted", resident_on=NULL_REF)),
    )
    changed = mirror.apply([event("vm", "vm-g", vm())])
    assert changed is not None
    assert [found.uuid for found in changed.guests] == ["uuid-g"]
    assert changed.gone == ()


def test_a_guest_that_is_shut_down_or_deleted_is_gone() -> None:
    for last in (event("vm", "vm-g", vm(power_state="Halted", resident_on=NULL_REF)), event("vm", "vm-g", None, "del")):
        changed = mirror_of(event("vm", "vm-g", vm())).apply([last])
        assert changed is not None
        assert changed.gone == ("uuid-g",)


def test_the_migrating_task_is_found_among_the_operations() -> None:
    assert migration_task_of(vm(current_operations={"a": "snapshot", "b": "pool_migrate"})) == "b"
    assert migration_task_of(vm()) is None


def test_tasks_are_kept_by_reference_until_the_pool_deletes_them() -> None:
    mirror = mirror_of(
        event("task", "t1", {"status": "pending"}), event("vm", "vm-g", vm(current_operations={"t1": "pool_migrate"}))
    )
    before = mirror.view()
    assert before.tasks["t1"]["status"] == "pending"
    assert before.migrating == {"t1"}
    mirror.apply([event("task", "t1", None, "del")])
    assert "t1" not in mirror.view().tasks
    assert "t1" in before.tasks  # a view is of its moment


def test_references_in_a_text_are_read_as_names() -> None:
    mirror = mirror_of(event("vm", "OpaqueRef:1-a", vm(name_label="rank0")))
    assert (
        mirror.view().readable("VM_LACKS_FEATURE(OpaqueRef:1-a, OpaqueRef:2)") == "VM_LACKS_FEATURE(rank0, OpaqueRef:2)"
    )


class Answer(BytesIO):
    """An answer over HTTP, as the transport reads one."""

    def getheader(self, name: str, default: str = "") -> str:
        return default


def told_of_in_the_end(mirror: PoolMirror, batches: list[list[dict[str, Any]]]) -> dict[str, PoolHost | PoolGuest]:
    """What somebody knows who keeps to what the mirror says after each batch."""
    known: dict[str, PoolHost | PoolGuest] = {}
    for batch in batches:
        if (changed := mirror.apply(batch)) is not None:
            known |= {each.uuid: each for each in (*changed.hosts, *changed.guests)}
            for uuid in changed.gone:
                del known[uuid]
    return known


@cache
def answer_of_a_pool() -> bytes:
    """What an emulated pool of three hosts answers to the first event.from, on the wire."""
    server = Server(backend_of(3, 5), "pool", Settings(guests={"rank1": GuestSettings(pci_devices=1)}))
    return success(asyncio.run(events_from(server.pool.db, Subscription.parse(CLASSES), "", 0.0, lambda: None)))


@cache
def events_of_a_pool() -> list[dict[str, Any]]:
    """Those of that answer."""
    told: Any = xmlrpc.client.loads(answer_of_a_pool().decode())[0][0]
    return list(told["Value"]["events"])


# What may change of a record: a text, a reference to another class or none, or a list, which gets shorter.
TEXTS = {("sr", "name_label"), ("network", "uuid"), ("host", "uuid"), ("vm", "name_label"), ("vif", "MAC")}
LEADS = {
    ("vm", "resident_on"): "host",
    ("vbd", "VDI"): "vdi",
    ("vdi", "SR"): "sr",
    ("vif", "network"): "network",
    ("pbd", "SR"): "sr",
    ("pif", "network"): "network",
}
LISTS = {("vm", "VIFs"), ("vm", "VBDs"), ("network", "PIFs"), ("host", "PBDs")}


@settings(deadline=None)
@given(st.data())
def test_changes_one_by_one_amount_to_the_inventory_as_it_is_in_the_end(data: st.DataObject) -> None:
    """A guest is read anew when its own records change; whichever change in whatever batches, none is missed."""
    records = {(each["class"], each["ref"]): dict(each["snapshot"]) for each in events_of_a_pool()}
    refs = {name: [ref for of, ref in records if of == name] for name in CLASSES}
    gone: dict[tuple[str, str], Any] = {}
    batches = [[event(name, ref, dict(record), "add") for (name, ref), record in records.items()]]
    for number in range(data.draw(st.integers(1, 8))):
        name, field = data.draw(st.sampled_from(sorted({*TEXTS, *LEADS, *LISTS, ("vdi", ""), ("vif", ""), ("vm", "")})))
        ref = data.draw(st.sampled_from(refs[name]))
        if (name, ref) in gone:
            record = records[name, ref] = gone.pop((name, ref))
        elif not field:
            record, gone[name, ref] = None, records.pop((name, ref))
        else:
            record = records[name, ref]
            if (name, field) in LEADS:
                record[field] = data.draw(st.sampled_from([*refs[LEADS[name, field]], NULL_REF]))
            else:
                record[field] = f"new-{number}" if (name, field) in TEXTS else record[field][1:]
        if data.draw(st.booleans()):
            batches.append([])
        batches[-1].append(event(name, ref, record and dict(record), "mod" if record else "del"))
    at_once = [event(name, ref, record) for (name, ref), record in records.items()]
    assert told_of_in_the_end(PoolMirror(), batches) == told_of_in_the_end(PoolMirror(), [at_once])


def test_what_is_left_out_of_records_on_arrival_changes_nothing_of_the_inventory() -> None:
    answer = answer_of_a_pool()
    whole: Any = xmlrpc.client.loads(answer.decode())[0][0]
    transport = Transport()
    transport.verbose = False  # type: ignore[attr-defined]
    (thin,) = transport.parse_response(Answer(answer))
    mirrors = [PoolMirror(), PoolMirror()]
    known = [mirror.apply(answer["Value"]["events"]) for mirror, answer in zip(mirrors, (whole, thin), strict=True)]
    assert known[0] == known[1]
    assert mirrors[0].view() == mirrors[1].view()
    sizes = [len(event["snapshot"]) for event in thin["Value"]["events"] if event["class"] == "vm"]
    assert max(sizes) < 30 < min(len(e["snapshot"]) for e in whole["Value"]["events"] if e["class"] == "vm")


def test_a_thin_record_has_the_fields_that_are_read_and_no_others() -> None:
    whole = vm(name_description="long", VIFs=["v"], other_config={"a": "b"})
    whole.pop("groups", None)
    thin = thinned("vm", whole)
    assert dict(thin) == {name: value for name, value in whole.items() if name in FIELDS["vm"]}
    assert len(thin) == len(dict(thin)), "a pool may be too old to have them all"
    with pytest.raises(KeyError, match="name_description"):
        thin["name_description"]
    with pytest.raises(KeyError, match="groups"):
        thin["groups"]
    assert thinned("vm", {**whole, "name_description": "another"}) == thin
    assert thinned("vm", {**whole, "domid": "8"}) != thin


def test_equal_lists_and_maps_of_strings_are_kept_once_and_others_as_they_are() -> None:
    one, other = (thinned("vm", vm(VIFs=["v", "w"], last_boot_CPU_flags={"vendor": "x"})) for _ in range(2))
    assert one["VIFs"] is other["VIFs"]
    assert one["last_boot_CPU_flags"] is other["last_boot_CPU_flags"]
    for value in ([1, True], [["v"]], {"a": 1}, {"a": ["v"]}, True):
        assert thinned("vdi", {"SR": value})["SR"] is value
