"""What guests write of their jobs' progress into XenStore: `/local/domain/<domid>/data/migd/progress`.

A file in a guest cannot be read from Dom0; its part of XenStore can, and it may write there. The text is a guest's, so
nothing of it is believed but two bounded numbers.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

import structlog

from migd_core.progress import Progress

# A question costs a round trip to xenstored, which has one thread for all guests (1.6 ms in a Dom0 under
# emulation): 64 guests are asked within 8 s.
ASKED_A_TICK: Final = 8


class GuestProgress:
    """Asks some guests a tick, each in turn; what a guest wrote last holds until it is asked again."""

    def __init__(self, read: Callable[[str], str | None]) -> None:
        """`read` returns the value at a path of XenStore, None where there is none."""
        self._read = read
        self._told: dict[int, Progress | None] = {}  # by domid, the one asked longest ago first
        self._refused: set[int] = set()

    def of(self, domids: Iterable[int]) -> Mapping[int, Progress]:
        """Return what the guests with these domids have written, as far as they were asked and it can be read."""
        here = set(domids)
        self._told = {domid: told for domid, told in self._told.items() if domid in here}
        self._refused &= here
        new = sorted(here - self._told.keys())
        for domid in [*new, *self._told][:ASKED_A_TICK]:
            self._told.pop(domid, None)
            self._told[domid] = self._ask(domid)
        return {domid: told for domid, told in self._told.items() if told is not None}

    def _ask(self, domid: int) -> Progress | None:
        path = f"/local/domain/{domid}/data/migd/progress"
        text = self._read(path)
        if text is None or not text.strip():
            return None
        try:
            told = Progress.parse(text)
        except ValueError as error:
            if domid not in self._refused:  # one line for each guest, whatever it goes on to write
                structlog.get_logger().warning("progress of a guest refused", domid=domid, path=path, why=str(error))
                self._refused.add(domid)
            return None
        return told
