"""`migctl completion`."""

import click
from click.shell_completion import get_completion_class

from migd_cli.app import Command, migctl

SHELLS = ("bash", "zsh", "fish")


@click.command(cls=Command)
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print what makes a shell complete migctl's commands and names.

    \b
    bash:  migctl completion bash > /etc/bash_completion.d/migctl
    zsh:   migctl completion zsh > "${fpath[1]}/_migctl"
    fish:  migctl completion fish > ~/.config/fish/completions/migctl.fish

    Guests, hosts, jobs and policies are asked of the controller, which has half a second.
    """
    kind = get_completion_class(shell)
    assert kind is not None
    # Not `source()`, which also starts a bash to see how old it is.
    made = kind(migctl, {}, "migctl", "_MIGCTL_COMPLETE")
    click.echo(made.source_template % made.source_vars())
