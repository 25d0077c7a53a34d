"""Temperatures and fans as the kernel's own drivers read them: /sys/class/hwmon.

A file there may ask a slow chip, or a disk that does not answer, so `grep` reads them all beside the ticks.
"""

import os
import re
from collections import Counter
from pathlib import Path
from typing import Final

from migd_agent.command import Command
from migd_agent.health import Finding, Found, HealthUnreadable, limits, plain

NAME: Final = "hwmon"
FOLDER: Final = Path("sys/class/hwmon")
MAX_FILES: Final = 4096
_FILE: Final = re.compile(r"name|temp\d+_(?:input|label|crit|fault)|fan\d+_(?:input|label|min|fault)")
_PATH: Final = re.compile(r"(.*)/(?:(name)|((?:temp|fan)\d+)_(\w+))")


class Hwmon:
    """The source of this host's own sensors."""

    name = NAME

    def __init__(self, every_s: float, root: Path) -> None:
        self.every_s, self._root = every_s, root
        self._grep = read()

    @property
    def is_reading(self) -> bool:
        return self._grep.is_running

    def is_here(self) -> bool:
        return bool(files(self._root))

    def begin(self) -> None:
        self._grep.begin(*files(self._root))

    def take(self, at_s: float) -> Found | None:
        output = self._grep.take()
        return None if output is None else parse(output)

    def close(self) -> None:
        self._grep.close()


def read() -> Command:
    """Return what prints the lines of files, each after the file's path and a NUL."""
    # Some files always fail (a sensor that is not wired up), and the exit code tells no more than that.
    return Command("grep", "-asHZ", "", failure=HealthUnreadable, is_failure=lambda code: code < 0)


def files(root: Path) -> list[str]:
    """Return the files that tell of temperatures and fans, at most MAX_FILES. To list them asks no sensor."""
    found: list[str] = []
    for chip in sorted(root.glob("hwmon*")):
        try:
            found += sorted(entry.path for entry in os.scandir(chip) if _FILE.fullmatch(entry.name))
        except OSError:  # it has vanished meanwhile
            continue
    return found[:MAX_FILES]


def parse(output: bytes) -> Found:
    """Judge the sensors in what `read` prints. A sensor without a value that can be is left out."""
    chips: dict[str, str] = {}
    sensors: dict[tuple[str, str], dict[str, str]] = {}
    for line in output.decode(errors="replace").splitlines():
        path, _, value = line.partition("\0")
        if (parts := _PATH.fullmatch(path)) is None:
            continue
        folder, is_name, sensor, kind = parts.groups()
        if is_name:
            chips[folder] = value
        else:
            sensors.setdefault((folder, sensor), {})[kind] = value
    names = {
        (folder, sensor): plain(f"{chips.get(folder, '')} {values.get('label', sensor)}")
        for (folder, sensor), values in sensors.items()
    }
    times = Counter(names.values())
    judged = 0
    findings: list[Finding | None] = []
    for (folder, sensor), values in sensors.items():
        what = names[folder, sensor]
        if times[what] > 1:
            what = f"{what} of {folder.rpartition('/')[2]}"
        reading = _number(values.get("input"))
        if reading is None or values.get("fault", "0") != "0":
            continue
        if sensor.startswith("fan"):
            judged += limits.is_plausible_rpm(reading)
            findings.append(limits.fan(what, reading, _number(values.get("min")) or 0.0))
        else:
            critical = _number(values.get("crit"))
            judged += limits.is_plausible_c(reading / 1000)
            findings.append(limits.temperature(what, reading / 1000, None if critical is None else critical / 1000))
    return Found(judged, tuple(each for each in findings if each is not None))


def _number(text: str | None) -> float | None:
    """Return a whole number in thousandths or RPM; None for anything else (Documentation/hwmon/sysfs-interface.rst)."""
    try:
        return float(int(text or ""))
    except (ValueError, OverflowError):
        return None
