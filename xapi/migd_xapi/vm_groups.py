"""Anti-affinity: a group whose running VMs all stand on one host gives the operator notice until they do not.

Nothing here keeps VMs apart: XAPI only prefers other hosts when it starts one (xapi_vm_group_helpers.ml).
"""

from collections import Counter
from typing import Final

from migd_xapi.database import Row
from migd_xapi.messages import tell
from migd_xapi.pool import Pool

NAME: Final = "ALL_RUNNING_VMS_IN_ANTI_AFFINITY_GRP_ON_SINGLE_HOST"
PRIORITY: Final = 3


def anti_affinity_group(pool: Pool, vm: Row) -> Row | None:
    """Return the group that wants the VM apart from its others, None if there is none."""
    groups = (pool.db.find("VM_group", ref) for ref in vm["groups"])
    return next((group for group in groups if group is not None and group["placement"] == "anti_affinity"), None)


def vms_by_host(pool: Pool, group: Row) -> Counter[str]:
    """Return how many VMs of the group each host has, by reference; one on its way counts where it will be."""
    found: Counter[str] = Counter()
    for ref in group["VMs"]:
        vm = pool.db.get("VM", ref)
        expected = pool.db.find("host", vm["scheduled_to_be_resident_on"])
        if expected is not None:
            found[expected.ref] += 1
        elif vm["power_state"] == "Running":
            found[vm["resident_on"]] += 1
    return found


def refresh_notice(pool: Pool, vm: Row) -> None:
    """Bring the notice about the VM's group up to date, after the VM came, went or moved."""
    group = anti_affinity_group(pool, vm)
    if group is None:
        return
    vms = [pool.db.get("VM", ref) for ref in group["VMs"]]
    hosts = [each["resident_on"] for each in vms if each["power_state"] == "Running"]
    is_breached = len(hosts) > 1 and len(set(hosts)) == 1
    body = _body(group, pool.db.get("host", hosts[0])) if is_breached else ""
    notices = [each for each in pool.db.rows("message") if each["name"] == NAME and group["uuid"] in each["body"]]
    for notice in notices:
        if notice["body"] != body:
            pool.db.delete(notice)
    if is_breached and not any(notice["body"] == body for notice in notices):
        tell(pool, NAME, PRIORITY, "Pool", pool.row["uuid"], body)


def _body(group: Row, host: Row) -> str:
    return (
        "<body><message>Breach on VM anti-affinity rules</message>"
        f"<VM_group>{group['uuid']}</VM_group><host>{host['uuid']}</host></body>"
    )
