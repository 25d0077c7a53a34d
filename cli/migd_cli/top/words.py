"""The lines around the lists: the headline, the banner, and what the controller last thought."""

from typing import Final

from rich.text import Text

from migd_cli.screen import Screen
from migd_cli.text import printable
from migd_cli.top.bars import LEGEND
from migd_cli.top.choice import Choice
from migd_cli.top.reading import Reading
from migd_core.api import StatusView

LEAST_COLUMNS: Final = 60
LEAST_LINES: Final = 16
HELP: Final = """\
Keys

  ↑ ↓ PgUp PgDn Home End   move the cursor (also: k j)
  Tab, Shift+Tab           next, previous list
  Enter                    on a host: fold or unfold its guests; on a guest or a migration: explain
  e                        explain the guest under the cursor: why it moved, or stayed
  s                        sort hosts and guests by name, load, CPU waited for, memory
  /                        show only what has a part in its name; Esc shows all again
  p, r                     pause: start no migration; resume
  c                        cancel the migration under the cursor, after a question
  q, Ctrl-C                quit; migd goes on

A bar's left half, up to the mark │, is all the CPUs that a host or a guest has: █ is what it gets, ░ what it wants and
does not get, · is idle. Right of the mark is what a host's guests want beyond what it has.

The slowest rank of a job is the one that gets least of the CPU it wants: the others wait for it. A job's speed is known
where it reports its progress (`migctl job progress`).

Progress is the pool's own of its task. The predicted end is the start and what was predicted before it."""


def headline(reading: Reading | None, screen: Screen) -> Text:
    """Return what is watched, in a line."""
    if reading is None:
        return Text("migd: waiting for the controller's first answer", style="bold")
    status = reading.status
    line = Text(f"migd {status.version}", style="bold").append(f"  policy {printable(status.policy)}")
    for count, word in ((status.hosts, "host"), (status.guests, "guest"), (status.jobs, "job")):
        line.append(f"  {count} {word}{'' if count == 1 else 's'}")
    line.append(f"  {screen.clock(reading.at_s)}", style="dim")
    return line


def banner(reading: Reading | None, unreachable: str, silent_s: float | None, screen: Screen) -> Text | None:
    """Return what nobody may overlook: that no answer comes, that migd is paused, or None."""
    if unreachable or silent_s is not None:
        shown = "" if reading is None else f" What you see is of {screen.clock(reading.at_s)}."
        why = unreachable or f"no answer for {silent_s:.0f} s"
        return Text(f"NOT CONNECTED, trying again.{shown}\n{printable(why)}")
    if reading is not None and reading.status.is_paused:
        count = len(reading.status.migrations)
        under_way = f" {count} under way {'goes' if count == 1 else 'go'} on to the end." if count else ""
        return Text(f"▌▌ PAUSED ▐▐\nno migration is started until you press r.{under_way}")
    return None


def troubles(status: StatusView) -> list[str]:
    """Return what is wrong, the worst first, a sentence each."""
    found = [
        *(status.xapi_problem, status.policy_problem, status.rules_problem, status.topology_problem),
        *(hold.text for hold in status.holds if hold.then == "needs-a-human"),
        f"{status.hosts_failing} hosts are failing" if status.hosts_failing else "",
        f"{status.hosts_frozen} hosts are frozen: `migctl hosts` says why" if status.hosts_frozen else "",
        f"{status.hosts_degraded} hosts are degraded" if status.hosts_degraded else "",
    ]
    return [printable(text) for text in found if text]


def thought(reading: Reading) -> Text:
    """Return the worst that is wrong, or else what was decided last."""
    if wrong := troubles(reading.status):
        more = f" (and {len(wrong) - 1} more: `migctl status`)" if len(wrong) > 1 else ""
        return Text(f"! {wrong[0]}{more}", style="bold yellow")
    last = reading.status.last_decision
    return Text(
        "nothing has been decided yet" if last is None else f"{last.cause}: {printable(last.text)}", style="dim"
    )


def hosts_title(choice: Choice) -> str:
    """Return the title of the hosts: their order, and the filter, or else what the bars mean."""
    filtered = f"only {printable(choice.part)!r} (Esc shows all)" if choice.part else LEGEND
    return f"Hosts and guests by {choice.order.value}   {filtered}"


def too_small(columns: int, lines: int) -> str:
    """Return what to do where the screen has not the room; empty where it has."""
    if columns >= LEAST_COLUMNS and lines >= LEAST_LINES:
        return ""
    return f"terminal too small: {columns}×{lines}, needs {LEAST_COLUMNS}×{LEAST_LINES}; enlarge it, or q to quit"
