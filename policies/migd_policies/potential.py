"""Moves the guests of highest potential of migration: what computing and talking gain, less what memory costs.

MigBSP (da Rosa Righi, Pilla, Carissimi, Navaux, Heiss 2009) decides for process i and a set j of processors by

    PM(i, j) = Comp(i, j) + Comm(i, j) − Mem(i, j)

    Comp = P_comp(i) · CTP(i) · ISet(j)     how regular it computes, its predicted time to compute, how good the set is
    Comm = P_comm(i, j) · BTP(i, j)         how regular it talks with those in the set, and the predicted time for that
    Mem  = M(i) · T(i, j) + Mig(i, j)       its memory, the time a byte takes to get there, and the move itself

and moves the processes of highest PM above 0, if the destination is predicted to run them in less time. Here, in
seconds of the next L = min(horizon, remaining time of its job), on what is measured:

    P_comp  lowest over highest load of its host in the last periods        CTP   L · CPU it wants, per vCPU
    ISet    1 − s_i/s_j, s the share of that CPU that its host gives, and the least loaded host of the set with it
    BTP     L · Σ over peers in the set of bytes_per_s · (1/bandwidth now − 1/bandwidth from the set); P_comm is 1, as
            traffic is smoothed already                                     T     1/bandwidth of the link it crosses

Sets are the switches of the topology, or single hosts where no two switches are named. That the destination runs it in
less time is asked of `scoring`, over all jobs that the move touches.

The wrong choice where guests write much while they are copied (Mem counts each page once: the ledger refuses what costs
more), and for equally slow ranks, of which one that moves gains nothing (`job-time`). It is here as the yardstick that
the literature names, and for clusters whose jobs nobody has named.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar, Final

import msgspec
from msgspec import Meta

from migd_core.units import format_duration
from migd_core.world import Guest, Host, Move, Plan, Reason, World
from migd_policies.ledger import bandwidth_bytes_per_s
from migd_policies.precopy_prediction import Overheads
from migd_policies.projection import Projection
from migd_policies.rules import are_kept_apart
from migd_policies.scoring import communication_ratio, cpu_share_ratio, job_step_ratios
from migd_policies.talk import talks
from migd_policies.target_ladder import TargetLadder
from migd_policies.trend import highest_load_ratio, lowest_load_ratio

# Moves of positive potential that `scoring` is asked about.
MOST_SCORED: Final = 16
OVERHEADS: Final = Overheads()


class Potential(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The guests of highest potential of migration.

    `min_potential_s` is what the potential must exceed. Besides the best, guests of at least `near_best_ratio` of its
    potential move (MigBSP's second heuristic), `max_moves` at a time, those under way included.
    """

    name: ClassVar[str] = "potential"
    summary: ClassVar[str] = "moves guests by MigBSP's potential: computation + communication - memory"

    min_potential_s: Annotated[float, Meta(ge=0, le=1e6)] = 10.0
    near_best_ratio: Annotated[float, Meta(gt=0, le=1)] = 0.8
    sustained_periods: Annotated[int, Meta(ge=1, le=120)] = 3
    max_moves: Annotated[int, Meta(ge=1, le=64)] = 1

    def propose(self, world: World) -> Plan:
        room = self.max_moves - len(world.moves_in_flight)
        if room <= 0:
            under_way = float(len(world.moves_in_flight))
            text = "guests are being moved already"
            return Plan((), Reason("already-moving", text, under_way, float(self.max_moves), "migrations"))
        search = _Search(self, world)
        ranked = sorted(search.candidates(), key=lambda candidate: candidate.rank)[:MOST_SCORED]
        least = self.min_potential_s
        if not ranked:
            return Plan((), Reason("no-move", "no guest may leave for a host that may take it"))
        best = ranked[0]
        if best.potential_s <= least:
            text = f"the highest potential is {search.words(best)}"
            return Plan((), Reason("no-potential", text, best.potential_s, least, "s"))
        moves = tuple(search.chosen(ranked, room))
        if not moves:
            text = f"{search.words(best)}, but jobs would not step faster for it"
            return Plan((), Reason("not-viable", text, best.potential_s, least, "s"))
        return Plan(moves, moves[0].reason)


@dataclass(frozen=True, slots=True)
class _Candidate:
    """One guest and the best host of one set, with the terms of its potential, in seconds."""

    guest: Guest
    target: Host
    comp_s: float
    comm_s: float
    mem_s: float

    @property
    def potential_s(self) -> float:
        return self.comp_s + self.comm_s - self.mem_s

    @property
    def rank(self) -> tuple[float, int, str, str]:
        return -round(self.potential_s, 3), self.guest.memory_bytes, self.guest.uuid, self.target.uuid


class _Search:
    """One run of the policy over one world."""

    def __init__(self, settings: Potential, world: World) -> None:
        self._settings = settings
        self._world = world
        self._projection = Projection(world)
        switches = set(world.topology.switch_of.values())
        self._set_of = {
            uuid: world.topology.switch_of.get(uuid, uuid) if len(switches) > 1 else uuid for uuid in world.hosts
        }
        by_set: dict[str, list[Host]] = {}
        for host in world.hosts.values():
            by_set.setdefault(self._set_of[host.uuid], []).append(host)
        self._best_of = {name: TargetLadder(self._projection, hosts, self._highest) for name, hosts in by_set.items()}
        self._best = TargetLadder(self._projection, world.hosts.values(), self._highest)

    def candidates(self) -> Iterator[_Candidate]:
        """Yield each guest that may leave with the sets that could suit it: its peers', and that of least load."""
        for guest in self._world.guests.values():
            source = self._world.hosts[guest.host]
            lowest = lowest_load_ratio(source, self._settings.sustained_periods)
            if lowest is None or source.frozen_because is not None or not self._projection.may_leave(guest):
                continue
            near = {self._set_of[self._projection.host_of(peer)] for peer, _ in talks(self._world, guest.uuid)}
            found = [self._best.best_for(guest), *(self._best_of[name].best_for(guest) for name in sorted(near))]
            for target, load_after in {each[0].uuid: each for each in found if each is not None}.values():
                yield self._candidate(guest, lowest, target, load_after)

    def chosen(self, ranked: list[_Candidate], room: int) -> Iterator[Move]:
        """Yield the best moves after which the jobs that they touch step faster, each with those before it made."""
        now, moved = self._world, set[str]()
        least_s = max(self._settings.min_potential_s, self._settings.near_best_ratio * ranked[0].potential_s)
        for candidate in ranked:
            guest, target = candidate.guest, candidate.target
            if len(moved) == room or candidate.potential_s < least_s:
                return
            met = any(are_kept_apart(guest, self._world.guests[uuid]) for uuid in moved)
            if guest.uuid in moved or met or not Projection(now).may_take(target, guest):
                continue
            reason = Reason(
                "potential", self.words(candidate), candidate.potential_s, self._settings.min_potential_s, "s"
            )
            move = Move(guest.uuid, guest.host, target.uuid, reason)
            ratios = job_step_ratios(now, move)
            if math.fsum((1.0 - ratio) * self._lasts_s(job) for job, ratio in ratios.items()) > candidate.mem_s:
                now = now.with_in_flight(move)
                moved.add(guest.uuid)
                yield move

    def words(self, candidate: _Candidate) -> str:
        """Say what the potential is made of."""
        comp, comm, mem = (format_duration(each) for each in (candidate.comp_s, candidate.comm_s, candidate.mem_s))
        total, least = format_duration(candidate.potential_s), format_duration(self._settings.min_potential_s)
        return (
            f"guest {candidate.guest.name} to host {candidate.target.name}: computation {comp} + communication {comm} "
            f"− memory {mem} = {total} (more than {least} wanted)"
        )

    def _candidate(self, guest: Guest, lowest: float, target: Host, load_after: float) -> _Candidate:
        world, source = self._world, self._world.hosts[guest.host]
        lasts_s = self._lasts_s(guest.job)
        highest = highest_load_ratio(source, self._settings.sustained_periods) or 0.0
        regularity = lowest / highest if highest > 0 else 1.0
        here = cpu_share_ratio(max(0.0, lowest + self._projection.shift_ratio(source.uuid)))
        saves = 1.0 - here / cpu_share_ratio(load_after)
        comp_s = regularity * lasts_s * guest.cpu_demand_vcpus / guest.vcpus * saves
        comm_s = lasts_s * self._talk_saved(guest, target)
        move = Move(guest.uuid, source.uuid, target.uuid, Reason("potential", ""))
        bytes_per_s = bandwidth_bytes_per_s(world, move)
        carried_s = guest.memory_bytes / bytes_per_s if bytes_per_s > 0 else math.inf
        fixed_s = OVERHEADS.setup_s + OVERHEADS.suspend_s + OVERHEADS.resume_s
        return _Candidate(guest, target, comp_s, comm_s, carried_s + fixed_s)

    def _talk_saved(self, guest: Guest, target: Host) -> float:
        """Return the seconds of talk a second that are saved with the peers in the target's set."""
        topology, saved = self._world.topology, 0.0
        for peer, bytes_per_s in talks(self._world, guest.uuid):
            beside = self._projection.host_of(peer)
            if self._set_of[beside] != self._set_of[target.uuid]:
                continue
            now = communication_ratio(topology, guest.host, beside, bytes_per_s)
            then = communication_ratio(topology, target.uuid, beside, bytes_per_s)
            if now is not None and then is not None:
                saved += now - then
        return saved

    def _highest(self, host: Host) -> float | None:
        highest = highest_load_ratio(host, self._settings.sustained_periods)
        return None if highest is None else highest + self._projection.shift_ratio(host.uuid)

    def _lasts_s(self, job: str | None) -> float:
        known = self._world.jobs.get(job) if job is not None else None
        remaining_s = math.inf if known is None or known.remaining_s is None else known.remaining_s
        return min(self._world.pricing.horizon_s, remaining_s)
