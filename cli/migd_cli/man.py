"""`python -m migd_cli.man FOLDER`: writes a manual page for each command, made of its help."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from migd_cli.app import migctl
from migd_core import __version__

SECTION = 1


def pages() -> dict[str, str]:
    """Return every page as roff, by the name of its file: `migctl.1`, `migctl-policy-set.1`."""
    return {f"{'-'.join(words)}.{SECTION}": page(context) for words, context in _commands(_root())}


def page(context: click.Context) -> str:
    """Return the page of one command."""
    command, words = context.command, context.command_path.split()
    summary = command.get_short_help_str(limit=200).rstrip(".")
    lines = [
        f'.TH "{"-".join(words).upper()}" {SECTION} "" "migd {__version__}" "migd"',
        ".SH NAME",
        rf"{_escaped('-'.join(words))} \- {_escaped(summary)}",
        ".SH SYNOPSIS",
        f".B {_escaped(context.command_path)}",
        _escaped(" ".join(command.collect_usage_pieces(context))),
        ".SH DESCRIPTION",
        *_prose(command.help or ""),
    ]
    options = [record for each in command.get_params(context) if (record := each.get_help_record(context)) is not None]
    if options:
        lines.append(".SH OPTIONS")
    for name, text in options:
        lines += [".TP", rf"\fB{_escaped(name)}\fR", _escaped(text)]
    if isinstance(command, click.Group):
        lines.append(".SH COMMANDS")
        for name in command.list_commands(context):
            sub = command.get_command(context, name)
            assert sub is not None
            lines += [".TP", rf"\fB{_escaped('-'.join((*words, name)))}\fR({SECTION})"]
            lines.append(_escaped(sub.get_short_help_str(limit=200)))
    if command.epilog:
        lines += [".SH NOTES", *_prose(command.epilog)]
    if len(words) > 1:
        lines += [".SH SEE ALSO", rf"\fB{_escaped('-'.join(words[:-1]))}\fR({SECTION})"]
    return "\n".join(lines) + "\n"


def write(folder: Path) -> list[Path]:
    """Write every page into `folder`, which is made where it is missing; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, text in pages().items():
        (folder / name).write_text(text, encoding="utf-8")
        written.append(folder / name)
    return written


def _root() -> click.Context:
    return click.Context(migctl, info_name="migctl")


def _commands(context: click.Context) -> Iterator[tuple[list[str], click.Context]]:
    yield context.command_path.split(), context
    if isinstance(context.command, click.Group):
        for name in context.command.list_commands(context):
            command = context.command.get_command(context, name)
            assert command is not None
            yield from _commands(click.Context(command, parent=context, info_name=name))


def _prose(text: str) -> Iterator[str]:
    r"""Return paragraphs as roff; one that begins with click's `\b` keeps its lines."""
    for number, paragraph in enumerate(re.split(r"\n\s*\n", text.strip())):
        if number:
            yield ".PP"
        if paragraph.lstrip().startswith("\b"):
            yield from (
                ".nf",
                *(_escaped(line) for line in paragraph.lstrip().removeprefix("\b").strip("\n").split("\n")),
                ".fi",
            )
        else:
            yield _escaped(" ".join(paragraph.split()))


def _escaped(text: str) -> str:
    r"""Return text that roff takes as it is: a dash that can be copied, no control line, no escapes."""
    escaped = text.replace("\\", r"\e").replace("-", r"\-")
    return rf"\&{escaped}" if escaped.startswith((".", "'")) else escaped


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m migd_cli.man FOLDER")
    print(f"{len(write(Path(sys.argv[1])))} pages in {sys.argv[1]}")
