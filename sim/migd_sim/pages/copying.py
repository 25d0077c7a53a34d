"""One live migration, page by page, in the order of memory and in the toolstack's batches."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from migd_core.precopy import StopRules
from migd_sim.pages.writers import Floats, Indices, PagedGuest

# Legacy Xen looks for pages to skip before each batch (tools/libxc/xc_domain_save.c, MAX_BATCH_SIZE).
BATCH_PAGES: Final = 1024


@dataclass(frozen=True)
class Copied:
    """What a migration took. `is_forced` says that a limit ended the live phase, not few pages left.

    `round_s` and `left_pages` have one value a live round: how long it took, and what was dirty at its end.
    """

    round_s: tuple[float, ...]
    left_pages: tuple[int, ...]
    sent_pages: int
    final_s: float
    is_forced: bool

    @property
    def live_s(self) -> float:
        return sum(self.round_s)


def copy_guest(
    guest: PagedGuest, pages_per_s: float, rules: StopRules, start_s: float, rng: np.random.Generator
) -> Copied:
    """Copy a guest that goes on writing from `start_s` on, until a stop rule is met; then what is left."""
    to_send = np.arange(guest.memory_pages)
    round_s: list[float] = []
    left: list[int] = []
    sent, now_s = 0, start_s
    while True:
        next_s = guest.next_writes_s(now_s, rng)
        count = _sent_of_round(to_send, next_s, now_s, pages_per_s) if rules.skips_redirtied else len(to_send)
        sent += count
        end_s = now_s + count / pages_per_s
        to_send = np.flatnonzero(next_s <= end_s)
        round_s.append(end_s - now_s)
        left.append(len(to_send))
        now_s = end_s
        if len(to_send) <= rules.few_pages:
            break
        cap = rules.volume_cap_memories
        if len(round_s) >= rules.max_rounds or (cap is not None and sent >= cap * guest.memory_pages):
            break
    is_forced = len(to_send) > rules.few_pages
    return Copied(tuple(round_s), tuple(left), sent + len(to_send), len(to_send) / pages_per_s, is_forced)


def _sent_of_round(to_send: Indices, next_s: Floats, start_s: float, pages_per_s: float) -> int:
    """Return how many pages a round sends that leaves out those written again before their batch."""
    turn_s = next_s[to_send]
    sent = at = 0
    while at < len(turn_s):
        now_s = start_s + sent / pages_per_s
        ahead, found = at, 0
        while ahead < len(turn_s) and found < BATCH_PAGES:
            clean = np.flatnonzero(turn_s[ahead : ahead + 4 * BATCH_PAGES] > now_s)
            wanted = BATCH_PAGES - found
            if len(clean) >= wanted:
                ahead, found = ahead + int(clean[wanted - 1]) + 1, BATCH_PAGES
            else:
                ahead, found = ahead + 4 * BATCH_PAGES, found + len(clean)
        at, sent = ahead, sent + found
    return sent
