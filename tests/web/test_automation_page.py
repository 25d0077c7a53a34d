"""What waits for an operator's word, on the page: seen, approved and refused, by whoever may, with keys alone too."""

import pytest
from cluster_of_events import pool_guest
from msgspec.structs import replace
from playwright.sync_api import Page, Route, expect
from staged import Staged, StagedCluster
from visits import AXE, LAPTOP, PHONE, Stager, Visitor, small_cluster, violations

from migd_controller.config import AutomationSection
from migd_controller.events import (
    AutomationSet,
    JobAdded,
    JobLimited,
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
    told = page.locator(".told")
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
    expect(page.locator(".told")).to_have_text(f"{name} is refused: {guest} stay where they are.")
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
    expect(page.locator(".told")).to_be_focused()
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
    expect(page.locator(".told")).to_have_text(
        "Host xen02 is being emptied; afterwards it stays in maintenance until somebody ends that."
    )
    for _ in range(3):
        staged.pass_time()
        (begun,) = staged.started()
        staged.finish(begun)
    assert [guest.name for guest in staged.cluster.guests.values() if guest.host == "xen02"] == []
    waits(page)


def test_levels_and_hours_are_shown_and_jobs_of_their_own(asking: Staged, visit: Visitor) -> None:
    asking.tell(JobAdded(name="brams", guests=("job1-4", "job1-5")))
    own = JobLimitsChange(automation=Automation.OFF, allowed_hours=("Sat 00:00-00:01",))
    asking.tell(JobLimited(name="brams", change=own))
    page = visit(asking).at("automation")
    facts = page.locator(".facts").last.locator("dd")
    expect(facts.nth(0)).to_have_text("recommendmoves wait for an operator's word")
    expect(facts.nth(1)).to_have_text("00:00-24:00Europe/Berlin; allowed now")
    expect(facts.nth(2)).to_contain_text("after 10 min")
    rows = page.get_by_role("table", name="Jobs with a level or hours of their own").get_by_role("row")
    expect(rows.nth(1)).to_contain_text("bramsoffSat 00:00-00:01; not allowed now")


@pytest.mark.parametrize(("size", "scheme"), [(LAPTOP, "light"), (PHONE, "dark")], ids=["laptop-light", "phone-dark"])
def test_axe_finds_nothing_to_complain_of_in_what_waits(
    asking: Staged, visit: Visitor, size: dict[str, int], scheme: str
) -> None:
    if not AXE.exists():
        pytest.skip("axe-core is not there; `make test` brings it")
    seen = visit(asking, size, scheme)
    page = seen.at("automation")
    waits(page, *names(asking))
    assert violations(page) == []
    wide = page.evaluate("() => document.documentElement.scrollWidth")
    assert wide <= size["width"], f"the view is {wide} pixels wide"
    box = page.locator("button.pause").bounding_box()
    assert box is not None
    assert (box["height"], box["width"]) >= (36, 90)
    seen.picture(f"automation-{'phone' if size == PHONE else 'laptop'}-{scheme}")
