"""What XAPI itself measures of a host and its guests, as a sample: for hosts where no agent can run. Pure.

`/rrd_updates` answers with a legend of columns such as `AVERAGE:vm:<uuid>:cpu0` and rows of values, newest first, a row
for every step of 5 s. Rates are averages over the step, so nothing has to be formed from counters. There are no dirty
pages and no traffic between guests in it.
"""

import json
import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from migd_core.errors import MigdError
from migd_core.messages import GuestSample, HostSample

STEP_S: Final = 5.0
KIB: Final = 1024
# Cumulative counters and an agent's boot have no counterpart here; the name says where the sample comes from.
BOOT_ID: Final = "rrd"
_CPU: Final = re.compile(r"cpu\d+")
_VIF: Final = re.compile(r"vif_\d+_(rx|tx)")
_PIF: Final = re.compile(r"pif_(?!aggr_|lo_)\w+_(rx|tx)")


class RrdError(MigdError):
    """An answer that is not `/rrd_updates`, or has nothing of the host in it."""


@dataclass(slots=True)
class _Sources:
    """The newest values of one owner, by data source; those that are not numbers are left out."""

    values: dict[str, float] = field(default_factory=dict)

    def named(self, pattern: re.Pattern[str], direction: str = "") -> list[float]:
        """Return the values whose whole name matches, in one direction (`rx` or `tx`) if one is given."""
        found = ((value, pattern.fullmatch(name)) for name, value in self.values.items())
        return [value for value, match in found if match and (not direction or match[1] == direction)]


def sample_of(body: bytes, host_uuid: str, control_domains: Collection[str]) -> HostSample:
    """Return the newest whole step of a host that `/rrd_updates` answered with.

    `control_domains` are the uuids of Dom0s. Raises RrdError, also where the host has measured no whole step yet.
    """
    newest = _newest(body, host_uuid)
    if newest is None:
        raise RrdError(f"host {host_uuid}: its RRDs have no whole step of 5 s yet")
    at_s, owners = newest
    host = owners["host", host_uuid]
    cpus = host.named(_CPU)
    total_kib, free_kib = host.values.get("memory_total_kib"), host.values.get("memory_free_kib")
    if not cpus or not total_kib or free_kib is None:
        raise RrdError(
            f"host {host_uuid}: its RRDs lack cpu0, memory_total_kib or memory_free_kib; "
            "`systemctl status xcp-rrdd` on it tells whether its daemon is healthy"
        )
    vms = {uuid: sources for (kind, uuid), sources in owners.items() if kind == "vm"}
    dom0_cpus = sum(sum(vms[uuid].named(_CPU)) for uuid in control_domains if uuid in vms)
    guests = (_guest(uuid, sources) for uuid, sources in sorted(vms.items()) if uuid not in control_domains)
    sample = HostSample(
        host_uuid=host_uuid,
        boot_id=BOOT_ID,
        sequence=int(at_s),
        monotonic_s=at_s,
        interval_s=STEP_S,
        cpus=len(cpus),
        cpu_ratio=_ratio(sum(cpus) / len(cpus)),
        dom0_cpu_ratio=_ratio(dom0_cpus / len(cpus)),
        memory_bytes=int(total_kib) * KIB,
        memory_free_bytes=int(free_kib) * KIB,
        rx_bytes_per_s=max(0.0, sum(host.named(_PIF, "rx"))),
        tx_bytes_per_s=max(0.0, sum(host.named(_PIF, "tx"))),
        guests=tuple(guest for guest in guests if guest is not None),
    )
    if (why := sample.contradiction()) is not None:
        raise RrdError(f"host {host_uuid}: impossible figures in its RRDs: {why}")
    return sample


def _guest(uuid: str, sources: _Sources) -> GuestSample | None:
    """A guest without CPU or memory figures has just come or gone."""
    cpus, memory_bytes = sources.named(_CPU), sources.values.get("memory")
    if not cpus or memory_bytes is None:
        return None
    return GuestSample(
        uuid=uuid,
        vcpus=len(cpus),
        cpu_ratio=_ratio(sum(cpus) / len(cpus)),
        memory_bytes=max(0, int(memory_bytes)),
        rx_bytes_per_s=max(0.0, sum(sources.named(_VIF, "rx"))),
        tx_bytes_per_s=max(0.0, sum(sources.named(_VIF, "tx"))),
    )


def _ratio(value: float) -> float:
    """XAPI's averages pass 1 by a rounding error; what is far beyond is left for the sample's own checks to refuse."""
    return min(1.0, max(0.0, value))


def _newest(body: bytes, host_uuid: str) -> tuple[float, Mapping[tuple[str, str], _Sources]] | None:
    """Return the time of the newest row in which the host has a value, and that row's values by (kind, uuid)."""
    try:
        # Toolstacks before 23.31 write bare numbers and a bare NaN; later ones write all values as strings.
        answer: Any = json.loads(body)
        step_s = float(answer["meta"]["step"])
        legend = [_column(entry) for entry in answer["meta"]["legend"]]
        rows = [(float(row["t"]), [float(value) for value in row["values"]]) for row in answer["data"]]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise RrdError(
            f"host {host_uuid}: its answer to /rrd_updates is not what it should be: {type(error).__name__}: {error}"
        ) from error
    if step_s != STEP_S:
        raise RrdError(f"host {host_uuid}: asked for steps of {STEP_S:g} s, its RRDs answer with steps of {step_s:g} s")
    for at_s, values in sorted(rows, key=lambda row: row[0], reverse=True):
        if len(values) != len(legend):
            raise RrdError(f"host {host_uuid}: a row has {len(values)} values, the legend {len(legend)}")
        owners: dict[tuple[str, str], _Sources] = {}
        for (function, kind, uuid, name), value in zip(legend, values, strict=True):
            if function == "AVERAGE" and math.isfinite(value):
                owners.setdefault((kind, uuid), _Sources()).values[name] = value
        if ("host", host_uuid) in owners:
            return at_s, owners
    return None


def _column(entry: object) -> tuple[str, str, str, str]:
    function, kind, uuid, name = str(entry).split(":", 3)
    return function, kind, uuid, name
