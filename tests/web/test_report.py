"""The report in Chromium: whole, quiet, readable on every screen, with the figures of the journal."""

import re
from pathlib import Path

import msgspec
import pytest
from playwright.sync_api import Browser, Page
from staged import Staged
from stories import RANKS, a_move_began, a_move_ends, job_begins
from visits import AXE, PICTURES

from migd_cli.report.page import page as written
from migd_controller.comparison import comparison_view
from migd_controller.events import ShadowAdded
from migd_core.api import ReportView, Role
from migd_core.units import format_duration

SECTIONS = ["summary", "moved", "gained", "predicted", "policies", "load", "jobs", "happened"]
SIZES = {"laptop": {"width": 1366, "height": 850}, "phone": {"width": 390, "height": 844}}


@pytest.fixture
def report(small: Staged, tmp_path: Path) -> tuple[Staged, Path]:
    """A staged cluster on which one move arrived and one failed beside a shadow, and the file that is made of it."""
    small.pass_time()
    small.tell(ShadowAdded(label="other", name="balance", config={}))
    job_begins(small)
    a_move_ends(small, a_move_began(small))
    a_move_ends(small, a_move_began(small, RANKS[3]), ok=False)
    return small, tmp_path / "report.html"


def of_controller(staged: Staged, browser: Browser) -> ReportView:
    """Ask as `migctl report` does."""
    context = browser.new_context()
    answer = context.request.get(
        f"{staged.url}/v1/report?hours=168", headers={"Authorization": f"Bearer {staged.token(Role.VIEWER)}"}
    )
    assert answer.ok, answer.text()
    view = msgspec.json.decode(answer.body(), type=ReportView)
    context.close()
    return view


@pytest.mark.parametrize(("size", "scheme"), [("laptop", "light"), ("laptop", "dark"), ("phone", "light")])
def test_every_section_is_there_and_nothing_complains(
    report: tuple[Staged, Path], browser: Browser, size: str, scheme: str
) -> None:
    staged, file = report
    file.write_text(written(of_controller(staged, browser)), encoding="utf-8")
    context = browser.new_context(viewport=SIZES[size], color_scheme=scheme)  # type: ignore[arg-type]
    page = context.new_page()
    complaints: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(file.as_uri())
    assert [each.get_attribute("id") for each in page.locator("section").all()] == SECTIONS
    assert page.locator("svg[role=img]").count() == 6
    for picture in page.locator("svg").all():
        box = picture.bounding_box()
        assert box is not None
        assert box["width"] > 200
        assert box["height"] > 80
    assert page.evaluate("() => document.documentElement.scrollWidth") <= SIZES[size]["width"]
    # No colour of a picture is one that only stood for another.
    colours = page.evaluate(
        "() => [...document.querySelectorAll('svg *')].flatMap(e => [getComputedStyle(e).fill, getComputedStyle(e).stroke])"
    )
    assert [each for each in set(colours) if re.match(r"rgb\((\d|10), (\d|10), (\d|10)\)", each)] in (
        [],
        ["rgb(0, 0, 0)"],
    )
    if AXE.exists():
        assert violations(page) == []
    PICTURES.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=PICTURES / f"report-{size}-{scheme}.png", full_page=True)
    context.close()
    assert complaints == []
    assert [each for each in asked if not each.startswith(("file:", "data:"))] == []


def test_its_figures_are_those_of_the_journal(report: tuple[Staged, Path], browser: Browser) -> None:
    staged, file = report
    view = of_controller(staged, browser)
    file.write_text(written(view), encoding="utf-8")
    journaled = staged.do(lambda: staged.control.journal.migrations(10))
    comparison = staged.do(lambda: comparison_view(staged.control.core))
    page = browser.new_page()
    page.goto(file.as_uri())
    rows = [[cell.inner_text() for cell in row.locator("td").all()] for row in page.locator("#moved tbody tr").all()]
    assert [(row[1], row[2], row[4], row[5], row[7].split()[0], row[9]) for row in rows] == [
        (
            each.cause,
            each.guest_name,
            each.source_name,
            each.target_name,
            each.state,
            format_duration((each.ended_at or 0.0) - (each.started_at or 0.0)),
        )
        for each in journaled
    ]
    assert [row[2] for row in rows] == [RANKS[3], RANKS[0]]
    policies = [row.locator("td").first.inner_text() for row in page.locator("#policies tbody tr").all()]
    assert policies == [each.label for each in comparison.contenders] == ["observe", "other"]
    assert page.locator("#policies p").first.inner_text().lower() == f"{comparison.text}.".lower()
    page.close()


def test_it_is_printed_dark_on_light_whole(report: tuple[Staged, Path], browser: Browser) -> None:
    staged, file = report
    file.write_text(written(of_controller(staged, browser)), encoding="utf-8")
    context = browser.new_context(color_scheme="dark")
    page = context.new_page()
    page.goto(file.as_uri())
    page.emulate_media(media="print")
    back, ink = page.evaluate(
        "() => [getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
    )
    assert (back, ink) == ("rgb(255, 255, 255)", "rgb(24, 32, 42)")
    assert len(page.pdf()) > 10_000
    context.close()


def violations(page: Page) -> list[str]:
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate(
        "async () => (await axe.run(document)).violations.map(v => v.id + ': ' + v.nodes.map(n => n.target).join(' '))"
    )
    assert isinstance(found, list)
    return found
