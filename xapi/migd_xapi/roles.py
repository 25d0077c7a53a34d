"""The roles of XenAPI, each of which may do all that the ones before it may."""

from typing import Final

READ_ONLY: Final = "read-only"
VM_OPERATOR: Final = "vm-operator"
VM_ADMIN: Final = "vm-admin"
VM_POWER_ADMIN: Final = "vm-power-admin"
POOL_OPERATOR: Final = "pool-operator"
POOL_ADMIN: Final = "pool-admin"
ROLES: Final = (READ_ONLY, VM_OPERATOR, VM_ADMIN, VM_POWER_ADMIN, POOL_OPERATOR, POOL_ADMIN)


def permits(role: str, least: str) -> bool:
    """Return whether `role` may do what needs `least`."""
    return ROLES.index(role) >= ROLES.index(least)


def roles_with(least: str) -> tuple[str, ...]:
    """Return the roles that may do what needs `least`, the greatest first."""
    return ROLES[ROLES.index(least) :][::-1]
