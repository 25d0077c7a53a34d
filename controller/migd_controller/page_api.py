"""The routes that the page draws its pictures from. All of them only read, and every answer is bounded."""

import math
from collections.abc import Iterable, Mapping
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

from migd_controller.comparison import comparison_view
from migd_controller.control import Control
from migd_controller.decision import Decision
from migd_controller.decision_log import lines
from migd_controller.dirty_view import dirty_view
from migd_controller.events import PolicySet
from migd_controller.history_view import history_view, job_timeline_view
from migd_controller.http.answers import answer
from migd_controller.migration import Migration
from migd_controller.report_view import Happened, report_view
from migd_controller.timeline import Timeline
from migd_core import api
from migd_core.errors import Refused, UnknownName

MOST_FLOWS: Final = 1024
MOST_LINES: Final = 200
# Decisions that are read for one answer, whatever they come to: some tens of milliseconds.
MOST_DECISIONS: Final = 1000
MOST_MIGRATIONS: Final = 2000
MOST_HAPPENINGS: Final = 200
MOST_OUTCOMES: Final = 50
MOST_HOURS: Final = 31 * 24.0
# Below this, an answer is sent as it is.
COMPRESSED_BYTES: Final = 1400


class PageApi:
    """The handlers of one controller's page."""

    def __init__(self, control: Control, timeline: Timeline) -> None:
        self._control, self._timeline = control, timeline
        self._core, self._journal = control.core, control.journal

    @property
    def handlers(self) -> dict[tuple[str, str], Handler]:
        """Every route of the page, by method and path."""
        return {
            ("GET", "/v1/traffic"): self._traffic,
            ("GET", "/v1/decisions"): self._decisions,
            ("GET", "/v1/history"): self._history,
            ("GET", "/v1/report"): self._report,
            ("GET", "/v1/jobs/{name}/timeline"): self._job_timeline,
            ("GET", "/v1/guests/{guest}/dirty"): self._dirty,
        }

    async def _traffic(self, request: web.Request) -> web.Response:
        limit = int(_number(request, "limit", 256, 1, MOST_FLOWS))
        flows = self._core.world(self._control.clock.now_s()).flows
        greatest = sorted(flows, key=lambda flow: flow.bytes_per_s, reverse=True)[:limit]
        body = api.TrafficView(
            flows=[
                api.FlowView(guest_a=flow.guest_a, guest_b=flow.guest_b, bytes_per_s=round(flow.bytes_per_s))
                for flow in greatest
            ],
            bytes_per_s=sum(flow.bytes_per_s for flow in flows),
            left_out=len(flows) - len(greatest),
        )
        return _answer(body)

    async def _decisions(self, request: web.Request) -> web.Response:
        limit = int(_number(request, "limit", 50, 1, MOST_LINES))
        before = _number(request, "before", math.inf, 0.0, math.inf)
        decisions = self._journal.decisions(before, MOST_DECISIONS)
        found = lines(decisions, self._core.inventory)
        is_all = len(decisions) < MOST_DECISIONS and len(found) <= limit
        found = found[:limit]
        return _answer(api.DecisionLogView(lines=found, before=None if is_all or not found else found[-1].first_at))

    async def _history(self, request: web.Request) -> web.Response:
        until_s = self._control.clock.now_s()
        since_s = until_s - 3600.0 * _number(request, "hours", 24.0, 0.01, MOST_HOURS)
        migrations = self._journal.migrations_since(since_s, MOST_MIGRATIONS)
        body = history_view(
            since_s,
            until_s,
            self._timeline.since(since_s),
            migrations,
            self._decisions_of(migrations),
            self._journal.told_since(since_s, MOST_HAPPENINGS),
            self._core.inventory,
        )
        return _answer(body)

    async def _report(self, request: web.Request) -> web.Response:
        until_s = self._control.clock.now_s()
        since_s = until_s - 3600.0 * _number(request, "hours", 7 * 24.0, 0.01, MOST_HOURS)
        under_way = self._core.memory.in_flight
        migrations = [
            under_way.get(each.cause, each) for each in self._journal.migrations_since(since_s, MOST_MIGRATIONS + 1)
        ]
        found = Happened(
            since_s,
            until_s,
            self._timeline.since(since_s),
            migrations[:MOST_MIGRATIONS],
            self._decisions_of(migrations[:MOST_MIGRATIONS]),
            self._journal.told_since(since_s, MOST_HAPPENINGS),
            len(migrations) > MOST_MIGRATIONS,
        )
        core = self._core
        policies = [core.policy.name, *(event.name for _, event in found.told if isinstance(event, PolicySet))]
        body = report_view(
            found, core.inventory, core.memory.jobs, policies[::-1], comparison_view(core), "a controller's journal"
        )
        return _answer(body)

    async def _job_timeline(self, request: web.Request) -> web.Response:
        name, now_s = request.match_info["name"], self._control.clock.now_s()
        job = self._core.memory.jobs.get(name)
        if job is None:
            known = ", ".join(sorted(self._core.memory.jobs)) or "there are none"
            raise UnknownName(f"no job is called {name}; known jobs: {known}")
        since_s = now_s - 3600.0 * _number(request, "hours", 1.0, 0.01, MOST_HOURS)
        moments = self._timeline.since(since_s)
        under_way = self._core.memory.in_flight
        migrations = [
            under_way.get(each.cause, each) for each in self._journal.migrations_since(since_s, MOST_MIGRATIONS)
        ]
        return _answer(job_timeline_view(name, moments, migrations, job.guests))

    async def _dirty(self, request: web.Request) -> web.Response:
        name = request.match_info["guest"]
        guest = self._core.inventory.guest_named(name)
        if guest is None:
            raise UnknownName(f"no single running guest is called {name!r}; `migctl guests` lists them")
        migrations = self._journal.migrations(MOST_OUTCOMES, guest.uuid)
        return _answer(dirty_view(self._core, guest.uuid, guest.name, migrations, self._decisions_of(migrations)))

    def _decisions_of(self, migrations: Iterable[Migration]) -> Mapping[str, Decision]:
        causes = {each.cause.partition(".")[0] for each in migrations}
        return {cause: found for cause in causes if (found := self._journal.decision(cause)) is not None}


def _number(request: web.Request, name: str, default: float, least: float, most: float) -> float:
    """Return a number of the query. Raises Refused."""
    text = request.query.get(name)
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not least <= value <= most:
        raise Refused(f"{name}: expected a number from {least:g} to {most:g}, found {text!r}")
    return value


def _answer(body: object) -> web.Response:
    response = answer(body)
    if isinstance(response.body, bytes) and len(response.body) > COMPRESSED_BYTES:
        response.enable_compression()
    return response
