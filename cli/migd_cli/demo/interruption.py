"""Ctrl-C and its like, taken at moments of our own choosing: a signal waits until it is asked for.

So nothing is ever cut in half: no child is started and then forgotten, no folder half removed.
"""

import contextlib
import signal
from collections.abc import Iterator
from typing import Final

ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(Exception):
    """A signal asked for the end; `exit_code` is the shell's for it."""

    def __init__(self, number: int) -> None:
        self.exit_code = 128 + number
        super().__init__(signal.Signals(number).name)


@contextlib.contextmanager
def signals_held() -> Iterator[None]:
    """Hold the signals that end a program back while the block runs; those that came are dropped with its end."""
    held = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        yield
    finally:
        while signal.sigtimedwait(ENDING, 0) is not None:
            pass
        signal.pthread_sigmask(signal.SIG_SETMASK, held)


def pause(seconds: float) -> None:
    """Wait. Raises Interrupted as soon as one of the held signals comes."""
    if (found := signal.sigtimedwait(ENDING, seconds)) is not None:
        raise Interrupted(found.si_signo)
