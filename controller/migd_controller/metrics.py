"""What Prometheus scrapes, by its conventions: base units in the names, `_total` for what only grows.

What is so now is read from the core at each scrape; what has happened is counted as it passes through the loop, since
this process started. Guests are not told one by one: a thousand series a metric say less than their jobs do.
"""

import shutil
from collections import Counter as Counts
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from migd_controller.commands import AnyCommand, RecordDecision, RecordMigration
from migd_controller.control import Control
from migd_controller.core import Core
from migd_controller.events import AnyEvent, MigrationEnded, Tick
from migd_controller.intake import IntakeCounts
from migd_controller.judging import BY_HAND
from migd_controller.migration import Migration, State
from migd_controller.pool_failures import Then
from migd_core import __version__
from migd_core.health import HealthState
from migd_core.world import World

_MIGRATION_S: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
_OFF_RATIO: Final = (0.25, 0.5, 0.7, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 4.0)
_CYCLE_S: Final = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)


class Metrics:
    """The metrics of one controller, in a registry of their own."""

    def __init__(self, control: Control, counts: IntakeCounts, state_dir: Path) -> None:
        self._control = control
        self.registry = CollectorRegistry()
        self.registry.register(_State(control.core, control, counts, state_dir))
        ProcessCollector(registry=self.registry)
        self._cycle_s = Histogram(
            "migd_control_cycle_duration_seconds",
            "How long the loop took to decide, a control period.",
            buckets=_CYCLE_S,
            registry=self.registry,
        )
        self._moves = Counter(
            "migd_moves_proposed", "Moves that were proposed.", ["policy", "accepted"], registry=self.registry
        )
        self._refusals = Counter(
            "migd_moves_refused",
            "Proposed moves that a gate stopped, each gate counted.",
            ["gate"],
            registry=self.registry,
        )
        self._migrations = Counter(
            "migd_migrations",
            "Migrations that are over, by where the guest was then, and by policy or by hand.",
            ["state", "requested_by"],
            registry=self.registry,
        )
        self._duration_s = Histogram(
            "migd_migration_duration_seconds",
            "How long migrations took that moved their guest.",
            buckets=_MIGRATION_S,
            registry=self.registry,
        )
        self._off_ratio = Histogram(
            "migd_migration_actual_to_predicted_ratio",
            "What a migration took, over what was predicted.",
            buckets=_OFF_RATIO,
            registry=self.registry,
        )
        self.requests = Counter(
            "migd_http_requests", "Answers of the API.", ["listener", "method", "status"], registry=self.registry
        )
        self._deliveries = Counter(
            "migd_webhook_deliveries",
            "Notices that were delivered, given up after retries, or dropped because too many waited.",
            ["webhook", "outcome"],
            registry=self.registry,
        )

    def heard(self, event: AnyEvent, commands: Sequence[AnyCommand]) -> None:
        """Count what an event led to."""
        if isinstance(event, Tick):
            self._cycle_s.observe(self._control.took_s)
        for command in commands:
            if isinstance(command, RecordDecision):
                for candidate in command.decision.candidates:
                    accepted = "true" if candidate.is_accepted else "false"
                    self._moves.labels(policy=command.decision.policy, accepted=accepted).inc()
                    for gate in candidate.gates:
                        if not gate.passed:
                            self._refusals.labels(gate=gate.name).inc()
            elif isinstance(command, RecordMigration) and isinstance(event, MigrationEnded):
                self._ended(command.migration)

    def delivered(self, webhook: str, outcome: str, count: int) -> None:
        """Count notices by what became of them."""
        self._deliveries.labels(webhook=webhook, outcome=outcome).inc(count)

    def also(self, read: Callable[[], Iterable[Metric]]) -> None:
        """Tell what `read` returns, too, at each scrape."""
        self.registry.register(_Reading(read))

    def text(self) -> bytes:
        """Return all of it in Prometheus' text format."""
        return generate_latest(self.registry)

    def _ended(self, migration: Migration) -> None:
        by = BY_HAND if migration.requested_by.startswith(BY_HAND) else migration.requested_by
        self._migrations.labels(state=migration.state.value, requested_by=by).inc()
        if migration.state is State.MOVED and migration.ended_at is not None:
            took_s = migration.ended_at - (migration.started_at or migration.asked_at)
            self._duration_s.observe(took_s)
            if migration.predicted_s:
                self._off_ratio.observe(took_s / migration.predicted_s)


class _Reading(Collector):
    def __init__(self, read: Callable[[], Iterable[Metric]]) -> None:
        self._read = read

    def collect(self) -> Iterable[Metric]:
        return self._read()


class _State(Collector):
    """What is so at the moment of a scrape."""

    def __init__(self, core: Core, control: Control, counts: IntakeCounts, state_dir: Path) -> None:
        self._core, self._control, self._counts, self._state_dir = core, control, counts, state_dir

    def collect(self) -> Iterable[Metric]:
        core, now_s = self._core, self._control.clock.now_s()
        world = core.world(now_s)
        yield InfoMetricFamily("migd_build", "The release that runs.", {"version": __version__})
        yield InfoMetricFamily("migd_policy", "The policy in use.", {"policy": core.policy.name})
        yield _gauge("migd_paused", "1 while an operator has paused migrations.", core.memory.is_paused)
        yield _gauge("migd_pool_reachable", "1 while the pool answers.", core.pool.is_reachable)
        yield _gauge("migd_control_period_seconds", "One decision a period.", core.config.period_s)
        if core.last_decision is not None:
            yield _gauge(
                "migd_last_decision_timestamp_seconds", "When the last decision was made.", core.last_decision.at
            )
        yield from self._hosts(world, now_s)
        yield _gauge("migd_guests", "Running guests.", len(world.guests))
        holds = Counts(hold.then for hold in core.memory.holds.values() if hold.until is None or hold.until > now_s)
        held = GaugeMetricFamily(
            "migd_guests_held", "Guests held back after failed migrations, by what has to happen.", labels=["then"]
        )
        for then in Then:
            held.add_metric([then.value], holds[then])
        yield held
        yield from self._jobs(world)
        yield _gauge("migd_migrations_in_flight", "Migrations under way.", len(core.memory.in_flight))
        waiting = GaugeMetricFamily(
            "migd_recommendations",
            "Moves that wait for an operator's word; safety: guests are to leave a host for it.",
            labels=["safety"],
        )
        urgent = sum(each.is_for_safety for each in core.memory.recommendations.values())
        waiting.add_metric(["true"], urgent)
        waiting.add_metric(["false"], len(core.memory.recommendations) - urgent)
        yield waiting
        counts = self._counts
        yield _total("migd_samples_received", "Samples taken in.", counts.received)
        yield _total("migd_samples_superseded", "Samples passed over for a newer one of their host.", counts.superseded)
        yield _total("migd_samples_refused", "Samples that were not possible and refused.", counts.refused)
        yield _total("migd_agents_refused", "Connections of agents that no key let in.", counts.agents_refused)
        yield _gauge(
            "migd_state_dir_free_bytes",
            "Room for the journal; without any, nothing is migrated.",
            shutil.disk_usage(self._state_dir).free,
        )

    def _hosts(self, world: World, now_s: float) -> Iterable[Metric]:
        core = self._core
        load = GaugeMetricFamily(
            "migd_host_load_ratio", "CPU that a host's guests ask for, over what it has.", labels=["host"]
        )
        memory = GaugeMetricFamily("migd_host_memory_bytes", "Memory for guests.", labels=["host"])
        free = GaugeMetricFamily("migd_host_memory_free_bytes", "Memory that no guest has.", labels=["host"])
        guests = GaugeMetricFamily("migd_host_guests", "Guests on a host.", labels=["host"])
        frozen = GaugeMetricFamily(
            "migd_host_frozen",
            "1 while nothing leaves or comes, for its telemetry is not to be trusted.",
            labels=["host"],
        )
        age = GaugeMetricFamily("migd_host_sample_age_seconds", "Since a host last reported.", labels=["host"])
        health = GaugeMetricFamily("migd_host_health", "1 for the state that a host is in.", labels=["host", "state"])
        for host in world.hosts.values():
            if host.frozen_because is None:
                load.add_metric([host.name], host.load_ratio)
            memory.add_metric([host.name], host.memory_bytes)
            free.add_metric([host.name], host.memory_free_bytes)
            guests.add_metric([host.name], len(world.guests_on[host.uuid]))
            frozen.add_metric([host.name], host.frozen_because is not None)
            if (age_s := core.telemetry.age_s(host.uuid, now_s)) is not None:
                age.add_metric([host.name], age_s)
            for state in HealthState:
                health.add_metric([host.name, state.value], host.health.state is state)
        return [load, memory, free, guests, frozen, age, health]

    def _jobs(self, world: World) -> Iterable[Metric]:
        guests = GaugeMetricFamily("migd_job_guests", "Guests of a job.", labels=["job"])
        iteration = GaugeMetricFamily("migd_job_iteration_seconds", "What one iteration takes.", labels=["job"])
        remaining = GaugeMetricFamily("migd_job_remaining_seconds", "How long a job still runs.", labels=["job"])
        for job in world.jobs.values():
            guests.add_metric([job.name], len(job.guests))
            if job.iteration_s is not None:
                iteration.add_metric([job.name], job.iteration_s)
            if job.remaining_s is not None:
                remaining.add_metric([job.name], job.remaining_s)
        return [guests, iteration, remaining]


def certificate_family(expires_at: float) -> Metric:
    """Return when the certificate of the listener ends, as Unix time."""
    return _gauge("migd_http_certificate_expiry_timestamp_seconds", "When the API's certificate ends.", expires_at)


def http_families(readers: int, cut_off: int, not_let_in: int) -> Iterable[Metric]:
    """Return what the API knows of who comes."""
    yield _gauge("migd_http_event_readers", "Who follows the event stream.", readers)
    yield _total("migd_http_event_readers_cut_off", "Readers of the event stream that were too slow.", cut_off)
    yield _total("migd_http_not_let_in", "Requests over TCP with a token that does not count.", not_let_in)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def _total(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(name, text, value=value)
