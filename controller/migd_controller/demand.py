"""How much CPU guests would use if they could: the load that a saturated host hides.

Dom0 sees how much CPU a guest got, not how much it wanted. On a host with CPU to spare the two are the same. On a
saturated one the scheduler levels its runnable vCPUs (max-min), so a guest whose vCPUs run about as much as the busiest
one's is being held back and is taken to want each of them whole; a guest well below that level got what it asked for.
"""

from collections.abc import Mapping
from typing import Final

# A host this busy leaves runnable vCPUs waiting; the rest is what the scheduler and sampling lose.
SATURATED_RATIO: Final = 0.95
# A vCPU at this share of the busiest one's CPU is held back by the same level, sampling noise included.
NEAR_LEVEL_RATIO: Final = 0.8


def demand_vcpus(cpu_ratio: float, guests: Mapping[str, tuple[int, float]]) -> dict[str, float]:
    """Return the CPU that each guest of one host wants, in vCPUs.

    `cpu_ratio` is the host's CPU use (0..1); `guests` maps a uuid to its vCPUs and its CPU use per vCPU (0..1).
    """
    level = max((used for _, used in guests.values()), default=0.0)
    is_held_back = cpu_ratio >= SATURATED_RATIO
    return {
        uuid: float(vcpus) if is_held_back and used >= NEAR_LEVEL_RATIO * level else vcpus * used
        for uuid, (vcpus, used) in guests.items()
    }
