"""What a table does when it gets narrow."""

import click
from hypothesis import given
from hypothesis import strategies as st

from migd_cli.screen import Screen
from migd_cli.table import Cell, Column, table
from migd_cli.text import display_width, printable, shorten, wrap

COLUMNS = (
    Column("GUEST", at_least=10),
    Column("HOST", at_least=8),
    Column("MEMORY", is_number=True, leaves=1),
    Column("NOTE", at_least=20, wraps=True),
)


def screen(width: int | None) -> Screen:
    return Screen(width=width, has_colours=False, now_s=0.0)


def plain(columns, rows, width: int | None) -> list[str]:
    """Return the lines without their colours."""
    return [click.unstyle(line) for line in table(columns, rows, screen(width))]


def test_a_table_that_fits_is_not_touched():
    lines = plain(COLUMNS, [("rank0", "xen01", "64 GiB", "ok")], 80)
    assert lines[1] == "rank0  xen01  64 GiB  ok"


def test_the_widest_column_gives_way_first_and_names_keep_both_ends():
    lines = plain(COLUMNS, [("brams-forecast-south-america-rank-17", "xen01", "64 GiB", "ok")], 40)
    assert lines[1].split()[0].startswith("brams")
    assert lines[1].split()[0].endswith("17")
    assert "xen01" in lines[1]


def test_a_column_that_may_leave_does_so_before_names_become_unreadable():
    lines = plain(COLUMNS, [("a" * 40, "b" * 40, "64 GiB", "c " * 30)], 44)
    assert "MEMORY" not in lines[0]
    assert all(len(line) <= 44 for line in lines)


def test_a_last_column_continues_below_itself():
    lines = plain(COLUMNS, [("rank0", "xen01", "64 GiB", "its last sample is too old to go by")], 44)
    assert lines[1:] == ["rank0  xen01  64 GiB  its last sample is too", " " * 22 + "old to go by"]


def test_piped_nothing_is_shortened():
    note = "word " * 60
    lines = plain(COLUMNS, [("g" * 128, "h" * 128, "64 GiB", note)], None)
    assert len(lines) == 2
    assert "g" * 128 in lines[1]
    assert note in lines[1]


def test_a_name_cannot_steer_the_terminal():
    (_, line) = plain(COLUMNS, [("a\x1b[2Jb\nc", "xen01", "1 GiB", "ok")], 80)
    assert "\x1b" not in line
    assert "\n" not in line


def test_wide_characters_keep_columns_aligned():
    lines = plain(COLUMNS, [("气象-1", "xen01", "1 GiB", "ok"), ("rank0", "xen02", "1 GiB", "ok")], 80)
    assert display_width(lines[1]) == display_width(lines[2])


NAMES = st.text(min_size=1, max_size=60)


@given(rows=st.lists(st.tuples(NAMES, NAMES, NAMES, NAMES), max_size=4), width=st.integers(60, 120))
def test_no_line_is_ever_wider_than_the_screen(rows: list[tuple[str, str, str, str]], width: int):
    rows = [(guest, host, f"{len(memory)} GiB", note) for guest, host, memory, note in rows]
    assert all(display_width(line) <= width for line in plain(COLUMNS, rows, width))


@given(text=st.text(max_size=200), width=st.integers(2, 100))
def test_shortened_and_wrapped_text_fits(text: str, width: int):
    assert display_width(shorten(text, width)) <= width
    assert all(display_width(line) <= width for line in wrap(printable(text), width))


def test_wrapping_keeps_every_word():
    text = "a host that is frozen takes no part in any decision until its agent reports again"
    assert " ".join(wrap(text, 21)) == text


def test_a_painted_cell_is_as_wide_as_a_plain_one():
    bare, painted = (table(COLUMNS, [(Cell("rank0", style), "x", "1", "ok")], screen(80))[1] for style in ("", "red"))
    assert "\x1b[31m" in painted
    assert click.unstyle(painted) == bare
