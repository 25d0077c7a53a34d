"""How much CPU guests would use if they could: the load that a saturated host hides.

Dom0 sees how much CPU a guest got, not how much it wanted. On a host with CPU to spare the two are the same. On a
saturated one the scheduler levels its runnable vCPUs (max-min), so what a vCPU that is held back gets is about what the
busiest guest gets for each of its own. A guest that uses at least as much as one such vCPU is taken to want a whole CPU
for each that its use makes up: 4 of 8 vCPUs that get half a CPU each use 2, and want 4. A guest well below that level
got what it asked for; of one that is idle by parts this says too much, by no more than the level is below 1.
"""

from collections.abc import Mapping
from typing import Final

# A host this busy leaves runnable vCPUs waiting; the rest is what the scheduler and sampling lose.
SATURATED_RATIO: Final = 0.95
# A guest that uses this share of what the busiest one gets for a vCPU is held back, sampling noise included.
NEAR_LEVEL_RATIO: Final = 0.8


def demand_vcpus(cpu_ratio: float, guests: Mapping[str, tuple[int, float]]) -> dict[str, float]:
    """Return the CPU that each guest of one host wants, in vCPUs.

    `cpu_ratio` is the host's CPU use (0..1); `guests` maps a uuid to its vCPUs and its CPU use per vCPU (0..1).
    """
    level = max((used for _, used in guests.values()), default=0.0)
    if cpu_ratio < SATURATED_RATIO or level <= 0.0:
        return {uuid: vcpus * used for uuid, (vcpus, used) in guests.items()}
    return {
        uuid: _wanted_vcpus(vcpus, used, level) if vcpus * used >= NEAR_LEVEL_RATIO * level else vcpus * used
        for uuid, (vcpus, used) in guests.items()
    }


def _wanted_vcpus(vcpus: int, used: float, level: float) -> float:
    return float(vcpus) if used >= NEAR_LEVEL_RATIO * level else vcpus * used / level
