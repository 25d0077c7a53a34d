"""Chromium, without a window, on a page that a real controller serves."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, sync_playwright
from staged import Staged, StagedCluster
from visits import LAPTOP, LIMIT_S, PHONE, Stager, Visit, Visitor, complain, small_cluster

from migd_core.api import Role


# Not for the session: while it is there, no other test of this process can run an event loop.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The machine's own Chromium."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("there is no Chromium; on Debian `make test` as root installs it")
    with sync_playwright() as playwright:
        # Whoever tests as root has no sandbox; nothing but migd's own page is shown.
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stager]:
    """Serve a staged cluster's controller until the test is over. All have one folder, as lives of one controller."""
    begun: list[Staged] = []

    def begin(cluster: StagedCluster, listen: str = "127.0.0.1:0") -> Staged:
        begun.append(Staged(tmp_path, cluster, listen).start())
        return begun[-1]

    yield begin
    for each in begun:
        each.stop()


@pytest.fixture
def visit(browser: Browser, stage: Stager) -> Iterator[Visitor]:
    """Open a browser on a staged controller, logged in; what the console complains of fails the test in the end."""
    contexts: list[BrowserContext] = []
    visits: list[Visit] = []

    def open_(
        staged: Any, size: dict[str, int] = LAPTOP, scheme: str = "light", token: str | None = None, **more: Any
    ) -> Visit:
        context = browser.new_context(viewport=size, color_scheme=scheme, has_touch=size == PHONE, **more)
        context.set_default_timeout(LIMIT_S * 1000)
        contexts.append(context)
        if token != "":
            secret = token if token is not None else staged.token(Role.OPERATOR)
            answer = context.request.post(f"{staged.url}/v1/session", data={"token": secret})
            assert answer.ok, answer.text()
        page = context.new_page()
        visit = Visit(page, staged.url)
        visits.append(visit)
        page.on("console", lambda message: complain(visit, message.type, message.text))
        page.on("pageerror", lambda error: visit.complaints.append(f"error: {error}"))
        page.on("request", lambda request: visit.asked.append(request.url))
        return visit

    yield open_
    for context in contexts:
        context.close()
    for each in visits:
        assert each.complaints == []
        assert [url for url in each.asked if not url.startswith((each.url, "data:"))] == []


@pytest.fixture
def small(stage: Stager) -> Staged:
    """Two racks of two hosts and twelve guests, of which eight are to be the ranks of a job."""
    return stage(small_cluster())
