"""Each command of migctl that a text of the program names is one, with such options, and no more arguments than it takes."""

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from migd_cli.app import migctl

PROJECT = Path(__file__).parents[2]
FOLDERS = ("agent", "cli", "controller", "core", "policies", "sim", "xapi")
# In Python and Markdown between backticks, on the page in elements of its own.
BETWEEN_BACKTICKS = re.compile(r"`migctl ([^`\n]+)`")
ON_THE_PAGE = re.compile(r'h\("code", \{\}, "migctl ([^"]+)"\)')


def named() -> Iterator[tuple[str, str]]:
    """Yield where a command is named, and what stands behind `migctl` there."""
    for folder in FOLDERS:
        for path in sorted((PROJECT / folder).rglob("*.*")):
            if path.suffix in (".py", ".md", ".js"):
                pattern = ON_THE_PAGE if path.suffix == ".js" else BETWEEN_BACKTICKS
                for found in pattern.findall(path.read_text(encoding="utf-8")):
                    yield str(path.relative_to(PROJECT)), found


def wrong(text: str) -> str:
    """Return what is wrong with a command, empty where nothing is. Of `a|b` the first counts; `{…}` is any word."""
    words = [word.strip("[]'\"").split("|")[0] for word in re.sub(r"\{[^{}]*\}", "X", text).split()]
    command: click.Command = migctl
    context = click.Context(migctl)
    arguments, given = 0, set[str]()
    while words:
        word = words.pop(0)
        if word.startswith("-") and word != "-":
            name, _, value = word.partition("=")
            option = next((each for each in [*command.params, *migctl.params] if name in each.opts), None)
            if option is None and name not in ("--help", "-h"):
                return f"{command.name} has no option {name}"
            given.add(name)
            if isinstance(option, click.Option) and not (option.is_flag or option.count or value) and words:
                words.pop(0)
        elif isinstance(command, click.Group):
            found = command.get_command(context, word)
            if found is None:
                return f"{command.name} has no command {word}"
            command = found
        elif word not in ("…", "..."):
            arguments += 1
    most = [each.nargs for each in command.params if isinstance(each, click.Argument)]
    if -1 not in most and arguments > sum(most):
        return f"{command.name} takes {sum(most)} arguments"
    needed = [each.opts[0] for each in command.params if isinstance(each, click.Option) and each.required]
    if arguments and not given.issuperset(needed):
        return f"{command.name} needs {', '.join(needed)}"
    return ""


def test_each_command_that_is_named_is_one() -> None:
    found = list(named())
    assert len(found) > 150
    assert [(where, text, why) for where, text in found if (why := wrong(text))] == []


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("job add NAME GUEST …", "add takes 1 arguments"),
        ("job add NAME", "add needs --guests"),
        ("job at NAME", "job has no command at"),
        ("status --wacth", "status has no option --wacth"),
        ("--url https://ctl status --json", ""),
        ("policy set X --dry-run", ""),
    ],
)
def test_a_command_that_is_none_is_found_out(text: str, why: str) -> None:
    assert wrong(text) == why
