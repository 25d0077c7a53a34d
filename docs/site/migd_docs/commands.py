"""The reference of `migctl`, made of its commands as click has them."""

import inspect
from collections.abc import Iterator

import click

from migd_cli.app import COMMANDS, TableGroup, migctl
from migd_docs.tables import code, table


def commands() -> str:
    """Return every command of `migctl` with its options, in the order of its help page."""
    root = click.Context(migctl, info_name="migctl")
    everywhere = {name for option in migctl.params for name in option.opts} | {"--help"}
    parts = [f"## Everywhere\n\n{_options(root, set())}\n{_text(migctl.epilog or '')}\n"]
    assert isinstance(migctl, TableGroup)
    for title, section in COMMANDS.items():
        parts.append(f"## {title}\n")
        for name in section:
            command = migctl.get_command(root, name)
            assert command is not None
            parts += _command(click.Context(command, info_name=name, parent=root), everywhere)
    return "\n".join(parts)


def _command(context: click.Context, everywhere: set[str]) -> Iterator[str]:
    command, name = context.command, context.command_path
    usage = " ".join((name, *command.collect_usage_pieces(context)))
    yield f"### {name}\n\n    {usage}\n\n{_text(command.help or '')}\n\n{_options(context, everywhere)}"
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from _command(click.Context(inner, info_name=name, parent=context), everywhere)


def _options(context: click.Context, but: set[str]) -> str:
    rows = []
    for parameter in context.command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None and record[1] and not but.intersection(parameter.opts):
            rows.append((code(record[0]), record[1]))
    return table(("option", "what it does"), rows) if rows else ""


def _text(text: str) -> str:
    """Return click's help as Markdown: a paragraph that begins with the mark `\\b` keeps its lines."""
    paragraphs = inspect.cleandoc(text).split("\n\n")
    return "\n\n".join(
        "\n".join("    " + line for line in each.removeprefix("\b\n").splitlines()) if each.startswith("\b\n") else each
        for each in paragraphs
    )
