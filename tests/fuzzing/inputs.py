"""Inputs that come close to what a parser reads: seeds that it takes, torn, doubled and filled with what hurts."""

import re
from collections.abc import Sequence
from typing import Final

from hypothesis import strategies as st

# What has broken parsers before: here, or elsewhere.
TOKENS: Final = (
    b"",
    b"\x00",
    b"\xff\xfe",
    b"\xed\xa0\x80",  # half of a surrogate pair
    "²".encode(),  # a digit to str.isdigit, not to int
    "٣".encode(),  # a digit to both
    b"\xe2\x80\xa8",  # a line to str.splitlines
    b"NaN",
    b"-1",
    b"1e400",
    b"-Infinity",
    b"9" * 400,
    b"9" * 5000,
    b"18446744073709551616",
    b"null",
    b"true",
    b"{}",
    b"[]",
    b'""',
    b"[" * 2000,
    b'{"a":' * 2000,
    b"(" * 2000,
    b"not " * 2000,
    b"<value><array><data>" * 2000,
    b"<!DOCTYPE x [<!ENTITY a 'aaaaaaaa'><!ENTITY b '&a;&a;&a;&a;&a;&a;&a;&a;'>]>",
    b"\x91" * 2000,
    b"a." * 2000,
    b"[0-65535]",
    b"\r",
    b"\n",
    b"|",
    b":",
    b" ",
    b"%s%n{0}",
    b"../../etc/passwd",
)
MOST_BYTES: Final = 256 * 1024
_WORD: Final = re.compile(rb'[0-9]+|"[^"]*"|[A-Za-z_]+')


@st.composite
def near(draw: st.DrawFn, seeds: Sequence[bytes]) -> bytes:
    """Draw what one gets from one of `seeds` by a few edits; now and then bytes without any sense."""
    if draw(st.integers(0, 15)) == 0:
        return draw(st.binary(max_size=512))
    text = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(text)))
        to = min(len(text), at + draw(st.sampled_from((0, 1, 2, 4, 16, 64, 1024))))
        match draw(st.integers(0, 8)):
            case 6 | 7 | 8:  # a whole word or number becomes something else
                if words := _WORD.findall(text):
                    word = draw(st.sampled_from(words[:500]))
                    text = text.replace(word, draw(st.sampled_from(TOKENS)), 1)
            case 0:
                text = text[:at] + draw(st.sampled_from(TOKENS)) + text[to:]
            case 1:
                text = text[:at] + draw(st.binary(max_size=8)) + text[to:]
            case 2:
                text = text[:at]
            case 3:
                text = text[:at] + text[at:to] * draw(st.sampled_from((2, 3, 200))) + text[to:]
            case 4:
                text = text[:to] + text[at:]
            case _:
                other = draw(st.sampled_from(seeds))
                text = text[:at] + other[draw(st.integers(0, len(other))) :]
        text = text[:MOST_BYTES]
    return text
