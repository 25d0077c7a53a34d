"""The guests of a `World`, host by host: the pool's word, their agent's measurements and what migd remembers of each.

A large site has ten thousands of guests and a world every few seconds, so each guest is made once, and what is asked
for all of them is looked up once.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from migd_controller.demand import demand_vcpus
from migd_controller.events import PoolGuest
from migd_controller.holds import barred_targets, quarantine, quarantine_text
from migd_controller.inventory import Inventory
from migd_controller.leases import lease_text
from migd_controller.memory import Memory
from migd_controller.probing import NEVER_TAG
from migd_controller.telemetry import GuestRates, Telemetry
from migd_core.world import Guest

# Of a guest that has just arrived.
UNMEASURED: Final = "it is not measured on its host yet"
_NOTHING: Final = GuestRates(0.0, 0.0, 0.0)


class Residents:
    """The guests of each host at `now_s` (Unix time); one rests for `cooldown_s` after it was moved."""

    def __init__(
        self, now_s: float, inventory: Inventory, telemetry: Telemetry, memory: Memory, cooldown_s: float
    ) -> None:
        self._now_s, self._inventory, self._telemetry, self._memory = now_s, inventory, telemetry, memory
        self._on: dict[str, list[PoolGuest]] = {}
        for guest in inventory.guests.values():
            self._on.setdefault(guest.host, []).append(guest)
        self._rests_s = {guest: cooldown_s - max(0.0, now_s - at) for guest, at in memory.last_moved_at.items()}
        for hold in memory.holds.values():
            if hold.until is not None:
                self._rests_s[hold.guest] = max(self._rests_s.get(hold.guest, 0.0), hold.until - now_s)
        self._refused = barred_targets(memory.holds)
        self._job_of = {guest: job.name for job in memory.jobs.values() for guest in job.guests}
        self._leases = {lease.guest: lease for lease in memory.leases.values()}

    def of(self, host: str, kept_because: str | None) -> list[Guest]:
        """Return the guests of a host (uuid), which all stay there if there is a reason `kept_because`."""
        residents, known = self._on.get(host, ()), self._telemetry.hosts.get(host)
        if known is None:
            return [self._guest(each, None, 0.0, kept_because) for each in residents]
        used = {
            each.uuid: (each.vcpus, rates.cpu_ratio)
            for each in residents
            if (rates := known.guests.get(each.uuid)) is not None
        }
        wanted = demand_vcpus(known.cpu_ratio, used)
        return [
            self._guest(each, known.guests.get(each.uuid), wanted.get(each.uuid, 0.0), kept_because)
            for each in residents
        ]

    def _guest(
        self, guest: PoolGuest, rates: GuestRates | None, wanted_vcpus: float, kept_because: str | None
    ) -> Guest:
        barred = self._inventory.barred(guest)
        found = rates or _NOTHING
        refused = self._refused.get(guest.uuid)
        return Guest(
            uuid=guest.uuid,
            name=guest.name,
            host=guest.host,
            vcpus=guest.vcpus,
            memory_bytes=guest.memory_bytes,
            cpu_demand_vcpus=wanted_vcpus,
            cpu_used_vcpus=found.cpu_ratio * guest.vcpus,
            rx_bytes_per_s=found.rx_bytes_per_s,
            tx_bytes_per_s=found.tx_bytes_per_s,
            dirty_curves=self._telemetry.curves(guest.uuid),
            job=self._job_of.get(guest.uuid),
            tags=frozenset(guest.tags),
            immovable_because=self._immovable_because(guest, rates is not None, barred, kept_because),
            cooldown_s=max(0.0, self._rests_s.get(guest.uuid, 0.0)),
            barred=barred if refused is None else MappingProxyType({**barred, **refused}),
            group=guest.group.name if guest.group is not None else None,
            arriving_at=guest.arriving_at,
            booted_at=self._telemetry.booted_at.get(guest.uuid, 0.0),
        )

    def _immovable_because(
        self, guest: PoolGuest, is_measured: bool, barred: Mapping[str, str], kept_because: str | None
    ) -> str | None:
        if NEVER_TAG in guest.tags:
            return f"it is tagged {NEVER_TAG}"
        if guest.blocked_because:
            return f"the pool does not allow it: {guest.blocked_because}"
        if guest.arriving_at is not None:
            return "it is being migrated"
        if (lease := self._leases.get(guest.uuid)) is not None:
            return lease_text(lease, self._now_s)
        if guest.probed_by:
            return f"migd has kept it from being migrated for {guest.probed_by}, and is about to allow it again"
        if guest.busy_with:
            return f"{guest.busy_with} is under way"
        if (hold := quarantine(self._memory.holds, guest.uuid)) is not None:
            return f"it is {quarantine_text(hold)}"
        if guest.memory_may_shrink:
            return (
                "its dynamic memory minimum is below its maximum, so a migration would shrink it; "
                "set memory_dynamic_min = memory_dynamic_max"
            )
        if kept_because is not None:
            return f"its host is frozen: {kept_because}"
        if not is_measured:
            return UNMEASURED
        others = len(self._inventory.hosts) - 1
        if not others or len(barred) - (guest.host in barred) < others:
            return None
        return "no other host could run it: " + next(why for host, why in barred.items() if host != guest.host)
