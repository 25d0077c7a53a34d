"""What is fetched with GET rather than called: the histories of hosts and guests.

Each host answers at its own address for itself and for the guests on it, a member too. A request names a session of
the pool, or brings a user's name and password, for which it gets a session of its own while it lasts.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import BasicAuth, hdrs, web

from migd_xapi.database import Row
from migd_xapi.error_pages import error_page
from migd_xapi.failure import Failure
from migd_xapi.negotiation import preferred
from migd_xapi.pool import Pool
from migd_xapi.rrd import text
from migd_xapi.rrd.archive import Function
from migd_xapi.rrd.recorder import History
from migd_xapi.rrd.round_robin import RoundRobin
from migd_xapi.rrd.updates import NoArchive, updates

JSON, XML = "application/json", "text/xml"
UNARCHIVE: Final = "rrd_unarchive"
_Respond = Callable[[web.Request, Row], Awaitable[web.Response]]


class _Unauthorised(Exception):
    """Neither a session nor credentials that are any good."""


class Endpoints:
    """The GET requests of a pool's hosts; `host_of` says which host a request came to."""

    def __init__(self, pool: Pool, host_of: Callable[[web.Request], Row]) -> None:
        self._pool = pool
        self._host_of = host_of

    def routes(self) -> list[web.RouteDef]:
        """Return the routes; the longest prefix wins, so that /vm_rrds of old clients is /vm_rrd."""
        found: dict[str, _Respond] = {
            "rrd_updates": self._rrd_updates,
            "host_rrd": self._host_rrd,
            "vm_rrd": self._vm_rrd,
        }
        return [
            web.get(f"/{name}{{path:.*}}", self._authorised(name, respond), allow_head=False)
            for name, respond in found.items()
        ]

    def _authorised(self, name: str, respond: _Respond) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def answer(request: web.Request) -> web.Response:
            host = self._host_of(request)
            try:
                async with self._session(request, host):
                    response = await respond(request, host)
            except _Unauthorised:
                return error_page(401, realm=name)
            # As xapi does: what came of the request stands in its answer, the task only says that it was dealt with.
            self._pool.tasks.complete(_parameter(request, "task_id"))
            response.force_close()
            return response

        return answer

    @asynccontextmanager
    async def _session(self, request: web.Request, host: Row) -> AsyncIterator[None]:
        """Hold the session that a request names, or one of its own. Raises _Unauthorised."""
        sessions, own = self._pool.sessions, None
        try:
            if ref := _parameter(request, "session_id"):
                sessions.get(ref)
            else:
                credentials = _credentials(request)
                originator = f"{request.remote} using Basic auth"
                own = await sessions.log_in(credentials.login, credentials.password, originator, host)
        except Failure as failure:
            raise _Unauthorised from failure
        try:
            yield
        finally:
            if own is not None:
                sessions.log_out(own)

    async def _rrd_updates(self, request: web.Request, host: Row) -> web.Response:
        query = request.query
        if "start" not in query:
            return error_page(400, "get_rrd_updates: missing the 'start' parameter")
        start_s, interval_s = _whole(query["start"]), _whole(query.get("interval", ""))
        if start_s is None:
            return error_page(500, f"start: expected seconds since 1970, found {query['start']!r}")
        function = next((each for each in Function if each.value == query.get("cf")), None)
        try:
            found = updates(self._members(request, host), start_s, interval_s or 0, function)
        except NoArchive as error:
            return error_page(500, str(error))
        if _prefers_json(request):
            return _response(text.updates_json(found), JSON)
        return _response(text.updates_xml(found), XML)

    def _members(self, request: web.Request, host: Row) -> list[tuple[str, RoundRobin]]:
        wanted = request.query.getall("vm_uuid", None)
        members = [
            (f"vm:{uuid}:", history.database)
            for uuid, history in self._pool.metrics.residents(host)
            if wanted is None or uuid in wanted
        ]
        if request.query.get("host") == "true" and (own := self._pool.metrics.of(host)) is not None:
            members.insert(0, (f"host:{host['uuid']}:", own.database))
        return members

    async def _host_rrd(self, request: web.Request, host: Row) -> web.Response:
        history = self._pool.metrics.of(host)
        return _history(request, history) if history is not None else error_page(500, "No host RRD available!")

    async def _vm_rrd(self, request: web.Request, host: Row) -> web.Response:
        """Answer for a guest that is here; point to where else it is, and to the coordinator if it is nowhere."""
        uuid = request.query.get("uuid")
        if uuid is None:
            return error_page(400, "get_vm_rrd: missing the 'uuid' parameter")
        try:
            vm = self._pool.db.by_uuid("VM", uuid)
        except Failure as failure:
            return error_page(500, ", ".join(failure.description))
        owner = self._pool.db.find("host", vm["resident_on"])
        if UNARCHIVE not in request.query and owner is not host:
            if owner is not None:
                return _redirect(request, owner)
            if not self._pool.is_coordinator(host):
                return _redirect(request, self._pool.coordinator, **{UNARCHIVE: ""})
        history = self._pool.metrics.of(vm)
        return _history(request, history) if history is not None else error_page(404)


def _parameter(request: web.Request, name: str) -> str:
    return request.cookies.get(name) or request.query.get(name, "")


def _whole(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None


def _credentials(request: web.Request) -> BasicAuth:
    try:
        return BasicAuth.decode(request.headers.get(hdrs.AUTHORIZATION, ""), encoding="utf-8")
    except ValueError as error:
        raise _Unauthorised from error


def _prefers_json(request: web.Request) -> bool:
    accepted = preferred(request.headers.get(hdrs.ACCEPT), (JSON, XML))
    return accepted == JSON if accepted is not None else "json" in request.query


def _history(request: web.Request, history: History) -> web.Response:
    if _prefers_json(request):
        return _response(text.history_json(history.database), JSON)
    return _response(text.history_xml(history.database), XML)


def _response(body: bytes, content_type: str) -> web.Response:
    headers = {"Access-Control-Allow-Origin": "*", "Access-Control-Allow-Headers": "X-Requested-With"}
    return web.Response(body=body, content_type=content_type, headers=headers)


def _redirect(request: web.Request, host: Row, **more: str) -> web.Response:
    url = request.url.with_host(host["address"]).update_query(more)
    return web.Response(status=302, headers={hdrs.LOCATION: str(url)})
