"""What each failure of a migration means for the next attempt. One table, no logic.

The codes of XAPI's migrate path in the order it checks them (message_forwarding.ml, xapi_vm_lifecycle.ml,
xapi_vm_helpers.ml, xapi_vm_migrate.ml), and migd's own for answers that never came.
"""

from enum import StrEnum
from types import MappingProxyType
from typing import Final

import msgspec


class Then(StrEnum):
    """What follows from a failure.

    `retry-later`: the same may work in a while, so the guest rests, longer each time. `never`: it cannot work while
    things are as they are. `needs-a-human`: neither, and somebody has to look.
    """

    RETRY_LATER = "retry-later"
    NEVER = "never"
    NEEDS_A_HUMAN = "needs-a-human"


class Scope(StrEnum):
    """Whom a failure concerns: the guest wherever it goes, the guest on that one target, or every guest."""

    GUEST = "guest"
    TARGET = "target"
    POOL = "pool"


class Meaning(msgspec.Struct, frozen=True):
    """A row of the table. `advice` is what would mend it, for a person."""

    then: Then
    scope: Scope
    advice: str


def _retry(advice: str) -> Meaning:
    return Meaning(Then.RETRY_LATER, Scope.GUEST, advice)


def _never(advice: str, scope: Scope = Scope.GUEST) -> Meaning:
    return Meaning(Then.NEVER, scope, advice)


def _human(advice: str, scope: Scope = Scope.GUEST) -> Meaning:
    return Meaning(Then.NEEDS_A_HUMAN, scope, advice)


# A code that is not in the table: it may pass, and the guest rests longer each time it does not.
UNKNOWN: Final = _retry("migd does not know this code; see the log of the coordinator's toolstack")

MEANINGS: Final = MappingProxyType(
    {
        "": _retry("the pool reported success, and yet it is not on the target"),
        # The answer, not the migration, is what is known to have failed.
        "NOT_ASKED": _retry("the pool could not be reached, so it was not asked"),
        "CHANGED_MEANWHILE": _retry("somebody else was at work on it, so the pool was not asked"),
        "ANSWER_LOST": _retry("the pool's answer was lost on the way"),
        "TASK_VANISHED": _retry("the pool lost the task, as it does when its toolstack restarts"),
        "INTERNAL_ERROR": _retry("see the log of the source host's toolstack"),
        "HANDLE_INVALID": _retry("something that was named exists no longer"),
        "UUID_INVALID": _retry("something that was named exists no longer"),
        # The call itself: what is wrong with it is wrong for every guest.
        "MESSAGE_METHOD_UNKNOWN": _human("this release of XAPI does not know the call", Scope.POOL),
        "MESSAGE_PARAMETER_COUNT_MISMATCH": _human("this release of XAPI takes other parameters", Scope.POOL),
        "MESSAGE_REMOVED": _human("this release of XAPI has done away with the call", Scope.POOL),
        "Fault": _human("this release of XAPI does not take the call as it was made", Scope.POOL),
        # Sessions, roles, and who is the coordinator.
        "SESSION_INVALID": _retry("the session ended meanwhile"),
        "SESSION_AUTHENTICATION_FAILED": _human("put the right password into xapi.password_file", Scope.POOL),
        "SESSION_AUTHORIZATION_FAILED": _human("give migd's user the role vm-power-admin", Scope.POOL),
        "RBAC_PERMISSION_DENIED": _human("give migd's user the role vm-power-admin", Scope.POOL),
        "LICENCE_RESTRICTION": _human("the pool's licence does not allow live migration", Scope.POOL),
        "HOST_IS_SLAVE": _retry("the coordinator was changing"),
        "HOST_IN_EMERGENCY_MODE": _retry("the pool has no coordinator now"),
        "HOST_STILL_BOOTING": _retry("the toolstack is starting"),
        "NOT_SUPPORTED_DURING_UPGRADE": _retry("the pool is being upgraded"),
        # The guest as it is (xapi_vm_lifecycle.ml).
        "OPERATION_BLOCKED": _never("somebody put pool_migrate into its blocked_operations"),
        "VM_BAD_POWER_STATE": _retry("only a running guest can be migrated"),
        "OTHER_OPERATION_IN_PROGRESS": _retry("another operation has the guest or the target"),
        "VM_IS_TEMPLATE": _never("it is a template"),
        "VM_IS_SNAPSHOT": _never("it is a snapshot"),
        "VM_IS_IMMOBILE": _never("its devices or nested virtualisation tie it to its host"),
        "OPERATION_NOT_ALLOWED": _never("the pool allows no migration of it"),
        "VM_NON_SUSPENDABLE": _never("its tools say that it cannot be suspended"),
        "VM_LACKS_FEATURE": _never("install the guest tools in it, or start them"),
        "VDI_ON_BOOT_MODE_INCOMPATIBLE_WITH_OPERATION": _never("one of its disks is reset at boot and cached"),
        "VM_HAS_PCI_ATTACHED": _never("a PCI device of the host is attached to it"),
        "VM_HAS_VGPU": _never("a virtual GPU is attached to it"),
        "VM_HAS_VUSBS": _never("a USB device of the host is attached to it"),
        "VM_HAS_SRIOV_VIF": _never("one of its network interfaces is a function of the host's card"),
        "INVALID_VALUE": _human("its settings contradict themselves"),
        "MEMORY_CONSTRAINT_VIOLATION": _human("its memory limits contradict themselves"),
        # The guest on that target (xapi_vm_helpers.ml).
        "HOST_NOT_LIVE": _retry("the target is down"),
        "HOST_DISABLED": _retry("the target is disabled"),
        "HOST_OFFLINE": _retry("the guest's host is down"),
        "CANNOT_CONTACT_HOST": _retry("the guest's host does not answer the coordinator"),
        "VM_HOST_INCOMPATIBLE_VIRTUAL_HARDWARE_PLATFORM_VERSION": _never(
            "the target does not offer its virtual hardware", Scope.TARGET
        ),
        "VM_INCOMPATIBLE_WITH_THIS_HOST": _never("the CPU of the target lacks what it was started with", Scope.TARGET),
        "VM_REQUIRES_SR": _never("attach its storage to the target", Scope.TARGET),
        "VM_REQUIRES_NETWORK": _never("give the target an interface on its network", Scope.TARGET),
        "HOST_CANNOT_ATTACH_NETWORK": _never("the target cannot attach its network", Scope.TARGET),
        "VM_REQUIRES_IOMMU": _never("the target has no IOMMU", Scope.TARGET),
        "VM_REQUIRES_GPU": _never("the target has no GPU of its group", Scope.TARGET),
        "VM_REQUIRES_VGPU": _never("the target has no room for its virtual GPU", Scope.TARGET),
        "VM_REQUIRES_VUSB": _never("the target does not have its USB device", Scope.TARGET),
        "NETWORK_SRIOV_INSUFFICIENT_CAPACITY": _retry("the target's card has no function left"),
        "VM_HVM_REQUIRED": _never("the target's CPU does not virtualise", Scope.TARGET),
        "HOST_NOT_ENOUGH_FREE_MEMORY": _retry("the target has no memory for it now"),
        "HOST_NOT_ENOUGH_PCPUS": _never("it has more vCPUs than the target has CPUs", Scope.TARGET),
        "HA_OPERATION_WOULD_BREAK_FAILOVER_PLAN": _retry("the pool could not survive the failures it plans for"),
        # While it is copied and handed over (xapi_vm_migrate.ml, xenops_server.ml).
        "BALLOONING_TIMEOUT_BEFORE_MIGRATION": _retry("its memory balloon did not come to rest"),
        "VM_FAILED_SUSPEND_ACKNOWLEDGMENT": _retry("it did not answer the request to suspend; are its tools alive?"),
        "VM_SUSPEND_TIMEOUT": _retry("it did not suspend in time; are its tools alive?"),
        "VM_REBOOTED": _retry("it was rebooted meanwhile"),
        "VM_HALTED": _retry("it was shut down meanwhile"),
        "VM_CRASHED": _human("it crashed; see its console and the logs of both hosts"),
    }
)
# Not a failure of anything: somebody ended the migration, and the guest is where it was.
CANCELLED: Final = "CANCELLED"


def meaning_of(code: str) -> Meaning:
    """Return what a failure code means for the next attempt."""
    return MEANINGS.get(code, UNKNOWN)
