"""The health of this host. Each source is read at its own slow pace; what was found is held in between.

A source that fails, or hangs, is named in the samples as `health:<source>`; what it found before still stands.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from migd_agent.config import HealthSection
from migd_agent.failures import Failures
from migd_agent.health import Found, HealthUnreadable, Source, edac, hwmon, ipmi
from migd_agent.health import nics as net
from migd_agent.health.edac import Edac
from migd_agent.health.held import Held
from migd_agent.health.hwmon import Hwmon
from migd_agent.health.ipmi import Ipmi
from migd_agent.health.nics import Nics
from migd_agent.health.smart import Smart
from migd_core.counters import HostCounters

NAME: Final = "health"
_ROOT: Final = Path("/")


class Health:
    """Adds how the host is to the counters of a tick."""

    supplies = (NAME,)

    def __init__(self, sources: Sequence[Source], recover_s: float, failures: Failures) -> None:
        self._sources, self._failures = sources, failures
        self._held = Held(recover_s)
        self._due_s = {source.name: 0.0 for source in sources}
        self._problems: dict[str, str | Exception] = {}

    def collect(self, so_far: HostCounters | None) -> HostCounters:
        """Return `so_far` with the host's health. Raises HealthUnreadable where there is nothing to add it to."""
        if so_far is None:
            raise HealthUnreadable("the host itself could not be measured")
        for source in self._sources:
            try:
                self._advance(source, so_far.at_s)
            except Exception as error:  # noqa: BLE001 - whatever breaks in one source, the others go on
                self._tell(source, error)
        return replace(so_far, health=self._held.health)

    def close(self) -> None:
        """End what is under way."""
        for source in self._sources:
            source.close()

    def _advance(self, source: Source, now_s: float) -> None:
        """Begin the reading of one source when it is due, or take what it has read."""
        if not source.is_reading:
            if now_s < self._due_s[source.name]:
                return
            self._due_s[source.name] = now_s + source.every_s
            if not source.is_here():
                self._took(source, Found(), now_s)
                return
            source.begin()
        if (found := source.take(now_s)) is not None:
            self._took(source, found, now_s)

    def _took(self, source: Source, found: Found, now_s: float) -> None:
        self._held.take(source.name, found, now_s)
        self._tell(source, found.problem)

    def _tell(self, source: Source, problem: str | Exception) -> None:
        """Report what is wrong with one source; empty: nothing is any more."""
        name = f"{NAME}:{source.name}"
        if not problem and name not in self._problems:
            return
        self._problems.pop(name, None)
        if problem:
            self._problems[name] = problem
        self._failures.report(NAME, self._problems)


def sources(settings: HealthSection, nics: tuple[str, ...] = (), root: Path = _ROOT) -> list[Source]:
    """Return the sources that the configuration does not switch off, of the machine whose files are at `root`."""
    every: list[Source] = [
        Hwmon(settings.every_s, root / hwmon.FOLDER),
        Ipmi(settings.ipmi_every_s, [root / device for device in ipmi.DEVICES]),
        Edac(settings.every_s, root / edac.FOLDER),
        Smart(settings.smart_every_s),
        Nics(settings.every_s, root / net.FOLDER, nics),
    ]
    return [source for source in every if source.name not in settings.off]
