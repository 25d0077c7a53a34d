"""`migctl journal export`."""

import contextlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

import click

from migd_cli.app import Group
from migd_cli.failures import Failure

if TYPE_CHECKING:
    from sqlalchemy import URL

CONFIG: Final = Path("/etc/migd/controller.toml")
JSON_LINES: Final = "jsonl"
PARQUET: Final = "parquet"
# What a journal in a file is made of.
_ITS_FILES: Final = ("", "-wal", "-shm")


def _ago(_context: click.Context, _parameter: click.Parameter, value: str | None) -> float:
    """Return the Unix time that was so long ago, 0 for the beginning."""
    from migd_core.units import parse_duration

    try:
        return 0.0 if value is None else time.time() - parse_duration(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@click.group(cls=Group)
def journal() -> None:
    """Take what migd has done out of its journal, for other programs."""


@journal.command()
@click.option("--file", type=click.Path(path_type=Path), help="The journal's file, or a copy of it.")
@click.option("--server", metavar="URL", help="The journal on a PostgreSQL server, like postgresql://user@host/db.")
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    default=CONFIG,
    show_default=True,
    help="The controller's configuration, which says where its journal is.",
)
@click.option("--since", callback=_ago, metavar="TIME", help="Only what is not older, like 7d or 90min.")
@click.option("--kind", "kinds", multiple=True, metavar="KIND", help="Only entries of this kind; may be given again.")
@click.option(
    "--format",
    "form",
    type=click.Choice([JSON_LINES, PARQUET]),
    default=JSON_LINES,
    show_default=True,
    help="JSON, one entry a line, or Parquet.",
)
@click.option("--output", type=click.Path(path_type=Path), help="Where to write to (default: standard output).")
def export(
    file: Path | None,
    server: str | None,
    config: Path,
    since: float,
    kinds: tuple[str, ...],
    form: str,
    output: Path | None,
) -> None:
    """Write the journal's entries, oldest first, each with its kind, time, key and body.

    No controller is asked, so this works while one runs and without one; who may read the journal may do it. Events and
    commands have the kinds of the log, like Tick, SampleArrived or StartMigration. Decision, Migration, MoveSet,
    Recommendation and Audit are what became of decisions, migrations, sets, recommendations and requests in the end.
    What cannot be read is named on standard error and left out; the exit code is then 1.
    """
    if file is not None and server is not None:
        raise click.UsageError("--file and --server are two places: give one of them")
    if form == PARQUET and output is None and sys.stdout.isatty():
        raise click.UsageError("Parquet is nothing for a terminal: give --output, or redirect it")
    from migd_core.errors import MigdError

    problems: list[str] = []

    def tell(problem: str) -> None:
        problems.append(problem)
        click.echo(f"migctl: left out: {problem}", err=True)

    try:
        from migd_controller.journal_export import entries, write_json_lines, write_parquet

        place = _place(file, server, config)
        found = entries(place, tell, since, kinds)
        write = write_json_lines if form == JSON_LINES else write_parquet
        with _opened(output, place) as target:
            count = write(found, target)
    except ImportError as error:
        raise Failure(
            f"migd's controller is not installed here ({error}): run this where it is, or install 'migd[controller]'"
        ) from error
    except MigdError as error:
        raise Failure(str(error)) from error
    except OSError as error:
        where = output if output is not None else "standard output"
        raise Failure(f"{where}: cannot be written: {error.strerror}; --output names another file") from error
    if output is not None:
        click.echo(f"{count} entries written to {output}", err=True)
    if problems:
        raise Failure(f"{len(problems)} entries or tables could not be read; all others were written")


def _place(file: Path | None, server: str | None, config: Path) -> "Path | URL":
    """Return where the journal is. Raises MigdError."""
    from migd_controller.config import ControllerConfig
    from migd_controller.journal_database import place_of
    from migd_controller.journal_database import server as server_of
    from migd_core.config import load

    if file is not None:
        return file
    if server is not None:
        return server_of(server)
    return place_of(load(config, ControllerConfig))


@contextlib.contextmanager
def _opened(output: Path | None, journal: "Path | URL") -> Iterator[IO[bytes]]:
    """Standard output, or a file that is there whole or not at all. Raises Failure for the journal itself."""
    if output is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    if isinstance(journal, Path) and output.resolve() in (Path(f"{journal.resolve()}{end}") for end in _ITS_FILES):
        raise Failure(f"{output}: is the journal itself; --output names another file")
    if output.exists() and not output.is_file() and not output.is_dir():  # a pipe, or a device
        with output.open("wb") as target:
            yield target
        return
    unfinished = output.with_name(f"{output.name}.part")
    try:
        with unfinished.open("wb") as target:
            yield target
        unfinished.replace(output)
    finally:
        unfinished.unlink(missing_ok=True)
