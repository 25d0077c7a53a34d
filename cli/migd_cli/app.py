"""The command line itself: the table of commands, the options that all of them take, and the help page.

Nothing but click is imported here, and a command's module when it runs: `migctl --help` answers at once.
"""

import importlib
from typing import TYPE_CHECKING, Any, Final

import click

from migd_cli.session import Session

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

# name -> (module in migd_cli.commands, the first sentence of its help), by section of the help page.
COMMANDS: Final[dict[str, dict[str, tuple[str, str]]]] = {
    "See": {
        "status": ("status", "Show the controller at a glance."),
        "top": ("top", "Watch the cluster on one screen, and steer it."),
        "hosts": ("hosts", "List the hosts with their load and memory."),
        "guests": ("guests", "List the running guests and what they use."),
        "jobs": ("jobs", "List the jobs that migd knows."),
        "links": ("links", "Show what the network carries at each level."),
        "plan": ("plan", "Show what would be moved now, and do nothing."),
        "recommendations": ("recommendations", "List the moves that wait for your word."),
        "history": ("history", "List the migrations, newest first."),
        "audit": ("audit", "List who asked for what, newest first."),
        "journal": ("journal", "Take what migd has done out of its journal, for other programs."),
        "doctor": ("doctor", "Say what keeps migd from its work, and how to mend it."),
        "report": ("report", "Write what was moved, gained and lost as an HTML file with plots."),
        "explain": ("explain", "Say why a decision was made, or why a guest moved or stayed."),
    },
    "Steer": {
        "job": ("jobs", "Add a job, change its limits, tell its progress, or remove it."),
        "policy": ("policy", "List, show, set or compare policies."),
        "host": ("host", "Take a host out of service, or let it receive guests again."),
        "evacuate": ("evacuate", "Move all guests off a host, and watch until it is empty."),
        "migrate": ("migrate", "Move one guest to a host now."),
        "cancel": ("cancel", "End a migration that is under way."),
        "release": ("release", "Let a guest be moved again that was held back."),
        "token": ("token", "Make, list or revoke tokens for the API over TCP."),
        "automation": ("automation", "Show or choose how much migd does by itself."),
        "approve": ("recommendations", "Let what is recommended be done, if it still holds."),
        "refuse": ("recommendations", "Do not let what is recommended be done."),
        "record": ("record", "Record everything that the controller is told and does, for `migctl replay`."),
        "pause": ("pause", "Stop starting migrations."),
        "resume": ("pause", "Allow migrations again."),
    },
    "Set up": {
        "keys": ("keys", "Make, authorise, rotate and revoke the keys of agents."),
    },
    "Try": {
        "config": ("config", "Check a configuration file before it is used."),
        "measure": ("measure", "Measure what migd must not assume."),
        "demo": ("demo", "Watch migd speed up a job on an emulated pool, in a minute."),
        "simulate": ("simulate", "Run a scenario in virtual time, and record it."),
        "replay": ("replay", "Make every decision of a record again, and say whether all are the same."),
        "evaluate": ("evaluate", "Judge policies over random cases, against the best there is."),
        "completion": ("completion", "Print what makes a shell complete migctl's commands and names."),
    },
}

_EPILOG: Final = """\b
Exit codes:
  0  done
  1  the request was refused, or it failed
  2  wrong usage
  3  the controller cannot be reached

\b
On a terminal, tables fit its width. Piped, nothing is shortened, wrapped
or coloured. COLUMNS sets the width, NO_COLOR turns colours off."""


def _remember(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    """Keep the option's value in the session, under its own name."""
    if value is not None:
        assert parameter.name is not None
        setattr(context.ensure_object(Session), parameter.name, value)


def _remember_json(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value:
        context.ensure_object(Session).wants_json = True


def _global_options() -> list[click.Parameter]:
    return [
        click.Option(
            ["--socket"],
            metavar="PATH",
            help="The controller's socket (also: MIGD_SOCKET).",
            expose_value=False,
            callback=_remember,
        ),
        click.Option(
            ["--url"],
            metavar="URL",
            help="The controller over TCP, instead of its socket (also: MIGD_URL).",
            expose_value=False,
            callback=_remember,
        ),
        click.Option(
            ["--token-file"],
            metavar="FILE",
            help="The token to show there (also: MIGD_TOKEN_FILE).",
            expose_value=False,
            callback=_remember,
        ),
        click.Option(
            ["--ca-file"],
            metavar="FILE",
            help="Who vouches for its certificate, in PEM (also: MIGD_CA_FILE).",
            expose_value=False,
            callback=_remember,
        ),
        click.Option(
            ["--json"],
            is_flag=True,
            help="Print exactly what the controller's API answers.",
            expose_value=False,
            callback=_remember_json,
        ),
    ]


class Command(click.Command):
    """A command that takes the options which stand before the command's name after it, too."""

    def __init__(self, *args: Any, **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.params += _global_options()

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        """Read the command line; refuse an empty word for an argument, of which no path of the API could be made."""
        rest = super().parse_args(context, args)
        if context.resilient_parsing:  # what is being completed is not complete
            return rest
        for each in self.params:
            if isinstance(each, click.Argument) and context.params.get(str(each.name)) == "":
                problem = "expected a name, uuid or key, found an empty word; is a variable of the shell not set?"
                raise click.BadParameter(problem, context, each)
        return rest


class Group(click.Group):
    """A group of commands, each of which takes the options of all."""

    command_class = Command
    group_class = type

    def __init__(self, *args: Any, **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.params += _global_options()

    def resolve_command(
        self, context: click.Context, arguments: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that is meant; where there is none of that name, say which one may be."""
        try:
            return super().resolve_command(context, arguments)
        except click.NoSuchOption:
            raise
        except click.UsageError as error:
            import difflib

            known = self.list_commands(context)
            close = difflib.get_close_matches(arguments[0], known, n=1)
            meant = f"did you mean '{close[0]}'?" if close else f"there are: {', '.join(known)}"
            raise click.UsageError(f"No such command '{arguments[0]}'; {meant}", context) from error


class TableGroup(Group):
    """The group whose commands stand in COMMANDS."""

    def list_commands(self, context: click.Context) -> list[str]:
        return [name for section in COMMANDS.values() for name in section]

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        for section in COMMANDS.values():
            if name in section:
                module = importlib.import_module(f"migd_cli.commands.{section[name][0]}")
                command = getattr(module, name)
                assert isinstance(command, click.Command)
                return command
        return None

    def shell_complete(self, context: click.Context, incomplete: str) -> "list[CompletionItem]":
        """Complete the names of commands from the table, so that their modules stay unread."""
        from click.shell_completion import CompletionItem

        found = [
            CompletionItem(name, help=summary)
            for section in COMMANDS.values()
            for name, (_, summary) in section.items()
            if name.startswith(incomplete)
        ]
        return found + click.Command.shell_complete(self, context, incomplete)

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, self.list_commands(context)))
        for title, section in COMMANDS.items():
            with formatter.section(title):
                # One width for all sections, so that the page reads as one table.
                formatter.write_dl([(f"{name:<{width}}", summary) for name, (_, summary) in section.items()])


def _show_version(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value and not context.resilient_parsing:
        from migd_core import __version__

        click.echo(f"migctl {__version__}")
        context.exit()


@click.command(cls=TableGroup, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_show_version, help="Show the version."
)
@click.pass_context
def migctl(context: click.Context) -> None:
    """The operator's hand on migd, which keeps MPI jobs fast on Xen clusters."""
    context.ensure_object(Session)
