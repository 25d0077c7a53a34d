"""An operator's wish to have a guest's dirty pages counted: what becomes of it, and what it waits for. Pure.

A wish breaks no rule: the guest is only the first of its host's that is given on lease, once it may be again. How much
of its time may go to probes, how far they lie apart, and who must not be probed hold as for all.
"""

from msgspec.structs import replace

from migd_controller.config import ControllerConfig
from migd_controller.events import Source
from migd_controller.inventory import Inventory
from migd_controller.memory import Memory
from migd_controller.probing import UNPROBED_TAGS, apart_s, bandwidth, distrusted
from migd_controller.telemetry import Telemetry
from migd_core.errors import Refused
from migd_core.units import format_duration


def asked(memory: Memory, guest: str, now_s: float) -> Memory:
    """Return the memory once somebody wants the guest (uuid) probed."""
    return replace(memory, probe_asked={**memory.probe_asked, guest: now_s})


def refuse_if_never(guest: str, inventory: Inventory, telemetry: Telemetry, config: ControllerConfig) -> None:
    """Raises Refused where the guest (uuid) will not be probed as things are set up."""
    found = inventory.guests[guest]
    host = inventory.host_name(found.host)
    known = telemetry.hosts.get(found.host)
    if not config.probe.guest_time_ratio:
        raise Refused("no guest is probed: [probe] guest_time_ratio is 0 in the controller's configuration")
    if tags := sorted(UNPROBED_TAGS & set(found.tags)):
        raise Refused(f"guest {found.name} carries the tag {tags[0]}, which keeps it from being probed")
    if known is None or known.source is not Source.AGENT:
        raise Refused(f"no agent speaks for host {host}, and only agents count dirty pages; see docs/dom0.md")


def waits_for(
    guest: str, now_s: float, inventory: Inventory, telemetry: Telemetry, memory: Memory, config: ControllerConfig
) -> tuple[str, float]:
    """Say what keeps the guest (uuid) from being probed now, and for how long at least (s); empty if nothing does."""
    found = inventory.guests[guest]
    known = telemetry.hosts.get(found.host)
    if memory.is_paused:
        return "migd is paused; `migctl resume` goes on", 0.0
    if any(each.guest == guest for each in memory.in_flight.values()):
        return "the guest is being migrated, and no guest is probed then", 0.0
    if any(step.guest == guest for move_set in memory.sets.values() for step in move_set.waiting):
        return "the guest is about to be migrated, as part of a set of moves", 0.0
    if any(hold.guest == guest for hold in memory.holds.values()):
        return f"a migration of the guest failed; `migctl release {found.name}` says that it is well", 0.0
    if why := found.blocked_because or found.busy_with or (found.arriving_at and "somebody else migrates it"):
        return f"the pool says of the guest: {why}", 0.0
    if found.host not in telemetry.listening:
        # So it is for some seconds after an agent or the controller started.
        host = inventory.host_name(found.host)
        return f"the agent of host {host} listens to no leases; does it reach the controller's probe.listen?", 0.0
    if (until := memory.probe_rests.get(found.host, now_s)) > now_s:
        return "the last probe on its host came to nothing", until - now_s
    for lease in memory.leases.values():
        if lease.host == found.host:
            return f"the dirty pages of {lease.guest_name} are counted on its host", max(0.0, lease.over_at - now_s)
    last_at = memory.last_probed_at.get(guest)
    if known is not None and last_at is not None and last_at <= now_s:
        pause_s = apart_s(config.probe, found.memory_bytes, bandwidth(known, config))
        if (left_s := last_at + pause_s - now_s) > 0:
            share = f"{config.probe.guest_time_ratio * 100:g} %"
            return f"it may be probed for {share} of its time, and so once in {format_duration(pause_s)}", left_s
    if known is not None:
        return distrusted(known, found, config), 0.0
    return "", 0.0
