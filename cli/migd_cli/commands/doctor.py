"""`migctl doctor`."""

from pathlib import Path
from typing import Final

import click
import msgspec

from migd_cli.app import Command
from migd_cli.client import decode
from migd_cli.failures import EXIT_FAILED, EXIT_UNREACHABLE, RequestFailed, Unreachable
from migd_cli.local_checks import CONFIG_FOLDER, local_findings
from migd_cli.screen import Screen, paint
from migd_cli.session import Session
from migd_core import __version__
from migd_core.api import ExaminationView, FindingView, Verdict

EXIT_WARNINGS: Final = 4
_STYLES: Final = {Verdict.OK: "green", Verdict.WARNING: "yellow", Verdict.PROBLEM: "red"}


@click.command(cls=Command)
@click.option(
    "--config-folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=CONFIG_FOLDER,
    show_default=True,
    help="Where this machine's controller.toml or agent.toml is.",
)
@click.pass_obj
def doctor(session: Session, config_folder: Path) -> None:
    """Say what keeps migd from its work, and how to mend it.

    Keys, agents, clocks, the pool and its user, certificates and guests are examined: what this machine has of migd's
    configuration and keys here, also while the controller is down, and the rest by the controller. With --json it is
    one object of all findings.

    Ends with 0 if there is nothing to mend, 4 if there are warnings only, 1 if there is a problem, and 3 if the
    controller cannot be reached.
    """
    found, code = local_findings(config_folder), 0
    wants_json, session.wants_json = session.wants_json, False  # a refusal is a finding, not an answer of its own
    try:
        found += decode(session.ask("GET", "/v1/doctor"), ExaminationView).findings
    except (Unreachable, RequestFailed) as failure:
        found.append(_no_answer(failure))
        code = failure.exit_code
    session.wants_json = wants_json
    view = ExaminationView(version=__version__, findings=found)
    session.show(msgspec.json.encode(view), ExaminationView, examination_lines)
    raise SystemExit(code or exit_code(found))


def exit_code(findings: list[FindingView]) -> int:
    """Return the exit code that the worst finding stands for."""
    verdicts = {finding.verdict for finding in findings}
    if Verdict.PROBLEM in verdicts:
        return EXIT_FAILED
    return EXIT_WARNINGS if Verdict.WARNING in verdicts else 0


def examination_lines(view: ExaminationView, screen: Screen) -> list[str]:
    """Return a line a finding, below it how to mend it, and what they come to."""
    width = max((len(finding.check) for finding in view.findings), default=0)
    lines = []
    for finding in view.findings:
        label = f"{finding.verdict:<8} {finding.check:<{width}}  "
        lines += screen.labelled(label, finding.text, _STYLES[finding.verdict])
        if finding.mend:
            lines += screen.labelled(f"{'':<8} {'':<{width}}  mend: ", finding.mend, "bold")
    told = [_counted(view.findings, verdict) for verdict in (Verdict.PROBLEM, Verdict.WARNING)]
    return [*lines, "", paint(" and ".join(filter(None, told)) or "Nothing to mend.", "bold")]


def _counted(findings: list[FindingView], verdict: Verdict) -> str:
    count = sum(finding.verdict is verdict for finding in findings)
    return f"{count} {verdict}{'' if count == 1 else 's'}" if count else ""


def _no_answer(failure: Unreachable | RequestFailed) -> FindingView:
    if failure.exit_code == EXIT_UNREACHABLE:
        is_closed = isinstance(failure.__cause__, PermissionError)
        mend = (
            "become a member of that group, or ask as its user; nothing is wrong with the controller"
            if is_closed
            else "`systemctl restart migd-controller`; if it ends again, `journalctl -u migd-controller -n 50` says why"
        )
        return FindingView(check="controller", verdict=Verdict.PROBLEM, text=failure.message, mend=mend)
    mend = (
        f"install migctl and migd-controller of one release, where they differ (this is {__version__}); "
        "`journalctl -u migd-controller -n 50` says more"
    )
    return FindingView(check="controller", verdict=Verdict.PROBLEM, text=failure.message, mend=mend)
