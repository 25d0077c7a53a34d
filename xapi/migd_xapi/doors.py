"""Where the pool's hosts answer: each at an address of its own that may be open, shut or silent.

Shut, its toolstack is down: connections are refused. Silent, the host is dead: they are never answered. Either way the
address stays taken, so that the host comes back at the same one.
"""

import asyncio
import socket
import ssl
from dataclasses import dataclass

from aiohttp import web

from migd_xapi.addresses import bound_socket


@dataclass(slots=True)
class _Door:
    what: str
    socket: socket.socket
    tls: ssl.SSLContext | None
    site: web.SockSite | None = None
    is_silent: bool = False


class Doors:
    """The listening sockets of all hosts, by address."""

    def __init__(self, runner: web.AppRunner) -> None:
        self._runner = runner
        self._doors: dict[str, _Door] = {}

    async def open(self, address: str, port: int, what: str, tls: ssl.SSLContext | None = None) -> int:
        """Listen at an address for `what`; return the port, which 0 leaves open. Raises MigdError."""
        door = self._doors[address] = _Door(what, bound_socket(address, port, what), tls)
        await self._listen(door)
        return int(door.socket.getsockname()[1])

    def is_silent(self, address: str) -> bool:
        door = self._doors.get(address)
        return door is not None and door.is_silent

    async def silence(self, address: str) -> None:
        """Answer nobody: who is connected waits, and so does who connects now."""
        door = self._doors[address]
        door.is_silent = True
        await self._unlisten(door)  # the kernel still listens: it accepts, and nobody takes it up

    async def shut(self, address: str) -> None:
        """Break all connections and refuse new ones."""
        door = self._doors[address]
        await self._unlisten(door)
        port = door.socket.getsockname()[1]
        door.socket.close()
        door.socket = bound_socket(address, port, door.what)
        self._break(address)

    async def reopen(self, address: str) -> None:
        """Answer again; what was connected to a silent host is broken."""
        await self.shut(address)
        self._doors[address].is_silent = False
        await self._listen(self._doors[address])

    def close(self) -> None:
        """Give the addresses up."""
        for door in self._doors.values():
            door.socket.close()

    async def _listen(self, door: _Door) -> None:
        # The site closes the socket that it has; the address is to stay taken when it does.
        door.site = web.SockSite(self._runner, door.socket.dup(), ssl_context=door.tls)
        await door.site.start()

    async def _unlisten(self, door: _Door) -> None:
        if door.site is not None:
            await door.site.stop()
            door.site = None

    def _break(self, address: str) -> None:
        server = self._runner.server
        for connection in server.connections if server is not None else ():
            transport = connection.transport
            if transport is not None and _address_of(transport) == address:
                transport.abort()


def address_of(request: web.Request) -> str:
    """Return the address that a client connected to; empty where it is gone already."""
    return _address_of(request.transport) if request.transport is not None else ""


def _address_of(transport: asyncio.BaseTransport) -> str:
    return str(transport.get_extra_info("sockname")[0])
