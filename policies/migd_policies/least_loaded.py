"""Moves guests from overloaded hosts to the least loaded ones that fit: what Ganglia-driven balancers do, with brakes.

A host is a source once its load has stood above the threshold in each of the last `sustained_periods`. A move counts
only if in each of those periods it would have left both its hosts at least `margin_ratio` below the source's load: the
source is judged by its lowest load of them, the target by its highest. So the highest of the loads concerned falls with
every move, which is why a guest can never be sent back and forth.

The wrong choice for a job whose ranks are slow for another reason than CPU (talk over a slow link: `colocate`), for
jobs of ranks that are all equally slow (one moved rank still waits for the rest), and where hosts have so many CPUs
that one guest is less than `margin_ratio` of them.
"""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import Annotated, ClassVar, Final

import msgspec
from msgspec import Meta

from migd_core.units import format_ratio
from migd_core.world import Guest, Host, Move, Plan, Reason, World
from migd_policies.projection import Projection
from migd_policies.target_ladder import TargetLadder
from migd_policies.trend import highest_load_ratio, lowest_load_ratio

# Loads closer than a hundredth are alike: among moves that relieve alike, the one that copies less memory is taken.
LOAD_DIGITS: Final = 2


class LeastLoaded(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """From the most loaded host to the least loaded one that fits.

    Loads are CPU wanted over CPUs: above 1 guests wait. The threshold lies above 1, since spinning ranks, one a CPU,
    and Dom0 beside them come to a little more than 1 and slow nobody down (Charm++'s MetaBalancer also tolerates 1.1).
    `max_moves_per_host` counts the guests being moved off one host at a time, those under way included, and those to
    one: while the best host receives a guest, the next best takes others.
    """

    name: ClassVar[str] = "least-loaded"
    summary: ClassVar[str] = "relieves hosts that stay overloaded, towards the least loaded host that fits"

    load_threshold_ratio: Annotated[float, Meta(gt=0, le=100)] = 1.1
    sustained_periods: Annotated[int, Meta(ge=1, le=120)] = 3
    margin_ratio: Annotated[float, Meta(gt=0, le=1)] = 0.05
    max_moves_per_host: Annotated[int, Meta(ge=1, le=64)] = 1

    def propose(self, world: World) -> Plan:
        search = _Search(self, world)
        overloaded = sorted(search.overloaded(), key=lambda found: (-found[1], found[0].uuid))
        if not overloaded:
            return Plan((), search.why_calm())
        outcomes = [search.relieve(source) for source, _ in overloaded]
        moves = tuple(move for outcome in outcomes if isinstance(outcome, list) for move in outcome)
        if not moves:
            return Plan((), next(outcome for outcome in outcomes if isinstance(outcome, Reason)))
        worst, load = overloaded[0]
        text = (
            f"{len(overloaded)} of {len(world.hosts)} hosts stay overloaded, most of all {worst.name} "
            f"({format_ratio(load)} of its CPUs wanted, threshold {format_ratio(self.load_threshold_ratio)}); "
            f"guests to move: {len(moves)}"
        )
        return Plan(moves, Reason("overloaded", text, load, self.load_threshold_ratio, "ratio"))


@dataclass(frozen=True, slots=True)
class _Option:
    """One move and the loads it leads to."""

    guest: Guest
    target: Host
    source_load: float
    source_load_after: float
    target_load_after: float

    @property
    def highest_load_after(self) -> float:
        return max(self.source_load_after, self.target_load_after)

    @property
    def relief_ratio(self) -> float:
        return self.source_load - self.highest_load_after

    @property
    def rank(self) -> tuple[float, int, str]:
        return round(self.highest_load_after, LOAD_DIGITS), self.guest.memory_bytes, self.guest.uuid


class _Search:
    """One run of the policy over one world; each move it finds counts as done for the next."""

    def __init__(self, settings: LeastLoaded, world: World) -> None:
        self._settings = settings
        self._world = world
        self._projection = Projection(world)
        self._targets = TargetLadder(self._projection, world.hosts.values(), self._target_load)
        # Not those of this plan: one that the gates refuse must not keep the others from its target.
        self._arriving = Counter(move.target for move in world.moves_in_flight)

    def overloaded(self) -> list[tuple[Host, float]]:
        """Return the hosts that stay above the threshold, and the load that each is judged by."""
        loads = [(host, self._source_load(host)) for host in self._world.hosts.values() if host.frozen_because is None]
        return [(host, load) for host, load in loads if load is not None and load > self._settings.load_threshold_ratio]

    def relieve(self, source: Host) -> list[Move] | Reason:
        """Return the moves that relieve one overloaded host, at least one; or why there are none."""
        limit = self._settings.max_moves_per_host
        under_way = sum(move.source == source.uuid for move in self._world.moves_in_flight)
        if under_way >= limit:
            text = f"host {source.name} is overloaded, but guests are being moved off it already"
            return Reason("already-moving", text, float(under_way), float(limit), "migrations")
        moves: list[Move] = []
        while len(moves) < limit - under_way:
            option = self._best(source)
            if isinstance(option, Reason):
                return moves or option
            move = Move(option.guest.uuid, source.uuid, option.target.uuid, self._why(source, option))
            self._projection.accept(move)
            self._targets.update(source)
            self._targets.update(option.target)
            moves.append(move)
        return moves

    def why_calm(self) -> Reason:
        """Say why no host counts as overloaded."""
        threshold, periods = self._settings.load_threshold_ratio, self._settings.sustained_periods
        live = [host for host in self._world.hosts.values() if host.frozen_because is None]
        if not live:
            return Reason("no-hosts", "no host reports its load, so none can be called overloaded")
        busiest = min(live, key=lambda host: (-self._projection.load_ratio(host.uuid), host.uuid))
        load = self._projection.load_ratio(busiest.uuid)
        once = " once the moves under way are done" if self._world.moves_in_flight else ""
        text = f"the most loaded host, {busiest.name}, wants {format_ratio(load)} of its CPUs{once}"
        if load <= threshold:
            text += f" (threshold {format_ratio(threshold)})"
            return Reason("within-threshold", text, load, threshold, "ratio")
        text += f", but no host has stood above {format_ratio(threshold)} in each of {periods} periods"
        return Reason("not-sustained", text, load, threshold, "ratio")

    def _source_load(self, host: Host) -> float | None:
        lowest = lowest_load_ratio(host, self._settings.sustained_periods)
        return None if lowest is None else lowest + self._projection.shift_ratio(host.uuid)

    def _target_load(self, host: Host) -> float | None:
        highest = highest_load_ratio(host, self._settings.sustained_periods)
        return None if highest is None else highest + self._projection.shift_ratio(host.uuid)

    def _best(self, source: Host) -> _Option | Reason:
        """Return the move off `source` that relieves it most, or why none does."""
        load, threshold = self._source_load(source), self._settings.load_threshold_ratio
        assert load is not None  # only a host with a history is a source
        wants = f"host {source.name} wants {format_ratio(load)} of its CPUs (threshold {format_ratio(threshold)})"
        if load <= threshold:
            return Reason("within-threshold", wants, load, threshold, "ratio")
        movable = [guest for guest in self._world.guests_on[source.uuid] if self._projection.may_leave(guest)]
        if not movable:
            text = f"{wants}, but none of its guests may be moved now"
            return Reason("no-movable-guest", text, load, threshold, "ratio")
        full = [uuid for uuid, arriving in self._arriving.items() if arriving >= self._settings.max_moves_per_host]
        best = self._best_besides(full, movable, load, wants)
        if isinstance(best, Reason) and full:
            later = self._best_besides((), movable, load, wants)
            if isinstance(later, _Option):
                text = f"{wants}, but host {later.target.name}, which could relieve it, receives a guest already"
                count = self._arriving[later.target.uuid]
                limit = self._settings.max_moves_per_host
                return Reason("already-moving", text, float(count), float(limit), "migrations")
        return best

    def _best_besides(
        self, full: Collection[str], movable: Collection[Guest], load: float, wants: str
    ) -> _Option | Reason:
        """Return the best move to a host that is none of `full`, or why there is none; `wants` are words for `load`."""
        threshold, margin = self._settings.load_threshold_ratio, self._settings.margin_ratio
        options = [option for guest in movable if (option := self._option(guest, full, load)) is not None]
        if not options:
            text = f"{wants}, but no host that may receive has the memory for any of its {len(movable)} movable guests"
            return Reason("no-host-fits", text, load, threshold, "ratio")
        best = min(options, key=lambda option: option.rank)
        if best.relief_ratio < margin:
            text = (
                f"{wants}, but the best move, guest {best.guest.name} to host {best.target.name}, leaves one of them "
                f"at {format_ratio(best.highest_load_after)}, not {format_ratio(margin)} lower"
            )
            return Reason("margin", text, best.relief_ratio, margin, "ratio")
        return best

    def _option(self, guest: Guest, full: Collection[str], load: float) -> _Option | None:
        found = self._targets.best_for(guest, full)
        if found is None:
            return None
        target, target_load_after = found
        source = self._world.hosts[guest.host]
        return _Option(guest, target, load, load - guest.cpu_demand_vcpus / source.cpus, target_load_after)

    def _why(self, source: Host, option: _Option) -> Reason:
        threshold, periods = self._settings.load_threshold_ratio, self._settings.sustained_periods
        text = (
            f"host {source.name} wanted at least {format_ratio(option.source_load)} of its CPUs in each of {periods} "
            f"periods (threshold {format_ratio(threshold)}); without guest {option.guest.name} it wants "
            f"{format_ratio(option.source_load_after)}, and host {option.target.name} with it "
            f"{format_ratio(option.target_load_after)}"
        )
        return Reason("overloaded-host", text, option.source_load, threshold, "ratio")
