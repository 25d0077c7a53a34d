"""A core that is recorded: it answers as `Core` does, and what it was told and answered goes on record.

A part ends once it is large enough, before a tick; the next begins with the state of that moment. Records are for
people to look into later: whatever keeps one from being written is the sink's business, and never the core's.
"""

from collections.abc import Mapping
from typing import Final, Protocol

import msgspec

from migd_controller.commands import AnyCommand
from migd_controller.core import Core
from migd_controller.events import AnyEvent, Tick
from migd_controller.record.core_state import state_of
from migd_controller.record.format import Frame, Header, encode, failure_text, without_secrets
from migd_core import __version__

NO_COMMANDS: Final = msgspec.Raw(encode([]))


class Sink(Protocol):
    """Where parts go; it bounds and compresses them."""

    @property
    def is_full(self) -> bool:
        """Whether the part at hand is as large as parts get."""

    def begin(self, header: bytes) -> None:
        """End the part at hand, if there is one, and begin the next with this encoded `Header`."""

    def add(self, frame: bytes, *, flush: bool) -> None:
        """Add an encoded `Frame`; with `flush`, what was added until now outlives this process."""


class RecordedCore:
    """Hands events on to a core. From one begun to the next nobody else may."""

    def __init__(self, core: Core, sink: Sink, at: float, wants: Mapping[str, str] | None = None) -> None:
        """Begin a run with the core as it is at Unix time `at`; `wants` as in `Header`."""
        self._core, self._sink = core, sink
        self._wants = None if wants is None else dict(wants)
        self._run, self._part = f"{at:.3f}", 0
        self._begin(at)

    def adopt(self, now_s: float) -> list[AnyCommand]:
        """As `Core.adopt`."""
        commands = self._core.adopt(now_s)
        self._keep(Frame(now_s, None, msgspec.Raw(encode(commands))), flush=True)
        return commands

    def handle(self, event: AnyEvent, now_s: float) -> list[AnyCommand]:
        """As `Core.handle`; what a core fails over is on record, too."""
        is_tick = isinstance(event, Tick)
        if is_tick and self._sink.is_full:
            self._begin(now_s)
        try:
            commands = self._core.handle(event, now_s)
        except Exception as error:
            self._keep(Frame(now_s, event, NO_COMMANDS, failure_text(error)), flush=True)
            raise
        self._keep(Frame(now_s, event, msgspec.Raw(encode(commands))), flush=is_tick)
        return commands

    def _begin(self, at: float) -> None:
        self._part += 1
        header = Header(
            release=__version__,
            run=self._run,
            part=self._part,
            at=at,
            config=without_secrets(self._core.config),
            state=msgspec.Raw(encode(state_of(self._core))),
            wants=self._wants,
        )
        self._sink.begin(encode(header))

    def _keep(self, frame: Frame, *, flush: bool) -> None:
        self._sink.add(encode(frame), flush=flush)
