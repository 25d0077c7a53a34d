"""Which host would be least loaded with one more guest on it, found without asking every host."""

from bisect import bisect_left, insort
from collections.abc import Callable, Collection, Iterable
from typing import Final

from migd_core.health import HealthState
from migd_core.world import Guest, Host
from migd_policies.projection import Projection

# A guest is better off where nothing is about to break: a degraded host is chosen only if it is so much less loaded.
DEGRADED_COUNTS_AS_LOAD: Final = 0.25


class TargetLadder:
    """Those of some hosts that may receive, least loaded first, one ladder for each number of CPUs and for each health.

    Among such hosts a guest adds the same to each, so the first that takes it is the best of its ladder.
    """

    def __init__(self, projection: Projection, hosts: Iterable[Host], load_of: Callable[[Host], float | None]) -> None:
        """`load_of` is what a host counts with, moves so far included; a host without (None) receives nothing."""
        self._projection = projection
        self._load_of = load_of
        self._rungs: dict[tuple[int, float], list[tuple[float, str]]] = {}
        self._load: dict[str, float] = {}
        for host in hosts:
            load = load_of(host) if host.may_receive else None
            if load is not None:
                self._load[host.uuid] = load
                self._rungs.setdefault(_ladder(host), []).append((load, host.uuid))
        for rungs in self._rungs.values():
            rungs.sort()

    def best_for(self, guest: Guest, besides: Collection[str] = ()) -> tuple[Host, float] | None:
        """Return the host, none of `besides`, that would be least loaded with the guest on it, and that load.

        A degraded host counts as more loaded than it is. None if no host takes the guest.
        """
        best: tuple[float, str] | None = None
        best_load = 0.0
        hosts = self._projection.world.hosts
        for (cpus, handicap), rungs in self._rungs.items():
            added = guest.cpu_demand_vcpus / cpus
            for load, uuid in rungs:
                if best is not None and (load + added + handicap, uuid) >= best:
                    break
                if uuid not in besides and self._projection.may_take(hosts[uuid], guest):
                    best, best_load = (load + added + handicap, uuid), load + added
                    break
        return None if best is None else (hosts[best[1]], best_load)

    def update(self, host: Host) -> None:
        """Put a host whose load the projection has changed on its new rung."""
        if (old := self._load.get(host.uuid)) is None:
            return
        rungs, load = self._rungs[_ladder(host)], self._load_of(host)
        assert load is not None  # a host does not lose its history while a plan is made
        del rungs[bisect_left(rungs, (old, host.uuid))]
        insort(rungs, (load, host.uuid))
        self._load[host.uuid] = load


def handicap(host: Host) -> float:
    """Return how much a host counts as more loaded than it is, because of its health."""
    return DEGRADED_COUNTS_AS_LOAD if host.health.state is HealthState.DEGRADED else 0.0


def _ladder(host: Host) -> tuple[int, float]:
    """Return the CPUs of a host, and how much it counts as more loaded than it is."""
    return host.cpus, handicap(host)
