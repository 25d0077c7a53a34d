"""`migctl plan`."""

import click

from migd_cli.app import Command
from migd_cli.decisions import candidate_lines
from migd_cli.move_sets import set_lines
from migd_cli.screen import Screen
from migd_cli.session import Session
from migd_cli.watch import watchable
from migd_core.api import DecisionView


@click.command(cls=Command)
@click.pass_obj
@watchable
def plan(session: Session) -> None:
    """Show what would be moved now, and do nothing.

    Each move that the policy proposes is listed with its price and with every gate that it passes or that stops it.
    Moves that belong together follow in the order in which they are made, with what each waits for.
    """
    session.show(session.ask("GET", "/v1/plan"), DecisionView, plan_lines)


def plan_lines(view: DecisionView, screen: Screen) -> list[str]:
    """Return what the next control cycle would do, as things stand."""
    accepted = sum(candidate.accepted for candidate in view.candidates)
    match (accepted, len(view.candidates)):
        case (_, 0):
            verdict = "nothing would be moved"
        case (0, proposed):
            verdict = f"none of {proposed} proposed moves would be made"
        case (_, proposed):
            verdict = f"{accepted} of {proposed} proposed moves would be made"
    lines = screen.prose(f"Dry run of policy {view.policy}: {verdict}", "bold") + screen.labelled("  ", view.text)
    for number, candidate in enumerate(view.candidates, start=1):
        lines += ["", *candidate_lines(candidate, number, screen, is_plan=True)]
    for move_set in view.sets:
        lines += ["", *set_lines(move_set, screen, planned_by=view.cause)]
    return lines
