"""Parts of days in which guests may be moved."""

from datetime import datetime

import pytest

from migd_policies.allowed_hours import Window, may_move

MONDAY, SATURDAY = "2026-01-05", "2026-01-10"


def is_open(window: str, when: str) -> bool:
    return Window.parse(window).holds(datetime.fromisoformat(when))


@pytest.mark.parametrize(
    ("window", "when", "expected"),
    [
        ("08:00-12:00", f"{MONDAY} 07:59", False),
        ("08:00-12:00", f"{MONDAY} 08:00", True),
        ("08:00-12:00", f"{MONDAY} 12:00", False),
        ("00:00-24:00", f"{MONDAY} 23:59", True),
        ("20:00-06:00", f"{MONDAY} 23:00", True),
        ("20:00-06:00", f"{MONDAY} 05:59", True),
        ("20:00-06:00", f"{MONDAY} 06:00", False),
        ("Mon-Fri 20:00-06:00", f"{MONDAY} 05:00", False),  # Sunday's night is not among them
        ("Mon-Fri 20:00-06:00", f"{SATURDAY} 05:00", True),  # Friday's is
        ("Mon-Fri 20:00-06:00", f"{SATURDAY} 21:00", False),
        ("Sat,Sun 00:00-24:00", f"{SATURDAY} 12:00", True),
        ("Fri-Mon 10:00-11:00", f"{MONDAY} 10:30", True),
        ("Fri-Mon,Wed 10:00-11:00", "2026-01-06 10:30", False),
    ],
)
def test_a_window_is_open_on_its_days_and_ends_on_the_next_where_it_says_so(window: str, when: str, expected: bool):
    assert is_open(window, when) is expected


@pytest.mark.parametrize(
    "text",
    [
        "8-12",
        "08:00-08:00",
        "24:00-06:00",
        "08:00-24:30",
        "08:60-09:00",
        "Mo 08:00-09:00",
        "Xyz 08:00-09:00",
        "Mon-Wed-Fri 08:00-09:00",
    ],
)
def test_what_is_no_window_is_refused_by_its_text(text: str):
    with pytest.raises(ValueError, match=f"'{text}'"):
        Window.parse(text)


def test_without_windows_guests_may_always_be_moved():
    noon = datetime.fromisoformat(f"{MONDAY} 12:00")
    assert may_move((), noon)
    assert may_move((Window.parse("20:00-06:00"), Window.parse("11:00-13:00")), noon)
    assert not may_move((Window.parse("20:00-06:00"),), noon)
