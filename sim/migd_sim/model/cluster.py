"""A Xen cluster in virtual time.

Between two events every rate is constant: CPU shares, link shares, steps a second, copy speed. An event changes
something; then the rates are formed anew and the next events follow from them. Nothing reads a clock or draws a number:
the same calls give the same log.
"""

import heapq
from bisect import bisect_left
from collections.abc import Callable, Sequence
from functools import partial
from math import inf
from typing import Final

from migd_core.counters import FlowCounter, GuestCounters, HostCounters
from migd_core.health import HostHealth
from migd_core.messages import DirtyCurve
from migd_core.precopy import RULE_SETS
from migd_core.units import PAGE_BYTES
from migd_sim.model.job import JobState
from migd_sim.model.parts import GuestState, HostState, Migration, MigrationEnd
from migd_sim.model.precopy import Phase, PreCopy
from migd_sim.model.rates import Rates
from migd_sim.model.spec import PoolSpec
from migd_sim.model.writes import unique_pages

# A stretch of equal steps ends on a whole step; floats come this near to it.
NEARLY_A_STEP: Final = 1e-6
# Why a migration ended whose guest did not acknowledge that it was to suspend.
UNACKNOWLEDGED: Final = "the guest did not acknowledge that it was to suspend"


class CannotMigrate(ValueError):
    """The cluster cannot begin this migration; the text says why."""


class Cluster:
    """Hosts, guests and jobs that go on as time is let pass. `log` says in plain lines what happened."""

    def __init__(self, spec: PoolSpec) -> None:
        """Start everything as the pool file says, at time 0. Raises ValueError if the file contradicts itself."""
        self.spec = spec.checked()
        self.now_s = 0.0
        self.log: list[str] = []
        self.hosts = {host.uuid: HostState(host, host.link_bytes_per_s) for host in self.spec.hosts}
        host_uuids = {host.name: host.uuid for host in self.spec.hosts}
        tracked = self.spec.tracked_speed_ratio
        self.guests = {guest.uuid: GuestState(guest, tracked) for guest in self.spec.guests}
        self._by_name = {guest.name: self.guests[guest.uuid] for guest in self.spec.guests}
        self.jobs: dict[str, JobState] = {}
        for job in self.spec.jobs:
            state = JobState(job, tuple(self._by_name[name].spec.uuid for name in job.ranks))
            self.jobs[job.name] = state
            for uuid in state.guests:
                self.guests[uuid].job = state
        self.migrations: list[Migration] = []
        self._flow_bytes: dict[str, dict[tuple[str, str], float]] = {uuid: {} for uuid in self.hosts}
        self._rates = Rates(self.spec, self.hosts, self.guests, self.jobs, self.migrations)
        self._calendar: list[tuple[float, int, Callable[[], None]]] = []
        self._entries = 0
        self._next_change_s = inf
        self._is_formed = self._are_cores_shared = False
        for guest in self.spec.guests:
            if guest.host is not None:
                self._place(self.guests[guest.uuid], host_uuids[guest.host])
        for hog in self.spec.hogs:
            start = partial(self.start_hog, self._by_name[hog.guest].spec.uuid, hog.vcpus, hog.lasts_s)
            self._at(hog.starts_s, start)
        for state in self.jobs.values():
            if not state.has_begun:
                self._at(state.spec.starts_s, partial(self._begin_job, state))

    # Time

    @property
    def next_event_s(self) -> float | None:
        """When something changes by itself; None if nothing ever does."""
        self._form()
        nearest = min(self._next_change_s, self._calendar[0][0] if self._calendar else inf)
        return None if nearest == inf else nearest

    def run_until(self, t_s: float) -> None:
        """Let time pass up to `t_s`, and do all that falls due."""
        while (due_s := self.next_event_s) is not None and due_s <= t_s:
            self._advance(due_s)
            while self._calendar and self._calendar[0][0] <= self.now_s:
                heapq.heappop(self._calendar)[2]()
                self._changed()
            self._end_stretches()
        self._form()
        self._advance(t_s)

    # What may be asked of it

    def start_migration(
        self, guest: str, target: str, on_end: Callable[[MigrationEnd], None], memory_bytes: int | None = None
    ) -> Migration:
        """Begin to live-migrate a guest (uuids); `on_end` is called from `run_until`. Raises CannotMigrate.

        `memory_bytes` is what is copied where ballooning has left less than the guest's whole memory.
        """
        state = self.guests[guest]
        if state.host is None or state.is_paused:
            raise CannotMigrate(f"guest {state.spec.name} does not run")
        if state.migration is not None:
            raise CannotMigrate(f"guest {state.spec.name} is being migrated")
        if not self.hosts[target].is_up:
            raise CannotMigrate(f"host {self.hosts[target].spec.name} is down")
        copy = PreCopy(
            rules=RULE_SETS[self.spec.rule_set],
            writes=state.spec.writes,
            memory_pages=(memory_bytes or state.spec.memory_bytes) // PAGE_BYTES,
            clock_ratio=self.spec.clock_ratio,
        )
        migration = Migration(state, state.host, target, copy, self.now_s, on_end)
        state.migration = migration
        self.migrations.append(migration)
        self._note(f"guest {state.spec.name} leaves {self._host_name(state.host)} for {self._host_name(target)}")
        self._changed()
        return migration

    def cancel(self, migration: Migration) -> bool:
        """End a migration with the guest where it is; False if it is too late: the guest is stopped already."""
        if migration not in self.migrations or migration.copy.phase is Phase.FINAL:
            return False
        self._end_migration(migration, ok=False, reason="cancelled")
        return True

    def start_hog(self, guest: str, vcpus: int, lasts_s: float | None = None) -> None:
        """Let `vcpus` of a guest use a core each, for `lasts_s` seconds or until `stop_hog`."""
        self.guests[guest].hog_vcpus = vcpus
        self._note(f"a hog of {vcpus} vCPUs starts in guest {self.guests[guest].spec.name}")
        self._changed()
        if lasts_s is not None:
            self._at(self.now_s + lasts_s, lambda: self.stop_hog(guest))

    def stop_hog(self, guest: str) -> None:
        """End a guest's hog, if it has one."""
        if self.guests[guest].hog_vcpus:
            self.guests[guest].hog_vcpus = 0
            self._note(f"the hog in guest {self.guests[guest].spec.name} ends")
            self._changed()

    def start_guest(self, guest: str, host: str) -> None:
        """Start a guest that does not run. Raises ValueError if it runs or the host is down."""
        state = self.guests[guest]
        if state.host is not None or not self.hosts[host].is_up:
            raise ValueError(f"guest {state.spec.name} runs already, or host {self._host_name(host)} is down")
        self._place(state, host)
        self._note(f"guest {state.spec.name} starts on {self._host_name(host)}")

    def stop_guest(self, guest: str) -> None:
        """Stop a guest at once; a migration of it fails."""
        state = self.guests[guest]
        if state.migration is not None:
            self._end_migration(state.migration, ok=False, reason="the guest was stopped")
        if state.host is not None:
            self._note(f"guest {state.spec.name} stops")
        state.host, state.is_paused, state.cpu_rate, state.rx_rate, state.tx_rate = None, False, 0.0, 0.0, 0.0
        self._changed()

    def pause_guest(self, guest: str) -> None:
        """Keep a guest in memory and give it no CPU. Raises ValueError where it does not run."""
        if self.guests[guest].host is None:
            raise ValueError(f"guest {self.guests[guest].spec.name} does not run")
        self.guests[guest].is_paused = True
        self._changed()

    def unpause_guest(self, guest: str) -> None:
        """Let a paused guest go on."""
        self.guests[guest].is_paused = False
        self._changed()

    def hang_suspend(self, guest: str, lasts_s: float = inf) -> None:
        """Let a guest acknowledge no request to suspend that is made within the next `lasts_s` seconds."""
        self.guests[guest].suspend_hangs_until_s = self.now_s + lasts_s

    def fail_host(self, host: str) -> None:
        """Let a host die: its guests stop, migrations from and to it fail."""
        self._note(f"host {self._host_name(host)} dies")
        self.hosts[host].is_up = False
        for migration in [m for m in self.migrations if host in (m.source, m.target)]:
            self._end_migration(migration, ok=False, reason=f"host {self._host_name(host)} died")
        for uuid, state in self.guests.items():
            if state.host == host:
                self.stop_guest(uuid)
        self._changed()

    def restore_host(self, host: str) -> None:
        """Boot a host that died; it comes back empty, and its counters start anew."""
        state = self.hosts[host]
        state.is_up, state.boots, state.last_domid = True, state.boots + 1, 0
        state.cpu_s = state.dom0_cpu_s = state.rx_bytes = state.tx_bytes = 0.0
        self._flow_bytes[host] = {}
        self._note(f"host {state.spec.name} is back")
        self._changed()

    def set_link(self, host: str, bytes_per_s: float, lasts_s: float = inf) -> None:
        """Change what a host's NIC carries, each way, for `lasts_s` seconds or until it is changed again."""
        state = self.hosts[host]
        state.link_bytes_per_s, state.link_recovers_s = bytes_per_s, self.now_s + lasts_s
        self._note(f"the link of host {state.spec.name} carries {bytes_per_s:g} bytes/s")
        self._changed()
        if lasts_s < inf:
            self._at(state.link_recovers_s, partial(self._recover_link, state))

    def set_back(self, job: str, steps: float) -> None:
        """Let a job have done only `steps` steps: its batch system has started it again from a checkpoint."""
        self.jobs[job].steps_done = steps
        self._note(f"job {job} goes on from step {steps:.0f}")
        self._changed()

    def set_health(self, host: str, health: HostHealth) -> None:
        """Change what the host's sensors amount to; nothing else changes with it."""
        state = self.hosts[host]
        state.health = health
        self._note(f"the sensors of host {state.spec.name} say {health.state}")

    # What a Dom0 can read

    def counters(self, host: str) -> HostCounters:
        """Return the host's counters at this moment, as its Dom0 has them."""
        state = self.hosts[host]
        residents = [guest for guest in self.guests.values() if guest.host == host]
        arriving = [migration.guest for migration in self.migrations if migration.target == host]
        used = sum(guest.spec.memory_bytes for guest in (*residents, *arriving))
        return HostCounters(
            host_uuid=host,
            boot_id=f"{host}-{state.boots}",
            at_s=self.now_s,
            cpus=state.spec.cpus,
            cpu_s=state.cpu_s,
            dom0_cpu_s=state.dom0_cpu_s,
            memory_bytes=state.spec.memory_bytes,
            memory_free_bytes=max(0, state.spec.memory_bytes - used),
            rx_bytes=int(state.rx_bytes),
            tx_bytes=int(state.tx_bytes),
            link_bytes_per_s=state.link_bytes_per_s,
            guests=tuple(
                GuestCounters(
                    uuid=guest.spec.uuid,
                    domid=guest.domid,
                    vcpus=guest.spec.vcpus,
                    cpu_s=guest.cpu_s,
                    memory_bytes=guest.spec.memory_bytes,
                    rx_bytes=int(guest.rx_bytes),
                    tx_bytes=int(guest.tx_bytes),
                    is_paused=guest.is_paused,
                    progress=guest.job.progress_of(guest.spec.uuid) if guest.job is not None else None,
                )
                for guest in residents
            ),
            flows=tuple(
                FlowCounter(self.guests[a].spec.mac, self.guests[b].spec.mac, int(count))
                for (a, b), count in sorted(self._flow_bytes[host].items())
            ),
            flows_at_s=self.now_s,
            health=state.health,
        )

    def dirty_curve(self, guest: str, ages_s: tuple[float, ...]) -> DirtyCurve:
        """Return what log-dirty would count on a guest from now on, as active as it is now."""
        state = self.guests[guest]
        pace = state.activity_ratio * state.writes_ratio
        pages = tuple(round(unique_pages(state.spec.writes, age_s * pace)) for age_s in ages_s)
        return DirtyCurve(ages_s=ages_s, unique_pages=pages, measured_s=self.now_s)

    def begin_counting(self, guest: str) -> None:
        """Watch from now on in which phases of its job a guest writes, if these make a difference."""
        state = self.guests[guest]
        varies = state.job is not None and any(phase.writes_ratio != 1.0 for phase in state.job.spec.phases)
        state.counting = [(self.now_s, 0.0)] if varies else None

    def counted_curve(self, guest: str, ages_s: tuple[float, ...]) -> DirtyCurve:
        """Return what log-dirty has counted since `begin_counting`, through the phases of the guest's job since then.

        For the rest the guest counts as active as it is now.
        """
        state = self.guests[guest]
        passed, state.counting = state.counting, None
        if passed is None:
            return self.dirty_curve(guest, ages_s)
        times_s, plain_s = zip(*passed, strict=True)
        active_s = [state.activity_ratio * _between(times_s, plain_s, times_s[0] + age_s) for age_s in ages_s]
        pages = tuple(round(unique_pages(state.spec.writes, each_s)) for each_s in active_s)
        return DirtyCurve(ages_s=ages_s, unique_pages=pages, measured_s=self.now_s)

    # Inside

    def _at(self, t_s: float, what: Callable[[], None]) -> None:
        self._entries += 1
        heapq.heappush(self._calendar, (t_s, self._entries, what))

    def _note(self, text: str) -> None:
        self.log.append(f"{self.now_s:.3f} {text}")

    def _host_name(self, uuid: str) -> str:
        return self.hosts[uuid].spec.name

    def _begin_job(self, job: JobState) -> None:
        job.has_begun = True
        self._note(f"job {job.name} begins")

    def _recover_link(self, host: HostState) -> None:
        if host.link_recovers_s <= self.now_s:  # else it was changed again meanwhile
            self.set_link(host.spec.uuid, host.spec.link_bytes_per_s)

    def _place(self, guest: GuestState, host: str) -> None:
        """Make a new domain of the guest on a host: another domid, counters from zero."""
        self.hosts[host].last_domid += 1
        guest.host, guest.domid = host, self.hosts[host].last_domid
        guest.cpu_s = guest.rx_bytes = guest.tx_bytes = 0.0
        self._changed()

    def _advance(self, t_s: float) -> None:
        """Let the present rates go on until `t_s`."""
        dt_s = t_s - self.now_s
        if dt_s <= 0:
            return
        self.now_s = t_s
        for host in self.hosts.values():
            host.cpu_s += host.cpu_rate * dt_s
            host.dom0_cpu_s += host.dom0_cpu_rate * dt_s
            host.rx_bytes += host.rx_rate * dt_s
            host.tx_bytes += host.tx_rate * dt_s
        for guest in self.guests.values():
            guest.cpu_s += guest.cpu_rate * dt_s
            guest.rx_bytes += guest.rx_rate * dt_s
            guest.tx_bytes += guest.tx_rate * dt_s
            if guest.counting is not None:
                guest.counting.append((t_s, guest.counting[-1][1] + dt_s * guest.writes_ratio))
        for (a, b), rate in self._rates.flow_bytes_per_s.items():
            for place in {self.guests[a].host, self.guests[b].host}:
                if place is not None:
                    seen = self._flow_bytes[place]
                    seen[a, b] = seen.get((a, b), 0.0) + rate * dt_s
        for job in self.jobs.values():
            job.steps_done += job.steps_per_s * dt_s
        for migration in self.migrations:
            pace = migration.guest.activity_ratio * migration.guest.writes_ratio
            migration.copy.advance(dt_s, migration.bytes_per_s, pace)

    def _end_stretches(self) -> None:
        """End what ends now: a job's stretch of equal steps, a round or phase of a migration."""
        for job in self.jobs.values():
            if job.steps_per_s > 0 and job.steps_done >= job.stretch_ends_step - NEARLY_A_STEP:
                job.steps_done = job.stretch_ends_step
                self._is_formed = False
                self._are_cores_shared = self._are_cores_shared and not job.is_over
        for migration in list(self.migrations):
            if migration.phase_ends_s <= self.now_s and migration in self.migrations:
                if migration.copy.phase is Phase.UNANSWERED:
                    self._end_migration(migration, ok=False, reason=UNACKNOWLEDGED)
                    continue
                migration.copy.end_phase(acknowledges=migration.guest.suspend_hangs_until_s <= self.now_s)
                self._changed()
                if migration.copy.phase is Phase.DONE:
                    self._end_migration(migration, ok=True, reason="")

    def _end_migration(self, migration: Migration, *, ok: bool, reason: str) -> None:
        self.migrations.remove(migration)
        migration.guest.migration = None
        name = migration.guest.spec.name
        if ok:
            self._place(migration.guest, migration.target)
            self._note(f"guest {name} runs on {self._host_name(migration.target)}")
        else:
            self._note(f"the migration of guest {name} ends: {reason}")
        self._changed()
        migration.on_end(migration.end(self.now_s, ok=ok, reason=reason))

    def _changed(self) -> None:
        """Something is different: every rate is to be formed anew before time goes on."""
        self._is_formed = self._are_cores_shared = False

    def _form(self) -> None:
        """Form the rates if they are not, and find when something changes next."""
        if self._is_formed:
            return
        if not self._are_cores_shared:
            # Dom0's part of the cores follows from the traffic, and the traffic from the cores: once more is enough.
            self._rates.share_cores()
            self._rates.form_flows()
            self._rates.share_cores()
        self._rates.form_flows()
        self._is_formed = self._are_cores_shared = True
        self._next_change_s = inf
        for job in self.jobs.values():
            job.stretch_ends_step = job.next_change_step()
            if job.steps_per_s > 0:
                left = job.stretch_ends_step - job.steps_done
                self._next_change_s = min(self._next_change_s, self.now_s + left / job.steps_per_s)
        for migration in self.migrations:
            pace = migration.guest.activity_ratio * migration.guest.writes_ratio
            left_s = migration.copy.time_left_s(migration.bytes_per_s, pace)
            migration.phase_ends_s = self.now_s + left_s
            self._next_change_s = min(self._next_change_s, migration.phase_ends_s)


def _between(times_s: Sequence[float], values: Sequence[float], at_s: float) -> float:
    """Return the value at a time, straight between those before and after it."""
    after = min(bisect_left(times_s, at_s), len(times_s) - 1)
    before = max(0, after - 1)
    span_s = times_s[after] - times_s[before]
    share = min(1.0, (at_s - times_s[before]) / span_s) if span_s > 0 else 1.0
    return values[before] + share * (values[after] - values[before])
