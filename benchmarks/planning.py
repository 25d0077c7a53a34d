"""How long the policies take to plan: `python -m benchmarks.planning` prints seconds as JSON.

The worst case for `least-loaded` is many overloaded hosts and little free memory; a third of the hosts are overloaded
here, every guest talks with two others, and the seed is fixed so that runs compare.
"""

import json
import random
from time import perf_counter
from types import MappingProxyType
from typing import Final

from migd_core.units import GIB
from migd_core.world import PAPER_LINKS, Flow, Guest, Host, Move, Reason, Topology, World
from migd_policies.policy import Policy
from migd_policies.registry import configure
from migd_policies.scoring import job_step_ratios

SIZES: Final = ((64, 256), (1000, 12_000))
RUNS: Final = 5
HOSTS_A_SWITCH: Final = 40


def measure() -> dict[str, float]:
    """Return the best of several runs, in seconds, of each policy on each size, and of pricing one move."""
    figures: dict[str, float] = {}
    for hosts, guests in SIZES:
        size = f"{hosts}_hosts_{guests}_guests"
        for name in ("least-loaded", "colocate"):
            figures[f"{name.replace('-', '_')}_{size}_s"], moves = _plan_s(configure(name, {}), hosts, guests)
            figures[f"{name.replace('-', '_')}_{size}_moves"] = moves
        figures[f"job_step_ratios_{size}_s"] = _price_s(hosts, guests)
    return figures


def busy_world(hosts: int, guests: int, seed: int = 1) -> World:
    """Return a cluster in which a third of the hosts are overloaded and one host in ten has no memory to give."""
    rng = random.Random(seed)
    names = [f"host{number:04}" for number in range(hosts)]
    found = {f"guest{number:05}": _guest(number, names[number % hosts], rng) for number in range(guests)}
    wanted = dict.fromkeys(names, 0.0)
    taken = dict.fromkeys(names, 0)
    for one in found.values():
        wanted[one.host] += one.cpu_demand_vcpus
        taken[one.host] += one.memory_bytes
    cpus = {name: max(1, round(wanted[name] / (1.5 if index % 3 == 0 else 0.6))) for index, name in enumerate(names)}
    uuids = list(found)
    flows = [_flow(uuid, rng.choice(uuids), rng.uniform(1e5, 5e6)) for uuid in uuids]
    return World(
        now_s=0.0,
        hosts=MappingProxyType({name: _host(name, cpus[name], wanted[name], taken[name], rng) for name in names}),
        guests=MappingProxyType(found),
        flows=tuple(flow for flow in flows if flow.guest_a != flow.guest_b),
        topology=Topology(
            links=PAPER_LINKS,
            switch_of=MappingProxyType({name: f"rack{i // HOSTS_A_SWITCH}" for i, name in enumerate(names)}),
        ),
    )


def _flow(guest_a: str, guest_b: str, bytes_per_s: float) -> Flow:
    return Flow(min(guest_a, guest_b), max(guest_a, guest_b), bytes_per_s)


def _host(name: str, cpus: int, wanted: float, taken: int, rng: random.Random) -> Host:
    load = wanted / cpus
    return Host(
        uuid=name,
        name=name,
        cpus=cpus,
        memory_bytes=taken + 64 * GIB,
        memory_free_bytes=0 if rng.random() < 0.1 else 64 * GIB,
        link_bytes_per_s=1.25e9,
        load_ratio=load,
        recent_load_ratios=(load,) * 3,
    )


def _guest(number: int, host: str, rng: random.Random) -> Guest:
    vcpus = rng.choice((1, 2, 4))
    return Guest(
        uuid=f"guest{number:05}",
        name=f"guest{number:05}",
        host=host,
        vcpus=vcpus,
        memory_bytes=rng.choice((2, 4, 8)) * GIB,
        cpu_demand_vcpus=vcpus * rng.uniform(0.3, 1.0),
    )


def _plan_s(policy: Policy, hosts: int, guests: int) -> tuple[float, int]:
    took, moves = [], 0
    for _ in range(RUNS):
        world = busy_world(hosts, guests)  # anew: a world keeps its indices once they were asked for
        start = perf_counter()
        moves = len(policy.propose(world).moves)
        took.append(perf_counter() - start)
    return min(took), moves


def _price_s(hosts: int, guests: int) -> float:
    world = busy_world(hosts, guests)
    move = Move("guest00000", "host0000", "host0001", Reason("benchmark", "to be priced"))
    job_step_ratios(world, move)  # makes the world's indices
    start = perf_counter()
    for _ in range(100):
        job_step_ratios(world, move)
    return (perf_counter() - start) / 100


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
