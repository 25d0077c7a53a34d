"""`migctl status`."""

import click

from migd_cli.app import Command
from migd_cli.migrations import migration_table
from migd_cli.screen import Screen, paint
from migd_cli.session import Session
from migd_cli.watch import watchable
from migd_core.api import HoldView, LeaderView, StatusView
from migd_core.automation import Automation
from migd_core.units import format_duration


@click.command(cls=Command)
@click.pass_obj
@watchable
def status(session: Session) -> None:
    """Show the controller at a glance."""
    session.show(session.ask("GET", "/v1/status"), StatusView, status_lines)


def status_lines(view: StatusView, screen: Screen) -> list[str]:
    """Return what runs, what is wrong, what was decided last and what is being moved."""
    up = format_duration(view.uptime_s)
    lines = [paint(f"migd {view.version}", "bold") + f", up {up}"]
    if view.is_paused:
        lines += screen.labelled("PAUSED: ", "nothing is migrated until `migctl resume`", "yellow", "yellow")
    if view.recommendations:
        text = (
            f"recommendations: {view.recommendations}; `migctl recommendations` shows them, with what each would gain"
        )
        lines += screen.labelled("YOUR WORD: ", text, "yellow", "yellow")
    for hold in view.holds:
        if hold.then == "needs-a-human":
            lines += screen.labelled("NEEDS YOU: ", f"{hold.guest_name} ({hold.cause}): {hold.text}", "red", "red")
    pool = "connected" if view.xapi_connected else f"not connected: {view.xapi_problem or 'no answer yet'}"
    lines += _field(screen, "policy", f"{view.policy}, every {format_duration(view.period_s)}")
    if view.policy_problem:
        lines += _field(screen, "", view.policy_problem, "red")
    if view.automation is not Automation.AUTOMATIC:
        lines += _field(
            screen, "automation", f"{view.automation}; `migctl automation show` says what that means", "yellow"
        )
    if view.leader is not None:
        lines += _field(screen, "leader", *_leader(view.leader, screen))
    lines += _field(screen, "pool", pool, "" if view.xapi_connected else "red")
    lines += _field(screen, "hosts", *_hosts(view))
    if view.topology_problem:
        lines += _field(screen, "", view.topology_problem, "red")
    if view.rules_problem:
        lines += _field(screen, "", view.rules_problem, "red")
    if view.http_problem:
        lines += _field(screen, "over TCP", view.http_problem, "red")
    lines += _field(screen, "guests", str(view.guests))
    if view.holds:
        lines += _field(screen, "held back", _held_back(view.holds), "yellow")
    lines += _field(screen, "jobs", str(view.jobs))
    if view.slurm_problem:
        lines += _field(screen, "", view.slurm_problem, "yellow")
    lines += _field(screen, "samples", *_samples(view))
    if view.last_decision is not None:
        decision = view.last_decision
        lines += _field(screen, "decided", f"{decision.text} ({decision.cause}, {screen.ago(decision.at)})")
    if view.migrations:
        return [*lines, "", *migration_table(view.migrations, screen)]
    return [*lines, *_field(screen, "migrating", "nothing")]


def _field(screen: Screen, name: str, text: str, style: str = "") -> list[str]:
    return screen.labelled(f"  {name:<10} ", text, "dim", style)


def _leader(view: LeaderView, screen: Screen) -> tuple[str, str]:
    since = f", since {screen.ago(view.since)}" if view.since else ""
    problem = f": {view.problem}" if view.problem else ""
    if view.leads:
        ready = [f"{each.name} stands by" for each in view.standbys] or ["nobody stands by"]
        return f"{view.name}, this one{since}; {', '.join(ready)}{problem}", "" if view.standbys else "yellow"
    if not view.leader:
        return (
            f"nobody; {view.name} leads within {format_duration(view.lease_s)}, if nobody else does{problem}",
            "yellow",
        )
    where = f"`migctl --url {view.api}`" if view.api else f"`migctl` on {view.leader}"
    return f"{view.leader}{since}; this one, {view.name}, stands by: ask {where}{problem}", "yellow"


def _hosts(view: StatusView) -> tuple[str, str]:
    counts = {
        "frozen": view.hosts_frozen,
        "failing": view.hosts_failing,
        "degraded": view.hosts_degraded,
        "in maintenance": view.hosts_in_maintenance,
    }
    if not (told := ", ".join(f"{count} {what}" for what, count in counts.items() if count)):
        return str(view.hosts), ""
    return f"{view.hosts} ({told}; `migctl hosts` says why)", "red" if view.hosts_failing else "yellow"


def _held_back(holds: list[HoldView]) -> str:
    quarantined = {hold.guest for hold in holds if hold.rest_s is None}
    resting = {hold.guest for hold in holds if hold.rest_s is not None}
    counts = [
        f"{len(guests)} {how}" for guests, how in ((quarantined, "in quarantine"), (resting, "resting")) if guests
    ]
    return f"{' and '.join(counts)} after failed migrations; `migctl guests` says why, `migctl release` lifts it"


def _samples(view: StatusView) -> tuple[str, str]:
    text = f"{view.samples_received} taken in"
    if not (view.samples_refused or view.agents_refused):
        return text, ""
    if view.samples_refused:
        text += f", {view.samples_refused} refused"
    if view.agents_refused:
        text += f", {view.agents_refused} connections of unknown agents refused"
    return (f"{text}; last: {view.last_refusal}" if view.last_refusal else text), "yellow"
