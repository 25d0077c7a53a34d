"""A set of moves is shown in its order, with what each step waits for or came to."""

import click
import msgspec
import pytest

from migd_cli.commands.explain import explain_lines
from migd_cli.commands.plan import plan_lines
from migd_cli.screen import Screen
from migd_cli.table import display_width
from migd_core.api import DecisionView, ExplainView, SetView, StepView

NOW_S = 1_780_000_000.0
TERMINAL = Screen(width=80, has_colours=True, now_s=NOW_S)
RANK0 = StepView(
    number=1,
    guest="uuid-0",
    guest_name="rank0",
    source="uuid-a",
    source_name="xen01",
    target="uuid-c",
    target_name="xen03",
    state="running",
    is_detour=True,
    predicted_s=39.0,
    migration="D12.1",
)
IDLE = msgspec.structs.replace(
    RANK0,
    number=2,
    guest_name="idle",
    source_name="xen02",
    target_name="xen01",
    state="waiting",
    after=[1],
    is_detour=False,
    migration="",
    text="waits for rank0 to xen03 (step 1)",
)
SET = SetView(name="D12.s1", at=NOW_S - 30, policy="job-time", is_over=False, steps=[RANK0, IDLE])


def shown(lines: list[str]) -> list[str]:
    return [click.unstyle(line) for line in lines]


def test_a_dry_run_says_in_which_order_a_set_would_be_made() -> None:
    plan = DecisionView(cause="D12", at=NOW_S, policy="job-time", code="job-time", text="two jobs", sets=[SET])
    assert shown(plan_lines(plan, TERMINAL))[-3:] == [
        "Set D12.s1 would be begun",
        "  1. rank0: xen01 → xen03 (spare host), would start now, takes about 39 s",
        "  2. idle: xen02 → xen01, waits for rank0 to xen03 (step 1)",
    ]


def test_a_dry_run_tells_a_set_under_way_from_one_that_it_would_begin() -> None:
    plan = DecisionView(cause="D15", at=NOW_S, policy="job-time", code="no-gain", text="nothing", sets=[SET])
    assert shown(plan_lines(plan, TERMINAL))[-3:] == [
        "Set D12.s1, 30 s ago, under way",
        "  1. rank0: xen01 → xen03 (spare host), under way as D12.1",
        "  2. idle: xen02 → xen01, waits for rank0 to xen03 (step 1)",
    ]


@pytest.mark.parametrize("width", [60, 80])
def test_an_explanation_says_why_the_rest_of_a_set_was_dropped(width: int) -> None:
    text = "rank0 stayed: HOST_NOT_ENOUGH_FREE_MEMORY: host xen03 has filled up"
    failed = msgspec.structs.replace(RANK0, state="failed", text=text)
    dropped = msgspec.structs.replace(IDLE, state="dropped", text="it needs rank0 to xen03 (step 1), which failed")
    over = msgspec.structs.replace(SET, is_over=True, steps=[failed, dropped])
    view = ExplainView(subject="D12", text="two jobs end earlier for it", sets=[over])
    lines = shown(explain_lines(view, Screen(width=width, has_colours=True, now_s=NOW_S)))
    assert [line for line in lines if display_width(line) > width] == []
    assert " ".join(" ".join(lines).split()) == (
        "two jobs end earlier for it Set D12.s1, 30 s ago, over "
        f"1. rank0: xen01 → xen03 (spare host), failed: {text} "
        "2. idle: xen02 → xen01, dropped: it needs rank0 to xen03 (step 1), which failed"
    )
