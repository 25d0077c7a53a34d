"""A plan's moves as sets, and whose turn it is to be judged: a policy is anybody's, and may propose any number."""

from collections.abc import Sequence
from typing import Final

from migd_core.world import EVACUATION, Move

# Moves that a control cycle judges at most; built-in policies propose fewer. Where 300 guests share a host, one takes
# 13 ms.
JUDGED_AT_MOST: Final = 100
# Of them, those that the plan begins with, in each cycle; the others take turns.
ALWAYS_JUDGED: Final = JUDGED_AT_MOST // 2

Moves = Sequence[Move]


def in_sets(moves: Moves) -> list[Moves]:
    """Return the moves that belong together, each set where its first move stands.

    A guest that one set names twice keeps its first move for it; the second stands alone, and is judged so.
    """
    sets: list[list[Move]] = []
    labelled: dict[str, tuple[list[Move], set[str]]] = {}
    for move in moves:
        together, guests = labelled.get(move.together, (None, set[str]()))
        if together is not None and move.guest not in guests:
            together.append(move)
            guests.add(move.guest)
            continue
        sets.append([move])
        if move.together:
            labelled.setdefault(move.together, (sets[-1], {move.guest}))
    return list(sets)


def in_turn(sets: Sequence[Moves], turn: int) -> list[Moves]:
    """Return the sets to be judged in control cycle number `turn`: all, unless they are more than JUDGED_AT_MOST moves.

    Then they are the first ones, moves for safety before others, and one page of the rest, which has its pages judged
    one a cycle while a policy goes on proposing the same. A set is judged whole, and one of more moves than that never.
    """
    if _size(sets) <= JUDGED_AT_MOST:
        return list(sets)
    rest = [moves for moves in _safety_first(sets) if len(moves) <= JUDGED_AT_MOST]
    first: list[Moves] = []
    while rest and _size(first) + len(rest[0]) <= ALWAYS_JUDGED:
        first.append(rest.pop(0))
    # After the last page the first ones have a turn to themselves: a page of one large set may leave them no room.
    pages = [*_pages(rest, JUDGED_AT_MOST - _size(first)), []]
    page = pages[turn % len(pages)]
    return [*first, *page] if _size(first) + _size(page) <= JUDGED_AT_MOST else page


def _safety_first(sets: Sequence[Moves]) -> list[Moves]:
    return sorted(sets, key=lambda moves: all(move.reason.code != EVACUATION for move in moves))


def _pages(sets: Sequence[Moves], at_most: int) -> list[list[Moves]]:
    """Return the sets in pages of that many moves; a larger set has a page to itself."""
    pages: list[list[Moves]] = []
    for moves in sets:
        if pages and _size(pages[-1]) + len(moves) <= at_most:
            pages[-1].append(moves)
        else:
            pages.append([moves])
    return pages


def _size(sets: Sequence[Moves]) -> int:
    return sum(map(len, sets))
