import pytest
from hypothesis import given
from hypothesis import strategies as st

from migd_core.units import format_bytes, format_duration, format_ratio, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("15min", 900),
        ("15m", 900),
        ("6h", 21600),
        ("1d12h", 129600),
        ("1h 30min", 5400),
        ("42", 42),
        ("250ms", 0.25),
    ],
)
def test_durations_are_read_as_people_write_them(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "6x", "h6", "-5s", "-1", "nan", "inf", "1h later"])
def test_what_is_no_duration_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.38, "0.4 s"),
        (104.2, "104 s"),
        (134, "2 min 14 s"),
        (599.6, "10 min"),
        (720, "12 min"),
        (21900, "6 h 5 min"),
        (7200, "2 h"),
        (200_000, "2 d 8 h"),
        (-30, "−30 s"),
        (float("inf"), "unknown"),
        (float("nan"), "unknown"),
    ],
)
def test_durations_read_as_a_person_says_them(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (512, "512 B"), (1536, "1.5 KiB"), (320 * 2**20, "320 MiB"), (2**44, "16 TiB")]
)
def test_bytes_are_shown_in_binary_units(count: int, text: str) -> None:
    assert format_bytes(count) == text


def test_percent_exists_only_on_screens() -> None:
    assert format_ratio(0.284) == "28 %"


@given(st.floats(min_value=0, max_value=1e7))
def test_a_shown_duration_is_near_the_true_one(seconds: float) -> None:
    shown = parse_duration(format_duration(seconds).replace(" ", ""))
    assert shown == pytest.approx(seconds, rel=0.1, abs=0.06)
