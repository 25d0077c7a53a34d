"""Temperatures and fans as the board's controller (BMC) tells them, and judges them: `ipmitool sdr`.

A BMC answers slowly, and the kernel may spin while it waits for one: it is asked less often than all else.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from migd_agent.command import Command, is_installed, start_of
from migd_agent.health import Finding, Found, HealthUnreadable, limits, plain

NAME: Final = "ipmi"
TOOL: Final = "ipmitool"
# Where ipmitool looks for the kernel's interface (src/plugins/open/open.c).
DEVICES: Final = (Path("dev/ipmi0"), Path("dev/ipmi/0"), Path("dev/ipmidev/0"))
TIMEOUT_S: Final = 60.0
# Sensors with thresholds; the others are states such as "Presence detected".
_ARGUMENTS: Final = ("sdr", "list", "full")
# What ipmitool 1.8.19 complains of at each start where no file of manufacturers is installed.
_CHATTER: Final = "IANA PEN registry"
_READING: Final = re.compile(r"(-?\d{1,9}(?:\.\d{1,9})?) (degrees [CF]|RPM|percent)")


class Ipmi:
    """The source of what the BMC measures."""

    name = NAME

    def __init__(self, every_s: float, devices: Sequence[Path], tool: str = TOOL) -> None:
        self.every_s, self._tool, self._devices = every_s, tool, devices
        self._sdr = read(tool)

    @property
    def is_reading(self) -> bool:
        return self._sdr.is_running

    def is_here(self) -> bool:
        return is_installed(self._tool) and any(device.exists() for device in self._devices)

    def begin(self) -> None:
        self._sdr.begin()

    def take(self, at_s: float) -> Found | None:
        output = self._sdr.take()
        return None if output is None else parse(output)

    def close(self) -> None:
        self._sdr.close()


def read(tool: str = TOOL) -> Command:
    """Return what asks the BMC for the readings of its sensors."""
    return Command(tool, *_ARGUMENTS, failure=HealthUnreadable, timeout_s=TIMEOUT_S)


def parse(output: bytes) -> Found:
    """Judge the sensors in the text of `ipmitool sdr`. Raises HealthUnreadable where it is none.

    A line has a name, a reading and a status: `CPU1 Temp | 45 degrees C | ok`. What is no temperature and no fan, and
    what has no reading, is left out; the board's controller is believed in its judgement, not in impossible values.
    """
    judged = 0
    lines = [line for line in output.decode(errors="replace").splitlines() if not line.startswith(_CHATTER)]
    rows = [[field.strip() for field in line.split("|")] for line in lines if line.count("|") == 2]
    if lines and not rows:
        raise HealthUnreadable(f"{TOOL} sdr: expected lines of name | reading | status, found {start_of(output)}")
    findings: list[Finding | None] = []
    for name, text, status in rows:
        if (reading := _READING.fullmatch(text)) is None or status == "ns":
            continue
        what, value, unit = plain(name), float(reading[1]), reading[2]
        if unit.startswith("degrees"):
            celsius = value if unit.endswith("C") else (value - 32) / 1.8
            judged += limits.is_plausible_c(celsius)
            findings.append(limits.bmc_temperature(what, celsius, status))
        elif unit == "RPM" or "fan" in what.lower():
            judged += limits.is_plausible_rpm(value)
            findings.append(limits.bmc_fan(what, value, "%" if unit == "percent" else unit, status))
    return Found(judged, tuple(each for each in findings if each is not None))
