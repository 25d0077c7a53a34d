"""A scenario's run, recorded to a folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from migd_controller.record.format import RecordError
from migd_controller.record.parts import Parts, part_files
from migd_sim.run import scenario
from migd_sim.run.closed_loop import ClosedLoop


def run(folder: Path, record: Path | None) -> ClosedLoop:
    """Run the scenario in `folder`; a `record` is a folder that holds none yet. Raises ConfigError or RecordError."""
    if record is None:
        return scenario.run(folder)
    with recording(record) as parts:
        return scenario.run(folder, parts)


@contextmanager
def recording(record: Path) -> Iterator[Parts]:
    """Begin a record in a folder that holds none yet. Raises RecordError, also where the disk takes no more of it."""
    try:
        parts = Parts(record)
        if part_files(record):
            raise RecordError(f"{record}: holds a record already; name another folder, or delete that one")
        try:
            yield parts
        finally:
            parts.close()
    except OSError as error:
        raise RecordError(f"{record}: cannot be written: {error.strerror}; check its owner, mode and disk") from error
