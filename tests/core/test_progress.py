"""How far a job is, as text that anybody may have written."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from migd_core.progress import LIMIT, Progress


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("120/5000", Progress(120, 5000)),
        (" 120 / 5000\n", Progress(120, 5000)),
        ("120", Progress(120)),
        ("0/0", Progress(0, 0)),
        ("12.5/100", Progress(12.5, 100)),
    ],
)
def test_progress_is_read_as_done_of_total(text: str, found: Progress) -> None:
    assert Progress.parse(text) == found


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "/",
            "/5",
            "5/",
            "-1/5",
            "+1/5",
            "1e3/5",
            "nan",
            "inf/inf",
            "0x10/20",
            "1/2/3",
            "50 %",
            "１/２",
            "1\x000",
        ),
        *("1" * 16, "1/" + "9" * 70, " " * 65 + "1"),
    ],
)
def test_text_that_is_no_progress_is_refused_with_what_was_found(text: str) -> None:
    with pytest.raises(ValueError, match="progress: expected DONE/TOTAL such as 120/5000, found"):
        Progress.parse(text)


def test_more_done_than_there_is_is_refused() -> None:
    with pytest.raises(ValueError, match="expected at least the 7 iterations done as the total, found 5"):
        Progress.parse("7/5")


@pytest.mark.parametrize("body", [{"done": -1.0}, {"done": LIMIT}, {"done": 2.0, "total": 1.0}, {"done": "1"}])
def test_impossible_progress_is_refused_while_a_message_is_decoded(body: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(msgspec.json.encode(body), type=Progress)


@pytest.mark.parametrize("done", [float("nan"), float("inf"), -0.5])
def test_what_is_no_number_of_iterations_is_refused(done: float) -> None:
    with pytest.raises(ValueError, match="expected iterations done, 0 or more"):
        Progress(done)


@given(st.text(max_size=80))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Whatever is read is possible, and says the same when it is written again."""
    try:
        found = Progress.parse(text)
    except ValueError:
        return
    assert 0 <= found.done <= (LIMIT if found.total is None else found.total)
    assert Progress.parse(str(found)) == found
