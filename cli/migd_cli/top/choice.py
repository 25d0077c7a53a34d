"""What of a reading is shown, and in which order: the operator's choice of order, filter and folded hosts."""

from dataclasses import dataclass
from enum import Enum

from migd_cli.top.reading import Reading
from migd_core.api import GuestView, HostView, JobView, MigrationView, RecommendationView


class Order(Enum):
    """What hosts, and the guests on each, are sorted by."""

    NAME = "name"
    LOAD = "load"
    WAITING = "waiting"
    MEMORY = "memory"

    @property
    def following(self) -> "Order":
        """Return the order that comes next, the first after the last."""
        orders = list(Order)
        return orders[(orders.index(self) + 1) % len(orders)]


@dataclass(frozen=True, slots=True)
class Choice:
    """An order, part of a name (in any case; empty shows all), and the hosts (uuids) whose guests are hidden."""

    order: Order = Order.NAME
    part: str = ""
    folded: frozenset[str] = frozenset()

    def hosts(self, reading: Reading) -> list[tuple[HostView, list[GuestView]]]:
        """Return the hosts to show, each with those of its guests to show."""
        on: dict[str, list[GuestView]] = {}
        for guest in reading.guests:
            on.setdefault(guest.host, []).append(guest)
        shown = []
        for host in sorted(reading.hosts, key=lambda host: self._host_key(host, on.get(host.uuid, []))):
            guests = on.get(host.uuid, [])
            if not self._meets(host.name):
                guests = [guest for guest in guests if self._meets(guest.name, guest.job or "")]
                if not guests:
                    continue
            shown.append((host, sorted(guests, key=self._guest_key)))
        return shown

    def jobs(self, reading: Reading) -> list[JobView]:
        """Return the jobs to show, by name."""
        return sorted(
            (job for job in reading.jobs if self._meets(job.name, *job.guest_names)), key=lambda job: job.name
        )

    def recommendations(self, reading: Reading) -> list[RecommendationView]:
        """Return what waits for the operator's word, in the controller's order: what is for safety first."""
        return [
            view
            for view in reading.recommendations
            if any(self._meets(move.guest_name, move.source_name, move.target_name) for move in view.moves)
        ]

    def migrations(self, reading: Reading) -> list[MigrationView]:
        """Return the migrations to show: those under way first, then the latest."""
        shown = [
            each for each in reading.migrations if self._meets(each.guest_name, each.source_name, each.target_name)
        ]
        return sorted(shown, key=lambda each: (each.ok is not None, -each.started_at))

    def _meets(self, *names: str) -> bool:
        return any(self.part.casefold() in name.casefold() for name in names)

    def _host_key(self, host: HostView, guests: list[GuestView]) -> tuple[float, str]:
        match self.order:
            case Order.NAME:
                first = 0.0
            case Order.LOAD:
                first = -(host.load_ratio or 0.0)
            case Order.WAITING:
                first = -sum(waiting_vcpus(guest) for guest in guests)
            case Order.MEMORY:
                first = float(host.memory_free_bytes)
        return first, host.name

    def _guest_key(self, guest: GuestView) -> tuple[float, str]:
        match self.order:
            case Order.NAME:
                first = 0.0
            case Order.LOAD:
                first = -guest.cpu_demand_vcpus
            case Order.WAITING:
                first = -waiting_vcpus(guest)
            case Order.MEMORY:
                first = -float(guest.memory_bytes)
        return first, guest.name


def waiting_vcpus(guest: GuestView) -> float:
    """Return how much CPU a guest wants and does not get."""
    return max(0.0, guest.cpu_demand_vcpus - guest.cpu_used_vcpus)
