"""`migctl recommendations`, `migctl approve NAME` and `migctl refuse NAME`."""

from urllib.parse import quote

import click

from migd_cli.app import Command
from migd_cli.decisions import PASSED, price_sentence, sentence
from migd_cli.screen import Screen
from migd_cli.session import Session
from migd_core.api import CandidateView, RecommendationView
from migd_core.units import format_duration


@click.command(cls=Command)
@click.pass_obj
def recommendations(session: Session) -> None:
    """List the moves that wait for your word.

    These are moves that would be made if automation were `automatic`. Guests that are to leave a host for their safety
    come first. Moves that belong together have one name: all of them are made, or none.
    """
    session.show(session.ask("GET", "/v1/recommendations"), list[RecommendationView], recommendation_lines)


@click.command(cls=Command)
@click.argument("name")
@click.pass_obj
def approve(session: Session, name: str) -> None:
    """Let what is recommended be done, if it still holds.

    NAME is as `migctl recommendations` shows it (D812.r1). The moves are judged again, with the cluster as it is now.
    """
    answer = session.ask("POST", f"/v1/recommendations/{quote(name, safe='')}/approve")
    session.show(answer, RecommendationView, approved_lines)


@click.command(cls=Command)
@click.argument("name")
@click.pass_obj
def refuse(session: Session, name: str) -> None:
    """Do not let what is recommended be done.

    Its guests are not recommended again for a while (`refused_for_s`), unless they have to leave for their safety.
    """
    answer = session.ask("POST", f"/v1/recommendations/{quote(name, safe='')}/refuse")
    session.show(answer, RecommendationView, refused_lines)


def recommendation_lines(views: list[RecommendationView], screen: Screen) -> list[str]:
    """Return each recommendation with its moves, prices and gates, and how to decide on it."""
    if not views:
        return screen.prose("Nothing is recommended; `migctl automation show` says what waits for your word.")
    lines: list[str] = []
    for view in views:
        left = format_duration(max(0.0, view.lapses_at - screen.now_s))
        safety = ", for safety" if view.is_for_safety else ""
        title = f"{view.name}{safety}, policy {view.policy}, since {screen.ago(view.at)}, lapses in {left}"
        lines += [*([""] if lines else []), *screen.prose(title, "red" if view.is_for_safety else "bold")]
        for number, move in enumerate(view.moves, start=1):
            lines += _move_lines(move, number, screen)
    decide = "`migctl approve NAME` lets one be done, `migctl refuse NAME` drops it."
    for host in dict.fromkeys(move.source_name for view in views if view.is_for_safety for move in view.moves):
        decide += f" `migctl evacuate {host}` lets every guest leave {host}, with no further word from you."
    return [*lines, "", *screen.prose(decide, "dim")]


def _move_lines(view: CandidateView, number: int, screen: Screen) -> list[str]:
    label = f"  {number}. "
    indent = " " * len(label)
    lines = screen.labelled(label, f"{view.guest_name}: {view.source_name} → {view.target_name}", "bold")
    lines += screen.labelled(indent, sentence(view.why))
    lines += screen.labelled(indent, price_sentence(view))
    for gate in view.gates:
        mark, style = (PASSED, "green") if gate.passed else ("?", "yellow")
        lines += screen.labelled(f"{indent}{mark} ", f"{gate.name}: {gate.text}", style)
    return lines


def approved_lines(view: RecommendationView, screen: Screen) -> list[str]:
    """Say what has begun, and where to follow it."""
    begun = ", ".join(f"{each.guest_name} to {each.target_name} ({each.cause})" for each in view.migrations)
    text = f"approved: {begun or 'its first step waits for its turn'}. Follow it with `migctl explain {view.decision}`."
    return screen.labelled(f"{view.name}: ", text, style="bold")


def refused_lines(view: RecommendationView, screen: Screen) -> list[str]:
    """Say what is left as it is."""
    guests = ", ".join(dict.fromkeys(move.guest_name for move in view.moves))
    return screen.labelled(f"{view.name}: ", f"refused; {guests} stay where they are.", style="bold")
