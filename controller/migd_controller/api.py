"""What the HTTP API answers: what operators see and steer, on the socket and over TCP alike.

Bodies are the Structs of `migd_core.api`. Questions are answered from the core's state and the journal; what an
operator asks for becomes an event like any other.
"""

import re
from collections.abc import Callable

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from msgspec.structs import replace

from migd_controller.audit import AuditLog
from migd_controller.automation import cluster_level
from migd_controller.commands import RecordDecision, RecordMigration, RecordRecommendation
from migd_controller.comparison import change_view, comparison_view, shadows_view
from migd_controller.contest import MAX_SHADOWS
from migd_controller.control import Control
from migd_controller.doctor.examination import Doctor
from migd_controller.evacuation_view import evacuation_view
from migd_controller.events import (
    AutomationSet,
    CancelRequested,
    EvacuationAsked,
    EvacuationStopped,
    GuestReleased,
    JobAdded,
    JobLimited,
    JobProgressed,
    JobRemoved,
    LinksMeasured,
    MaintenanceBegun,
    MaintenanceEnded,
    MeasuredLink,
    MigrationRequested,
    Paused,
    PolicySet,
    RecommendationApproved,
    RecommendationRefused,
    Resumed,
    ShadowAdded,
    ShadowRemoved,
)
from migd_controller.guest_api import GuestApi
from migd_controller.holds import quarantine
from migd_controller.http.access_api import AccessApi
from migd_controller.http.answers import MAX_BODY_BYTES, problems
from migd_controller.http.answers import answer as _answer
from migd_controller.http.answers import body as _body
from migd_controller.http.audited import audited
from migd_controller.http.callers import CALLER
from migd_controller.http.live import Document, document
from migd_controller.http.tokens import Tokens
from migd_controller.intake import IntakeCounts
from migd_controller.page_api import PageApi
from migd_controller.recommendation_views import automation_view, recommendation_view, recommendations_view
from migd_controller.recommendations import Recommendation
from migd_controller.slurm import SlurmWatch
from migd_controller.timeline import Timeline
from migd_controller.views import (
    LOST_TEXT,
    decision_view,
    flips_text,
    guest_text,
    guests_view,
    holds_view,
    hosts_view,
    jobs_view,
    links_view,
    maintenance_text,
    migration_view,
    policies_view,
    policy_config,
    rules_problem,
    set_view,
    topology_problem,
)
from migd_core import __version__, api
from migd_core.errors import Refused, UnknownName
from migd_core.health import HealthState
from migd_core.job_limits import JobLimitsChange
from migd_core.progress import Progress
from migd_core.units import format_duration
from migd_core.world import World
from migd_policies.allowed_hours import Window
from migd_policies.registry import configure

HISTORY_LIMIT = 1000
SETS_SHOWN = 3
MAX_LABEL = 64
LIVE_MIGRATIONS = 50
LONGEST_JOB_S = 1e9  # some thirty years, which every clock and sum of times can take
_CAUSE = re.compile(r"[Dd]\d+(\.[sSrR]?\d+)?")


class Api:
    """The handlers of one controller."""

    def __init__(
        self,
        control: Control,
        counts: IntakeCounts,
        timeline: Timeline | None = None,
        slurm: SlurmWatch | None = None,
        doctor: Doctor | None = None,
    ) -> None:
        """Without a `doctor` of its own it examines only what the core knows."""
        self._control, self._counts, self._slurm = control, counts, slurm
        self._doctor = doctor or Doctor(control, counts)
        self.tokens = Tokens(control.core.config.tokens_file)
        self._audit = AuditLog(control.journal)
        self._access = AccessApi(self.tokens, self._audit)
        self._page = PageApi(control, timeline if timeline is not None else Timeline())
        self._guest = GuestApi(control)
        self._core, self._journal = control.core, control.journal
        self._started_s = control.clock.now_s()
        self.http_problem: Callable[[], str] = lambda: ""  # what keeps people from coming over TCP
        self.leader: Callable[[], api.LeaderView | None] = lambda: None
        self.behind_audit: list[Middleware] = []

    def live(self) -> Document:
        """Return what the page follows, as of now."""
        now_s, under_way = self._control.clock.now_s(), self._core.memory.in_flight
        world = self._core.world(now_s)
        migrations = [under_way.get(each.cause, each) for each in self._journal.migrations(LIVE_MIGRATIONS)]
        return document(
            self._status_view(world),
            hosts_view(self._core, now_s, world),
            guests_view(self._core, now_s, world),
            jobs_view(self._core, now_s, world),
            [migration_view(each) for each in migrations],
        )

    def audited(self) -> Middleware:
        """Return the middleware that keeps commands on record."""
        return audited(self._audit, self._control.give_up)

    def application(self, *middlewares: Middleware) -> web.Application:
        """Return the aiohttp application with every route of `migd_core.api.ROUTES`, each behind the middlewares."""
        handlers: dict[tuple[str, str], Handler] = {
            ("GET", "/v1/status"): self._status,
            ("GET", "/v1/doctor"): self._examine,
            ("GET", "/v1/hosts"): self._hosts,
            ("PUT", "/v1/hosts/{host}/maintenance"): self._begin_maintenance,
            ("DELETE", "/v1/hosts/{host}/maintenance"): self._end_maintenance,
            ("GET", "/v1/hosts/{host}/evacuation"): self._evacuation,
            ("POST", "/v1/hosts/{host}/evacuation"): self._evacuate,
            ("DELETE", "/v1/hosts/{host}/evacuation"): self._stop_evacuation,
            ("GET", "/v1/guests"): self._guests,
            ("GET", "/v1/jobs"): self._jobs,
            ("POST", "/v1/jobs"): self._add_job,
            ("PATCH", "/v1/jobs/{name}"): self._limit_job,
            ("DELETE", "/v1/jobs/{name}"): self._remove_job,
            ("POST", "/v1/jobs/{name}/progress"): self._progress,
            ("GET", "/v1/links"): self._links,
            ("PUT", "/v1/links"): self._set_links,
            ("GET", "/v1/policies"): self._policies,
            ("PUT", "/v1/policy"): self._set_policy,
            ("POST", "/v1/policy/dry-run"): self._try_policy,
            ("GET", "/v1/policies/comparison"): self._comparison,
            ("GET", "/v1/shadows"): self._shadows,
            ("POST", "/v1/shadows"): self._add_shadow,
            ("DELETE", "/v1/shadows/{label}"): self._remove_shadow,
            ("GET", "/v1/plan"): self._plan,
            ("GET", "/v1/automation"): self._automation,
            ("PUT", "/v1/automation"): self._set_automation,
            ("GET", "/v1/recommendations"): self._recommendations,
            ("POST", "/v1/recommendations/{name}/approve"): self._approve,
            ("POST", "/v1/recommendations/{name}/refuse"): self._refuse,
            ("GET", "/v1/migrations"): self._migrations,
            ("POST", "/v1/migrations"): self._migrate,
            ("POST", "/v1/migrations/{name}/cancel"): self._cancel,
            ("POST", "/v1/guests/{guest}/release"): self._release,
            ("POST", "/v1/pause"): self._pause,
            ("POST", "/v1/resume"): self._resume,
            ("GET", "/v1/explain/{subject}"): self._explain,
            ("GET", "/v1/record"): self._record,
            ("PUT", "/v1/record"): self._switch_record,
            **self._page.handlers,
            **self._guest.handlers,
            **self._access.handlers,
        }
        if handlers.keys() != api.ROUTES.keys():
            raise AssertionError("the handlers do not match the routes of migd_core.api")
        app = web.Application(middlewares=[problems, *middlewares], client_max_size=MAX_BODY_BYTES)
        app.add_routes([web.route(method, path, handler) for (method, path), handler in handlers.items()])
        return app

    async def _status(self, request: web.Request) -> web.Response:
        return _answer(self._status_view())

    async def _examine(self, request: web.Request) -> web.Response:
        return _answer(await self._doctor.examine())

    async def _hosts(self, request: web.Request) -> web.Response:
        return _answer(list(hosts_view(self._core, self._control.clock.now_s())))

    async def _begin_maintenance(self, request: web.Request) -> web.Response:
        body, now_s = await _body(request, api.MaintenanceRequest), self._control.clock.now_s()
        if body.until is not None and body.until <= now_s:
            raise Refused(f"until: expected a time to come, found one {format_duration(now_s - body.until)} ago")
        uuid = self._host_uuid(request.match_info["host"])
        self._control.dispatch(MaintenanceBegun(host=uuid, until=body.until))
        return _answer(self._host_view(uuid))

    async def _end_maintenance(self, request: web.Request) -> web.Response:
        uuid = self._host_uuid(request.match_info["host"])
        self._control.dispatch(MaintenanceEnded(host=uuid))
        return _answer(self._host_view(uuid))

    async def _evacuation(self, request: web.Request) -> web.Response:
        return _answer(self._evacuation_view(self._host_uuid(request.match_info["host"])))

    async def _evacuate(self, request: web.Request) -> web.Response:
        uuid = self._host_uuid(request.match_info["host"])
        self._control.dispatch(EvacuationAsked(host=uuid))
        return _answer(self._evacuation_view(uuid), status=202)

    async def _stop_evacuation(self, request: web.Request) -> web.Response:
        uuid = self._host_uuid(request.match_info["host"])
        self._control.dispatch(EvacuationStopped(host=uuid))
        return _answer(self._evacuation_view(uuid))

    def _host_view(self, uuid: str) -> api.HostView:
        return next(view for view in hosts_view(self._core, self._control.clock.now_s()) if view.uuid == uuid)

    def _evacuation_view(self, uuid: str) -> api.EvacuationView:
        return evacuation_view(self._core, uuid, self._control.clock.now_s())

    async def _guests(self, request: web.Request) -> web.Response:
        return _answer(list(guests_view(self._core, self._control.clock.now_s())))

    async def _jobs(self, request: web.Request) -> web.Response:
        return _answer(jobs_view(self._core, self._control.clock.now_s()))

    async def _add_job(self, request: web.Request) -> web.Response:
        body = await _body(request, api.JobRequest)
        if not body.name.strip() or not body.guests:
            raise Refused("a job needs a name and at least one guest")
        for name, value in (("remaining_s", body.remaining_s), ("wall_time_limit_s", body.wall_time_limit_s)):
            if value is not None and not 0 <= value <= LONGEST_JOB_S:
                raise Refused(f"{name}: expected a time from 0 s to {LONGEST_JOB_S:g} s, found {value}")
        _refuse_bad_hours(body.limits)
        guests = tuple(dict.fromkeys(self._guest_uuid(name) for name in body.guests))
        for job in self._core.memory.jobs.values():
            if job.name != body.name and (shared := set(job.guests) & set(guests)):
                name = self._core.inventory.guest_name(min(shared))
                raise Refused(f"guest {name} belongs to job {job.name} already; `migctl job rm {job.name}` frees it")
        self._control.dispatch(
            JobAdded(
                name=body.name,
                guests=guests,
                remaining_s=body.remaining_s,
                wall_time_limit_s=body.wall_time_limit_s,
                limits=body.limits,
                slurm_job=body.slurm_job,
                run_of=body.run_of,
            )
        )
        return _answer(self._job_view(body.name), status=201)

    async def _limit_job(self, request: web.Request) -> web.Response:
        view = self._job_view(request.match_info["name"])
        change = await _body(request, JobLimitsChange)
        _refuse_bad_hours(change)
        self._control.dispatch(JobLimited(name=view.name, change=change))
        return _answer(self._job_view(view.name))

    async def _remove_job(self, request: web.Request) -> web.Response:
        view = self._job_view(request.match_info["name"])
        self._control.dispatch(JobRemoved(name=view.name))
        return _answer(view)

    async def _progress(self, request: web.Request) -> web.Response:
        view = self._job_view(request.match_info["name"])
        self._control.dispatch(JobProgressed(name=view.name, progress=await _body(request, Progress)))
        return _answer(self._job_view(view.name))

    async def _links(self, request: web.Request) -> web.Response:
        return _answer(links_view(self._core))

    async def _set_links(self, request: web.Request) -> web.Response:
        body = await _body(request, api.LinksRequest)
        links = {
            level: MeasuredLink(
                bandwidth_bytes_per_s=each.bandwidth_bytes_per_s, latency_s=each.latency_s, between=each.between
            )
            for level, each in body.links.items()
        }
        self._control.dispatch(LinksMeasured(links=links))
        return _answer(links_view(self._core))

    async def _policies(self, request: web.Request) -> web.Response:
        return _answer(policies_view(self._core))

    async def _set_policy(self, request: web.Request) -> web.Response:
        body = await _body(request, api.PolicyRequest)
        policy = configure(body.name, body.config)
        self._control.dispatch(PolicySet(name=body.name, config=policy_config(policy)))
        return _answer(next(view for view in policies_view(self._core) if view.is_active))

    async def _try_policy(self, request: web.Request) -> web.Response:
        body = await _body(request, api.PolicyRequest)
        policy = configure(body.name, body.config)
        return _answer(change_view(self._core, policy, self._control.clock.now_s()))

    async def _comparison(self, request: web.Request) -> web.Response:
        return _answer(comparison_view(self._core))

    async def _shadows(self, request: web.Request) -> web.Response:
        return _answer(shadows_view(self._core))

    async def _add_shadow(self, request: web.Request) -> web.Response:
        body = await _body(request, api.ShadowRequest)
        policy, label = configure(body.name, body.config), body.label.strip() or body.name
        shadows = self._core.memory.contest.shadows
        if len(label) > MAX_LABEL:
            raise Refused(f"label: expected at most {MAX_LABEL} characters, found {len(label)}")
        if label not in shadows and len(shadows) >= MAX_SHADOWS:
            known = ", ".join(sorted(shadows))
            raise Refused(
                f"there are {MAX_SHADOWS} shadow policies already, which is as many as are asked: {known}; "
                "`migctl policy shadow rm` makes room"
            )
        self._control.dispatch(ShadowAdded(label=label, name=body.name, config=policy_config(policy)))
        return _answer(self._shadow_view(label), status=201)

    async def _remove_shadow(self, request: web.Request) -> web.Response:
        view = self._shadow_view(request.match_info["label"])
        self._control.dispatch(ShadowRemoved(label=view.label))
        return _answer(view)

    def _shadow_view(self, label: str) -> api.ContenderView:
        """Return the shadow of that label. Raises UnknownName."""
        views = shadows_view(self._core)
        if (found := next((view for view in views if view.label == label), None)) is not None:
            return found
        known = ", ".join(view.label for view in views) or "there are none, `migctl policy shadow add` adds one"
        raise UnknownName(f"no shadow policy is called {label}; those that are asked: {known}")

    async def _plan(self, request: web.Request) -> web.Response:
        return _answer(decision_view(self._core.plan(self._control.clock.now_s()), self._core.inventory))

    async def _automation(self, request: web.Request) -> web.Response:
        return _answer(automation_view(self._core, self._control.clock.now_s()))

    async def _set_automation(self, request: web.Request) -> web.Response:
        body = await _body(request, api.AutomationRequest)
        if body.job:
            name = self._job_view(body.job).name
            self._control.dispatch(JobLimited(name=name, change=JobLimitsChange(automation=body.level)))
        else:
            self._control.dispatch(AutomationSet(level=body.level))
        return _answer(automation_view(self._core, self._control.clock.now_s()))

    async def _recommendations(self, request: web.Request) -> web.Response:
        return _answer(recommendations_view(self._core))

    async def _approve(self, request: web.Request) -> web.Response:
        recommendation = self._open(request.match_info["name"])
        commands = self._control.dispatch(RecommendationApproved(name=recommendation.name, by=_name_of(request)))
        decisions = [command.decision for command in commands if isinstance(command, RecordDecision)]
        ended = [command.recommendation for command in commands if isinstance(command, RecordRecommendation)]
        if not decisions:  # it has lapsed
            self._open(recommendation.name)
        (decision,) = decisions
        if not ended:
            failed = dict.fromkeys(gate.text for each in decision.candidates for gate in each.gates if not gate.passed)
            raise Refused(
                f"{recommendation.name} does not hold any more: {'; '.join(failed)} (see `migctl explain "
                f"{decision.cause}`)"
            )
        begun = [migration_view(command.migration) for command in commands if isinstance(command, RecordMigration)]
        return _answer(replace(recommendation_view(self._core, ended[0]), migrations=begun), status=202)

    async def _refuse(self, request: web.Request) -> web.Response:
        recommendation = self._open(request.match_info["name"])
        commands = self._control.dispatch(RecommendationRefused(name=recommendation.name, by=_name_of(request)))
        (ended,) = [command.recommendation for command in commands if isinstance(command, RecordRecommendation)]
        return _answer(recommendation_view(self._core, ended))

    def _open(self, name: str) -> Recommendation:
        """Return the recommendation of that name. Raises Refused if it is over, UnknownName if it never was."""
        open_ = self._core.memory.recommendations
        name = name.upper().replace(".R", ".r")
        if name in open_:
            return open_[name]
        if (over := self._journal.recommendation(name)) is not None and over.ended_at is not None:
            ago = format_duration(max(0.0, self._control.clock.now_s() - over.ended_at))
            led = f"; `migctl explain {over.decision}` tells what came of it" if over.decision else ""
            raise Refused(f"{name} is no longer open: {over.text}, {ago} ago{led}")
        known = ", ".join(open_) or "there are none"
        raise UnknownName(f"nothing called {name} is recommended; what is: {known}")

    async def _migrations(self, request: web.Request) -> web.Response:
        text = request.query.get("limit", "50")
        if not text.isdigit() or not 1 <= int(text) <= HISTORY_LIMIT:
            raise Refused(f"limit: expected a whole number from 1 to {HISTORY_LIMIT}, found {text!r}")
        under_way = self._core.memory.in_flight  # newer than the journal as to progress
        return _answer([migration_view(under_way.get(m.cause, m)) for m in self._journal.migrations(int(text))])

    async def _migrate(self, request: web.Request) -> web.Response:
        body = await _body(request, api.MigrateRequest)
        event = MigrationRequested(
            guest=self._guest_uuid(body.guest),
            target=self._host_uuid(body.host),
            by=_name_of(request),
        )
        commands = self._control.dispatch(event)
        for command in commands:
            if isinstance(command, RecordMigration):
                return _answer(migration_view(command.migration), status=202)
        decisions = [command.decision for command in commands if isinstance(command, RecordDecision)]
        failed = [gate.text for gate in decisions[0].candidates[0].gates if not gate.passed]
        raise Refused(f"{'; '.join(failed)} (see `migctl explain {decisions[0].cause}`)")

    async def _cancel(self, request: web.Request) -> web.Response:
        name, in_flight = request.match_info["name"], self._core.memory.in_flight
        migration = in_flight.get(name.upper()) or next(
            (each for each in in_flight.values() if name in (each.guest, each.guest_name)), None
        )
        if migration is None:
            known = ", ".join(f"{each.cause} ({each.guest_name})" for each in in_flight.values())
            known = known or "there are none, `migctl history` lists those that are over"
            raise UnknownName(
                f"no migration of a guest {name}, nor {name} itself, is under way; those that are: {known}"
            )
        if migration.is_task_lost:
            raise Refused(f"migration {migration.cause} cannot be cancelled: {LOST_TEXT}")
        self._control.dispatch(CancelRequested(cause=migration.cause))
        return _answer(migration_view(self._core.memory.in_flight[migration.cause]), status=202)

    async def _release(self, request: web.Request) -> web.Response:
        name, now_s = request.match_info["guest"], self._control.clock.now_s()
        holds = self._core.memory.holds.values()
        held = [hold for hold in holds if name in (hold.guest, hold.guest_name)]
        if not held:
            self._refuse_if_every_guest_is_held(name)
            known = ", ".join(sorted({hold.guest_name for hold in holds}))
            known = known or "there are none, `migctl guests` says why one is not moved"
            raise UnknownName(f"no guest called {name} is held back; those that are: {known}")
        for guest in {hold.guest for hold in held}:
            self._control.dispatch(GuestReleased(guest=guest))
        return _answer(holds_view(held, now_s))

    def _refuse_if_every_guest_is_held(self, name: str) -> None:
        """Say whose hold it is that keeps a guest which has none of its own. Raises Refused."""
        if (guest := self._core.inventory.guest_named(name)) is None:
            return
        if (hold := quarantine(self._core.memory.holds, guest.uuid)) is not None:
            raise Refused(
                f"guest {guest.name} is held back as every guest is, since {hold.guest_name} failed: {hold.text}; this "
                f"ends when the pool comes back after it was lost, or with `migctl release {hold.guest_name}`"
            )

    async def _record(self, request: web.Request) -> web.Response:
        return _answer(self._control.recording.view())

    async def _switch_record(self, request: web.Request) -> web.Response:
        recording = self._control.recording
        if (await _body(request, api.RecordRequest)).on:
            recording.switch_on(self._control.clock.now_s())
        else:
            recording.switch_off()
        return _answer(recording.view())

    async def _pause(self, request: web.Request) -> web.Response:
        self._control.dispatch(Paused())
        return _answer(self._status_view())

    async def _resume(self, request: web.Request) -> web.Response:
        self._control.dispatch(Resumed())
        return _answer(self._status_view())

    async def _explain(self, request: web.Request) -> web.Response:
        subject = request.match_info["subject"]
        # A guest may be called like a decision, or nearly; the decision is then found by one of its migrations.
        is_guest = self._core.inventory.guest_named(subject) is not None
        cause = subject.upper().partition(".")[
            0
        ]  # D12.1 is a migration of decision D12, D12.s1 a set, D12.r1 recommended
        if not is_guest and _CAUSE.fullmatch(subject) and (decision := self._journal.decision(cause)) is not None:
            return _answer(
                api.ExplainView(
                    subject=cause,
                    text=decision.reason.text,
                    decisions=[decision_view(decision, self._core.inventory)],
                    migrations=[migration_view(m) for m in self._journal.migrations_of(cause)],
                    sets=[set_view(each) for each in self._journal.sets_of(cause)],
                )
            )
        uuid, name = self._known_guest(subject)
        return _answer(
            api.ExplainView(
                subject=name,
                text=guest_text(self._core, uuid, name, self._control.clock.now_s()),
                decisions=[decision_view(d, self._core.inventory) for d in self._journal.decisions_about(uuid, 10)],
                migrations=[migration_view(m) for m in self._journal.migrations(10, uuid)],
                flips=flips_text(self._core, uuid, self._control.clock.now_s()),
                sets=[set_view(each) for each in self._journal.sets_about(uuid, SETS_SHOWN)],
            )
        )

    def _job_view(self, name: str) -> api.JobView:
        """Return the job of that name. Raises UnknownName."""
        views = self._job_views()
        if (found := next((view for view in views if view.name == name), None)) is not None:
            return found
        known = ", ".join(view.name for view in views) or "there are none, `migctl job add` makes one"
        raise UnknownName(f"no job is called {name}; known jobs: {known}")

    def _job_views(self) -> list[api.JobView]:
        return jobs_view(self._core, self._control.clock.now_s())

    def _known_guest(self, name: str) -> tuple[str, str]:
        """Return uuid and name of a guest that runs, or that migd has migrated while it did."""
        if self._core.inventory.guest_named(name) is None:
            for migration in self._journal.migrations(HISTORY_LIMIT):
                if name in (migration.guest, migration.guest_name):
                    return migration.guest, migration.guest_name
        uuid = self._guest_uuid(name, sought="running guest or decision")
        return uuid, self._core.inventory.guest_name(uuid)

    def _guest_uuid(self, name: str, sought: str = "running guest") -> str:
        guest = self._core.inventory.guest_named(name)
        if guest is None:
            raise UnknownName(f"no single {sought} is called {name!r}; `migctl guests` lists guests by name and uuid")
        return guest.uuid

    def _host_uuid(self, name: str) -> str:
        host = self._core.inventory.host_named(name)
        if host is None:
            raise UnknownName(f"no single host is called {name!r}; `migctl hosts` lists them by name and uuid")
        return host.uuid

    def _status_view(self, world: World | None = None) -> api.StatusView:
        core, counts = self._core, self._counts
        world = world or core.world(self._control.clock.now_s())
        now_s = world.now_s
        return api.StatusView(
            version=__version__,
            uptime_s=now_s - self._started_s,
            policy=core.policy.name,
            policy_problem=core.policy_problem,
            topology_problem=topology_problem(core),
            rules_problem=rules_problem(core, world),
            http_problem=self.http_problem(),
            slurm_problem=self._slurm.problem if self._slurm is not None else "",
            is_paused=core.memory.is_paused,
            period_s=core.config.period_s,
            hosts=len(world.hosts),
            hosts_frozen=sum(host.frozen_because is not None for host in world.hosts.values()),
            hosts_degraded=sum(host.health.state is HealthState.DEGRADED for host in world.hosts.values()),
            hosts_failing=sum(host.health.state is HealthState.FAILING for host in world.hosts.values()),
            hosts_in_maintenance=sum(bool(maintenance_text(core, host)) for host in world.hosts.values()),
            automation=cluster_level(core.memory, core.config.automation),
            recommendations=len(core.memory.recommendations),
            leader=self.leader(),
            guests=len(world.guests),
            jobs=len(world.jobs),
            migrations=[migration_view(migration) for migration in core.memory.in_flight.values()],
            xapi_connected=core.pool.is_reachable,
            xapi_problem=core.pool.problem,
            samples_received=counts.received,
            samples_refused=counts.refused,
            agents_refused=counts.agents_refused,
            last_refusal=counts.last_refusal,
            holds=holds_view(core.memory.holds.values(), now_s),
            last_decision=decision_view(core.last_decision, core.inventory) if core.last_decision is not None else None,
        )


def _name_of(request: web.Request) -> str:
    """Return who asks; empty where no listener found that out."""
    caller = request.get(CALLER)
    return caller.name if caller is not None else ""


def _refuse_bad_hours(change: JobLimitsChange) -> None:
    """Raises Refused naming the first of the hours that cannot be read."""
    for text in change.allowed_hours or ():
        try:
            Window.parse(text)
        except ValueError as error:
            raise Refused(f"allowed_hours: {error}") from error
