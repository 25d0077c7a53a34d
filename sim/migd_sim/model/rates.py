"""The rates of one stretch of time: who gets which cores, how fast each job steps, what each link carries.

Cores go max-min to runnable vCPUs once Dom0 has had its own. A link is one direction of a NIC, or of what lies between
two switches. While ranks talk, all messages and migrations on a link share it evenly, so that a migration slows
messages by k_net = 1 + migrations / job flows; where a pool says how much migrations keep queued, messages also wait
behind that. On average a job takes less than that of a link; migrations share what is left, max-min.
"""

from collections.abc import Iterable, Mapping
from math import inf
from typing import Final

from migd_core.world import Level
from migd_sim.model.job import JobState
from migd_sim.model.max_min import Stream, share_cores, share_links
from migd_sim.model.parts import GuestState, HostState, Migration
from migd_sim.model.spec import PoolSpec

# Dom0's own needs besides what netback copies: idling, and xenguest's half core a migration (of the order seen in the
# Xen 4.17 lab and told in XenServer's sizing notes). A byte between two guests of one host is copied twice: out of one
# and into the other.
DOM0_IDLE_VCPUS: Final = 0.05
DOM0_VCPUS_PER_MIGRATION: Final = 0.5
# One stream of xenguest is bound by one core of Dom0 and does not fill a 10 Gbit/s NIC.
STREAM_BYTES_PER_S: Final = 600e6


class Rates:
    """Forms the rates of a cluster's parts, in place. Knows no time."""

    def __init__(
        self,
        spec: PoolSpec,
        hosts: Mapping[str, HostState],
        guests: Mapping[str, GuestState],
        jobs: Mapping[str, JobState],
        migrations: Iterable[Migration],
    ) -> None:
        self._spec, self._hosts, self._guests, self._jobs, self._migrations = spec, hosts, guests, jobs, migrations
        self.flow_bytes_per_s: dict[tuple[str, str], float] = {}
        self._ways: dict[tuple[str, str], tuple[str, ...]] = {}

    def share_cores(self) -> None:
        """Give each host's cores to Dom0, by what the host moved until now, and the rest to the guests' vCPUs."""
        for uuid, host in self._hosts.items():
            copies = sum(uuid in (migration.source, migration.target) for migration in self._migrations)
            moved = (host.rx_rate + host.tx_rate + 2 * host.bridged_rate) / (
                self._spec.dom0_bytes_per_vcpu_s * self._spec.clock_ratio
            )
            wanted = DOM0_IDLE_VCPUS + moved + DOM0_VCPUS_PER_MIGRATION * copies
            host.dom0_cpu_rate = host.cpu_rate = min(wanted, float(host.spec.cpus)) if host.is_up else 0.0
        wants: dict[str, dict[tuple[str, bool], tuple[int, float]]] = {uuid: {} for uuid in self._hosts}
        for uuid, guest in self._guests.items():
            guest.cpu_rate, guest.core_share = 0.0, 1.0
            if guest.host is None or guest.stands_still:
                continue
            busy = guest.busy_vcpus
            if busy:
                wants[guest.host][uuid, True] = (busy, 1.0)
            if busy < guest.spec.vcpus:
                wants[guest.host][uuid, False] = (1, min(1.0, guest.spec.base_demand_vcpus))
        for host_uuid, vcpus in wants.items():
            host = self._hosts[host_uuid]
            for (uuid, is_busy), cores in share_cores(host.spec.cpus - host.dom0_cpu_rate, vcpus).items():
                guest = self._guests[uuid]
                guest.cpu_rate += cores
                host.cpu_rate += cores
                if is_busy:
                    guest.core_share = cores / vcpus[uuid, True][0]

    def form_flows(self) -> None:
        """Form the jobs' speed, the migrations' bandwidth and all traffic, for the cores as they are shared."""
        capacities, sharing = self._links()
        fair = {link: capacities[link] / count for link, count in sharing.items()}
        for job in self._jobs.values():
            step_s = job.step_s(self._rank_speed, lambda *m: self._talk_s(fair, *m)) if job.runs else inf
            job.steps_per_s = 0.0 if step_s == inf else 1.0 / step_s
        self.flow_bytes_per_s = {}
        for job in self._jobs.values():
            for (a, b), step_bytes in job.pair_bytes.items():
                if (rate := step_bytes * job.steps_per_s) > 0:
                    for pair in ((a, b), (b, a)):
                        self.flow_bytes_per_s[pair] = self.flow_bytes_per_s.get(pair, 0.0) + rate
        self._share_links(capacities)
        self._count_traffic()

    def _rank_speed(self, uuid: str) -> float:
        """A rank's work per second."""
        guest = self._guests[uuid]
        return self._hosts[guest.host].spec.speed * guest.activity_ratio if guest.host is not None else 0.0

    def _way(self, source: str, target: str) -> tuple[str, ...]:
        """The links that bytes from one host to another go through; none within a host."""
        way = self._ways.get((source, target))
        if way is None:
            here, there = self._hosts[source].spec.switch, self._hosts[target].spec.switch
            nics = (f"{source} tx", f"{target} rx") if source != target else ()
            way = self._ways[source, target] = nics if here == there else (*nics, f"{here} to {there}")
        return way

    def _links(self) -> tuple[dict[str, float], dict[str, int]]:
        """What each link carries, in bytes per second, and how many messages and migrations share each used one."""
        capacities = {f"{uuid} {way}": h.link_bytes_per_s for uuid, h in self._hosts.items() for way in ("tx", "rx")}
        ways = [self._way(m.source, m.target) for m in self._migrations if m.is_copying]
        for job in self._jobs.values():
            for a, b in job.neighbours if job.runs else ():
                one, other = self._guests[job.guests[a]].host, self._guests[job.guests[b]].host
                if one is not None and other is not None and one != other:
                    ways += (self._way(one, other), self._way(other, one))
        sharing: dict[str, int] = {}
        for way in ways:
            for link in way:
                sharing[link] = sharing.get(link, 0) + 1
        for link in sharing.keys() - capacities.keys():
            capacities[link] = self._spec.levels[Level.WIDE_AREA].bandwidth_bytes_per_s
        return capacities, sharing

    def _talk_s(self, fair: Mapping[str, float], a: str, b: str, message_bytes: float) -> float:
        """The seconds that one message takes from one guest to another, and one back at the same time.

        `fair` has the bytes per second that each one on a link gets of it.
        """
        one, other = self._guests[a], self._guests[b]
        level = self._spec.levels[self._level(one, other)]
        bandwidth = level.bandwidth_bytes_per_s
        if one.host is not None and other.host is not None:
            for link in (*self._way(one.host, other.host), *self._way(other.host, one.host)):
                bandwidth = min(bandwidth, fair[link])
        latency_s = level.latency_s
        if (queue_s := self._queue_s(one.host, other.host)) > 0:
            latency_s += queue_s
            bandwidth = min(bandwidth, self._spec.window_bytes / queue_s)
        return latency_s + message_bytes / bandwidth

    def _queue_s(self, a: str | None, b: str | None) -> float:
        """The seconds that a message between two hosts, or its answer, waits behind what migrations have queued."""
        if self._spec.queue_bytes == 0 or a == b:
            return 0.0
        leaving = {migration.source for migration in self._migrations if migration.is_copying}
        return sum(self._spec.queue_bytes / self._hosts[uuid].link_bytes_per_s for uuid in {a, b} & leaving if uuid)

    def _level(self, a: GuestState, b: GuestState) -> Level:
        if a is b:
            return Level.SAME_GUEST
        if a.host == b.host or a.host is None or b.host is None:
            return Level.SAME_HOST
        same_switch = self._hosts[a.host].spec.switch == self._hosts[b.host].spec.switch
        return Level.SAME_SWITCH if same_switch else Level.WIDE_AREA

    def _share_links(self, capacities: Mapping[str, float]) -> None:
        copying = [migration for migration in self._migrations if migration.is_copying]
        if not copying:
            return
        streams = []
        for (a, b), rate in self.flow_bytes_per_s.items():
            one, other = self._guests[a].host, self._guests[b].host
            if one is not None and other is not None and one != other:
                streams.append(Stream(f"{a} {b}", self._way(one, other), rate))
        limit = STREAM_BYTES_PER_S * self._spec.clock_ratio
        for number, migration in enumerate(copying):
            streams.append(Stream(f"migration {number}", self._way(migration.source, migration.target), limit))
        rates = share_links(capacities, streams)
        for number, migration in enumerate(copying):
            migration.bytes_per_s = rates[f"migration {number}"]

    def _count_traffic(self) -> None:
        """Form what the counters of guests and NICs grow by."""
        for host in self._hosts.values():
            host.rx_rate = host.tx_rate = host.bridged_rate = 0.0
        for guest in self._guests.values():
            guest.rx_rate = guest.tx_rate = 0.0
        for (a, b), rate in self.flow_bytes_per_s.items():
            one, other = self._guests[a], self._guests[b]
            one.tx_rate += rate
            other.rx_rate += rate
            if one.host is None or other.host is None:
                continue
            if one.host == other.host:
                self._hosts[one.host].bridged_rate += rate
            else:
                self._hosts[one.host].tx_rate += rate
                self._hosts[other.host].rx_rate += rate
        for migration in self._migrations:
            if migration.is_copying and migration.source != migration.target:
                self._hosts[migration.source].tx_rate += migration.bytes_per_s
                self._hosts[migration.target].rx_rate += migration.bytes_per_s
