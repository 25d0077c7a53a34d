"""A proxy that loses, or holds back, what a test tells it to, as a network does at the worst moment."""

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import Any


@dataclass
class CuttingProxy:
    """Forwards connections to a server on loopback. The first call that holds one of the marks cuts its connection.

    A call that holds the mark `hold` goes on once it is `let_go`, whether its client waits still or not.
    """

    server_port: int
    lose_request_with: bytes = b""
    lose_answer_to: bytes = b""
    hold: bytes = b""
    holds: asyncio.Event = field(default_factory=asyncio.Event)
    let_go: asyncio.Event = field(default_factory=asyncio.Event)
    port: int = 0
    cuts: int = 0
    forwarded: int = 0
    _relays: dict["asyncio.Task[None]", asyncio.StreamWriter] = field(default_factory=dict)

    async def __aenter__(self) -> "CuttingProxy":
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *error: Any) -> None:
        self._server.close()
        await self._server.wait_closed()
        relays = dict(self._relays)
        for relay in relays:
            relay.cancel()
        await asyncio.gather(*relays, return_exceptions=True)
        for writer in relays.values():
            await _close(writer)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        relay = asyncio.create_task(self._relay(reader, writer))
        self._relays[relay] = writer

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self.server_port)
        answers = asyncio.create_task(_copy(server_reader, writer))
        try:
            while data := await reader.read(65536):
                if self.lose_request_with and self.lose_request_with in data:
                    self.lose_request_with, self.cuts = b"", self.cuts + 1
                    return
                if self.lose_answer_to and self.lose_answer_to in data:
                    self.lose_answer_to, self.cuts = b"", self.cuts + 1
                    answers.cancel()
                    await asyncio.gather(answers, return_exceptions=True)
                    server_writer.write(data)
                    await server_reader.read(1)  # the server has answered, so it has taken the request in
                    return
                if self.hold and self.hold in data:
                    self.holds.set()
                    await self.let_go.wait()
                    answers.cancel()
                    await asyncio.gather(answers, return_exceptions=True)
                    server_writer.write(data)
                    await server_reader.read(1)  # it was taken in, and answered
                    self.forwarded += 1
                    return
                server_writer.write(data)
        except ConnectionError:
            return
        finally:
            # Closed before anything is waited for, for the waiting may be cancelled by the end of the proxy.
            answers.cancel()
            server_writer.close()
            writer.close()
            await asyncio.gather(answers, return_exceptions=True)
            await _close(server_writer)
            await _close(writer)


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()
