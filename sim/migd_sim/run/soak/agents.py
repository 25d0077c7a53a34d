"""The agents of the hosts in virtual time: their samples as they are formed in life, and what goes wrong with these.

Every sample goes over the wire's own encoding, so what is out of bounds or contradicts itself is refused as in life.
Hosts without an agent are measured by XAPI. Which sample of a bad stretch is hit, and how, is drawn by the stretch.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from migd_controller.events import AgentListens, AnyEvent, MeasuringFailed, SampleArrived, Source
from migd_controller.leases import Lease
from migd_core.counters import HostCounters
from migd_core.errors import FrameError
from migd_core.frames import PROTOCOL_VERSION, decode_sample, encode_sample
from migd_core.messages import DirtyCurve, FlowSample, HostSample
from migd_core.rates import Stamp, form
from migd_sim.run.sim_agent import SimAgent
from migd_sim.run.soak.case import Happening
from migd_sim.run.soak.pool import SimPool

# As `migd_controller.rrd` calls what XAPI has measured.
RRD: Final = "rrd"
LEASE_S: Final = 0.1
# How soon after a sample one arrives that was held back, or a second time.
SOON_S: Final = 0.5


@dataclass(slots=True)
class _Agent:
    """One host's agent: a run of it at a time, with the probe that it is at (and until when)."""

    host: str
    sim: SimAgent = field(default_factory=SimAgent)
    run: int = 1
    sequence: int = 0
    is_alive: bool = True
    reading: HostCounters | None = None
    held: HostSample | None = None
    probing: tuple[Lease, float] | None = None


@dataclass(slots=True)
class Agents:
    """All agents of a pool. `emit` tells the controller; `refused` counts the samples that the wire would not take."""

    pool: SimPool
    emit: Callable[[AnyEvent], None]
    agentless: frozenset[str]
    refused: int = 0
    late_leases: list[float] = field(default_factory=list)
    _agents: dict[str, _Agent] = field(init=False)
    _faults: list[tuple[Happening, str, Random]] = field(default_factory=list)
    _slow: dict[str, tuple[float, float]] = field(default_factory=dict)  # by host: lost of each second, until when

    def __post_init__(self) -> None:
        self._agents = {uuid: _Agent(uuid) for uuid in self.pool.cluster.hosts}

    # What happens to them

    def begin_fault(self, happening: Happening, host: str) -> None:
        """Let a stretch of bad samples begin, and end by itself."""
        fault = (happening, host, Random(f"{happening.what} {happening.of} {happening.at_s}"))
        self._faults.append(fault)
        self.pool.calendar.after(happening.lasts_s, partial(self._end_fault, fault))

    def _end_fault(self, fault: tuple[Happening, str, Random]) -> None:
        if fault in self._faults:
            self._faults.remove(fault)

    def slow_clock(self, host: str, lost_ratio: float, lasts_s: float) -> None:
        """Let a host's clock leap ahead, and lose so much of each second that it is right after `lasts_s`."""
        now_s = self.pool.cluster.now_s
        if now_s + lost_ratio * lasts_s >= self._clock_s(host):
            self._slow[host] = lost_ratio, now_s + lasts_s

    def _clock_s(self, host: str) -> float:
        """Return what a host's monotonic clock reads: it never goes back."""
        now_s = self.pool.cluster.now_s
        lost_ratio, right_at_s = self._slow.get(host, (0.0, now_s))
        return now_s + lost_ratio * max(0.0, right_at_s - now_s)

    def heal(self) -> None:
        """Let everything that is wrong with agents end."""
        self._faults.clear()
        self.late_leases.clear()
        for agent in self._agents.values():
            if not agent.is_alive:
                self.start(agent.host)

    def kill(self, host: str) -> None:
        """Let a host's agent die, and with it the probe that it is at."""
        agent = self._agents[host]
        if agent.is_alive and host not in self.agentless:
            agent.is_alive, agent.probing = False, None
            self.emit(AgentListens(host=host, listens=False))

    def start(self, host: str) -> None:
        """Start a host's agent again: another run, which remembers nothing."""
        old = self._agents[host]
        if not old.is_alive:
            self._agents[host] = _Agent(host, run=old.run + 1)
            self.emit(AgentListens(host=host, listens=True))

    def greet(self) -> None:
        """Tell a controller that has just started who listens."""
        for host, agent in self._agents.items():
            if agent.is_alive and host not in self.agentless:
                self.emit(AgentListens(host=host, listens=True))

    # Probes

    def lend(self, lease: Lease) -> None:
        """Send a lease to its agent; it takes a moment, or long where leases are late."""
        wait_s = self.late_leases.pop() if self.late_leases else LEASE_S
        self.pool.calendar.after(wait_s, partial(self._receive, lease))

    def _receive(self, lease: Lease) -> None:
        agent, now_s = self._agents[lease.host], self._clock_s(lease.host)
        if not self._is_up(agent) or lease.host in self.agentless:
            return
        agent.sim.begin(lease.for_agent, now_s)
        agent.probing = None
        guest = self.pool.cluster.guests[lease.guest]
        is_able = lease.boot_id == self._boot_id(agent) and guest.host == lease.host and guest.migration is None
        if is_able and not lease.for_agent.refusal(now_s):
            self.pool.cluster.begin_counting(lease.guest)
            agent.probing = lease, min(lease.until_s, now_s + lease.ages_s[-1])

    def revoke(self, lease: Lease) -> None:
        """Take a lease back, if its agent can hear it."""
        agent = self._agents[lease.host]
        if self._is_up(agent):
            agent.sim.revoke(lease.lease)
            if agent.probing is not None and agent.probing[0].lease == lease.lease:
                agent.probing = None

    def probing(self) -> list[Lease]:
        """Return the leases of the probes that are really under way at this moment."""
        found = []
        for agent in self._agents.values():
            if agent.probing is not None and self._is_up(agent):
                lease, until_s = agent.probing
                if self._clock_s(agent.host) >= until_s or self.pool.cluster.guests[lease.guest].host != lease.host:
                    agent.probing = None
                else:
                    found.append(lease)
        return found

    @property
    def probe_ends_s(self) -> float | None:
        """When the next probe under way has its curve; None without one."""
        ends = [agent.sim.ends_s for agent in self._agents.values() if self._is_up(agent)]
        return min((end for end in ends if end is not None), default=None)

    # Samples

    def tell(self) -> None:
        """Let every host's agent, or its XAPI, tell what was since the last time."""
        for host, agent in self._agents.items():
            sample = self._sample(agent)
            if host in self.agentless and not self.pool.answers:
                self.emit(MeasuringFailed(host=host, problem="its XAPI does not answer"))
            elif sample is not None and host in self.agentless:
                self.emit(SampleArrived(sample=sample, source=Source.RRD))
            elif sample is not None:
                self._send(agent, sample)

    def _is_up(self, agent: _Agent) -> bool:
        return agent.is_alive and self.pool.cluster.hosts[agent.host].is_up

    def _boot_id(self, agent: _Agent) -> str:
        return f"{agent.host}-{self.pool.cluster.hosts[agent.host].boots}-{agent.run}"

    def _sample(self, agent: _Agent) -> HostSample | None:
        if not self._is_up(agent):
            agent.reading = None
            return None
        cluster, host = self.pool.cluster, agent.host
        clock_s = self._clock_s(host)
        if agent.reading is not None and agent.reading.at_s >= clock_s:
            return None
        now, before = replace(cluster.counters(host), at_s=clock_s), agent.reading
        agent.reading = now
        if before is None:
            return None
        if host in self.agentless:
            stamp = Stamp(RRD, int(clock_s * 10), clock_s)
            sample = form(before, now, stamp).sample
            return None if sample is None else replace(sample, flows=())
        boot_id = self._boot_id(agent)
        agent.sim.follow(cluster, host, boot_id, clock_s)
        agent.sequence += 1
        stamp = Stamp(boot_id, agent.sequence, clock_s, dirty_curves=agent.sim.curves, probe=agent.sim.report)
        return form(before, now, stamp).sample

    def _send(self, agent: _Agent, sample: HostSample) -> None:
        """Let a sample go to the controller, by the faults that concern its host now."""
        calendar, copies, wait_s = self.pool.calendar, 1, 0.0
        for happening, host, rng in self._faults:
            if host != agent.host:
                continue
            match happening.what:
                case "agent-silent":
                    return
                case "samples-late":
                    wait_s += happening.value
                case "samples-doubled":
                    copies = 2
                case "samples-swapped" if agent.held is None:
                    agent.held = sample
                    return
                case "samples-absurd":
                    absurd = self._over_the_wire(_absurd(sample, rng))
                    if absurd is None:
                        return
                    sample = absurd
        for number in range(copies):
            calendar.after(wait_s + number * SOON_S, partial(self.emit, SampleArrived(sample=sample)))
        if agent.held is not None:
            calendar.after(wait_s + SOON_S, partial(self.emit, SampleArrived(sample=agent.held)))
            agent.held = None

    def _over_the_wire(self, fields: dict[str, Any]) -> HostSample | None:
        """Return what the controller's end of the wire makes of a sample; None where it refuses it."""
        frames = [str(fields["host_uuid"]).encode(), PROTOCOL_VERSION, msgspec.msgpack.encode(fields)]
        try:
            return decode_sample(frames)
        except FrameError:
            self.refused += 1
            return None


def _absurd(sample: HostSample, rng: Random) -> dict[str, Any]:
    """Return a sample's fields with something impossible, or barely possible, in them."""
    fields: dict[str, Any] = msgspec.msgpack.decode(encode_sample(sample)[2])
    guests = fields.get("guests", [])
    guest = rng.choice(guests) if guests else {}
    match rng.randrange(14):
        case 0:
            fields["cpu_ratio"] = -1.0
        case 1:
            fields["dom0_cpu_ratio"] = 1e300
        case 2:
            fields["memory_free_bytes"] = 2 * sample.memory_bytes
        case 3:
            guest["cpu_ratio"] = float("nan")
        case 4:
            fields["guests"] = [*guests, *guests]
        case 5:
            fields["guests"] = []
        case 6:
            guest["tx_bytes_per_s"] = guest["rx_bytes_per_s"] = 9.9e14
        case 7:
            fields["link_bytes_per_s"] = 5e-324
        case 8:
            guest["dirty_curve"] = msgspec.to_builtins(
                DirtyCurve(ages_s=(1e-9, 9e11), unique_pages=(0, 2**63 - 1), measured_s=9e11)
            )
        case 9:
            fields["cpus"] = 65536
            fields["cpu_ratio"] = fields["dom0_cpu_ratio"] = 1.0
        case 10:
            fields["failed_collectors"], fields["failed_because"] = ["dom0"], ["it cannot be read"]
        case 11:
            fields["monotonic_s"], fields["interval_s"] = 9e11, 9e5
        case 12:
            fields["flows"] = [msgspec.to_builtins(FlowSample("00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff", 9e14))]
        case _:
            guest["memory_bytes"] = 2**62
    return fields
