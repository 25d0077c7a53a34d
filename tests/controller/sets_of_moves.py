"""A cluster that is wanted otherwise, as one set of moves: what it takes to follow the set to its end."""

from dataclasses import dataclass

from cluster_of_events import CONFIG, Cluster
from msgspec.structs import replace

from migd_controller.commands import StartMigration
from migd_controller.config import ControllerConfig
from migd_controller.events import MigrationAccepted, MigrationEnded, PoolGuest, PoolHost
from migd_controller.memory import Memory
from migd_controller.move_sets import MoveSet
from migd_core.world import Move, Plan, Reason, World

WANTED = Reason("wanted", "a test wants it")
# Moves gain nothing here, and nobody minds.
FREE = replace(
    CONFIG,
    guards=replace(
        CONFIG.guards, min_gain_s=-1e12, behind_at_least_s=1e12, stall_per_hour_s=1e12, max_concurrent_per_target=4
    ),
)


@dataclass(frozen=True)
class Wants:
    """Proposes one set, again and again, without those that are where they are wanted or on their way."""

    places: dict[str, str]
    name = "wants"

    def propose(self, world: World) -> Plan:
        moving = {move.guest for move in world.moves_in_flight}
        moves = (
            Move(uuid, world.guests[uuid].host if uuid in world.guests else "nowhere", target, WANTED, together="set")
            for uuid, target in self.places.items()
            if uuid not in moving and (uuid not in world.guests or world.guests[uuid].host != target)
        )
        return Plan(tuple(moves), WANTED)


class Wanting(Cluster):
    """A cluster of events whose migrations end when a test says so."""

    def __init__(
        self,
        hosts: list[PoolHost],
        guests: list[PoolGuest],
        places: dict[str, str],
        config: ControllerConfig = FREE,
        memory: Memory | None = None,
    ) -> None:
        super().__init__(hosts, guests, config, memory)
        self.want(places)

    def want(self, places: dict[str, str]) -> None:
        self.core.policy = Wants(places)  # type: ignore[assignment]

    def end(self, guest: str, *, moves: bool = True, code: str = "INTERNAL_ERROR") -> None:
        """Let the migration of a guest end: it has moved, or it has stayed and the pool says why."""
        (under_way,) = (m for m in self.core.memory.in_flight.values() if m.guest == guest)
        if moves:
            self.guests[guest] = replace(self.guests[guest], host=under_way.target)
        self.tell(MigrationAccepted(cause=under_way.cause, task="task"))
        place = self.guests[guest].host
        self.tell(MigrationEnded(cause=under_way.cause, host_now=place, code="" if moves else code))

    def goes(self, periods: int = 2) -> list[tuple[str, str, str]]:
        """Let periods pass; return the migrations that were asked for in them."""
        seen = len(self.commands)
        self.run(periods)
        new = [command for command in self.commands[seen:] if isinstance(command, StartMigration)]
        return [(start.guest, start.source, start.target) for start in new]

    @property
    def sets(self) -> list[MoveSet]:
        return list(self.core.memory.sets.values())
