"""Random clusters as Ganeti's htools read them from text files, the same as arrays for migd's search, and hbal itself.

Guests have the disk template `ext`: shared storage, so that hbal may send each of them to any node in one migration,
and no secondaries. Its score (htools 3.0.2, Ganeti.HTools.Cluster.Metrics) then has these parts, each a standard
deviation over nodes: free memory (once for what is there, once for what is forthcoming, half weight each), virtual over
physical CPUs (the same twice), and the dynamic load of CPU, memory, disk and network that `-U` gives, over a capacity
of 1.
"""

import os
import random
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from migd_policies.spread import UNGROUPED, Cluster

KINDS: Final = ("uniform", "hot", "new-hosts", "tight")
NODE_MEMORY_MIB: Final = 1024
NODE_CPUS: Final = 1
# hbal keeps more than nothing free (Node.addPriEx refuses new_free_mem <= 0), counted in MiB.
KEPT_MIB: Final = 1


@dataclass(frozen=True, slots=True)
class Node:
    """One node, MiB."""

    name: str
    memory: int
    cpus: int


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance, MiB; `load` is its share of a node's CPU, memory, disk and network."""

    name: str
    memory: int
    vcpus: int
    load: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class TextCluster:
    """Nodes, instances, and the index of the node that each instance is on."""

    nodes: tuple[Node, ...]
    instances: tuple[Instance, ...]
    place: tuple[int, ...]

    def free(self, place: Sequence[int]) -> list[int]:
        """Return the memory that is free on each node, MiB."""
        free = [node.memory - NODE_MEMORY_MIB for node in self.nodes]
        for instance, node in zip(self.instances, place, strict=True):
            free[node] -= instance.memory
        return free

    def text(self, place: Sequence[int]) -> str:
        """Return the file for `hbal -t` with the instances at `place`; htools(1) describes it."""
        free = self.free(place)
        nodes = [
            f"{node.name}|{node.memory}|{NODE_MEMORY_MIB}|{free[n]}|1000000|1000000|{node.cpus}|N|group|1||N|0|{NODE_CPUS}|1.0"
            for n, node in enumerate(self.nodes)
        ]
        instances = [
            f"{one.name}|{one.memory}|1024|{one.vcpus}|running|Y|{self.nodes[at].name}||ext||1|-"
            for one, at in zip(self.instances, place, strict=True)
        ]
        # No limit of virtual CPUs a physical one: Xen has none, so neither side plays with one.
        policy = "|1024,1,1024,1,1,1|1,1,1,1,1,1;9999999,999,9999999,16,8,12|ext|999.0|999.0"
        sections = ["default|group|preferred||", "", *nodes, "", *instances, "", "", policy]
        return "\n".join(sections) + "\n"

    def placed(self, node_of: Mapping[str, str]) -> list[int]:
        """Return the index of the node of each instance."""
        index = {node.name: n for n, node in enumerate(self.nodes)}
        return [index[node_of[instance.name]] for instance in self.instances]

    def utilisation(self) -> str:
        """Return the file for `hbal -U`."""
        return "".join(f"{one.name} {' '.join(f'{load:.6f}' for load in one.load)}\n" for one in self.instances)

    def arrays(self) -> Cluster:
        """Return the same for migd's search; its score is hbal's."""
        hosts, guests = len(self.nodes), len(self.instances)
        memory = np.array([float(one.memory) for one in self.instances])
        fixed, capacity = np.zeros((6, hosts)), np.ones((6, hosts))
        fixed[0], fixed[1] = NODE_MEMORY_MIB, NODE_CPUS
        capacity[0] = [node.memory for node in self.nodes]
        capacity[1] = [node.cpus for node in self.nodes]
        loads = np.array([[round(load, 6) for load in one.load] for one in self.instances]).T
        return Cluster(
            fixed=fixed,
            capacity=capacity,
            demand=np.vstack([memory, [float(one.vcpus) for one in self.instances], loads]),
            weights=np.ones(6),
            home=np.array(self.place, dtype=np.intp),
            may_go=np.ones((guests, hosts), dtype=np.bool_),
            memory=memory,
            free=np.array(self.free(self.place), dtype=np.float64) - KEPT_MIB,
            group=np.full(guests, UNGROUPED, dtype=np.intp),
        )


def random_cluster(rng: random.Random, kind: str, hosts: int, guests_a_host: int) -> TextCluster:
    """Return a cluster of one of `KINDS`.

    `uniform` throws guests at hosts blindly; `hot` has some hosts that got three times as many; of `new-hosts` one host
    in eight is empty; in `tight` ones five sixths of the memory are taken.
    """
    nodes = tuple(Node(f"node{n:03}", rng.choice((65536, 131072)), rng.choice((16, 24, 32))) for n in range(hosts))
    appeal = [1.0] * hosts
    if kind == "hot":
        appeal = [rng.choice((1.0, 1.0, 1.0, 3.0)) for _ in nodes]
    if kind == "new-hosts":
        appeal = [0.0 if n % 8 == 0 else 1.0 for n in range(hosts)]
    sizes = (4096, 8192, 16384) if kind == "tight" else (1024, 2048, 4096, 8192)
    free = [node.memory - NODE_MEMORY_MIB - KEPT_MIB for node in nodes]
    room = sum(free) // 6 if kind == "tight" else 0
    instances, place = [], []
    while len(instances) < hosts * guests_a_host or kind == "tight":
        memory, vcpus = rng.choice(sizes), rng.choice((1, 2, 4))
        fitting = [n for n in range(hosts) if appeal[n] and free[n] >= memory]
        if not fitting or sum(free) - memory < room:
            break
        at = rng.choices(fitting, [appeal[n] for n in fitting])[0]
        free[at] -= memory
        place.append(at)
        load = (rng.random() * vcpus / 16, memory / 65536, rng.random() * 0.1, rng.random() ** 3 * 0.3)
        instances.append(Instance(f"guest{len(instances):05}", memory, vcpus, load))
    return TextCluster(nodes, tuple(instances), tuple(place))


@dataclass(frozen=True, slots=True)
class Balanced:
    """What hbal made of a cluster: the node of each instance, its number of moves, and the CPU time of the process.

    Its own file is of no more use: hbal saves the free memory of nodes as it was before.
    """

    node_of: Mapping[str, str]
    moves: int
    cpu_s: float


class Hbal:
    """Debian's hbal, run on text files in one folder. Raises RuntimeError with its words if it fails."""

    def __init__(self, folder: Path) -> None:
        found = shutil.which("hbal")
        if found is None:
            raise FileNotFoundError("hbal is not installed; on Debian: apt-get install ganeti-htools")
        self._program, self._folder = found, folder

    def score(self, text: str, utilisation: str) -> float:
        """Return hbal's own score of the cluster in `text`."""
        said, _ = self._run(text, utilisation, "--max-length=0")
        return float(_found(r"Initial score: ([\d.]+)", said) or _found(r"initial score ([\d.e-]+),", said) or "nan")

    def balance(self, text: str, utilisation: str) -> Balanced:
        """Let hbal balance the cluster with its own defaults."""
        saved = self._folder / "saved"
        said, cpu_s = self._run(text, utilisation, f"--save={saved}")
        after = saved.with_suffix(".balanced")
        if not after.exists():  # it found nothing to do
            return Balanced(_placed(text), 0, cpu_s)
        moves = int(_found(r"Solution length=(\d+)", said) or 0)
        result = after.read_text()
        after.unlink()
        return Balanced(_placed(result), moves, cpu_s)

    def starting_cpu_s(self, text: str, utilisation: str) -> float:
        """Return the CPU time that hbal takes to start, read the cluster, score it, and end."""
        return min(self._run(text, utilisation, "--max-length=0")[1] for _ in range(3))

    def _run(self, text: str, utilisation: str, *options: str) -> tuple[str, float]:
        data, loads = self._folder / "cluster.data", self._folder / "loads"
        data.write_text(text)
        loads.write_text(utilisation)
        command = [self._program, "-t", str(data), "-U", str(loads), *options]
        before = _children_s()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr or done.stdout}")
        return done.stdout, _children_s() - before


def _placed(text: str) -> dict[str, str]:
    """Return the node of each instance of a file for `hbal -t`."""
    fields = (line.split("|") for line in text.split("\n\n")[2].splitlines())
    return {each[0]: each[6] for each in fields}


def _children_s() -> float:
    times = os.times()
    return times.children_user + times.children_system


def _found(pattern: str, text: str) -> str | None:
    match = re.search(pattern, text)
    return match[1] if match else None
