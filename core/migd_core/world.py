"""What a policy sees and what it answers: `World` in, `Plan` out. Values only, all frozen.

A `World` is one moment of the cluster as far as it is known: measured load, the pool's own inventory, and the moves
that are under way. Hosts and guests are keyed by XAPI uuid.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import Final

from migd_core.health import UNKNOWN, HealthState, HostHealth
from migd_core.learned import NOTHING_LEARNED, Learned
from migd_core.levels import Level as Level
from migd_core.messages import DirtyCurve
from migd_core.pricing import DEFAULT_PRICING, Pricing
from migd_core.progress import Progress


@dataclass(frozen=True, slots=True)
class Link:
    """What two ranks at one level get from the network between them."""

    bandwidth_bytes_per_s: float
    latency_s: float


# Two guests on one host reached 180 Mbit/s where two ranks of one guest reached 1200 (Neves et al. 2007, Fig. 4), and a
# Fast Ethernet switch carries 100: the nearest level is not always the fastest. The paper's cluster, not yours.
PAPER_LINKS: Final[Mapping[Level, Link]] = MappingProxyType(
    {
        Level.SAME_GUEST: Link(150e6, 2e-6),
        Level.SAME_HOST: Link(22.5e6, 60e-6),
        Level.SAME_SWITCH: Link(11.7e6, 80e-6),
        Level.WIDE_AREA: Link(1.2e6, 5e-3),
    }
)


@dataclass(frozen=True, slots=True)
class Topology:
    """Which hosts share a switch, and what each level was measured to carry.

    A level missing from `links` was not measured: nothing may be concluded about it.
    """

    links: Mapping[Level, Link] = field(default_factory=lambda: MappingProxyType({}))
    switch_of: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def level(self, host_a: str, host_b: str) -> Level:
        """Return the level between a guest on `host_a` and another guest on `host_b` (host uuids).

        Two hosts that no switch is named for are taken to share the only switch there is.
        """
        if host_a == host_b:
            return Level.SAME_HOST
        if self.switch_of.get(host_a) == self.switch_of.get(host_b):
            return Level.SAME_SWITCH
        return Level.WIDE_AREA


@dataclass(frozen=True, slots=True)
class Host:
    """One Xen host.

    `load_ratio` is the CPU that its guests and Dom0 want over the CPUs it has; above 1, guests wait for each other.
    `recent_load_ratios` holds one value a control period, newest last, this one included: a single sample is no trend.
    `memory_free_bytes` is what an arriving guest may take, after moves in flight. `frozen_because` says why nothing
    may be decided about the host now (stale telemetry, dead, disabled); None means that it takes part. `health` is what
    its agent last said of its hardware; a failing host receives nothing. `closed_because` says why an operator lets it
    receive nothing. `load_stood_s` is for how long its load has been about what it is, what migd moved left aside; None
    where nobody has watched. `speed_ratio` is how fast one of its CPUs is next to one of the fastest host's.
    """

    uuid: str
    name: str
    cpus: int
    memory_bytes: int
    memory_free_bytes: int
    link_bytes_per_s: float
    load_ratio: float
    recent_load_ratios: tuple[float, ...] = ()
    is_enabled: bool = True
    frozen_because: str | None = None
    health: HostHealth = UNKNOWN
    load_stood_s: float | None = None
    speed_ratio: float = 1.0
    closed_because: str | None = None

    @property
    def is_to_be_left(self) -> bool:
        """Whether guests may leave it for their safety: it is failing, or closed."""
        return self.health.state is HealthState.FAILING or not self.is_enabled

    @property
    def may_receive(self) -> bool:
        return self.is_enabled and self.frozen_because is None and self.health.state is not HealthState.FAILING


@dataclass(frozen=True, slots=True)
class Guest:
    """One running guest.

    `cpu_demand_vcpus` is the CPU it would use if it had its host to itself, in whole-vCPU units (0..vcpus).
    `memory_bytes` is what the target must have free for it, overhead included. `immovable_because` says why it may not
    be moved now, whatever a policy wishes; None means that it may. `cooldown_s` is how long it rests after its last
    migration or attempt: no policy should propose it before, an operator may move it by hand. `barred` has the hosts
    (uuids) that it could not run on however empty they were, and why. The guests of one `group` should be apart; where
    somebody else is moving it, `arriving_at` is the host it will be on. `dirty_curves` are the last few, oldest first;
    `booted_at` is when it was last seen to be booted anew, by their clock: curves from before are another run's.
    """

    uuid: str
    name: str
    host: str
    vcpus: int
    memory_bytes: int
    cpu_demand_vcpus: float
    cpu_used_vcpus: float = 0.0
    rx_bytes_per_s: float = 0.0
    tx_bytes_per_s: float = 0.0
    dirty_curves: tuple[DirtyCurve, ...] = ()
    job: str | None = None
    tags: frozenset[str] = frozenset()
    immovable_because: str | None = None
    cooldown_s: float = 0.0
    barred: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    group: str | None = None
    arriving_at: str | None = None
    booted_at: float = 0.0

    @property
    def dirty_curve(self) -> DirtyCurve | None:
        """The newest dirty curve, None where nobody ever counted."""
        return self.dirty_curves[-1] if self.dirty_curves else None


@dataclass(frozen=True, slots=True)
class Remaining:
    """How long a job still runs, in s: the median, the 10 % and 90 % ends, and in words what that rests on."""

    median_s: float
    least_s: float
    most_s: float
    basis: str


@dataclass(frozen=True, slots=True)
class SpeedRatio:
    """A job's speed while one of its guests migrates over its speed before, 0..1: median, 10 % and 90 % ends, basis.

    It rests on so many migrations `watched`; on none of this job where that is 0.
    """

    median_ratio: float
    least_ratio: float
    most_ratio: float
    basis: str
    watched: int = 0


@dataclass(frozen=True, slots=True)
class Job:
    """Guests whose ranks wait for each other, those of them that run.

    `remaining` is None when nothing is known of how long it still runs; `started_at` is Unix time, `progress` what was
    last told of it, `iteration_s` the median time of one iteration of late, `missing` the guests (uuids) that no longer
    run.
    """

    name: str
    guests: tuple[str, ...]
    remaining: Remaining | None = None
    started_at: float | None = None
    wall_time_limit_s: float | None = None
    progress: Progress | None = None
    iteration_s: float | None = None
    speed_while_migrating: SpeedRatio | None = None
    missing: tuple[str, ...] = ()

    @property
    def remaining_s(self) -> float | None:
        """The median of what it still runs."""
        return None if self.remaining is None else self.remaining.median_s


@dataclass(frozen=True, slots=True)
class Flow:
    """Bytes per second between two guests, both directions together; `guest_a < guest_b`."""

    guest_a: str
    guest_b: str
    bytes_per_s: float


@dataclass(frozen=True, slots=True)
class Reason:
    """Why something is proposed, done or refused: a stable code, one plain sentence, and the figures it rests on.

    `value` was compared with `threshold`, both in `unit`; the three are None or empty where nothing was compared.
    """

    code: str
    text: str
    value: float | None = None
    threshold: float | None = None
    unit: str = ""


# The reason code of a move that is for the guest's safety: it need not gain anything, nor wait for hours and cooldowns.
EVACUATION: Final = "evacuation"
# That of a move that counts as under way for policies, but waits for others of its set: nothing is copied yet.
PROMISED: Final = "promised"


@dataclass(frozen=True, slots=True)
class Move:
    """One guest from one host to another, all by uuid, and why.

    Moves of one plan with the same `together` are one set: priced as one, and made all or not at all.
    """

    guest: str
    source: str
    target: str
    reason: Reason
    together: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a policy would like done, in order, and why; an empty plan says why nothing is worth doing."""

    moves: tuple[Move, ...]
    reason: Reason


@dataclass(frozen=True)
class World:
    """The cluster at one moment, as far as it is known, and what moves in it are priced by."""

    now_s: float
    hosts: Mapping[str, Host]
    guests: Mapping[str, Guest]
    jobs: Mapping[str, Job] = field(default_factory=lambda: MappingProxyType({}))
    flows: tuple[Flow, ...] = ()
    topology: Topology = field(default_factory=Topology)
    rule_set: str = "xen-4.6"
    pricing: Pricing = DEFAULT_PRICING
    learned: Learned = NOTHING_LEARNED
    moves_in_flight: tuple[Move, ...] = ()

    @cached_property
    def guests_on(self) -> Mapping[str, tuple[Guest, ...]]:
        """The guests of each host, every host present, in the order of `guests`."""
        found: dict[str, list[Guest]] = {uuid: [] for uuid in self.hosts}
        for guest in self.guests.values():
            found.setdefault(guest.host, []).append(guest)
        return MappingProxyType({uuid: tuple(guests) for uuid, guests in found.items()})

    @cached_property
    def groups(self) -> Mapping[str, tuple[Guest, ...]]:
        """The guests of each group whose guests should be apart."""
        found: dict[str, list[Guest]] = {}
        for guest in self.guests.values():
            if guest.group is not None:
                found.setdefault(guest.group, []).append(guest)
        return MappingProxyType({group: tuple(guests) for group, guests in found.items()})

    @cached_property
    def flows_of(self) -> Mapping[str, tuple[Flow, ...]]:
        """The flows of each guest that has any."""
        found: dict[str, list[Flow]] = {}
        for flow in self.flows:
            found.setdefault(flow.guest_a, []).append(flow)
            found.setdefault(flow.guest_b, []).append(flow)
        return MappingProxyType({uuid: tuple(flows) for uuid, flows in found.items()})

    def after(self, move: Move) -> "World":
        """Return the world once `move` is done: load and free memory follow the guest.

        For a move that was accepted; candidates are scored by difference instead (see `migd_policies.scoring`).
        """
        guest = self.guests[move.guest]
        hosts = dict(self.hosts)
        for uuid, sign in ((move.source, -1), (move.target, +1)):
            host = hosts[uuid]
            load = max(0.0, host.load_ratio + sign * guest.cpu_demand_vcpus / host.cpus)
            hosts[uuid] = replace(
                host,
                load_ratio=load,
                recent_load_ratios=(*host.recent_load_ratios[:-1], load),
                memory_free_bytes=host.memory_free_bytes - sign * guest.memory_bytes,
            )
        guests = dict(self.guests)
        guests[guest.uuid] = replace(guest, host=move.target)
        return replace(self, hosts=MappingProxyType(hosts), guests=MappingProxyType(guests))

    def with_in_flight(self, move: Move) -> "World":
        """Return the world with `move` begun: its memory is taken on the target, and it counts as under way."""
        target = self.hosts[move.target]
        free_bytes = target.memory_free_bytes - self.guests[move.guest].memory_bytes
        hosts = {**self.hosts, target.uuid: replace(target, memory_free_bytes=free_bytes)}
        return replace(self, hosts=MappingProxyType(hosts), moves_in_flight=(*self.moves_in_flight, move))
