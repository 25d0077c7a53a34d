"""HTTP: bodies in, bodies out. One server for all hosts; which host is meant is the address that was connected to."""

import html
import ssl
from collections.abc import Mapping
from typing import Final

from aiohttp import web

from migd_xapi.addresses import bound_socket
from migd_xapi.database import Row
from migd_xapi.dispatch import Dispatcher
from migd_xapi.failure import Failure
from migd_xapi.pool import Pool
from migd_xapi.wire import json_rpc, xml_rpc

# xapi refuses to read more than this of a call.
BODY_LIMIT_BYTES: Final = 300 * 1024
HEADERS: Final[Mapping[str, str]] = {"Access-Control-Allow-Origin": "*"}


class Listener:
    """Answers the clients of all hosts of a pool."""

    def __init__(self, pool: Pool, dispatcher: Dispatcher) -> None:
        self._pool = pool
        self._dispatcher = dispatcher
        application = web.Application(client_max_size=BODY_LIMIT_BYTES)
        # The longest prefix wins: everything that is not JSON is XML.
        application.router.add_post("/jsonrpc{path:.*}", self._json)
        application.router.add_post("/{path:.*}", self._xml)
        application.router.add_options("/{path:.*}", self._options)
        # A client that goes away ends its wait for events.
        self._runner = web.AppRunner(application, access_log=None, handler_cancellation=True, shutdown_timeout=1.0)
        self._host_at: dict[str, Row] = {}

    async def start(self, address: str, port: int, tls: ssl.SSLContext | None) -> int:
        """Listen for the coordinator at `address` and for each other host at its own; return the port they share.

        Raises MigdError when an address cannot be had.
        """
        await self._runner.setup()
        coordinator = self._pool.coordinator
        self._pool.db.update(coordinator, address=address)
        port = await self._listen(coordinator, address, port, tls)
        for host in self._pool.db.rows("host"):
            if host is not coordinator:
                await self._listen(host, host["address"], port, tls)
        return port

    async def stop(self) -> None:
        """Close all connections."""
        await self._runner.cleanup()

    async def _listen(self, host: Row, address: str, port: int, tls: ssl.SSLContext | None) -> int:
        listening = bound_socket(address, port, f"host {host['name_label']}")
        await web.SockSite(self._runner, listening, ssl_context=tls).start()
        self._host_at[address] = host
        return int(listening.getsockname()[1])

    def _host(self, request: web.Request) -> Row:
        assert request.transport is not None
        address = request.transport.get_extra_info("sockname")[0]
        return self._host_at.get(address, self._pool.coordinator)

    async def _xml(self, request: web.Request) -> web.Response:
        try:
            name, arguments = xml_rpc.read_call(await request.read())
        except xml_rpc.NotXmlRpc as error:
            return _malformed(error)
        try:
            value = await self._dispatcher.call(name, arguments, self._host(request))
            body = xml_rpc.bare(value) if name == "system.listMethods" else xml_rpc.success(value)
        except Failure as failure:
            body = xml_rpc.failure(failure)
        return web.Response(body=body, content_type=xml_rpc.CONTENT_TYPE, headers=HEADERS)

    async def _json(self, request: web.Request) -> web.Response:
        try:
            call = json_rpc.read_call(await request.read())
        except json_rpc.NotJsonRpc as error:
            return _malformed(error)
        try:
            body = json_rpc.success(
                call, await self._dispatcher.call(call.method, tuple(call.params), self._host(request))
            )
        except Failure as failure:
            body = json_rpc.failure(call, failure)
        return web.Response(body=body, content_type=json_rpc.CONTENT_TYPE, headers=HEADERS)

    async def _options(self, request: web.Request) -> web.Response:
        return web.Response(headers={**HEADERS, "Access-Control-Allow-Headers": "X-Requested-With, Content-Type"})


def _malformed(error: Exception) -> web.Response:
    return web.Response(
        status=500, text=f"<html><body>{html.escape(str(error))}</body></html>", content_type="text/html"
    )
