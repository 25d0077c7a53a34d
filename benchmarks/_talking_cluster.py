"""Random clusters of jobs whose guests talk, what a placement of them costs, and the best placements that others find.

A placement is the index of each guest's host. It costs Σ bytes_per_s / bandwidth of the level that a flow crosses, in
seconds of communication a second. `brute_force` tries all placements; `metis` lets METIS part the graph of guests, over
switches first where there are two, and gives each part to the host that has most of its guests, so that fewest move.
"""

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from migd_core.units import GIB
from migd_core.world import Flow, Guest, Host, Level, Link, Topology, World

Numbers = NDArray[np.float64]
Places = NDArray[np.intp]

PATTERNS: Final = ("ring", "grid", "all-to-all", "hub", "random")
MOST_LOAD: Final = 1.0
TINY: Final = 1e-9
# METIS is asked so often each way, and its best answer counts.
METIS_SEEDS: Final = 4


@dataclass(frozen=True, slots=True)
class TalkingCluster:
    """Guests' demand (vCPUs), flows (two guests, bytes/s), hosts' CPUs and switches, and levels' seconds a byte."""

    cpus: Numbers
    switch: Places
    demand: Numbers
    flows: tuple[tuple[int, int, float], ...]
    s_per_byte: Numbers
    place: Places
    links: dict[Level, Link]

    def cost(self, place: Places) -> float:
        """Return the seconds of communication a second."""
        return sum(rate * float(self.s_per_byte[place[a], place[b]]) for a, b, rate in self.flows)

    def highest_load(self, place: Places) -> float:
        """Return the load of the fullest host: CPU wanted over CPUs."""
        return float((np.bincount(place, self.demand, len(self.cpus)) / self.cpus).max())

    def moved(self, place: Places) -> int:
        """Return how many guests are elsewhere than now."""
        return int((place != self.place).sum())

    def world(self, place: Places) -> World:
        """Return what a policy sees of it."""
        loads = np.bincount(place, self.demand, len(self.cpus)) / self.cpus
        hosts = {
            f"host{n:03}": Host(
                uuid=f"host{n:03}",
                name=f"host{n:03}",
                cpus=int(cpus),
                memory_bytes=1024 * GIB,
                memory_free_bytes=1024 * GIB,
                link_bytes_per_s=1.25e9,
                load_ratio=float(loads[n]),
                recent_load_ratios=(float(loads[n]),) * 3,
            )
            for n, cpus in enumerate(self.cpus)
        }
        guests = {
            f"guest{n:04}": Guest(
                uuid=f"guest{n:04}",
                name=f"guest{n:04}",
                host=f"host{place[n]:03}",
                vcpus=4,
                memory_bytes=4 * GIB,
                cpu_demand_vcpus=float(demand),
            )
            for n, demand in enumerate(self.demand)
        }
        return World(
            now_s=0.0,
            hosts=MappingProxyType(hosts),
            guests=MappingProxyType(guests),
            flows=tuple(Flow(f"guest{a:04}", f"guest{b:04}", rate) for a, b, rate in self.flows),
            topology=Topology(
                links=MappingProxyType(self.links),
                switch_of=MappingProxyType({f"host{n:03}": f"switch{at}" for n, at in enumerate(self.switch)}),
            ),
        )


def random_cluster(
    rng: random.Random, hosts: int, guests: int, switches: int, full: float, *, may_invert: bool = False
) -> TalkingCluster:
    """Return about `guests` guests in jobs of 2 to 12, thrown at hosts blindly; their CPUs are wanted to `full` (0..1).

    With `may_invert` the switch may be faster than what one host's guests have between them.
    """
    demand: list[float] = []
    flows: list[tuple[int, int, float]] = []
    while len(demand) < guests:
        size = min(guests - len(demand), rng.randint(2, 12))
        rate = rng.uniform(2e6, 30e6)
        first = len(demand)
        demand += [rng.choice((1.0, 2.0, 4.0)) * rng.uniform(0.5, 1.0)] * size
        flows += [(first + a, first + b, rate * rng.uniform(0.5, 1.5)) for a, b in _pairs(rng, size)]
    cpus = np.full(hosts, max(1.0, np.ceil(sum(demand) / hosts / full), np.ceil(max(demand))))
    speeds = {Level.SAME_HOST: 600e6, Level.SAME_SWITCH: 110e6, Level.WIDE_AREA: 25e6}
    if may_invert and rng.random() < 0.3:
        speeds[Level.SAME_HOST] = 60e6
    switch = np.arange(hosts) * switches // hosts
    level = np.where(switch[:, None] == switch[None, :], 1 / speeds[Level.SAME_SWITCH], 1 / speeds[Level.WIDE_AREA])
    np.fill_diagonal(level, 1 / speeds[Level.SAME_HOST])
    free, place = cpus.copy(), np.zeros(len(demand), dtype=np.intp)
    for one in sorted(range(len(demand)), key=lambda one: -demand[one]):
        fitting = np.flatnonzero(free >= demand[one])
        place[one] = rng.choice(fitting.tolist()) if len(fitting) else int(free.argmax())
        free[place[one]] -= demand[one]
    return TalkingCluster(
        cpus=cpus,
        switch=switch,
        demand=np.array(demand),
        flows=tuple(flows),
        s_per_byte=level,
        place=place,
        links={name: Link(speed, 0.0) for name, speed in speeds.items()},
    )


def _pairs(rng: random.Random, size: int) -> Iterator[tuple[int, int]]:
    """Yield who talks with whom in a job."""
    width = max(2, round(size**0.5))
    match rng.choice(PATTERNS):
        case "ring":
            yield from ((a, (a + 1) % size) for a in range(size if size > 2 else size - 1))
        case "grid":
            yield from ((a, a + 1) for a in range(size - 1) if (a + 1) % width)
            yield from ((a, a + width) for a in range(size - width))
        case "all-to-all":
            yield from ((a, b) for a in range(size) for b in range(a))
        case "hub":
            yield from ((0, b) for b in range(1, size))
        case _:
            yield from ((b, rng.randrange(b)) for b in range(1, size))
            yield from ((a, b) for a in range(size) for b in range(a) if rng.random() < 0.15)


def brute_force(cluster: TalkingCluster) -> Places:
    """Return the cheapest of all placements that fill no host, and of those alike the one that moves fewest guests.

    Where every placement fills one, it is of those that fill the fullest least.
    """
    hosts, guests = len(cluster.cpus), len(cluster.demand)
    places = np.indices((hosts,) * guests, dtype=np.int8).reshape(guests, -1)
    highest = np.zeros(places.shape[1])
    for host, cpus in enumerate(cluster.cpus):
        highest = np.maximum(highest, ((places == host) * cluster.demand[:, None]).sum(axis=0) / cpus)
    places = places[:, highest <= max(MOST_LOAD, highest.min()) + TINY]
    cost = np.zeros(places.shape[1])
    for a, b, rate in cluster.flows:
        cost += rate * cluster.s_per_byte[places[a], places[b]]
    moved = (places != cluster.place[:, None]).sum(axis=0)
    alike = np.flatnonzero(cost <= cost.min() * (1 + TINY) + TINY)
    return places[:, alike[moved[alike].argmin()]].astype(np.intp)


def metis(cluster: TalkingCluster, seed: int) -> Places:
    """Return METIS's cheapest placement that fills no host; the least overfull one where it finds none.

    Raises ModuleNotFoundError where METIS is not installed.
    """
    slack = float(cluster.cpus.sum() / cluster.demand.sum())
    asked = itertools.product((False, True), (1.01, (1.0 + slack) / 2, slack), range(METIS_SEEDS))
    found = [_placed(cluster, _Asked(*one[:2], seed + one[2])) for one in asked]
    return min(found, key=lambda place: (max(MOST_LOAD + TINY, cluster.highest_load(place)), cluster.cost(place)))


@dataclass(frozen=True, slots=True)
class _Asked:
    """How METIS is asked: by recursive bisection or not, how uneven parts may be (1: not at all), and its seed."""

    recursive: bool
    uneven_ratio: float
    seed: int


def _placed(cluster: TalkingCluster, asked: _Asked) -> Places:
    """Return one placement by METIS, over switches first."""
    everybody, hosts = np.arange(len(cluster.demand)), np.arange(len(cluster.cpus))
    by_switch = [hosts[cluster.switch == switch] for switch in np.unique(cluster.switch)]
    at_switch = _for_fewest_moves(cluster.switch[cluster.place], _parts(cluster, everybody, len(by_switch), asked))
    place = np.zeros(len(everybody), dtype=np.intp)
    for number, those in enumerate(by_switch):
        guests = everybody[at_switch == number]
        parts = _parts(cluster, guests, len(those), asked)
        here = np.array([np.flatnonzero(those == at)[0] if at in those else -1 for at in cluster.place[guests]])
        place[guests] = those[_for_fewest_moves(here, parts)]
    return place


def _parts(cluster: TalkingCluster, guests: Places, count: int, asked: _Asked) -> Places:
    """Return the part of each of the guests."""
    import pymetis

    if count == 1 or len(guests) < count:
        return np.arange(len(guests), dtype=np.intp) % count
    index = {int(guest): n for n, guest in enumerate(guests)}
    near: list[dict[int, int]] = [{} for _ in guests]
    most = max(rate for _, _, rate in cluster.flows)
    for a, b, rate in cluster.flows:
        if a in index and b in index:
            for one, other in ((index[a], index[b]), (index[b], index[a])):
                near[one][other] = near[one].get(other, 0) + max(1, round(1e4 * rate / most))
    _, parts = pymetis.part_graph(
        count,
        xadj=np.cumsum([0, *(len(each) for each in near)]).tolist(),
        adjncy=[other for each in near for other in each],
        vweights=[max(1, round(1000 * wanted)) for wanted in cluster.demand[guests]],
        eweights=[weight for each in near for weight in each.values()],
        recursive=asked.recursive,
        options=pymetis.Options(ufactor=max(1, round(1000 * (asked.uneven_ratio - 1))), seed=asked.seed),
    )
    return np.array(parts, dtype=np.intp)


def _for_fewest_moves(here: Places, parts: Places) -> Places:
    """Return the parts with other numbers, such that most guests are in the part that has the number of where they are.

    `here` is that number, -1 for none.
    """
    from scipy.optimize import linear_sum_assignment

    count = int(max(here.max(initial=0), parts.max(initial=0))) + 1
    staying = np.zeros((count, count))
    np.add.at(staying, (parts[here >= 0], here[here >= 0]), 1.0)
    _, number = linear_sum_assignment(-staying)
    return np.asarray(number, dtype=np.intp)[parts]
