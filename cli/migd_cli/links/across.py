"""Runs the two ends of a measurement where they belong, through a command such as `ssh {host}`.

The program goes in on standard input, so nothing is installed or left on either machine.
"""

import contextlib
import re
import secrets
import select
import shlex
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Final

import msgspec

from migd_cli.failures import Failure
from migd_core.decoding import UNDECODABLE

COMES_UP_WITHIN_S: Final = 40.0
MEASURES_WITHIN_S: Final = 130.0
_ENDPOINT: Final = re.compile(r"([^\s=]+?)(?:=([0-9A-Za-z.:_%-]+))?")
_LAST_WORDS: Final = 400


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A guest or host: what the remote command calls it, and the address at which the other one reaches it."""

    host: str
    address: str

    @classmethod
    def parse(cls, text: str) -> "Endpoint":
        """Return the endpoint `HOST` or `HOST=ADDRESS`. Raises ValueError."""
        found = _ENDPOINT.fullmatch(text)
        if found is None or text.startswith("-"):
            raise ValueError(f"expected HOST or HOST=ADDRESS, found {text!r}")
        host, address = found.groups()
        return cls(host, address or host.rpartition("@")[2])


def command_of(via: str, host: str) -> list[str]:
    """Return the words of the command that runs something on `host`. Raises ValueError naming what is wrong with it."""
    words = shlex.split(via)
    if not any("{host}" in word for word in words):
        raise ValueError(f"expected a command with {{host}} in it, such as 'ssh {{host}}', found {via!r}")
    return [word.replace("{host}", host) for word in words]


def measure(via: str, server: Endpoint, client: Endpoint) -> Mapping[int, Sequence[float]]:
    """Return the one-way times (s) of messages by their size (bytes). Raises Failure naming the end that failed."""
    token = secrets.token_hex(16)
    with _started(via, server, "listen", token) as listening:
        port = _first_line(listening, server)
        with _started(via, client, "send", token, server.address, port) as sending:
            try:
                answer, words = sending.communicate(timeout=MEASURES_WITHIN_S)
            except subprocess.TimeoutExpired as error:
                raise Failure(
                    f"{client.host}: no measurement within {MEASURES_WITHIN_S:g} s; is {server.address} port {port} "
                    "reachable from there?"
                ) from error
            if sending.returncode != 0:
                raise _failure(client, sending, words)
    try:
        return msgspec.json.decode(answer, type=dict[int, list[float]])
    except UNDECODABLE as error:
        raise Failure(f"{client.host}: expected times as JSON, found {answer[:_LAST_WORDS]!r}: {error}") from error


@contextlib.contextmanager
def _started(via: str, end: Endpoint, *arguments: str) -> "Iterator[subprocess.Popen[bytes]]":
    """Start the program on one end; it is gone when the block is left."""
    words = [*command_of(via, end.host), "python3", "-", *arguments]
    try:
        process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    except OSError as error:
        raise Failure(f"{end.host}: {shlex.join(words[:2])} cannot be run: {error}; see --via") from error
    assert process.stdin is not None
    try:
        with contextlib.suppress(BrokenPipeError):  # what has ended already says why when it is asked for
            process.stdin.write(resources.files("migd_cli.links").joinpath("ping_pong.py").read_bytes())
            process.stdin.close()
        process.stdin = None  # else `communicate` flushes what is closed
        yield process
    finally:
        process.kill()
        process.communicate()


def _first_line(process: "subprocess.Popen[bytes]", end: Endpoint) -> str:
    """Return the port that the listening end prints first. Raises Failure."""
    assert process.stdout is not None
    until_s = time.monotonic() + COMES_UP_WITHIN_S
    line = b""
    while not line.endswith(b"\n"):
        ready, _, _ = select.select([process.stdout], [], [], max(0.0, until_s - time.monotonic()))
        if not ready:
            raise Failure(f"{end.host}: nothing came up within {COMES_UP_WITHIN_S:g} s; does --via ask for a password?")
        part = process.stdout.read1(64)  # type: ignore[attr-defined]
        if not part:
            process.wait()
            assert process.stderr is not None
            raise _failure(end, process, process.stderr.read())
        line += part
    text = line.decode(errors="backslashreplace").strip()
    if not text.isdigit():
        raise Failure(f"{end.host}: expected a port, found {text[:_LAST_WORDS]!r}; does --via print something itself?")
    return text


def _failure(end: Endpoint, process: "subprocess.Popen[bytes]", words: bytes) -> Failure:
    last = words.decode(errors="backslashreplace").strip()[-_LAST_WORDS:] or "it said nothing"
    return Failure(f"{end.host}: the measurement ended with exit code {process.returncode}: {last}")
