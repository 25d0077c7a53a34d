"""`migctl automation` with `show` and `set`."""

import click

from migd_cli.app import Group
from migd_cli.screen import Screen
from migd_cli.session import Session
from migd_cli.table import NOTHING, Cell, Column, table
from migd_core.api import AutomationRequest, AutomationView, JobAutomationView
from migd_core.automation import Automation
from migd_core.units import format_duration

# What takes back what an operator chose.
DEFAULT = "default"
MEANINGS = {
    Automation.OFF: ("red", "nothing is moved but by hand"),
    Automation.RECOMMEND: ("yellow", "moves wait for your word: `migctl recommendations`"),
    Automation.AUTOMATIC: ("green", "moves that pass every gate are made"),
}
COLUMNS = (
    Column("JOB", at_least=10),
    Column("AUTOMATION"),
    Column("ITS OWN"),
    Column("ITS HOURS"),
)


@click.group(cls=Group)
def automation() -> None:
    """Show or choose how much migd does by itself."""


@automation.command()
@click.pass_obj
def show(session: Session) -> None:
    """Show how much migd does by itself, for the cluster and for each job."""
    session.show(session.ask("GET", "/v1/automation"), AutomationView, automation_lines)


@automation.command("set")
@click.argument("level", type=click.Choice([*(each.value for each in Automation), DEFAULT]))
@click.option("--job", default="", metavar="JOB", help="For this job alone.")
@click.pass_obj
def set_(session: Session, level: str, job: str) -> None:
    """Choose how much migd does by itself.

    off: nothing is moved but by hand. recommend: what would be moved waits for your word. automatic: it is moved.
    default takes the choice back: then the configuration counts for the cluster, and the cluster's level for a job.
    A job's own level counts in place of the cluster's, but off is off for all. What is under way goes on.
    """
    chosen = None if level == DEFAULT else Automation(level)
    answer = session.ask("PUT", "/v1/automation", AutomationRequest(level=chosen, job=job))
    session.show(answer, AutomationView, automation_lines)


def automation_lines(view: AutomationView, screen: Screen) -> list[str]:
    """Return the cluster's level with what it means, and a table of the jobs with their own."""
    style, meaning = MEANINGS[view.level]
    chosen = "" if view.chosen is None else f" (configured: {view.configured})"
    lines = screen.labelled(f"{view.level.capitalize()}: ", f"{meaning}{chosen}.", style=style)
    if Automation.RECOMMEND in (view.level, *(each.level for each in view.jobs)):
        lapse, refused = format_duration(view.lapse_s), format_duration(view.refused_for_s)
        text = f"What is not proposed for {lapse} lapses; guests whose move you refuse are left alone for {refused}."
        lines += screen.prose(text)
    if view.allowed_hours:
        now = "which is now" if view.is_allowed_hour else "not now"
        lines += screen.prose(f"Guests are moved {', '.join(view.allowed_hours)} {view.time_zone}, {now}.")
    if view.jobs:
        rows = [
            (each.job, Cell(each.level, MEANINGS[each.level][0]), each.own or NOTHING, _hours(each))
            for each in view.jobs
        ]
        lines += ["", *table(COLUMNS, rows, screen)]
    return lines


def _hours(view: JobAutomationView) -> str:
    return ", ".join(view.allowed_hours) if view.allowed_hours else NOTHING
