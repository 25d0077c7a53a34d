"""A policy that wants anything, however forbidden: what it proposes meets every gate, and only the gates stop it."""

from dataclasses import dataclass
from random import Random
from typing import ClassVar, Final

from migd_core.world import Move, Plan, Reason, World

RECKLESS: Final = "reckless"
WISH: Final = Reason(RECKLESS, "just so")
NOBODY: Final = "00000000-0000-0000-0000-000000000000"
MOST_WISHES: Final = 3
# So many wishes are for the least loaded host: what gains nothing is refused for that, whatever else is wrong with it.
ATTRACTIVE_RATIO: Final = 0.5


@dataclass(frozen=True, slots=True)
class Reckless:
    """Wishes drawn by the seed and the world's time alone: single moves, sets of two or three, and plain nonsense."""

    name: ClassVar[str] = RECKLESS
    summary: ClassVar[str] = "wants anything"

    seed: int

    def propose(self, world: World) -> Plan:
        rng = Random(f"{self.seed} {world.now_s:.3f}")
        guests, hosts = sorted(world.guests), sorted(world.hosts)
        moves: list[Move] = []
        for _ in range(rng.randint(1, MOST_WISHES) if guests and hosts else 0):
            uuid = rng.choice(guests)
            source = world.guests[uuid].host
            others = [host for host in hosts if host != source] or hosts
            target = rng.choice(others)
            if rng.random() < ATTRACTIVE_RATIO:
                target = min(others, key=lambda host: world.hosts[host].load_ratio)
            match rng.randrange(24):
                case 0:
                    uuid = NOBODY
                case 1:
                    source = rng.choice(hosts)
                case 2:
                    target = NOBODY
            moves.append(Move(uuid, source, target, WISH))
        if rng.random() < 0.3:
            moves = [Move(m.guest, m.source, m.target, m.reason, together=RECKLESS) for m in moves]
        return Plan(tuple(moves), WISH)
