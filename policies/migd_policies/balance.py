"""Spreads CPU, memory and network load evenly over hosts with the fewest moves: the job of Ganeti's hbal.

The measure is the weighted sum of the standard deviations over hosts of each load (`spread.py`); `spread_search.py`
finds the moves. A move is proposed only if in each of the last `sustained_periods` it would have lowered the measure by
itself, after those before it in the plan, by `min_gain_ratio` of one host or more. So the measure falls with every move
that is made, whichever of those after it are refused, and nothing can be sent back and forth.

The wrong choice wherever a job's time is what counts: an even cluster does not make the slowest rank faster
(`least-loaded`), hosts far below their capacity gain nothing from being equally far below it, which the ledger will say
of each move, and evening out tears apart guests that talk with each other (`colocate`). Right for many small guests of
unknown purpose, and after hosts were added.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Annotated, ClassVar, Final

import msgspec
import numpy as np
from msgspec import Meta

from migd_core.units import format_ratio
from migd_core.world import Guest, Host, Move, Plan, Reason, World
from migd_policies.projection import Projection
from migd_policies.spread import UNGROUPED, Cluster, Flags, Floats, Spread
from migd_policies.spread_search import Found, Limits, search

Weight = Annotated[float, Meta(ge=0, le=100)]

CPU: Final = 0
MEMORY: Final = 1
NETWORK: Final = 2


class Balance(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Towards equal load on all hosts, with the fewest moves.

    `spread_threshold_ratio` is the spread below which nothing is done. The spread times the number of hosts falls by
    at least `min_gain_ratio` with each move: about what moving that share of a host's load between two typical hosts
    does, on clusters of any size. `max_moves` bounds how many guests move at a time, those under way included; the
    moves of one plan are the best of that number together. A host that `max_moves_per_host` guests are on their way to
    is sent no other until one has arrived, and one that as many are leaving is left by no other: the next best moves.
    """

    name: ClassVar[str] = "balance"
    summary: ClassVar[str] = "spreads CPU, memory and network load evenly over hosts with the fewest moves"

    cpu_weight: Weight = 1.0
    memory_weight: Weight = 0.5
    network_weight: Weight = 0.5
    spread_threshold_ratio: Annotated[float, Meta(ge=0, le=100)] = 0.1
    min_gain_ratio: Annotated[float, Meta(gt=0, le=100)] = 0.05
    sustained_periods: Annotated[int, Meta(ge=1, le=120)] = 3
    max_moves: Annotated[int, Meta(ge=1, le=100_000)] = 4
    max_moves_per_host: Annotated[int, Meta(ge=1, le=64)] = 1

    def propose(self, world: World) -> Plan:
        problem = _Problem(self, world)
        if len(problem.hosts) < 2:
            text = (
                f"{len(problem.hosts)} of {len(world.hosts)} hosts may receive guests and were seen for "
                f"{self.sustained_periods} periods; it takes two to even out their load"
            )
            return Plan((), Reason("no-hosts", text, float(len(problem.hosts)), 2.0, "hosts"))
        periods = problem.periods()
        lowest = min(spread.score for spread in periods)
        if lowest <= self.spread_threshold_ratio:
            return Plan((), self._why_calm(lowest, max(spread.score for spread in periods)))
        room = self.max_moves - len(world.moves_in_flight)
        if room <= 0:
            under_way = float(len(world.moves_in_flight))
            text = f"load is spread by {lowest:.2f} or more over the hosts, but guests are being moved already"
            return Plan((), Reason("already-moving", text, under_way, float(self.max_moves), "migrations"))
        before, step = periods[-1].score, self.min_gain_ratio / len(problem.hosts)
        limits = Limits(max_moves=room, min_gain=step, small=np.inf)
        moves = tuple(problem.paying(search(problem.cluster(), limits), periods, step))
        after = periods[-1].score
        threshold = self.spread_threshold_ratio
        text = f"load is spread by {before:.2f} over {len(problem.hosts)} hosts (threshold {threshold:g})"
        if not moves:
            text += f", but no move lowers that by {step:.2g} in each of {self.sustained_periods} periods"
            text += problem.busy_text
            return Plan((), Reason("no-gain", text, before, threshold, "ratio"))
        text += f"; guests to move: {len(moves)}, which lowers it to {after:.2f}"
        return Plan(moves, Reason("uneven", text, before, threshold, "ratio"))

    def _why_calm(self, lowest: float, highest: float) -> Reason:
        threshold = self.spread_threshold_ratio
        if highest <= threshold:
            text = f"load is spread by {lowest:.2f} over the hosts at most (threshold {threshold:g})"
            return Reason("within-threshold", text, lowest, threshold, "ratio")
        text = (
            f"load is spread by {highest:.2f} over the hosts, but not by more than {threshold:g} in each of "
            f"{self.sustained_periods} periods"
        )
        return Reason("not-sustained", text, lowest, threshold, "ratio")


class _Problem:
    """One world as arrays: the hosts that take part, by uuid, and the guests that will be on them."""

    def __init__(self, settings: Balance, world: World) -> None:
        self._settings = settings
        self._world = world
        self._projection = Projection(world)
        periods = settings.sustained_periods
        taking_part = [h for h in world.hosts.values() if h.may_receive and len(h.recent_load_ratios) >= periods]
        self.hosts: Sequence[Host] = sorted(taking_part, key=lambda host: host.uuid)
        self._index = {host.uuid: index for index, host in enumerate(self.hosts)}
        there = [guest for guest in world.guests.values() if self._projection.host_of(guest.uuid) in self._index]
        self._guests: Sequence[Guest] = sorted(there, key=lambda guest: guest.uuid)
        limit, under_way = settings.max_moves_per_host, world.moves_in_flight
        leaving, arriving = Counter(move.source for move in under_way), Counter(move.target for move in under_way)
        self._full_sources = {uuid for uuid, count in leaving.items() if count >= limit}
        self._full_targets = {uuid for uuid, count in arriving.items() if count >= limit}

    @property
    def busy_text(self) -> str:
        """Say how many hosts are left out because guests are on their way off or to them; nothing where none is."""
        busy = len((self._full_sources | self._full_targets) & self._index.keys())
        return f"; guests are on their way already off or to {busy} of the {len(self.hosts)} hosts" if busy else ""

    def cluster(self) -> Cluster:
        """Return the cluster with the hosts' mean CPU load of the last periods."""
        recent = np.array([h.recent_load_ratios[-self._settings.sustained_periods :] for h in self.hosts])
        return self._with_cpu(recent.mean(axis=1))

    def periods(self) -> list[Spread]:
        """Return the spread of each of the last periods, this one last."""
        recent = np.array([h.recent_load_ratios[-self._settings.sustained_periods :] for h in self.hosts])
        return [Spread(self._with_cpu(loads)) for loads in recent.T]

    def paying(self, found: Found, periods: Sequence[Spread], least_gain: float) -> Iterator[Move]:
        """Yield those moves of `found` that fit and that each period would have gained from; `periods` follow them."""
        left = dict(found.moves)
        progress = True
        while left and progress:
            progress = False
            guests, targets = np.array(list(left)), np.array(list(left.values()))
            differences = np.max([spread.differences(guests, targets) for spread in periods], axis=0)
            for at in np.argsort(differences, kind="stable").tolist():
                guest, target = int(guests[at]), int(targets[at])
                one = slice(at, at + 1)
                worst = max(float(spread.differences(guests[one], targets[one])[0]) for spread in periods)
                if worst > -least_gain or not self._projection.may_take(self.hosts[target], self._guests[guest]):
                    continue
                move = self._move(guest, target, periods[-1])
                self._projection.accept(move)
                for spread in periods:
                    spread.move(guest, target)
                del left[guest]
                progress = True
                yield move

    def _move(self, guest: int, target: int, now: Spread) -> Move:
        moved, host = self._guests[guest], self.hosts[target]
        source = self._world.hosts[self._projection.host_of(moved.uuid)]
        before = now.score
        after = before + float(now.differences(np.array([guest]), np.array([target]))[0])
        taken = [
            f"of host {one.name} {format_ratio(float(loads[CPU]))} of the CPUs and "
            f"{format_ratio(float(loads[MEMORY]))} of the memory"
            for one, loads in ((source, now.load_ratio(self._index[source.uuid])), (host, now.load_ratio(target)))
        ]
        text = (
            f"{taken[0]} are taken, {taken[1]}; with guest {moved.name} moved the spread of load over hosts falls from "
            f"{before:.3f} to {after:.3f}"
        )
        least = self._settings.min_gain_ratio / len(self.hosts)
        return Move(moved.uuid, source.uuid, host.uuid, Reason("evens-load", text, before - after, least, "ratio"))

    def _with_cpu(self, loads: Floats) -> Cluster:
        """Return the cluster with these CPU loads, as measured before the moves under way are done."""
        shift = np.array([self._projection.shift_ratio(host.uuid) for host in self.hosts])
        fixed = self._shared.fixed.copy()
        fixed[CPU] += (loads + shift) * self._shared.capacity[CPU]
        return replace(self._shared, fixed=fixed)

    @cached_property
    def _shared(self) -> Cluster:
        """The cluster but for the CPU load: `fixed` counts that as none, less what the guests want."""
        settings, world, projection = self._settings, self._world, self._projection
        home = np.array([self._index[projection.host_of(guest.uuid)] for guest in self._guests], dtype=np.intp)
        memory = np.array([float(guest.memory_bytes) for guest in self._guests])
        demand = np.array(
            [
                [guest.cpu_demand_vcpus for guest in self._guests],
                memory,
                [guest.rx_bytes_per_s + guest.tx_bytes_per_s for guest in self._guests],
            ]
        )
        links = np.array([host.link_bytes_per_s for host in self.hosts])
        knows_links = bool((links > 0).all())
        capacity = np.array(
            [
                [float(host.cpus) for host in self.hosts],
                [float(host.memory_bytes) for host in self.hosts],
                links if knows_links else np.ones(len(self.hosts)),
            ]
        )
        taken = np.array([float(host.memory_bytes - host.memory_free_bytes) for host in self.hosts])
        for move in world.moves_in_flight:  # their memory is taken on both ends still
            if move.guest in world.guests and move.source in self._index and move.target in world.hosts:
                taken[self._index[move.source]] -= world.guests[move.guest].memory_bytes
        brought = np.array([np.bincount(home, weights=part, minlength=len(self.hosts)) for part in demand])
        fixed = np.array([-brought[CPU], taken - brought[MEMORY], np.zeros(len(self.hosts))])
        groups = {group: index for index, group in enumerate(sorted(world.groups))}
        return Cluster(
            fixed=fixed,
            capacity=capacity,
            demand=demand,
            weights=np.array(
                [settings.cpu_weight, settings.memory_weight, settings.network_weight if knows_links else 0.0]
            ),
            home=home,
            may_go=self._may_go(),
            memory=memory,
            free=np.array([float(projection.free_bytes(host.uuid)) for host in self.hosts]),
            group=np.array(
                [UNGROUPED if guest.group is None else groups[guest.group] for guest in self._guests], dtype=np.intp
            ),
        )

    def _may_go(self) -> Flags:
        may_go = np.zeros((len(self._guests), len(self.hosts)), dtype=np.bool_)
        for row, guest in zip(may_go, self._guests, strict=True):
            if self._projection.may_leave(guest) and guest.host not in self._full_sources:
                row[:] = True
                row[[self._index[uuid] for uuid in guest.barred if uuid in self._index]] = False
        may_go[:, [self._index[uuid] for uuid in self._full_targets if uuid in self._index]] = False
        return may_go
