"""Sets structlog up: coloured lines for a person at a terminal, one JSON object a line for anything else."""

import logging
import sys
from typing import TextIO

import structlog


def configure(*, component: str, level: str = "info", stream: TextIO = sys.stderr) -> None:
    """Send every log line of this process to `stream`, each with the name of its component.

    `level` is one of debug, info, warning, error.
    """
    processors: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if stream.isatty():
        processors.append(structlog.dev.ConsoleRenderer())
    else:
        processors += [structlog.processors.dict_tracebacks, structlog.processors.JSONRenderer()]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(stream),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(component=component)
