"""The lines around the lists: the headline, the banner, and what the controller last thought."""

from typing import Final

from rich.text import Text

from migd_cli.screen import Screen
from migd_cli.text import display_width, pad, printable, wrap
from migd_cli.top.bars import LEGEND
from migd_cli.top.choice import Choice
from migd_cli.top.reading import Reading
from migd_core.api import StatusView
from migd_core.automation import Automation

LEAST_COLUMNS: Final = 60
LEAST_LINES: Final = 16
HELP: Final = """\
↑ ↓ PgUp PgDn Home End  move the cursor; also k and j
Tab, Shift+Tab  next list, previous list
Enter  on a host: hide or show its guests
       on a job: show only its guests
       on a guest, a migration, a recommendation: explain
e      explain the guest: why it moved, or stayed
a, x   approve, refuse what is recommended, after a question
c      cancel the migration, after a question
v      let all guests leave the host, after a question
p, r   pause: no migration is started; resume
s      sort by name, load, CPU waited for, memory
/      show only what has a part in its name
Esc    show all again
q      quit, also Ctrl-C; migd goes on

A bar up to its mark │ is all the CPU that a host or a guest has: █ is
what it gets, ░ what it wants and does not get, · is idle. Beyond the
mark is what a host's guests want and it does not have.

The slowest rank of a job gets least of the CPU that it wants: the
others wait for it. A job's speed, in iterations a second (it/s), is
known where it reports its progress.

Progress is the pool's own; the end was predicted at the start."""


def headline(reading: Reading | None, screen: Screen) -> Text:
    """Return what is watched, in a line."""
    if reading is None:
        return Text("migd: waiting for the controller's first answer", style="bold")
    status = reading.status
    line = Text().append(f"migd {status.version}", style="bold")
    line.append(f"  {screen.clock(reading.at_s)}", style="dim").append(f"  policy {printable(status.policy)}")
    if status.automation is not Automation.AUTOMATIC:
        line.append(f", automation {status.automation}", style="bold")
    for count, word in ((status.hosts, "host"), (status.guests, "guest"), (status.jobs, "job")):
        line.append(f"  {count} {word}{'' if count == 1 else 's'}")
    return line


def banner(reading: Reading | None, unreachable: str, silent_s: float | None, screen: Screen) -> list[str]:
    """Return what nobody may overlook, a sentence each: that no answer comes, or that migd is paused."""
    if unreachable or silent_s is not None:
        shown = "" if reading is None else f" What you see is of {screen.clock(reading.at_s)}."
        why = unreachable or f"no answer for {silent_s:.0f} s"
        return [f"NOT CONNECTED, trying again.{shown}", printable(why)]
    if reading is not None and reading.status.is_paused:
        count = len(reading.status.migrations)
        under_way = f" {count} under way {'goes' if count == 1 else 'go'} on to the end." if count else ""
        return ["", "▮▮  P A U S E D  ▮▮", f"no migration is started until you press r.{under_way}", ""]
    return []


def across(sentences: list[str], columns: int) -> Text:
    """Return the sentences in the middle of lines that are reversed from edge to edge, which needs no colour."""
    lines = [line for sentence in sentences for line in wrap(sentence, columns - 2)]
    text = Text(style="bold reverse")
    for line in lines:
        left = (columns - display_width(line)) // 2
        text.append(pad(" " * left + line, columns) + "\n")
    text.right_crop(1)
    return text


def troubles(status: StatusView) -> list[str]:
    """Return what is wrong, the worst first, a sentence each."""
    found = [
        *(status.xapi_problem, status.policy_problem, status.rules_problem, status.topology_problem),
        *(hold.text for hold in status.holds if hold.then == "needs-a-human"),
        _so_many(status.hosts_failing, "failing"),
        _so_many(status.hosts_frozen, "frozen"),
        _so_many(status.hosts_degraded, "degraded"),
    ]
    return [printable(text) for text in found if text]


def _so_many(hosts: int, state: str) -> str:
    if hosts == 0:
        return ""
    return f"{hosts} {'host is' if hosts == 1 else 'hosts are'} {state}: `migctl hosts` says why"


def thought(reading: Reading) -> Text:
    """Return the worst that is wrong, or else what was decided last."""
    if wrong := troubles(reading.status):
        more = f" (and {len(wrong) - 1} more: `migctl status`)" if len(wrong) > 1 else ""
        return Text(f"! {wrong[0]}{more}", style="bold yellow")
    last = reading.status.last_decision
    text = "nothing has been decided yet" if last is None else f"{last.cause}: {printable(last.text)}"
    return Text(text, style="dim")


def hosts_title(choice: Choice) -> str:
    """Return the title of the hosts: their order, and the filter, or else what the bars mean."""
    filtered = f"only {printable(choice.part)!r} (Esc shows all)" if choice.part else LEGEND
    return f"Hosts and guests by {choice.order.value}   {filtered}"


def too_small(columns: int, lines: int) -> str:
    """Return what to do where the screen has not the room; empty where it has."""
    if columns >= LEAST_COLUMNS and lines >= LEAST_LINES:
        return ""
    return f"terminal too small: {columns}×{lines}, needs {LEAST_COLUMNS}×{LEAST_LINES}; enlarge it, or q to quit"
