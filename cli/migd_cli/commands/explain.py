"""`migctl explain DECISION|GUEST`."""

from urllib.parse import quote

import click

from migd_cli import names
from migd_cli.app import Command
from migd_cli.decisions import decision_lines, verdict
from migd_cli.migrations import migration_table
from migd_cli.move_sets import set_lines
from migd_cli.screen import Screen, paint
from migd_cli.session import Session
from migd_cli.table import Cell, Column, table
from migd_core.api import CandidateView, DecisionView, ExplainView

EARLIER_SHOWN = 8
EARLIER_COLUMNS = (
    Column("ID"),
    Column("AT"),
    Column("MOVE", at_least=20),
    Column("VERDICT", at_least=16, wraps=True),
)


@click.command(cls=Command)
@click.argument("subject", metavar="DECISION|GUEST", shell_complete=names.guests)
@click.pass_obj
def explain(session: Session, subject: str) -> None:
    """Say why a decision was made, or why a guest moved or stayed.

    A decision is named by its id (D812, as `migctl status` and `migctl history` show it), a guest by its name or uuid.
    Where a guest is called like a decision, the guest is meant.
    """
    answer = session.ask("GET", f"/v1/explain/{quote(subject, safe='')}")
    session.show(answer, ExplainView, explain_lines)


def explain_lines(view: ExplainView, screen: Screen) -> list[str]:
    """Return the newest decision in full, earlier ones in a line each, and the migrations."""
    lines = screen.prose(view.text)
    if view.decisions:
        newest, *earlier = view.decisions
        lines += ["", *decision_lines(newest, _concerning(view.subject, newest), screen)]
        if earlier:
            lines += ["", paint("Earlier decisions", "bold") + " (`migctl explain ID` shows one in full)"]
            lines += table(EARLIER_COLUMNS, _earlier_rows(view.subject, earlier, screen), screen)
            if len(earlier) > EARLIER_SHOWN:
                lines.append(paint(f"and {len(earlier) - EARLIER_SHOWN} before these", "dim"))
    for move_set in view.sets:
        lines += ["", *set_lines(move_set, screen)]
    if view.flips:
        lines += ["", *screen.prose(f"As things are now, {view.flips}.")]
    if view.migrations:
        lines += ["", paint("Migrations", "bold"), *migration_table(view.migrations, screen)]
    return lines


def _concerning(subject: str, decision: DecisionView) -> list[CandidateView]:
    """Return the candidates that move the subject, or all where it is no guest of this decision."""
    mine = [candidate for candidate in decision.candidates if subject in (candidate.guest, candidate.guest_name)]
    return mine or list(decision.candidates)


def _earlier_rows(subject: str, decisions: list[DecisionView], screen: Screen) -> list[tuple[Cell | str, ...]]:
    return [
        (
            decision.cause,
            screen.clock(decision.at),
            f"{candidate.guest_name}: {candidate.source_name} → {candidate.target_name}",
            Cell(verdict(candidate), "green" if candidate.accepted else ""),
        )
        for decision in decisions[:EARLIER_SHOWN]
        for candidate in _concerning(subject, decision)
    ]
