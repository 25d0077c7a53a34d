"""What a command works with: where the controller is, what to print, and how to get and show an answer."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeVar

import click

if TYPE_CHECKING:  # the help page must not wait for these
    import msgspec

    from migd_cli.client import Client
    from migd_cli.screen import Screen

T = TypeVar("T")

DEFAULT_SOCKET: Final = "/run/migd/controller.sock"


def _socket_of_environment() -> str:
    return os.environ.get("MIGD_SOCKET") or DEFAULT_SOCKET


@dataclass(slots=True)
class Session:
    """One run of `migctl`. Filled while the command line is read, used by the command."""

    socket: str = field(default_factory=_socket_of_environment)
    url: str = field(default_factory=lambda: os.environ.get("MIGD_URL", ""))
    token_file: str = field(default_factory=lambda: os.environ.get("MIGD_TOKEN_FILE", ""))
    ca_file: str = field(default_factory=lambda: os.environ.get("MIGD_CA_FILE", ""))
    wants_json: bool = False
    drawn: list[str] | None = None  # where a view goes that is drawn by somebody else

    def ask(self, method: str, path: str, body: "msgspec.Struct | None" = None) -> bytes:
        """Return the body of the controller's answer, as it came.

        Raises Unreachable, or RequestFailed when the answer is not 2xx; with `--json` the latter's body is printed.
        """
        from migd_cli.failures import RequestFailed

        try:
            return self.client().ask(method, path, body)
        except RequestFailed as failure:
            if self.wants_json and failure.body:
                click.echo(failure.body)
            raise

    def client(self, timeout_s: float | None = None) -> "Client":
        """Return what asks the controller, over its socket or at its URL; it waits for an answer as `Client` does.

        Raises Failure where the URL, the token or the authorities cannot be used.
        """
        from migd_cli.client import TIMEOUT_S, Client

        timeout_s = TIMEOUT_S if timeout_s is None else timeout_s
        if self.url:
            from migd_cli.over_tcp import TcpClient

            return TcpClient(self.url, self.token_file, self.ca_file, timeout_s)
        return Client(self.socket, timeout_s)

    def show(self, answer: bytes, type_: type[T], lines: "Callable[[T, Screen], list[str]]") -> None:
        """Print an answer: as it came with `--json`, otherwise the lines that `lines` makes of it as a `type_`."""
        if self.wants_json:
            click.echo(answer)
            return
        from migd_cli.client import decode
        from migd_cli.screen import Screen

        screen = Screen.of_stdout()
        if self.drawn is not None:
            self.drawn += lines(decode(answer, type_), screen)
            return
        for line in lines(decode(answer, type_), screen):
            click.echo(line, color=screen.has_colours)
