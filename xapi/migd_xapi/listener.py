"""HTTP: bodies in, bodies out. One server for all hosts; which host is meant is the address that was connected to."""

import ssl
from collections.abc import Mapping
from typing import Final

from aiohttp import web

from migd_xapi.database import Row
from migd_xapi.dispatch import Dispatcher
from migd_xapi.disturbances import Disturbances
from migd_xapi.doors import Doors, address_of
from migd_xapi.endpoints import Endpoints
from migd_xapi.error_pages import error_page
from migd_xapi.failure import Failure
from migd_xapi.pool import Pool
from migd_xapi.wire import json_rpc, xml_rpc

# xapi refuses to read more than this of a call.
BODY_LIMIT_BYTES: Final = 300 * 1024
# How long a connection may rest before it is closed: as long as xapi's stunnel leaves it (12 hours).
IDLE_S: Final = 43200.0
HEADERS: Final[Mapping[str, str]] = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Headers": "X-Requested-With",
}


class Listener:
    """Answers the clients of all hosts of a pool."""

    def __init__(self, pool: Pool, dispatcher: Dispatcher) -> None:
        self._pool = pool
        self._dispatcher = dispatcher
        self.disturbances = Disturbances(lambda request: self.doors.is_silent(address_of(request)))
        application = web.Application(client_max_size=BODY_LIMIT_BYTES, middlewares=[self.disturbances.middleware])
        application.on_response_prepare.append(_dress)
        application.add_routes(Endpoints(pool, self._host).routes())
        # The longest prefix wins: everything that is not JSON is XML.
        application.router.add_post("/jsonrpc{path:.*}", self._json)
        application.router.add_post("/{path:.*}", self._xml)
        application.router.add_options("/{path:.*}", self._options)
        application.router.add_route("*", "/{path:.*}", self._elsewhere)
        self._runner = web.AppRunner(
            application,
            access_log=None,
            handler_cancellation=True,  # a client that goes away ends its wait for events
            shutdown_timeout=1.0,
            keepalive_timeout=IDLE_S,
        )
        self.doors = Doors(self._runner)
        self._host_at: dict[str, Row] = {}
        self._tls: ssl.SSLContext | None = None

    async def start(self, address: str, port: int, tls: ssl.SSLContext | None, *, has_members: bool = True) -> int:
        """Listen for the coordinator at `address` and for each other host at its own; return the port they share.

        Without `has_members`, all hosts are to be asked at `address`.

        Raises MigdError when an address cannot be had.
        """
        self._tls = tls
        await self._runner.setup()
        coordinator = self._pool.coordinator
        self._pool.db.update(coordinator, address=address)
        port = await self._listen(coordinator, address, port)
        for host in self._pool.db.rows("host"):
            if not has_members:
                self._pool.db.update(host, address=address)
            elif host is not coordinator:
                await self._listen(host, host["address"], port)
        return port

    async def stop(self) -> None:
        """Close all connections."""
        await self._runner.cleanup()
        self.doors.close()

    async def _listen(self, host: Row, address: str, port: int) -> int:
        self._host_at[address] = host
        return await self.doors.open(address, port, f"host {host['name_label']}", self._tls)

    def _host(self, request: web.Request) -> Row:
        return self._host_at.get(address_of(request), self._pool.coordinator)

    async def _xml(self, request: web.Request) -> web.Response:
        try:
            name, arguments = xml_rpc.read_call(await _body(request))
        except (_Unreadable, xml_rpc.NotXmlRpc) as error:
            return error_page(500, str(error))
        try:
            value = await self._dispatcher.call(name, arguments, self._host(request))
            body = xml_rpc.bare(value) if name == "system.listMethods" else xml_rpc.success(value)
        except Failure as failure:
            body = xml_rpc.failure(failure)
        return web.Response(body=body, content_type=xml_rpc.CONTENT_TYPE, headers=HEADERS)

    async def _json(self, request: web.Request) -> web.Response:
        try:
            call = json_rpc.read_call(await _body(request))
        except (_Unreadable, json_rpc.NotJsonRpc) as error:
            return error_page(500, str(error))
        try:
            body = json_rpc.success(
                call, await self._dispatcher.call(call.method, tuple(call.params), self._host(request))
            )
        except Failure as failure:
            body = json_rpc.failure(call, failure)
        return web.Response(body=body, content_type=json_rpc.CONTENT_TYPE, headers=HEADERS)

    async def _options(self, request: web.Request) -> web.Response:
        asked = request.headers.get("Access-Control-Request-Headers")
        allowed = f"{asked}, X-Requested-With" if asked else "X-Requested-With"
        return web.Response(
            headers={**HEADERS, "Access-Control-Allow-Headers": allowed, "Access-Control-Allow-Methods": "PUT"}
        )

    async def _elsewhere(self, request: web.Request) -> web.Response:
        return error_page(403 if request.method in ("GET", "PUT", "CONNECT") else 501)


class _Unreadable(Exception):
    """The body of a call is not read."""


async def _body(request: web.Request) -> bytes:
    """Return the body, which XAPI wants to know the length of before it reads any of it."""
    length = request.content_length
    if length is None:
        raise _Unreadable("We require a content-length: HTTP header")
    if length > BODY_LIMIT_BYTES:
        raise _Unreadable(f"the body has {length} bytes, at most {BODY_LIMIT_BYTES} are read")
    return await request.read()


async def _dress(request: web.Request, response: web.StreamResponse) -> None:
    """Give each answer the headers of XAPI's server, and none of this one's."""
    response.headers["Cache-Control"] = "no-cache, no-store"
    response.headers.popall("Server", None)
