"""Whether a VM that was started on one processor may go on on another (cpuid_helpers.ml)."""

from collections.abc import Iterable, Mapping
from functools import reduce
from itertools import zip_longest
from operator import and_

from migd_xapi.database import Row
from migd_xapi.failure import Failure
from migd_xapi.pool import Pool


def check(pool: Pool, vm: Row, host: Row) -> None:
    """Raise VM_INCOMPATIBLE_WITH_THIS_HOST where a VM that has been started cannot go on on the host."""
    if vm["power_state"] == "Halted":
        return
    flags, info = vm["last_boot_CPU_flags"], host["cpu_info"]
    if flags.get("vendor", info["vendor"]) != info["vendor"]:
        reason = "VM last booted on a host which had a CPU from a different vendor."
        raise Failure("VM_INCOMPATIBLE_WITH_THIS_HOST", vm.ref, host.ref, reason)
    offered = info["features_hvm" if vm["domain_type"] == "hvm" else "features_pv"]
    if not _has_all(offered, flags.get("features", "")):
        reason = "VM last booted on a CPU with features this host's CPU does not have."
        raise Failure("VM_INCOMPATIBLE_WITH_THIS_HOST", vm.ref, host.ref, reason)


def common_features(sets: Iterable[str]) -> str:
    """Return the features that are in all of some sets, each written as words of 32 bits: `1fcbfbff-80b82221`."""
    columns = zip(*map(_words, sets), strict=False)
    return "-".join(f"{reduce(and_, column):08x}" for column in columns)


def flags_of(info: Mapping[str, str]) -> dict[str, str]:
    """Return what a VM remembers of the processors (`cpu_info`) that it was started for."""
    return {"vendor": info["vendor"], "features": info["features_hvm"]}


def flags_of_pool(pool: Pool) -> dict[str, str]:
    """Return what a VM that is started now remembers: what all hosts have in common."""
    return flags_of(pool.row["cpu_info"])


def _has_all(offered: str, wanted: str) -> bool:
    return all(word & ~other == 0 for word, other in zip_longest(_words(wanted), _words(offered), fillvalue=0))


def _words(features: str) -> list[int]:
    return [int(word, 16) for word in features.split("-") if word]
