"""Groups of guests that are to be apart: nobody keeps them so, but the operator hears of it."""

from collections.abc import Callable
from typing import Any

import pytest
import XenAPI
from pool_client import NULL, Pool

from migd_xapi.settings import Group

NOTICE = "ALL_RUNNING_VMS_IN_ANTI_AFFINITY_GRP_ON_SINGLE_HOST"


@pytest.fixture
def a(serve: Callable[..., Any], connect: Callable[..., XenAPI.Session]) -> Pool:
    served = serve(groups=(Group(name="apart", guests=("rank0", "rank1")),))
    return Pool(served, connect(served))


def notices(a: Pool) -> list[dict[str, Any]]:
    return [message for message in a.api.message.get_all_records().values() if message["name"] == NOTICE]


def test_a_group_on_one_host_is_told_until_it_is_apart_again(a: Pool) -> None:
    (group,) = a.api.VM_group.get_all()
    assert notices(a) == []
    a.api.VM.pool_migrate(a.vm, a.there, {})  # no check keeps them apart
    (notice,) = notices(a)
    assert (notice["cls"], notice["priority"]) == ("Pool", "3")
    assert notice["body"] == (
        "<body><message>Breach on VM anti-affinity rules</message>"
        f"<VM_group>{a.api.VM_group.get_uuid(group)}</VM_group><host>host-1</host></body>"
    )
    a.api.VM.hard_shutdown(a.vm)
    assert notices(a) == []
    a.api.VM.start_on(a.vm, a.there, False, False)
    assert len(notices(a)) == 1
    a.api.VM.pool_migrate(a.vm, a.elsewhere, {})
    assert notices(a) == []


def test_a_guest_is_started_where_fewest_of_its_group_are(a: Pool) -> None:
    mate = a.api.VM.get_by_uuid("guest-1")
    a.api.VM.hard_shutdown(a.vm)
    for host in (a.there, a.elsewhere):
        a.api.VM.pool_migrate(mate, host, {})
        a.api.VM.start(a.vm, False, False)
        assert a.api.VM.get_resident_on(a.vm) != host
        a.api.VM.hard_shutdown(a.vm)


def test_groups_are_made_filled_and_destroyed(a: Pool) -> None:
    group = a.api.VM_group.create({"name_label": "mine", "placement": "normal"})
    record = a.api.VM_group.get_record(group)
    assert (record["name_label"], record["placement"], record["VMs"]) == ("mine", "normal", [])
    a.api.VM.set_groups(a.vm, [group])
    assert a.api.VM_group.get_VMs(group) == [a.vm]
    a.api.VM_group.destroy(group)
    assert a.api.VM.get_groups(a.vm) == []


def test_a_guest_is_in_one_group_at_most(a: Pool) -> None:
    group, other = a.api.VM_group.get_all()[0], a.api.VM_group.create({})
    dom0 = a.api.host.get_control_domain(a.here)
    for vm, groups, expected in (
        (a.vm, [group, other], ["TOO_MANY_GROUPS"]),
        (a.vm, [NULL], ["HANDLE_INVALID", "VM_group", NULL]),
        (
            dom0,
            [group],
            ["OPERATION_NOT_ALLOWED", "Control domains, templates, and snapshots cannot be added to VM groups."],
        ),
    ):
        with pytest.raises(XenAPI.Failure) as caught:
            a.api.VM.set_groups(vm, groups)
        assert caught.value.details == expected
    assert a.api.VM.get_groups(a.vm) == [group]
