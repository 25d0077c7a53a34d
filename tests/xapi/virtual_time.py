"""An event loop whose clock goes on only while nothing else is left to do: waits take no time."""

import asyncio
import selectors
from collections.abc import Mapping
from typing import Any


class _Instant(selectors.SelectSelector):
    """Waits for nothing: what it was to wait, the loop's clock goes on by."""

    now_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise AssertionError("everything waits, and nothing will ever happen")
            self.now_s += max(0.0, timeout)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """The loop; `time` is virtual. `faults` are the failures that nobody waited for."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        self._instant = _Instant()
        super().__init__(self._instant)

    def time(self) -> float:
        return self._instant.now_s

    def default_exception_handler(self, context: Mapping[str, Any]) -> None:
        self.faults.append(f"{context['message']}: {context.get('exception')!r}")
