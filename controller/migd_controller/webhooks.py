"""Tells notices to webhooks: JSON that Slack, Mattermost and the like take, tried again while their server fails.

Each webhook has a queue and a task of its own. What comes while its queue is full is dropped and counted: the loop
waits for nobody. The same words are told once an hour; of refused telemetry, whose words are the sender's to choose, no
more than a few are.
"""

import asyncio
from collections.abc import Callable, Collection, Sequence
from typing import Final

import aiohttp
import structlog

from migd_controller.commands import AnyCommand
from migd_controller.config import NoticeKind, WebhookSection
from migd_controller.control import Control
from migd_controller.events import AnyEvent, Tick
from migd_controller.http.limits import Buckets
from migd_controller.intake import IntakeCounts
from migd_controller.notices import Notice, notices
from migd_core.errors import ConfigError

log = structlog.get_logger()
MAX_WAITING: Final = 64
ATTEMPTS: Final = 8
FIRST_WAIT_S: Final = 1.0  # twice as long after each further failure: eight attempts take two minutes
WITHIN_S: Final = 10.0
AGAIN_AFTER_S: Final = 3600.0
# Anybody who reaches the agents' port can be refused under ever new keys.
REFUSALS_PER_S: Final = 1 / 900
REFUSALS_AT_ONCE: Final = 4.0
OUTCOMES: Final = ("delivered", "given-up", "dropped")
Count = Callable[[str, str, int], None]


class Webhook:
    """One receiver of notices."""

    def __init__(self, section: WebhookSection, count: Count) -> None:
        """Read its URL. Raises ConfigError."""
        self.name, self._kinds, self._count = section.name, frozenset(section.events), count
        self._url = _url(section)
        for outcome in OUTCOMES:
            count(self.name, outcome, 0)  # an alert on what grows needs to see it before
        self._waiting: asyncio.Queue[Notice] = asyncio.Queue(MAX_WAITING)

    def tell(self, notice: Notice) -> None:
        """Have a notice sent, if it is of a kind that this one is told of."""
        if notice.kind not in self._kinds:
            return
        try:
            self._waiting.put_nowait(notice)
        except asyncio.QueueFull:
            self._count(self.name, "dropped", 1)

    async def run(self) -> None:
        """Send what waits, one after the other, for as long as this lives."""
        timeout = aiohttp.ClientTimeout(total=WITHIN_S)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            while True:
                notice = await self._waiting.get()
                problem = await self._send(session, notice)
                self._count(self.name, "given-up" if problem else "delivered", 1)
                if problem:
                    log.error("notice not delivered", webhook=self.name, notice=notice.text, why=problem)

    async def _send(self, session: aiohttp.ClientSession, notice: Notice) -> str:
        """Send one notice; return why that did not succeed, empty if it did. The URL is a secret, and is not told."""
        cause = f" (`migctl explain {notice.cause}`)" if notice.cause else ""
        body = {"text": f"migd: {notice.text}{cause}", "kind": notice.kind, "cause": notice.cause, "at": notice.at}
        problem, wait_s = "", FIRST_WAIT_S
        for attempt in range(ATTEMPTS):
            if attempt:
                await asyncio.sleep(wait_s)
                wait_s *= 2.0
            try:
                async with session.post(self._url, json=body, allow_redirects=False) as answer:
                    if answer.status < 300:
                        return ""
                    problem = f"its server answered {answer.status}"
                    if answer.status < 500 and answer.status not in (408, 429):
                        return f"{problem}; is its URL right still?"
            except TimeoutError:
                problem = f"its server did not answer within {WITHIN_S:g} s"
            except aiohttp.ClientError as error:
                problem = f"its server cannot be reached: {type(error).__name__}"
        return f"{problem}, {ATTEMPTS} times"


class Webhooks:
    """Every webhook of one controller, and what they are told."""

    def __init__(
        self, sections: Sequence[WebhookSection], control: Control, counts: IntakeCounts, count: Count
    ) -> None:
        """Read their URLs. Raises ConfigError."""
        self.all: Collection[Webhook] = [Webhook(section, count) for section in sections]
        self._control, self._counts = control, counts
        self._refused = 0
        self._refusals_told = Buckets(REFUSALS_PER_S, REFUSALS_AT_ONCE)
        self._told: dict[tuple[NoticeKind, str], float] = {}  # when, by kind and words

    def heard(self, event: AnyEvent, commands: Sequence[AnyCommand]) -> None:
        """Give notice of what an event led to."""
        if not self.all:
            return
        now_s = self._control.clock.now_s()
        found = notices(event, commands, self._control.core.memory.holds.values(), now_s)
        if isinstance(event, Tick):
            found += self._refusals(now_s)
        self._told = {words: at for words, at in self._told.items() if now_s - at < AGAIN_AFTER_S}
        for notice in found:
            words = (notice.kind, notice.text)
            if words not in self._told:
                self._told[words] = now_s
                for webhook in self.all:
                    webhook.tell(notice)

    def _refusals(self, now_s: float) -> list[Notice]:
        refused = self._counts.refused + self._counts.agents_refused
        if refused == self._refused:
            return []
        self._refused = refused
        text = f"telemetry is refused: {self._counts.last_refusal}"
        if (NoticeKind.TELEMETRY_REFUSED, text) not in self._told and self._refusals_told.take("", now_s):
            return []
        return [Notice(kind=NoticeKind.TELEMETRY_REFUSED, text=text, at=now_s)]


def _url(section: WebhookSection) -> str:
    if section.url_file is None:
        url = section.url
    else:
        try:
            url = section.url_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"webhook {section.name}: url_file {section.url_file} cannot be read: {error}") from error
    if not url.startswith(("https://", "http://")) or any(character.isspace() for character in url):
        raise ConfigError(f"webhook {section.name}: expected a URL that begins with https://, found something else")
    return url
