"""`migctl evacuate HOST`: what leaves it, until it is empty or until what stays is named."""

import time
from collections.abc import Callable, Iterator
from typing import Final
from urllib.parse import quote

import click

from migd_cli.app import Command
from migd_cli.failures import RequestFailed
from migd_cli.screen import Screen
from migd_cli.session import Session
from migd_core.api import EvacuationView, LeavingView
from migd_core.units import format_duration, format_ratio

LOOK_EVERY_S: Final = 1.0
# A host that has not reported for a moment may keep guests where they are for as long; nobody is to give up for that.
STAYS_FOR_S: Final = 20.0


@click.command(cls=Command)
@click.argument("host")
@click.option("--dry-run", is_flag=True, help="Show who would leave and where to, and do nothing.")
@click.option("--stop", is_flag=True, help="Let the guests that are still on it stay; migrations under way go on.")
@click.pass_obj
def evacuate(session: Session, host: str, dry_run: bool, stop: bool) -> None:
    """Move all guests off a host, and watch until it is empty.

    The host receives no guests from now on, also when it is empty: `migctl host maintenance off HOST` ends that. It
    works beside any policy and at any automation level; gates that keep guests safe hold. What cannot leave is named,
    and the exit code is 1; migd goes on trying. Ctrl-C ends the watching only. With --json it asks once.
    """
    if dry_run and stop:
        raise click.UsageError("--dry-run and --stop do not go together")
    path = f"/v1/hosts/{quote(host, safe='')}/evacuation"
    answer = session.ask("GET" if dry_run else "DELETE" if stop else "POST", path)
    if session.wants_json or dry_run or stop:
        session.show(answer, EvacuationView, evacuation_lines)
        return
    from migd_cli.client import decode

    client, screen = session.client(), Screen.of_stdout()
    first = decode(answer, EvacuationView)
    looks = _looks(first, lambda: client.get(path, EvacuationView))
    try:
        for line in watched(looks, screen):
            click.echo(line, color=screen.has_colours)
    except KeyboardInterrupt:
        name = first.host_name
        click.echo(f"\n{name} is emptied further; `migctl evacuate {name}` watches, with --stop it ends that.")
        raise click.exceptions.Exit(1) from None


def _looks(first: EvacuationView, look: Callable[[], EvacuationView]) -> Iterator[tuple[float, EvacuationView]]:
    """Yield what is left on the host again and again, with the time in s."""
    yield time.monotonic(), first
    while True:
        time.sleep(LOOK_EVERY_S)
        yield time.monotonic(), look()


def watched(looks: Iterator[tuple[float, EvacuationView]], screen: Screen) -> Iterator[str]:
    """Yield a line for all that changes, until the host is empty. Raises RequestFailed naming who stays and why.

    Guests stay once nobody has moved, or could, for STAYS_FOR_S.
    """
    before: dict[str, LeavingView] = {}
    still_since_s: float | None = None
    for at_s, view in looks:
        if not before and view.guests:
            yield from evacuation_lines(view, screen)
        now = {each.guest: each for each in view.guests}
        for gone in before.keys() - now.keys():
            to = f" for {before[gone].target_name}" if before[gone].target_name else ""
            yield from screen.prose(f"{before[gone].guest_name} has left{to}; guests still there: {len(now)}", "green")
        for each in now.values():
            was = before.get(each.guest)
            if was is not None and (was.state, was.text) != (each.state, each.text):
                yield from _leaving_lines(each, screen)
        before = now
        if not now:
            yield from screen.prose(f"{view.host_name} is empty; {_closed(view)}", "bold")
            return
        if not view.is_under_way:
            names = ", ".join(each.guest_name for each in view.guests)
            raise RequestFailed(f"an operator lets the guests stay that are still on {view.host_name}: {names}")
        if any(each.state != "stays" for each in view.guests):
            still_since_s = None
        elif still_since_s is None:
            still_since_s = at_s
        elif at_s - still_since_s >= STAYS_FOR_S:
            why = "; ".join(f"{each.guest_name}: {each.text}" for each in view.guests)
            raise RequestFailed(
                f"{len(view.guests)} guests stay on {view.host_name}: {why}. migd goes on trying; "
                f"`migctl evacuate {view.host_name} --stop` ends that"
            )


def evacuation_lines(view: EvacuationView, screen: Screen) -> list[str]:
    """Return who is left on a host and what becomes of each."""
    if not view.guests:
        return screen.prose(f"No guest is on {view.host_name}; {_closed(view)}")
    what = "is being emptied" if view.is_under_way else "is not being emptied; what that would do"
    lines = screen.prose(f"{view.host_name} {what}; guests on it: {len(view.guests)}", "bold")
    for each in view.guests:
        lines += _leaving_lines(each, screen)
    return lines


def _leaving_lines(view: LeavingView, screen: Screen) -> list[str]:
    match view.state:
        case "moving":
            progress = "" if view.progress_ratio is None else f", {format_ratio(view.progress_ratio)} done"
            takes = "" if view.predicted_s is None else f", takes about {format_duration(view.predicted_s)}"
            text, style = f"on its way to {view.target_name} ({view.migration}){takes}{progress}", "green"
        case "waiting":
            text, style = f"goes to {view.target_name}, {view.text}", ""
        case _:
            text, style = f"stays: {view.text}", "red"
    return screen.labelled("  ", f"{view.guest_name}: {text}", text_style=style)


def _closed(view: EvacuationView) -> str:
    if not view.maintenance:
        return "it may receive guests."
    return f"it receives no guests until `migctl host maintenance off {view.host_name}`."
