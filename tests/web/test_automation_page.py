"""What waits for an operator's word, on the page: seen, approved and refused, by whoever may, with keys alone too."""

import pytest
from cluster_of_events import pool_guest
from msgspec.structs import replace
from playwright.sync_api import Locator, Page, Route, expect
from staged import Staged, StagedCluster
from visits import AXE, LAPTOP, PHONE, Stager, Visitor, small_cluster, violations

from migd_controller.audit import AuditLog
from migd_controller.config import AutomationSection
from migd_controller.events import (
    AutomationSet,
    JobAdded,
    JobLimited,
    JobRemoved,
    PolicySet,
    RecommendationApproved,
    RecommendationRefused,
)
from migd_core.api import Role
from migd_core.automation import Automation
from migd_core.health import HealthState, HostHealth
from migd_core.job_limits import JobLimitsChange
from migd_policies.rules import RuleSettings

HOURS = RuleSettings(allowed_hours=["00:00-24:00"], time_zone="Europe/Berlin")


def crowded() -> StagedCluster:
    """A hog that cannot be moved takes all of xen01: a guest beside it had better leave, if an operator lets it."""
    cluster = small_cluster()
    cluster.core.config = replace(cluster.core.config, automation=AutomationSection(lapse_s=600.0), rules=HOURS)
    cluster.guests["hog"] = pool_guest("hog", "xen01", vcpus=4, tags=("migd:never",))
    cluster.wants["hog"] = 4.0
    cluster.tell_inventory()
    return cluster


@pytest.fixture
def asking(stage: Stager) -> Staged:
    """A controller with one recommendation."""
    staged = stage(crowded())
    staged.tell(AutomationSet(level=Automation.RECOMMEND))
    staged.tell(PolicySet(name="least-loaded", config={"sustained_periods": 1}))
    staged.pass_time(6)
    assert len(names(staged)) == 1
    return staged


def names(staged: Staged) -> list[str]:
    return list(staged.cluster.core.memory.recommendations)


def waits(page: Page, *found: str) -> None:
    """Wait until just these are on the page."""
    expect(page.locator(".waiting > li > header h3")).to_have_text(list(found))


def told_by(page: Page) -> Locator:
    """Where it is said what came of a word."""
    return page.locator('[aria-label="Recommendations"] .told')


def test_what_waits_for_a_word_is_told_on_every_view_and_approved_from_there(asking: Staged, visit: Visitor) -> None:
    (name,) = names(asking)
    (move,) = asking.cluster.core.memory.recommendations[name].moves
    seen = visit(asking)
    page = seen.at("history")
    expect(page.locator(".policy")).to_have_text("policy least-loaded, recommends")
    page.get_by_role("link", name="1 recommendation waits for an operator's word.").click()
    expect(page.get_by_role("heading", level=2)).to_have_text("1 recommendation waits for an operator's word")
    waits(page, name)
    expect(page.locator(".notice")).to_have_count(0)
    card = page.locator(".waiting > li")
    expect(card.locator(".candidate h3")).to_have_text(f"{move.guest} · xen01 → {move.target}")
    expect(card.locator(".facts dt")).to_have_text(["Gains", "Costs", "Net", "Takes", "Guest stands still", "Sends"])
    expect(card.get_by_text("gates passed")).to_be_visible()
    seen.picture("automation")
    page.get_by_role("button", name=f"Approve {name}: {move.guest} from xen01 to {move.target}").click()
    told = told_by(page)
    expect(told).to_be_focused()
    (started,) = asking.started()
    assert (started.guest, started.target) == (move.guest, move.target)
    expect(told).to_have_text(f"{name} is approved: {move.guest} to {move.target} ({started.cause}).")
    waits(page)
    over = asking.do(lambda: asking.control.journal.recommendation(name))
    assert over is not None
    assert (over.standing, over.by, over.text) == ("approved", "the-operator", f"the-operator has approved {name}")


def test_a_guest_whose_move_is_refused_stays_and_it_is_known_who_said_so(asking: Staged, visit: Visitor) -> None:
    (name,) = names(asking)
    (guest,) = asking.cluster.core.memory.recommendations[name].guests
    page = visit(asking).at("automation")
    page.get_by_role("button", name=f"Refuse {name}").click()
    expect(told_by(page)).to_have_text(f"{name} is refused: {guest} stay where they are.")
    waits(page)
    assert asking.cluster.core.memory.turned_down[guest].by == "the-operator"
    assert asking.started() == []
    page.get_by_role("link", name="History").click()
    expect(page.locator(".plain li").first).to_contain_text(f"the-operator refused {name}")


def test_with_keys_alone_a_move_is_approved(asking: Staged, visit: Visitor) -> None:
    (name,) = names(asking)
    page = visit(asking).at("automation")
    waits(page, name)
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("() => document.activeElement.textContent") == "Approve":
            break
    page.keyboard.press("Enter")
    expect(told_by(page)).to_be_focused()
    assert len(asking.started()) == 1


def test_who_may_only_look_sees_it_all_and_decides_nothing(asking: Staged, visit: Visitor) -> None:
    (name,) = names(asking)
    page = visit(asking, token=asking.token(Role.VIEWER)).at("automation")
    waits(page, name)
    expect(page.get_by_role("button", name=f"Approve {name}")).to_be_disabled()
    expect(page.get_by_role("button", name=f"Refuse {name}")).to_be_disabled()
    expect(page.get_by_text("An operator's token may approve it or refuse it.")).to_be_visible()


def test_what_another_operator_decided_first_is_said_and_nothing_is_done_twice(asking: Staged, visit: Visitor) -> None:
    (name,) = names(asking)
    seen = visit(asking)
    page = seen.at("automation")
    waits(page, name)

    def be_second(route: Route) -> None:
        """The other's word arrives while this one is on its way."""
        asking.tell(RecommendationApproved(name=name, by="anna"))
        route.continue_()

    page.route("**/approve", be_second)
    page.get_by_role("button", name=f"Approve {name}").click()
    expect(page.locator(".notice.bad")).to_contain_text(f"{name} is no longer open: anna has approved {name}")
    waits(page)
    expect(page.get_by_role("heading", level=2)).to_be_focused()
    assert len(asking.started()) == 1
    seen.forgive("409 (Conflict)")


def test_what_is_decided_elsewhere_leaves_the_page_at_once(asking: Staged, visit: Visitor) -> None:
    (name,) = names(asking)
    page = visit(asking).at("automation")
    waits(page, name)
    page.get_by_role("button", name=f"Refuse {name}").focus()
    asking.tell(RecommendationRefused(name=name, by="bert"))
    waits(page)
    expect(page.get_by_role("heading", level=2)).to_have_text("Nothing waits for an operator's word")
    expect(page.get_by_role("heading", level=2)).to_be_focused()


def test_one_word_lets_all_guests_leave_a_failing_host(stage: Stager, visit: Visitor) -> None:
    staged = stage(small_cluster())
    staged.cluster.health["xen02"] = HostHealth(state=HealthState.FAILING, reasons=("disk sda is failing",))
    staged.tell(AutomationSet(level=Automation.RECOMMEND))
    staged.tell(PolicySet(name="evacuate", config={}))
    staged.pass_time(3)
    (name,) = names(staged)
    page = visit(staged).at("automation")
    waits(page, f"{name}, for safety")
    page.get_by_role("button", name="Let all guests leave xen02").click()
    expect(told_by(page)).to_have_text(
        "Host xen02 is being emptied; afterwards it stays in maintenance until somebody ends that."
    )
    for _ in range(3):
        staged.pass_time()
        (begun,) = staged.started()
        staged.finish(begun)
    assert [guest.name for guest in staged.cluster.guests.values() if guest.host == "xen02"] == []
    waits(page)


def with_jobs(staged: Staged) -> None:
    """Let there be two jobs, one with a level and hours of its own."""
    staged.tell(JobAdded(name="brams", guests=("job1-4", "job1-5")))
    staged.tell(JobAdded(name="lu", guests=("job1-6", "job1-7")))
    own = JobLimitsChange(automation=Automation.OFF, allowed_hours=("Sat 00:00-00:01",))
    staged.tell(JobLimited(name="brams", change=own))


def level_button(page: Page, of: str, name: str) -> Locator:
    return page.get_by_role("group", name=f"Automation of {of}", exact=True).get_by_role("button", name=name)


def pressed(page: Page, of: str) -> str:
    """Return what is chosen in a group of levels; there is always one."""
    (found,) = page.locator(f'[aria-label="Automation of {of}"] [aria-pressed="true"]').all_inner_texts()
    return found


def test_levels_and_hours_are_shown_and_jobs_with_their_own(asking: Staged, visit: Visitor) -> None:
    with_jobs(asking)
    page = visit(asking).at("automation")
    facts = page.get_by_role("region", name="Levels").locator("dd")
    expect(facts.nth(0)).to_have_text("recommendmoves wait for an operator's word")
    expect(facts.nth(1)).to_have_text("00:00-24:00Europe/Berlin; allowed now")
    expect(facts.nth(2)).to_contain_text("after 10 min")
    now = page.locator(".levels li > small")
    expect(now).to_have_text(["off, in its hours Sat 00:00-00:01: not allowed now", "recommend"])
    assert [pressed(page, of) for of in ("the cluster", "job brams", "job lu")] == ["recommend", "off", "the cluster's"]


def test_an_operator_chooses_levels_of_the_cluster_and_of_a_job(asking: Staged, visit: Visitor) -> None:
    with_jobs(asking)

    def kept() -> tuple[Automation | None, Automation | None]:
        memory = asking.cluster.core.memory
        return memory.automation, memory.jobs["lu"].limits.automation

    page = visit(asking).at("automation")
    told = page.get_by_role("region", name="Levels").get_by_role("status")
    automatic = level_button(page, "job lu", "automatic")
    automatic.click()
    expect(told).to_have_text("Automation of job lu is automatic: moves that pass every gate are made.")
    expect(automatic).to_have_attribute("aria-pressed", "true")
    expect(automatic).to_be_focused()
    level_button(page, "the cluster", "off").click()
    expect(told).to_have_text("Automation of the cluster is off: nothing is moved but by hand.")
    expect(page.locator(".policy")).to_have_text("policy least-loaded, automation off")
    expect(page.locator(".levels li").last).to_contain_text("luoff")
    assert kept() == (Automation.OFF, Automation.AUTOMATIC)
    level_button(page, "job lu", "recommend").click()
    expect(told).to_have_text(
        "Automation of job lu is off: nothing is moved but by hand; "
        "its own, recommend, counts again once the cluster is not off."
    )
    level_button(page, "job lu", "the cluster's").click()
    expect(told).to_have_text("Automation of job lu is off: nothing is moved but by hand.")
    level_button(page, "the cluster", "as configured: automatic").click()
    expect(told).to_have_text("Automation of the cluster is automatic: moves that pass every gate are made.")
    assert kept() == (None, None)
    audit = AuditLog(asking.control.journal)
    asked = [each for each in asking.do(lambda: audit.newest(10)) if each.path == "/v1/automation"]
    assert [(each.name, each.method, each.status) for each in asked] == [("the-operator", "PUT", 200)] * 5


def test_a_level_that_was_chosen_elsewhere_is_on_the_page_at_once(asking: Staged, visit: Visitor) -> None:
    page = visit(asking).at("automation")
    expect(level_button(page, "the cluster", "recommend")).to_have_attribute("aria-pressed", "true")
    level_button(page, "the cluster", "off").focus()
    asking.tell(AutomationSet(level=Automation.OFF))
    expect(level_button(page, "the cluster", "off")).to_have_attribute("aria-pressed", "true")
    expect(level_button(page, "the cluster", "off")).to_be_focused()


def test_a_level_of_a_job_that_is_gone_is_refused_with_what_is_known(asking: Staged, visit: Visitor) -> None:
    with_jobs(asking)
    seen = visit(asking)
    page = seen.at("automation")

    def be_second(route: Route) -> None:
        """The job ends while the word is on its way."""
        asking.tell(JobRemoved(name="lu"))
        route.continue_()

    page.route(
        "**/v1/automation", lambda route: be_second(route) if route.request.method == "PUT" else route.continue_()
    )
    level_button(page, "job lu", "off").click()
    expect(page.locator(".notice.bad")).to_contain_text("no job is called lu")
    expect(page.locator(".levels li")).to_have_count(1)
    seen.forgive("404 (Not Found)")


def test_who_may_only_look_chooses_no_level(asking: Staged, visit: Visitor) -> None:
    with_jobs(asking)
    page = visit(asking, token=asking.token(Role.VIEWER)).at("automation")
    expect(page.get_by_text("An operator's token may choose a level.")).to_be_visible()
    buttons = page.locator(".switch button")
    assert [each.is_disabled() for each in buttons.all()] == [True] * 12


@pytest.mark.parametrize(("size", "scheme"), [(LAPTOP, "light"), (PHONE, "dark")], ids=["laptop-light", "phone-dark"])
def test_axe_finds_nothing_to_complain_of_in_what_waits(
    asking: Staged, visit: Visitor, size: dict[str, int], scheme: str
) -> None:
    if not AXE.exists():
        pytest.skip("axe-core is not there; `make test` brings it")
    with_jobs(asking)
    seen = visit(asking, size, scheme)
    page = seen.at("automation")
    waits(page, *names(asking))
    expect(page.locator(".levels li")).to_have_count(2)
    assert violations(page) == []
    wide = page.evaluate("() => document.documentElement.scrollWidth")
    assert wide <= size["width"], f"the view is {wide} pixels wide"
    box = page.locator("button.pause").bounding_box()
    assert box is not None
    assert (box["height"], box["width"]) >= (36, 90)
    page.get_by_role("region", name="Levels").scroll_into_view_if_needed()
    seen.picture(f"automation-{'phone' if size == PHONE else 'laptop'}-{scheme}")
