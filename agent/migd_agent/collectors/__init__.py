"""The collectors: each reads one part of the machine and adds it to the counters of the tick.

A collector is one file, split in `read` (touches the machine) and `parse` (does not). `table.py` lists them.
"""

from typing import Protocol

from migd_core.counters import HostCounters


class Collector(Protocol):
    """Reads one part of the machine.

    `supplies` names the parts of a sample that are missing when it fails: `dom0` (the host's own figures), `guests`,
    `flows`.
    """

    @property
    def supplies(self) -> tuple[str, ...]: ...

    def collect(self, so_far: HostCounters | None) -> HostCounters:
        """Return what the collectors before this one read, None if nothing, with this one's part added.

        May raise anything: the collector is then named in the sample, which goes out without its part.
        """

    def close(self) -> None:
        """Let go of whatever is held open, and leave the host as it was."""
