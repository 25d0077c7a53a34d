"""The screen of `migctl top`: asks in threads, shows what came, and passes on what the operator wants.

What a question brings arrives as a message: keys, drawing and quitting never wait for one (`asking.py`).
"""

import curses
import os
import time
from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar, Final
from urllib.parse import quote

from rich.text import Text
from textual import events, on
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.message import Message
from textual.widgets import Footer, Static

from migd_cli.client import Client
from migd_cli.commands.explain import explain_lines
from migd_cli.commands.recommendations import recommendation_lines
from migd_cli.screen import Screen
from migd_cli.top import words
from migd_cli.top.asking import Answered, Done, Explained, Failed, Unanswered, ask_aside
from migd_cli.top.choice import Choice
from migd_cli.top.dialogs import Filter, Question, Reader
from migd_cli.top.reading import Reading, read
from migd_cli.top.row_list import RowList
from migd_cli.top.rows import host_rows, job_rows, migration_rows, recommendation_rows
from migd_core.api import ExplainView, GuestView, HostView, JobView, MigrationView, RecommendationView

PERIOD_S: Final = 1.0
# An answer that takes longer is told of, while it is still waited for.
SILENCE_S: Final = 3.0
TIMEOUT_S: Final = 10.0


class Top(App[None]):
    """Shows the cluster of one controller until the operator quits."""

    CSS_PATH = "top.tcss"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "Quit"),
        Binding("ctrl+c", "quit", show=False, priority=True),
        Binding("p", "steer('pause')", "Pause"),
        Binding("r", "steer('resume')", "Resume"),
        Binding("e", "explain", "Explain"),
        Binding("c", "cancel", "Cancel"),
        Binding("a", "decide('approve')", show=False),
        Binding("x", "decide('refuse')", show=False),
        Binding("v", "evacuate", show=False),
        Binding("s", "sort", "Sort"),
        Binding("slash", "filter", "Filter", key_display="/"),
        Binding("escape", "show_all", show=False),
        Binding("question_mark", "help", "Help", key_display="?"),
    ]

    def __init__(self, client: Client) -> None:
        # The terminal's own colours on its own background. Said to both: textual makes its filter for NO_COLOR before
        # it knows the theme, and the one for other themes would paint these black on black.
        super().__init__(ansi_color=True)
        self.theme = "ansi-dark"
        self._client = client
        self._choice = Choice()
        self._reading: Reading | None = None
        self._unreachable = ""
        self._asked_at_s: float | None = None

    def compose(self) -> ComposeResult:
        with Container(id="cluster"):
            yield Static(id="headline")
            yield Static(id="banner")
            yield Static(id="hosts-title", classes="title")
            yield RowList(id="hosts")
            yield Static("Jobs", classes="title")
            yield RowList(id="jobs")
            yield Static("Waits for your word: a approve, x refuse", id="recommendations-title", classes="title")
            yield RowList(id="recommendations")
            yield Static("Migrations", classes="title")
            yield RowList(id="migrations")
            yield Static(id="thought")
            yield Footer(compact=True, show_command_palette=False)
        yield Static(id="too-small")

    def on_mount(self) -> None:
        """Begin to ask."""
        self._draw()
        self._tick()
        self.set_interval(PERIOD_S, self._tick)

    def on_resize(self, event: events.Resize) -> None:
        """Show the cluster where it has room, or what room it needs."""
        text = words.too_small(event.size.width, event.size.height)
        small = self.query_one("#too-small", Static)
        small.update(text)
        small.display = bool(text)
        self.query_one("#cluster").display = not text

    # What comes from the controller

    def _tick(self) -> None:
        if self._asked_at_s is None:
            self._asked_at_s = time.monotonic()
            self._aside(lambda: Answered(read(self._client)), Unanswered)
        elif time.monotonic() - self._asked_at_s > SILENCE_S:
            self._draw_words()

    def _aside(self, ask: Callable[[], Message], failed: Callable[[str], Message] = Failed) -> None:
        ask_aside(self, ask, failed)

    @on(Answered)
    def _show(self, message: Answered) -> None:
        self._asked_at_s = None
        if message.reading.is_after_restart_of(self._reading):
            self.notify("the controller was restarted; what it knew it has read again", markup=False)
        self._reading, self._unreachable = message.reading, ""
        self._draw()

    @on(Unanswered)
    def _show_why(self, message: Unanswered) -> None:
        self._asked_at_s = None
        self._unreachable = message.why
        self._draw_words()

    @on(Done)
    def _tell(self, message: Done) -> None:
        if message.text:
            self.notify(message.text, markup=False)
        self._tick()

    @on(Failed)
    def _tell_why(self, message: Failed) -> None:
        self.notify(message.why, title="not done", severity="error", timeout=15, markup=False)

    @on(Explained)
    def _read_out(self, message: Explained) -> None:
        self._read_lines(explain_lines(message.view, self._paper()))

    def _read_lines(self, lines: list[str]) -> None:
        self.push_screen(Reader(Text.from_ansi("\n".join(lines))))

    def _paper(self) -> Screen:
        return Screen(width=max(40, self.size.width - 8), has_colours=True, now_s=time.time())

    # What is drawn

    def _draw(self) -> None:
        self._draw_words()
        if self._reading is None:
            return
        hosts = host_rows(self._reading, self._choice)
        jobs = job_rows(self._reading, self._choice)
        migrations = migration_rows(self._reading, self._choice)
        recommendations = recommendation_rows(self._reading, self._choice)
        none = f"nothing has {self._choice.part!r} in its name" if self._choice.part else ""
        self.query_one("#hosts", RowList).show(hosts, none or "no host is known yet")
        self.query_one("#jobs", RowList).show(jobs, none or "no job is known: `migctl job add` tells of one")
        waits = self.query_one("#recommendations", RowList)
        waits.show(recommendations, none)
        if waits.has_focus and not self._reading.recommendations:
            self.query_one("#hosts").focus()
        waits.display = self.query_one("#recommendations-title").display = bool(self._reading.recommendations)
        self.query_one("#migrations", RowList).show(migrations, none or "none yet")

    def _draw_words(self) -> None:
        screen = Screen(width=self.size.width, has_colours=False, now_s=time.time())
        silent_s = None if self._asked_at_s is None else time.monotonic() - self._asked_at_s
        if silent_s is not None and silent_s <= SILENCE_S:
            silent_s = None
        self.query_one("#headline", Static).update(words.headline(self._reading, screen))
        sentences = words.banner(self._reading, self._unreachable, silent_s, screen)
        banner = self.query_one("#banner", Static)
        banner.display = bool(sentences)
        banner.update(words.across(sentences, self.size.width))
        self.query_one("#hosts-title", Static).update(words.hosts_title(self._choice))
        self.query_one("#thought", Static).update("" if self._reading is None else words.thought(self._reading))

    # What the operator wants

    def action_steer(self, what: str) -> None:
        """Pause or resume. Two keys rather than one that toggles: somebody else may have just done it."""

        def ask() -> Message:
            self._client.ask("POST", f"/v1/{what}")
            return Done()

        self._aside(ask)

    def action_explain(self) -> None:
        """Say why the guest under the cursor moved or stayed."""
        subject = self._under_cursor()
        match subject:
            case GuestView(uuid=guest) | MigrationView(guest=guest):
                path = f"/v1/explain/{quote(guest, safe='')}"
                self._aside(lambda: Explained(self._client.get(path, ExplainView)))
            case RecommendationView():
                self._read_lines(recommendation_lines([subject], self._paper()))
            case _:
                self.notify("put the cursor on a guest or a migration to have it explained", markup=False)

    def action_cancel(self) -> None:
        """Ask whether the migration under the cursor is to end, and have it ended."""
        subject = self._under_cursor()
        migration = None
        if self._reading is not None and isinstance(subject, GuestView):
            migration = self._reading.migration_of(subject.uuid)
        elif isinstance(subject, MigrationView) and subject.ok is None:
            migration = subject
        if migration is None:
            self.notify("put the cursor on a migration under way, or on its guest, to cancel it", markup=False)
            return
        cause, stays = migration.cause, f"{migration.guest_name} stays on {migration.source_name}"
        self._ask_and_post(
            f"Cancel {cause}, {migration.guest_name} to {migration.target_name}? {stays}.",
            f"/v1/migrations/{quote(cause, safe='')}/cancel",
            f"{cause}: the pool is asked to end it; {stays} unless it is being handed over already",
        )

    def action_decide(self, what: str) -> None:
        """Ask whether what is recommended under the cursor is to be approved, or refused."""
        view = self._under_cursor()
        if not isinstance(view, RecommendationView):
            self.notify(f"put the cursor on what waits for your word to {what} it", markup=False)
            return
        moves = "; ".join(f"{each.guest_name}, {each.source_name} to {each.target_name}" for each in view.moves)
        done = "its moves are judged again, and made if they still hold" if what == "approve" else "it is dropped"
        self._ask_and_post(
            f"{what.capitalize()} {view.name}? {moves}.",
            f"/v1/recommendations/{quote(view.name, safe='')}/{what}",
            f"{view.name}: {done}",
        )

    def action_evacuate(self) -> None:
        """Ask whether all guests are to leave the host under the cursor, or the one that a guest is to leave."""
        match self._under_cursor():
            case HostView(uuid=uuid, name=name):
                pass
            case RecommendationView(is_for_safety=True, moves=[first, *_]):
                uuid, name = first.source, first.source_name
            case _:
                self.notify("put the cursor on a host, or on who is to leave one for their safety", markup=False)
                return
        self._ask_and_post(
            f"Let all guests leave {name}? It stays in maintenance afterwards.",
            f"/v1/hosts/{quote(uuid, safe='')}/evacuation",
            f"{name} is being emptied; `migctl evacuate {name} --stop` stops that",
        )

    def _ask_and_post(self, question: str, path: str, done: str) -> None:
        """Ask the operator, and if the answer is yes, the controller; then say what is `done`."""

        def post() -> Message:
            self._client.ask("POST", path)
            return Done(done)

        self.push_screen(Question(question), lambda is_wanted: self._aside(post) if is_wanted else None)

    def action_sort(self) -> None:
        """Sort by the next order."""
        self._choose(replace(self._choice, order=self._choice.order.following))

    def action_filter(self) -> None:
        """Ask for part of a name, and show only what has it."""
        self.push_screen(
            Filter(self._choice.part),
            lambda part: None if part is None else self._choose(replace(self._choice, part=part)),
        )

    def action_show_all(self) -> None:
        """Show everything again."""
        self._choose(replace(self._choice, part=""))

    def action_help(self) -> None:
        """Say what the keys and the bars mean."""
        self.push_screen(Reader(Text(words.HELP)))

    @on(RowList.Chosen)
    def _open(self, message: RowList.Chosen) -> None:
        match message.row.subject:
            case HostView(uuid=host):
                self._choose(replace(self._choice, folded=self._choice.folded ^ {host}))
            case JobView(name=job):
                self._choose(replace(self._choice, part=job))
            case _:
                self.action_explain()

    def _choose(self, choice: Choice) -> None:
        self._choice = choice
        self._draw()

    def _under_cursor(self) -> object:
        focused = self.focused
        row = focused.row if isinstance(focused, RowList) else None
        return None if row is None else row.subject


def run(client: Client) -> None:
    """Show the controller that `client` asks until the operator quits."""
    if not _has_colours():
        os.environ["NO_COLOR"] = "1"  # textual asks for this only
    Top(client).run()


def _has_colours() -> bool:
    try:
        curses.setupterm()
    except curses.error:
        return True  # nothing is known of this terminal, so it is most likely one of today's
    return curses.tigetnum("colors") >= 8
