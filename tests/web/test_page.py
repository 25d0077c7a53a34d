"""The page as people meet it: in a real browser, on a real controller whose agents and pool are staged."""

import re

import pytest
from msgspec.structs import replace
from playwright.sync_api import Page, expect
from staged import Staged
from stories import RANKS, a_move_began, a_move_ends, job_begins, job_runs
from visits import AXE, LAPTOP, PHONE, Stager, Visit, Visitor, number, small_cluster, violations

from migd_controller.events import MigrationRequested, PoolReachability
from migd_core.api import Role
from migd_core.health import HealthState, HostHealth

VIEWS = ["", "decisions", "jobs", "jobs/brams", "guest/job1-0", "automation", "history"]


def test_the_cluster_is_shown_as_racks_hosts_and_guests(small: Staged, visit: Visitor) -> None:
    job_begins(small)
    page = visit(small).at()
    expect(page.locator(".rack-name")).to_have_text(
        [re.compile(r"^rack12 hosts, load \d+ %$"), re.compile(r"^rack22 hosts")]
    )
    expect(page.locator(".host-name")).to_have_text(["xen01", "xen02", "xen03", "xen04"])
    shown = page.locator(".guest").evaluate_all("all => all.map((each) => each.getAttribute('aria-label'))")
    assert len(shown) == 12
    assert sum("job brams" in text for text in shown) == 8
    expect(page.get_by_role("button", name="brams")).to_be_visible()


def test_a_guest_is_as_wide_as_what_it_wants_of_its_host(small: Staged, visit: Visitor) -> None:
    small.cluster.wants["job1-0"] = 1.0
    small.cluster.wants["job1-1"] = 0.25
    small.pass_time(8)
    page = visit(small).at()
    bar, wide, narrow = (
        page.locator(selector).first.bounding_box()
        for selector in (".bar", '[data-guest="job1-0"]', '[data-guest="job1-1"]')
    )
    assert bar is not None
    assert wide is not None
    assert narrow is not None
    assert wide["width"] / bar["width"] == pytest.approx(0.25, abs=0.02)  # one of four CPUs
    assert narrow["width"] / bar["width"] == pytest.approx(0.0625, abs=0.02)


def test_what_changes_is_shown_without_anybody_reloading(small: Staged, visit: Visitor) -> None:
    small.pass_time(2)
    page = visit(small).at()
    load = page.locator(".host", has_text="xen01").locator(".load")
    before = number(load.text_content())
    page.evaluate("window.isSame = true")
    for guest in small.cluster.guests.values():
        if guest.host == "xen01":
            small.cluster.wants[guest.uuid] = 1.0
    small.pass_time(6)
    expect(load).not_to_have_text(f"{before:.0f} %")
    page.wait_for_function(
        "(before) => parseFloat(document.querySelector('.load').textContent) > before + 10", arg=before
    )
    assert page.evaluate("window.isSame")


def test_a_migration_is_an_arc_with_its_progress_until_it_is_over(small: Staged, visit: Visitor) -> None:
    job_begins(small)
    seen = visit(small)
    page = seen.at()
    expect(page.get_by_text("No guest is being moved.")).to_be_visible()
    cause = a_move_began(small, done=0.4)
    expect(page.locator(".arcs .label")).to_have_text(["job1-0 40 %"])
    expect(page.locator(".arcs .done")).to_have_attribute("stroke-dasharray", "40.0 100")
    expect(page.locator("li.move progress")).to_have_js_property("value", 0.4)
    seen.picture("cluster-migration")
    small.progress(cause, 0.9)
    expect(page.locator(".arcs .label")).to_have_text(["job1-0 90 %"])
    a_move_ends(small, cause)
    expect(page.locator(".arcs .label")).to_have_count(0)
    expect(page.locator(".host", has_text="xen04").locator('[data-guest="job1-0"]')).to_have_count(1)
    expect(page.get_by_text("to xen04 in 15 s")).to_be_visible()


def test_who_talks_to_whom_is_drawn_as_chords(small: Staged, visit: Visitor) -> None:
    job_begins(small)
    page = visit(small).at()
    chords = page.locator(".chords")
    expect(chords).to_have_attribute("data-chords", "10")
    inked = "c => c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some((value) => value)"
    assert chords.evaluate(inked)
    page.get_by_role("radio", name="off").check()
    expect(chords).to_have_attribute("data-chords", "0")
    page.locator('[data-guest="job1-3"]').hover()
    expect(chords).to_have_attribute("data-chords", "2")
    expect(page.get_by_role("tooltip")).to_contain_text("job brams on xen02")


def test_a_hosts_trouble_is_told_where_the_host_is(small: Staged, visit: Visitor) -> None:
    small.cluster.health["xen02"] = HostHealth(state=HealthState.FAILING, reasons=("disk sda is failing",))
    small.pass_time(2)
    small.cluster.silent.add("xen03")
    small.pass_time(3)
    small.tell(PoolReachability(is_reachable=False, problem="connection refused"))
    seen = visit(small)
    page = seen.at()
    expect(page.locator(".host", has_text="xen02").locator(".why")).to_have_text("disk sda is failing")
    expect(page.locator(".host", has_text="xen03").locator(".load")).to_have_text("frozen")
    expect(page.locator(".host", has_text="xen03").locator(".why")).to_contain_text("last sample is")
    expect(page.locator(".notice")).to_have_text(
        ["The pool cannot be reached: connection refused", "1 host failing: nothing is moved there."]
    )
    seen.picture("cluster-trouble")


def test_the_table_tells_what_the_map_shows(small: Staged, visit: Visitor) -> None:
    small.pass_time(2)
    page = visit(small).at()
    page.get_by_role("radio", name="table").check()
    rows = page.get_by_role("table", name="Hosts").get_by_role("row")
    expect(rows).to_have_count(5)
    expect(rows.nth(1)).to_contain_text("xen01rack1")
    expect(rows.nth(1)).to_contain_text("3: job1-0, job1-1, job1-2")


def test_the_big_button_pauses_and_resumes(small: Staged, visit: Visitor) -> None:
    small.pass_time()
    seen = visit(small)
    page = seen.at()
    button = page.locator("button.pause")
    box = button.bounding_box()
    assert box is not None
    assert (box["height"], box["width"]) >= (38, 100)
    button.click()
    expect(page.locator(".notice")).to_have_text("Paused: migd starts no new migration. Those under way go on.")
    expect(button).to_have_text("Resume")
    assert small.cluster.core.memory.is_paused
    seen.picture("paused")
    button.click()
    expect(page.locator(".notice")).to_have_count(0)
    expect(button).to_have_text("Pause")
    assert not small.cluster.core.memory.is_paused


def test_who_may_only_look_cannot_pause_or_cancel(small: Staged, visit: Visitor) -> None:
    job_begins(small)
    a_move_began(small)
    page = visit(small, token=small.token(Role.VIEWER)).at()
    expect(page.locator("li.move")).to_have_count(1)
    expect(page.locator("button.pause")).to_be_disabled()
    expect(page.locator("button.pause")).to_have_attribute(
        "title", "Not possible: your token only looks; an operator's may pause"
    )
    expect(page.get_by_role("button", name="Cancel the migration of job1-0")).to_be_hidden()


def test_an_operator_cancels_a_migration(small: Staged, visit: Visitor) -> None:
    job_begins(small)
    cause = a_move_began(small)
    page = visit(small).at()
    page.get_by_role("button", name="Cancel the migration of job1-0").click()
    expect(page.locator("li.move")).to_contain_text("being cancelled")
    assert small.cluster.core.memory.in_flight[cause].is_cancelling


def test_a_wrong_token_is_told_and_the_right_one_opens_the_page(small: Staged, visit: Visitor) -> None:
    small.pass_time()
    seen = visit(small, token="")
    page = seen.page
    page.goto(seen.url)
    field = page.get_by_label("Token")
    field.fill("migd_this-is-no-token")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert")).to_contain_text("the token is not one of this controller")
    expect(page.locator(".host")).to_have_count(0)
    seen.picture("login")
    field.fill(small.token())
    page.get_by_role("button", name="Log in").click()
    expect(page.locator(".host")).to_have_count(4)
    expect(page.locator("dialog")).to_have_count(0)
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_label("Token")).to_be_visible()
    seen.forgive("401 (Unauthorized)")  # Chromium itself says on the console what was answered


def test_the_page_comes_back_after_the_controller_was_restarted(stage: Stager, visit: Visitor) -> None:
    first = stage(small_cluster())
    first.pass_time(2)
    seen = visit(first)
    page = seen.at()
    expect(page.locator(".link")).to_have_text("live")
    page.evaluate("window.isSame = true")
    first.stop()
    expect(page.locator(".link")).to_have_text("no connection; trying again …")
    expect(page.locator(".notice")).to_contain_text("what you see may be old")
    expect(page.locator("button.pause")).to_be_disabled()
    second = stage(small_cluster(), listen=first.url.removeprefix("http://"))
    second.cluster.now_s = first.cluster.now_s + 60
    second.pass_time(2)
    expect(page.locator(".link")).to_have_text("live")
    expect(page.locator(".notice")).to_have_count(0)
    expect(page.locator("button.pause")).to_be_enabled()
    expect(page.locator(".host")).to_have_count(4)
    assert page.evaluate("window.isSame")
    seen.forgive("net::ERR_")  # Chromium itself says on the console that nobody answered


def test_a_decision_says_why_why_not_and_what_would_flip_it(small: Staged, visit: Visitor) -> None:
    job_begins(small)
    small.tell(MigrationRequested(guest=RANKS[1], target="xen04"))
    small.commands.clear()
    small.tell(MigrationRequested(guest=RANKS[2], target="xen04"))
    seen = visit(small)
    page = seen.at("decisions")
    expect(page.locator(".list li").first).to_contain_text("Last cycle")
    expect(page.locator(".list li").nth(1)).to_contain_text("1 move proposed, 0 made")
    page.locator(".list li").nth(1).get_by_role("link").click()
    expect(page.locator(".candidate .verdict")).to_have_text("refused by 2 gates")
    expect(page.locator(".candidate header h3")).to_have_text("job1-2 · xen01 → xen04")
    refused = page.get_by_role("list", name="Gates that refuse it")
    expect(refused).to_contain_text("source limit 1 of at most 1 migrations under way from xen01")
    page.get_by_text("gates passed").click()
    expect(page.locator(".gate.yes").first).to_be_visible()
    seen.picture("decision")


def test_equal_cycles_are_one_line_of_the_log(small: Staged, visit: Visitor) -> None:
    small.pass_time(12)
    page = visit(small).at("decisions")
    expect(page.locator(".list li").nth(1)).to_contain_text("12 cycles")
    expect(page.locator(".list li")).to_have_count(2)


def test_a_jobs_speed_is_drawn_with_its_migrations(small: Staged, visit: Visitor) -> None:
    job_begins(small)
    job_runs(small, 8)
    a_move_ends(small, a_move_began(small))
    seen = visit(small)
    page = seen.at("jobs")
    expect(page.locator(".facts").first).to_contain_text("Progress")
    picture = page.get_by_role("img", name="Speed.")
    expect(picture.locator("canvas")).to_be_visible()
    expect(picture).to_have_attribute("aria-label", "Speed. iterations/s: 1 to 2, last 2. Marked: job1-0.")
    expect(page.get_by_role("table").last.get_by_role("row").nth(1)).to_contain_text("job1-0xen01xen0415 s")
    page.locator("figure", has_text="Speed").get_by_text("As a table").click()
    expect(page.get_by_role("region", name="Speed as a table").get_by_role("row").nth(1)).to_contain_text("2")
    seen.picture("job")


def test_a_guests_dirty_curve_is_drawn_with_predictions_and_what_happened(small: Staged, visit: Visitor) -> None:
    job_begins(small)
    a_move_ends(small, a_move_began(small))
    a_move_ends(small, a_move_began(small, target="xen01"), ok=False)
    seen = visit(small)
    page = seen.at(f"guest/{RANKS[0]}")
    expect(page.get_by_role("heading", level=1)).to_have_text("job1-0")
    expect(page.locator(".lead")).to_contain_text("is on host xen04")
    picture = page.get_by_role("img", name="Memory written.")
    expect(picture.locator("canvas")).to_be_visible()
    counted = picture.get_attribute("aria-label") or ""
    newest = small.cluster.curves[RANKS[0]].unique_pages[-1] * 4096 / 1024**2
    assert f"counted: {small.cluster.curves[RANKS[0]].unique_pages[0] * 4096 / 1024:.0f} KiB" in counted.replace(
        "KiB to", "KiB to"
    )
    assert f"last {newest:.0f} MiB" in counted
    rows = page.get_by_role("region", name="Predictions and what happened").get_by_role("row")
    expect(rows).to_have_count(3)
    expect(rows.nth(1)).to_contain_text("xen04 → xen01 stayed: not enough memory on the target")
    expect(rows.nth(2)).to_contain_text("15 s")
    expect(rows.nth(2).get_by_role("img")).to_have_attribute(
        "aria-label", re.compile("^predicted .* to .* s, took 15 s$")
    )
    seen.picture("guest")


def test_a_guest_that_is_not_there_is_told(small: Staged, visit: Visitor) -> None:
    small.pass_time()
    seen = visit(small)
    page = seen.at("guest/nobody")
    expect(page.get_by_role("heading", level=1)).to_have_text("No such guest")
    expect(page.locator(".lead")).to_contain_text("nobody")
    seen.forgive("404 (Not Found)")


def test_history_tells_what_was_moved_and_who_did_what(small: Staged, visit: Visitor) -> None:
    job_begins(small)
    a_move_ends(small, a_move_began(small))
    a_move_ends(small, a_move_began(small, RANKS[4], "xen01"), ok=False)
    seen = visit(small)
    page = seen.at("history")
    expect(page.locator(".facts dd").nth(0)).to_have_text("1")
    expect(page.locator(".facts dd").nth(1)).to_contain_text("1failed")
    expect(page.get_by_role("img", name="Load of hosts.").locator("canvas")).to_be_visible()
    expect(page.get_by_role("img", name="Migrations.").locator("canvas")).to_be_visible()
    expect(page.locator(".plain li").last).to_contain_text("job brams of 8 guests named")
    page.get_by_role("button", name="7 days").click()
    expect(page.get_by_role("button", name="7 days")).to_have_attribute("aria-pressed", "true")
    expect(page.locator(".facts dd").nth(0)).to_have_text("1")
    seen.picture("history")


def test_an_empty_cluster_has_every_view(stage: Stager, visit: Visitor) -> None:
    """Nothing to show is said, not drawn as an error; guests and jobs that are not there are told."""
    cluster = small_cluster()
    cluster.hosts.clear()
    cluster.guests.clear()
    cluster.tell_inventory()
    seen = visit(stage(cluster))
    for view in VIEWS:
        page = seen.at(view)
        expect(page.locator("main .nothing, main .empty, main .lead").filter(visible=True).first).to_be_visible()
    seen.forgive("404 (Not Found)")


def test_a_name_is_text_whatever_it_says(stage: Stager, visit: Visitor) -> None:
    name = "<img src=x onerror=alert(1)>"
    cluster = small_cluster()
    cluster.guests["vm0"] = replace(cluster.guests["vm0"], name=name)
    cluster.tell_inventory()
    staged = stage(cluster)
    staged.pass_time(2)
    page = visit(staged).at("guest/vm0")
    expect(page.get_by_role("heading", level=1)).to_have_text(name)
    expect(page.locator("main img")).to_have_count(0)


def test_the_map_is_one_tab_stop_that_arrows_walk_in(small: Staged, visit: Visitor) -> None:
    small.pass_time(2)
    page = visit(small).at()
    looked_at = "() => document.activeElement.dataset.guest"
    page.locator(".map a[tabindex='0']").focus()
    assert page.evaluate(looked_at) == "job1-0"
    expect(page.get_by_role("tooltip")).to_be_visible()
    page.keyboard.press("ArrowRight")
    assert page.evaluate(looked_at) == "job1-1"
    page.keyboard.press("ArrowDown")
    assert (
        page.evaluate("() => document.activeElement.closest('.host').querySelector('.host-name').textContent")
        == "xen02"
    )
    page.keyboard.press("Enter")
    page.wait_for_selector('main[data-view="guest"]')
    assert page.locator(".map").count() == 0


def test_the_keyboard_reaches_everything(small: Staged, visit: Visitor) -> None:
    small.pass_time(2)
    page = visit(small).at()
    reached = []
    for _ in range(16):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("() => document.activeElement.textContent.trim() || document.activeElement.value"))
    assert reached[:7] == ["Skip to the content", "migd", "Cluster", "Decisions", "Jobs", "Automation", "History"]
    assert {"Log out", "Pause", "all", "map"} <= set(reached)


@pytest.mark.parametrize(
    ("size", "scheme"),
    [(LAPTOP, "light"), (LAPTOP, "dark"), (PHONE, "dark")],
    ids=["laptop-light", "laptop-dark", "phone"],
)
def test_axe_finds_nothing_to_complain_of(small: Staged, visit: Visitor, size: dict[str, int], scheme: str) -> None:
    if not AXE.exists():
        pytest.skip("axe-core is not there; `make test` brings it")
    job_begins(small)
    a_move_ends(small, a_move_began(small))
    a_move_began(small, RANKS[3])
    small.tell(MigrationRequested(guest=RANKS[2], target="xen04"))
    seen = visit(small, size, scheme)
    for view in VIEWS:
        page = seen.at(view)
        settle(page, view)
        assert violations(page) == [], view
        wide = page.evaluate("() => document.documentElement.scrollWidth")
        assert wide <= size["width"], f"{view} is {wide} pixels wide"
        seen.picture(f"{view.replace('/', '-') or 'cluster'}-{'phone' if size == PHONE else 'laptop'}-{scheme}")


def test_the_audit_sees_what_is_wrong(small: Staged, visit: Visitor) -> None:
    if not AXE.exists():
        pytest.skip("axe-core is not there; `make test` brings it")
    small.pass_time()
    page = visit(small).at()
    page.evaluate(
        "() => { const faint = document.createElement('button'); faint.style.color = '#eee'; faint.textContent = 'hardly there';"
        " document.querySelector('.summary').after(faint, document.createElement('button')); }"
    )
    assert [each.partition(":")[0] for each in violations(page)] == ["button-name", "color-contrast"]


def settle(page: Page, view: str) -> None:
    """Wait until a view shows what it asks for."""
    if view.startswith(("jobs", "guest", "history")):
        page.wait_for_selector("figure canvas", state="attached")
    if view == "decisions":
        page.wait_for_selector(".list li:nth-child(2)", state="attached")
    page.wait_for_function("() => document.fonts.status === 'loaded'")


def test_the_theme_can_be_chosen_and_is_remembered(small: Staged, visit: Visitor) -> None:
    small.pass_time()
    seen = visit(small, scheme="light")
    page = seen.at()
    ground = "() => getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    button = page.get_by_role("button", name="Colours")
    button.click()
    button.click()
    expect(button).to_have_attribute("aria-label", "Colours: dark; change")
    dark = page.evaluate(ground)
    assert dark != light
    page.reload()
    page.wait_for_selector(".host")
    assert page.evaluate(ground) == dark


def test_nothing_but_the_controller_is_asked_for_anything(small: Staged, visit: Visitor) -> None:
    """The page works where there is no other network; the fixture compares every request with its address."""
    job_begins(small)
    seen: Visit = visit(small)
    for view in VIEWS:
        settle(seen.at(view), view)
    assert any("vendor/uplot" in url for url in seen.asked)
