"""The page of a whole cluster of real processes: agents, an emulated pool, and a controller that is killed meanwhile."""

import contextlib
import json
import signal
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
from live_cluster import LiveCluster, LiveController, until
from playwright.sync_api import expect
from visits import Visitor

from migd_cli.client import Client
from migd_cli.demo.children import brood
from migd_cli.failures import RequestFailed
from migd_core.api import NewTokenView, Role, TokenRequest


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("live")


def serve(controller: LiveController, listen: str) -> None:
    """Let a controller that is not started yet serve its page."""
    controller.config.write_text(f'{controller.config.read_text()}\n[http]\nlisten = "{listen}"\n')


def is_asked_for(controller: LiveController, guest: str, host: str) -> bool:
    """Ask for a migration, which is refused while an agent has not read everything yet."""
    with contextlib.suppress(RequestFailed):
        controller.ask("POST", "/v1/migrations", guest=guest, host=host)
        return True
    return False


def test_agents_are_seen_moves_are_followed_and_a_killed_controller_is_found_again(
    folder: Path, visit: Visitor
) -> None:
    with brood(folder) as children:
        cluster = LiveCluster(folder, children)
        controller = cluster.controller()
        serve(controller, "127.0.0.1:0")
        child = controller.start()
        ready = json.loads(
            until(lambda: next((x for x in child.log().splitlines() if '"controller ready"' in x), None), child)
        )
        cluster.start_agents(controller)
        controller.sees_everything()
        request = TokenRequest(name="page", role=Role.OPERATOR)
        answer = Client(str(controller.socket)).ask("POST", "/v1/tokens", request)
        token = msgspec.json.decode(answer, type=NewTokenView).token
        seen = visit(SimpleNamespace(url=ready["url"]), token=token)
        page = seen.at()
        expect(page.locator(".host-name")).to_have_text(["xen1", "xen2"])
        expect(page.locator(".host", has_text="xen1").locator(".guest")).to_have_count(3)
        until(lambda: is_asked_for(controller, "big", "xen2"), child)
        expect(page.locator(".arcs .label")).to_contain_text("big")
        expect(page.locator(".host", has_text="xen2").locator('[data-guest="guest-2"]')).to_have_count(
            1, timeout=30_000
        )
        page.locator("button.pause").click()
        expect(page.locator(".notice")).to_contain_text("Paused")

        controller.end(signal.SIGKILL)
        expect(page.locator(".link")).to_have_text("no connection; trying again …")
        # Its next life is where agents and browsers know it to be.
        controller = cluster.controller(state_dir=controller.folder / "state")
        serve(controller, ready["url"].removeprefix("http://"))
        controller.start()
        expect(page.locator(".link")).to_have_text("live", timeout=30_000)
        expect(page.locator(".notice")).to_have_text("Paused: migd starts no new migration. Those under way go on.")
        expect(page.locator(".host", has_text="xen2").locator(".load")).not_to_have_text("frozen", timeout=30_000)
        page.locator("button.pause").click()
        controller.status(lambda status: not status.is_paused)
        page.goto(f"{ready['url']}/#/history")
        expect(page.locator(".facts dd").first).to_have_text("1")
        seen.forgive("net::ERR_")
        seen.page.close()
