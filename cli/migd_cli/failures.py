"""How a command fails: what is said on standard error, and the exit code."""

from typing import Final

import click

# 2 is click's own, for a command line that it cannot make out.
EXIT_FAILED: Final = 1
EXIT_UNREACHABLE: Final = 3


class Failure(click.ClickException):
    """Something that ends `migctl` with a message that says what to do next."""

    exit_code = EXIT_FAILED

    def show(self, file: object = None) -> None:
        """Print the message on standard error."""
        from migd_cli.screen import Screen

        screen = Screen.of_stderr()
        for line in screen.labelled("migctl: ", self.message, style="red"):
            click.echo(line, err=True, color=screen.has_colours)


class RequestFailed(Failure):
    """The controller answered, and the answer is no. `body` is the answer's body, empty if it is not the API's."""

    def __init__(self, message: str, body: bytes = b"") -> None:
        super().__init__(message)
        self.body = body


class Unreachable(Failure):
    """No answer came from the controller."""

    exit_code = EXIT_UNREACHABLE
