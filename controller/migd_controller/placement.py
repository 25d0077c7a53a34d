"""What a guest needs of a host, whatever its load: storage, networks, virtual hardware, CPU. Pure.

XAPI checks the same (xapi_vm_helpers.ml, assert_can_boot_here; cpuid_helpers.ml). Here it keeps a move that cannot be
from being proposed. The pool has the last word all the same: it is asked again before each migration.
"""

from migd_controller.events import PoolGuest, PoolHost, Resource

Needs = tuple[tuple[Resource, ...], tuple[Resource, ...], int, str, str, bool]


def needs(guest: PoolGuest) -> Needs:
    """Return what decides where the guest may run: guests with the same needs may run on the same hosts."""
    return (
        guest.storages,
        guest.networks,
        guest.hardware_version,
        guest.cpu_vendor,
        guest.cpu_features,
        guest.is_paravirtual,
    )


def why_not(guest: PoolGuest, host: PoolHost) -> str | None:
    """Return why this guest could not run on this host however empty that was, None if it could."""
    for storage in guest.storages:
        if storage.uuid not in host.storages:
            return f"host {host.name} has no storage {storage.name} attached, which the guest's disks are on"
    for network in guest.networks:
        if network.uuid not in host.networks:
            return f"host {host.name} is not on the network {network.name}, which the guest is on"
    if host.hardware_versions and guest.hardware_version not in host.hardware_versions:
        return f"host {host.name} does not offer version {guest.hardware_version} of the virtual hardware"
    return cpu_why_not(guest, host)


def cpu_why_not(guest: PoolGuest, host: PoolHost) -> str | None:
    """Return what the host's CPU lacks that the guest was started on, None if nothing."""
    if guest.cpu_vendor and host.cpu_vendor and guest.cpu_vendor != host.cpu_vendor:
        return f"the guest was started on a CPU by {guest.cpu_vendor}, host {host.name} has one by {host.cpu_vendor}"
    offered = host.cpu_features_pv if guest.is_paravirtual else host.cpu_features_hvm
    if guest.cpu_features and offered and not _is_subset(guest.cpu_features, offered):
        return f"the guest was started on a CPU with features that the CPU of host {host.name} does not have"
    return None


def _is_subset(features: str, offered: str) -> bool:
    """Compare XAPI's feature sets: words of 32 bits in hexadecimal, joined by dashes; missing words are zero."""
    words, have = _words(features), _words(offered)
    have += [0] * (len(words) - len(have))
    return all(word & ~there == 0 for word, there in zip(words, have, strict=False))


def _words(features: str) -> list[int]:
    try:
        return [int(word, 16) for word in features.split("-")]
    except ValueError:
        return []  # a form that is not known says nothing; the pool will
