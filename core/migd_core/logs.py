"""Sets structlog up: coloured lines for a person at a terminal, fields for systemd's journal, one JSON object a line
for anything else.
"""

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import structlog

from migd_core.journald import SOCKET, JournalLogger, encoded, entry, is_journal


def configure(*, component: str, level: str = "info", stream: TextIO = sys.stderr, journal: Path = SOCKET) -> None:
    """Send every log line of this process to `stream`, each with the name of its component.

    Where systemd has connected `stream` to its journal, lines go to the journal's socket instead, with their fields.
    `level` is one of debug, info, warning, error.
    """
    processors: list[structlog.typing.Processor] = [
        # Not a context variable: what worker threads hand to the event loop runs in a context without them.
        lambda _logger, _method, line: {"component": component, **line},
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    factory: Callable[..., Any] = structlog.PrintLoggerFactory(stream)
    if is_journal(stream):
        sender = JournalLogger(journal)
        factory = lambda *_: sender  # noqa: E731
        processors += [structlog.processors.format_exc_info, lambda _logger, _method, line: encoded(entry(line))]
    elif stream.isatty():
        processors.append(structlog.dev.ConsoleRenderer())
    else:
        processors += [structlog.processors.dict_tracebacks, structlog.processors.JSONRenderer()]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=factory,
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.clear_contextvars()
