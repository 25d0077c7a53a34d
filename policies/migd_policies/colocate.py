"""Brings guests that talk most to a level of the topology where they are measured to talk faster.

What counts is the time that talking takes, Σ bytes_per_s / bandwidth of the level crossed, in seconds a second. The
nearest level is not always the fastest: two guests on one host reached 180 Mbit/s where a native pair reached 1200
(Neves et al. 2007, Fig. 4), and behind a 10 Gbit/s switch they are better off apart. So the levels' measured bandwidths
decide, and a level that was not measured is neither left nor sought. Each move lowers the sum over all flows by
`min_gain_ratio` or more, which is why a guest can never be sent back and forth.

The wrong choice where jobs wait for CPU rather than for messages (`least-loaded`), where talk is many small messages
(latency is not counted), and on hosts that are full: it has no way to exchange two guests. Traffic is that of the
moment, smoothed over one control period: a job that talks in bursts wants a higher `min_gain_ratio`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar, Final

import msgspec
from msgspec import Meta

from migd_core.units import format_ratio
from migd_core.world import Guest, Host, Move, Plan, Reason, World
from migd_policies.projection import Projection
from migd_policies.scoring import communication_ratio
from migd_policies.talk import talks
from migd_policies.target_ladder import TargetLadder
from migd_policies.trend import highest_load_ratio

# Savings closer than a thousandth are alike: among such moves the one that copies less memory is taken.
GAIN_DIGITS: Final = 3


class Colocate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Towards the level that talks fastest, as far as CPU and memory allow.

    `min_gain_ratio` is the communication time a move must save, in seconds a second. No target is loaded above
    `max_load_ratio`, judged by its highest load of the last `sustained_periods`. The moves of one plan concern guests
    that do not talk with each other, so that each saves what it says whatever becomes of the others.
    """

    name: ClassVar[str] = "colocate"
    summary: ClassVar[str] = "brings guests that talk most to where the measured bandwidth between them is better"

    min_gain_ratio: Annotated[float, Meta(gt=0, le=1)] = 0.05
    max_load_ratio: Annotated[float, Meta(gt=0, le=100)] = 1.0
    sustained_periods: Annotated[int, Meta(ge=1, le=120)] = 3
    max_moves: Annotated[int, Meta(ge=1, le=64)] = 2

    def propose(self, world: World) -> Plan:
        if not world.flows:
            return Plan((), Reason("no-flows", "no traffic between guests is known, so none can be brought together"))
        if (known := len(world.topology.links)) < 2:
            text = (
                f"the bandwidth of {known} topology levels is known, and it takes two to call one better; measure them "
                "and give them in [topology.links] of the controller's configuration"
            )
            return Plan((), Reason("levels-not-measured", text, float(known), 2.0, "levels"))
        search = _Search(self, world)
        options = sorted(search.options(), key=lambda option: option.rank)
        if not options or options[0].gain_ratio < self.min_gain_ratio:
            gain = options[0].gain_ratio if options else 0.0
            text = (
                f"the best move saves {gain:.2g} s of communication a second (at least {self.min_gain_ratio:g} wanted)"
            )
            return Plan((), Reason("no-gain", text, gain, self.min_gain_ratio, "s/s"))
        moves = tuple(search.choose(options))
        if not moves:
            return Plan((), search.cpu_veto(options[0]))
        best = moves[0].reason
        text = f"guests that talk can be brought to a faster level; guests to move: {len(moves)}"
        return Plan(moves, Reason(best.code, text, best.value, best.threshold, best.unit))


@dataclass(frozen=True, slots=True)
class _Option:
    """One move, and the seconds of communication a second that it saves."""

    guest: Guest
    target: Host
    gain_ratio: float
    target_load_after: float

    @property
    def rank(self) -> tuple[float, int, float, str, str]:
        gain = round(self.gain_ratio, GAIN_DIGITS)
        return -gain, self.guest.memory_bytes, self.target_load_after, self.guest.uuid, self.target.uuid


class _Search:
    """One run of the policy over one world."""

    def __init__(self, settings: Colocate, world: World) -> None:
        self._settings = settings
        self._world = world
        self._projection = Projection(world)
        by_switch: dict[str | None, list[Host]] = {}
        for host in world.hosts.values():
            by_switch.setdefault(world.topology.switch_of.get(host.uuid), []).append(host)
        self._ladders = {
            switch: TargetLadder(self._projection, hosts, self._load) for switch, hosts in by_switch.items()
        }

    def options(self) -> Iterator[_Option]:
        """Yield the moves that save anything and that memory allows, whatever CPU says."""
        for uuid in self._world.flows_of:
            guest = self._world.guests.get(uuid)
            if guest is None or not self._may_leave(guest):
                continue
            for target, load_after in self._places(guest):
                gain = self._gain_ratio(guest, target)
                if gain is not None and gain > 0:
                    yield _Option(guest, target, gain, load_after)

    def choose(self, options: list[_Option]) -> Iterator[Move]:
        """Yield the best moves that CPU and memory allow together, of guests that do not talk with each other."""
        concerned: set[str] = set()
        left = self._settings.max_moves
        for option in options:
            guest, target = option.guest, option.target
            if left == 0 or option.gain_ratio < self._settings.min_gain_ratio:
                return
            if guest.uuid in concerned or not self._projection.may_take(target, guest):
                continue
            load_after = self._load_with(guest, target)
            if load_after is None or load_after > self._settings.max_load_ratio:
                continue
            move = Move(guest.uuid, guest.host, target.uuid, self._why(option, load_after))
            self._projection.accept(move)
            concerned |= {guest.uuid, *(peer for peer, _ in talks(self._world, guest.uuid))}
            left -= 1
            yield move

    def cpu_veto(self, option: _Option) -> Reason:
        """Say why even the best move, which saves enough, is not made."""
        most = self._settings.max_load_ratio
        text = (
            f"guest {option.guest.name} on host {option.target.name} would save {option.gain_ratio:.2g} s of "
            f"communication a second, but the host would be asked for {format_ratio(option.target_load_after)} of its "
            f"CPUs (at most {format_ratio(most)})"
        )
        return Reason("cpu-veto", text, option.target_load_after, most, "ratio")

    def _may_leave(self, guest: Guest) -> bool:
        return self._projection.may_leave(guest) and self._world.hosts[guest.host].frozen_because is None

    def _places(self, guest: Guest) -> Iterator[tuple[Host, float]]:
        """Yield hosts that could suit the guest, with their load then: its peers', and the emptiest of each switch."""
        near = {self._projection.host_of(peer) for peer, _ in talks(self._world, guest.uuid)}
        for host in (self._world.hosts[uuid] for uuid in near):
            load_after = self._load_with(guest, host)
            if load_after is not None and self._projection.may_take(host, guest):
                yield host, load_after
        for switch in {self._world.topology.switch_of.get(uuid) for uuid in near}:
            if (found := self._ladders[switch].best_for(guest, besides=near)) is not None:
                yield found

    def _gain_ratio(self, guest: Guest, target: Host) -> float | None:
        """Return the seconds of communication a second that a move saves, or None if it meets an unmeasured level."""
        topology, gain = self._world.topology, 0.0
        for peer, bytes_per_s in talks(self._world, guest.uuid):
            beside = self._projection.host_of(peer)
            if topology.level(guest.host, beside) == topology.level(target.uuid, beside):
                continue
            old = communication_ratio(topology, guest.host, beside, bytes_per_s)
            new = communication_ratio(topology, target.uuid, beside, bytes_per_s)
            if old is None or new is None:
                return None
            gain += old - new
        return gain

    def _why(self, option: _Option, load_after: float) -> Reason:
        source = self._world.hosts[option.guest.host]
        least, most = self._settings.min_gain_ratio, self._settings.max_load_ratio
        text = (
            f"guest {option.guest.name} talks faster from host {option.target.name} than from host {source.name}: it "
            f"saves {option.gain_ratio:.2g} s of communication a second (at least {least:g} wanted), and the host is "
            f"asked for {format_ratio(load_after)} of its CPUs then (at most {format_ratio(most)})"
        )
        return Reason("faster-level", text, option.gain_ratio, least, "s/s")

    def _load(self, host: Host) -> float | None:
        highest = highest_load_ratio(host, self._settings.sustained_periods)
        return None if highest is None else highest + self._projection.shift_ratio(host.uuid)

    def _load_with(self, guest: Guest, host: Host) -> float | None:
        load = self._load(host)
        return None if load is None else load + guest.cpu_demand_vcpus / host.cpus
