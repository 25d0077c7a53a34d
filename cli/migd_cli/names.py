"""What the shell completes after a command: the names of guests, hosts, jobs and policies that the controller knows."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import click

from migd_cli.session import Session

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

Complete = Callable[[click.Context, click.Parameter, str], "list[CompletionItem]"]
# Whoever presses Tab waits for no controller that is down or busy.
LIMIT_S: Final = 0.5


def _from(path: str, *fields: str, help_field: str = "") -> Complete:
    """Return a completion by the fields of what `GET path` lists."""

    def complete(context: click.Context, _parameter: click.Parameter, incomplete: str) -> "list[CompletionItem]":
        from click.shell_completion import CompletionItem

        found = [
            (str(each[field]), str(each.get(help_field, "")))
            for each in _answer(context, path)
            for field in fields
            if each.get(field)
        ]
        return [
            CompletionItem(name, help=text) for name, text in dict(sorted(found)).items() if name.startswith(incomplete)
        ]

    return complete


def _answer(context: click.Context, path: str) -> list[dict[str, Any]]:
    """Return what the controller lists; nothing where it does not answer at once: a completion says no errors."""
    import msgspec

    from migd_cli.failures import Failure

    session = context.find_object(Session) or Session()
    try:
        return msgspec.json.decode(session.client(LIMIT_S).ask("GET", path), type=list[dict[str, Any]])
    except (Failure, msgspec.DecodeError):
        return []


guests: Final = _from("/v1/guests", "name", help_field="host_name")
hosts: Final = _from("/v1/hosts", "name")
jobs: Final = _from("/v1/jobs", "name")
policies: Final = _from("/v1/policies", "name", help_field="summary")
shadows: Final = _from("/v1/shadows", "label", help_field="policy")
migrations: Final = _from("/v1/migrations?limit=50", "cause", help_field="guest_name")


def guest_list(context: click.Context, parameter: click.Parameter, incomplete: str) -> "list[CompletionItem]":
    """Complete the last name of a list with commas."""
    before, comma, last = incomplete.rpartition(",")
    found = guests(context, parameter, last)
    for item in found:
        item.value = f"{before}{comma}{item.value}"
    return found
