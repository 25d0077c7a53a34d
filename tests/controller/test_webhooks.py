"""Notices to webhooks: what is told, and that it arrives at a real server which fails at first."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cluster_of_events import Cluster, pool_guest, pool_host
from served import OverTcp, a_hog_and_two_ranks

from migd_controller import webhooks as module
from migd_controller.config import ControllerConfig, NoticeKind, WebhookSection
from migd_controller.events import MigrationEnded, MigrationRequested, PoolReachability, Tick, TookOver
from migd_controller.notices import Notice, notices
from migd_controller.webhooks import Webhook, Webhooks
from migd_core.config import convert
from migd_core.errors import ConfigError
from migd_core.health import HealthState, HostHealth

LIMIT_S = 20.0
LOST = Notice(kind=NoticeKind.POOL_LOST, text="the pool cannot be reached: gone", at=5.0)


class Receiver:
    """An HTTP server that answers with the statuses it was given, then with 200."""

    def __init__(self, *statuses: int) -> None:
        self.statuses, self.bodies, self.url = list(statuses), list[Any](), ""
        self.got = asyncio.Queue[Any]()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator["Receiver"]:
        app = web.Application()
        app.router.add_post("/secret", self._post)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/secret"
        try:
            yield self
        finally:
            await runner.cleanup()

    async def _post(self, request: web.Request) -> web.Response:
        self.got.put_nowait(await request.json())
        return web.Response(status=self.statuses.pop(0) if self.statuses else 200)

    async def next(self) -> Any:
        """Return the body of the next request."""
        return await asyncio.wait_for(self.got.get(), LIMIT_S)


class Counted(dict[tuple[str, str], int]):
    """What became of notices."""

    def __call__(self, webhook: str, outcome: str, count: int) -> None:
        self[webhook, outcome] = self.get((webhook, outcome), 0) + count

    async def until(self, outcome: str, count: int) -> None:
        """Wait until so many notices of webhook `ops` have come to that."""
        async with asyncio.timeout(LIMIT_S):
            while self.get(("ops", outcome), 0) < count:  # noqa: ASYNC110 - nobody tells of a count
                await asyncio.sleep(0.005)


@asynccontextmanager
async def running(webhook: Webhook) -> AsyncIterator[None]:
    """Let a webhook send what waits."""
    task = asyncio.create_task(webhook.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again at once, nearly."""
    monkeypatch.setattr(module, "FIRST_WAIT_S", 0.01)


async def test_a_notice_arrives_though_the_server_fails_at_first() -> None:
    counted = Counted()
    async with Receiver(500, 503, 429).listening() as receiver:
        webhook = Webhook(WebhookSection(name="ops", url=receiver.url), counted)
        async with running(webhook):
            webhook.tell(LOST)
            bodies = [await receiver.next() for _ in range(4)]
            await counted.until("delivered", 1)
    assert (
        bodies == [{"text": "migd: the pool cannot be reached: gone", "kind": "pool-lost", "cause": "", "at": 5.0}] * 4
    )
    assert counted == {("ops", "delivered"): 1, ("ops", "given-up"): 0, ("ops", "dropped"): 0}


async def test_a_server_that_says_no_is_not_asked_again_and_the_next_notice_is_sent() -> None:
    counted = Counted()
    async with Receiver(404).listening() as receiver:
        webhook = Webhook(WebhookSection(name="ops", url=receiver.url), counted)
        async with running(webhook):
            webhook.tell(LOST)
            webhook.tell(Notice(kind=NoticeKind.QUARANTINE, text="rank0 is held back", at=6.0, cause="D3.1"))
            await counted.until("given-up", 1)
            await counted.until("delivered", 1)
    assert receiver.got.qsize() == 2
    await receiver.next()
    assert (await receiver.next())["text"] == "migd: rank0 is held back (`migctl explain D3.1`)"


async def test_a_server_that_is_gone_is_given_up_and_its_url_is_not_told(capsys: pytest.CaptureFixture[str]) -> None:
    counted = Counted()
    async with Receiver().listening() as receiver:
        url = receiver.url  # nobody listens there afterwards
    webhook = Webhook(WebhookSection(name="ops", url=url), counted)
    async with running(webhook):
        webhook.tell(LOST)
        await counted.until("given-up", 1)
    told = capsys.readouterr().out
    assert "its server cannot be reached: ClientConnectorError, 8 times" in told
    assert "/secret" not in told


def test_what_comes_while_the_queue_is_full_is_dropped_and_counted() -> None:
    counted = Counted()
    webhook = Webhook(WebhookSection(name="ops", url="http://127.0.0.1:1/"), counted)
    for _ in range(module.MAX_WAITING + 3):
        webhook.tell(LOST)
    assert counted["ops", "dropped"] == 3


async def test_a_failure_in_the_loop_is_heard_at_the_webhooks_that_want_it(tmp_path: Path) -> None:
    served, counted = OverTcp(tmp_path), Counted()
    async with Receiver(500).listening() as receiver, Receiver().listening() as other:
        sections = [
            WebhookSection(name="ops", url=receiver.url, events=(NoticeKind.MIGRATION_FAILED, NoticeKind.QUARANTINE)),
            WebhookSection(name="net", url=other.url, events=(NoticeKind.TELEMETRY_REFUSED,)),
        ]
        hooks = Webhooks(sections, served.control, served.counts, counted)
        served.control.watchers.append(hooks.heard)
        ops, net = hooks.all
        async with running(ops), running(net):
            served.control.dispatch(MigrationRequested(guest="rank0", target="b"))
            (cause,) = served.cluster.core.memory.in_flight
            text = "VM_LACKS_FEATURE(rank0)"
            served.control.dispatch(MigrationEnded(cause=cause, host_now="a", code="VM_LACKS_FEATURE", text=text))
            told = [await receiver.next() for _ in range(3)][1:]
            served.counts.refused, served.counts.last_refusal = 4, "key abc is not on the list"
            for _ in range(3):
                served.control.dispatch(Tick())
            refused = await other.next()
    assert [each["kind"] for each in told] == ["migration-failed", "quarantine"]
    assert told[0]["text"] == (
        f"migd: migration of rank0 from a to b failed, the guest stayed where it was: {text} (`migctl explain {cause}`)"
    )
    assert told[1]["text"].startswith(f"migd: rank0 is held back: {text}: install the guest tools")
    assert refused["text"] == "migd: telemetry is refused: key abc is not on the list"
    assert (receiver.got.qsize(), other.got.qsize()) == (0, 0)
    served.journal.close()


async def test_a_stranger_with_ever_new_keys_cannot_have_somebody_called_all_night(tmp_path: Path) -> None:
    served, counted = OverTcp(tmp_path), Counted()
    async with Receiver().listening() as receiver:
        hooks = Webhooks([WebhookSection(name="ops", url=receiver.url)], served.control, served.counts, counted)
        served.control.watchers.append(hooks.heard)
        (ops,) = hooks.all
        async with running(ops):
            for number in range(20):
                served.counts.agents_refused, served.counts.last_refusal = number + 1, f"key {number} is not known"
                served.control.dispatch(Tick())
            served.control.dispatch(PoolReachability(is_reachable=False, problem="gone"))
            told = [(await receiver.next())["text"] for _ in range(5)]
    refused = [f"migd: telemetry is refused: key {number} is not known" for number in range(4)]
    assert told == [*refused, "migd: the pool cannot be reached: gone"]
    served.journal.close()


def test_guests_that_leave_a_failing_host_are_named_in_one_notice() -> None:
    cluster = Cluster([pool_host("a"), pool_host("b")], [pool_guest("rank0", "a"), pool_guest("rank1", "a")])
    cluster.set_policy("evacuate")
    cluster.run(3)
    cluster.hosts["a"] = pool_host("a", is_evacuating=True)
    cluster.tell_inventory()
    cluster.run(1)
    commands = cluster.tell(Tick())
    found = notices(Tick(), [*cluster.commands, *commands], [], 7.0)
    assert [(each.kind, each.text[:12]) for each in found] == [(NoticeKind.EVACUATION, "evacuation: ")]
    assert "rank" in found[0].text
    assert "(a to b)" in found[0].text


def test_a_host_that_fails_and_a_pool_that_is_lost_are_told_and_what_goes_well_is_not() -> None:
    cluster = a_hog_and_two_ranks()
    assert notices(Tick(), cluster.commands, [], 7.0) == []
    sick = HostHealth(state=HealthState.FAILING, reasons=("a disk is failing",))
    cluster.health["a"] = sick
    before = len(cluster.commands)
    cluster.run(2)
    assert notices(Tick(), cluster.commands[before:], [], 7.0) == [
        Notice(kind=NoticeKind.HOST_HEALTH, text="host a is failing: a disk is failing", at=7.0)
    ]
    assert notices(PoolReachability(is_reachable=False, problem="gone"), [], [], 5.0) == [LOST]
    assert notices(PoolReachability(is_reachable=True), [], [], 5.0) == []


def test_another_controller_that_leads_is_told_and_one_that_leads_first_or_again_is_not() -> None:
    text = "controller ctl2 leads now in place of ctl1; `migctl doctor` says whether anybody stands by"
    told = [
        notices(TookOver(name="ctl2", number=7, predecessor=predecessor, memory=b""), [], [], 7.0)
        for predecessor in ("ctl1", "ctl2", "")
    ]
    assert told == [[Notice(kind=NoticeKind.LEADER_CHANGED, text=text, at=7.0)], [], []]


Section = dict[str, Any]


@pytest.mark.parametrize(
    ("sections", "text"),
    [
        ([{"name": "ops"}], "give a webhook its url or its url_file, one of them"),
        ([{"name": "ops", "url": "https://a", "url_file": "f"}], "give a webhook its url or its url_file, one of them"),
        ([{"name": "ops", "url": "https://a"}] * 2, "two of them have the same name"),
        (
            [{"name": "ops", "url": "https://a", "events": ["quarantin"]}],
            "expected one of migration-failed, quarantine",
        ),
        ([{"name": "ops", "uri": "https://a"}], "unknown key; did you mean url?"),
    ],
)
def test_a_mistake_in_the_configuration_is_named(sections: list[Section], text: str) -> None:
    whole = {
        "telemetry": {"secret_key_file": "k", "agents_file": "a"},
        "xapi": {"url": "u", "username": "u", "password_file": "p"},
        "webhooks": sections,
    }
    with pytest.raises(ConfigError) as refused:
        convert(whole, ControllerConfig, name="controller.toml")
    assert text in str(refused.value)


def test_a_url_is_read_from_its_file(tmp_path: Path) -> None:
    nothing: Callable[[str, str, int], None] = Counted()
    file = tmp_path / "url"
    with pytest.raises(ConfigError, match=r"webhook ops: url_file .* cannot be read: .*No such file"):
        Webhook(WebhookSection(name="ops", url_file=file), nothing)
    file.write_text("hooks.slack.com/secret\n")
    with pytest.raises(ConfigError, match="expected a URL that begins with https://, found something else"):
        Webhook(WebhookSection(name="ops", url_file=file), nothing)
    file.write_text("https://hooks.slack.com/secret\n")
    Webhook(WebhookSection(name="ops", url_file=file), nothing)
