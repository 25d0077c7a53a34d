"""Watches and never moves: the policy of a new installation.

The wrong choice once somebody expects migd to act. The right one to see for some days what the cluster does, and what
the other policies would have to cure.
"""

from typing import ClassVar

import msgspec

from migd_core.units import format_ratio
from migd_core.world import Plan, Reason, World


class Observe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Never proposes a move; says how loaded the most loaded host is."""

    name: ClassVar[str] = "observe"
    summary: ClassVar[str] = "never moves a guest; says how loaded the cluster is"

    def propose(self, world: World) -> Plan:
        live = [host for host in world.hosts.values() if host.frozen_because is None]
        if not live:
            return Plan((), Reason("observe", "policy observe never moves a guest; no host reports its load"))
        busiest = min(live, key=lambda host: (-host.load_ratio, host.uuid))
        text = (
            f"policy observe never moves a guest; the most loaded of {len(live)} hosts, {busiest.name}, "
            f"wants {format_ratio(busiest.load_ratio)} of its CPUs"
        )
        return Plan((), Reason("observe", text, value=busiest.load_ratio, unit="ratio"))
