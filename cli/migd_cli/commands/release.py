"""`migctl release GUEST`."""

from urllib.parse import quote

import click

from migd_cli import names
from migd_cli.app import Command
from migd_cli.screen import Screen
from migd_cli.session import Session
from migd_core.api import HoldView


@click.command(cls=Command)
@click.argument("guest", shell_complete=names.guests)
@click.pass_obj
def release(session: Session, guest: str) -> None:
    """Let a guest be moved again that was held back.

    After a failed migration a guest rests, or is in quarantine until what failed has changed; `migctl status` and
    `migctl guests` say so. This lifts both at once, by the guest's name or uuid.
    """
    answer = session.ask("POST", f"/v1/guests/{quote(guest, safe='')}/release")
    session.show(answer, list[HoldView], release_lines)


def release_lines(views: list[HoldView], screen: Screen) -> list[str]:
    """Say what is lifted."""
    lines = []
    for view in views:
        whom = {"guest": view.guest_name, "target": f"{view.guest_name} to {view.target_name}", "pool": "every guest"}
        lines += screen.labelled(
            f"{view.cause}: ",
            f"{whom[view.scope]} may be moved again; the migration failed with {view.code or 'no code'}.",
            style="bold",
        )
    return lines
