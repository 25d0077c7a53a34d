"""From which value on a host is degraded, and from which it is failing. Pure; a value that cannot be is not judged.

Degraded: it works, and is more likely to break or is slower than it was. Failing: it breaks, or does already.
"""

import math
from dataclasses import dataclass
from typing import Final

from migd_agent.health import Finding
from migd_core.health import HealthState

OK, DEGRADED, FAILING = HealthState.OK, HealthState.DEGRADED, HealthState.FAILING


@dataclass(frozen=True, slots=True)
class Limit:
    """The least value that counts as degraded, and as failing (inf: none does)."""

    degraded: float
    failing: float = math.inf

    def state(self, value: float) -> HealthState:
        return FAILING if value >= self.failing else DEGRADED if value >= self.degraded else OK


# Over the critical temperature that the sensor itself names: there a processor throttles, and then stops. What sensors
# name as their maximum is no limit; coretemp's is where fans should be at full speed, k10temp's always 70 °C.
OVER_CRITICAL_C: Final = Limit(-5.0, 0.0)
# Sensors that are not wired up read 127, 128, -128 or 255 °C; a processor is off before 125 °C.
PLAUSIBLE_C: Final = (-40.0, 125.0)
PLAUSIBLE_RPM: Final = (0.0, 100_000.0)
# mcelog takes a DIMM for bad at 10 corrected errors a day, and at one that was not corrected (mcelog.conf).
CORRECTED_PER_DAY: Final = Limit(10.0)
UNCORRECTED: Final = Limit(math.inf, 1.0)
# Disks with their first reallocated, pending or uncorrectable sector are 14 to 39 times more likely to fail within 60
# days (Pinheiro, Weber, Barroso: Failure Trends in a Large Disk Drive Population, FAST 2007).
BAD_SECTORS: Final = Limit(1.0)
NVME_MEDIA_ERRORS: Final = Limit(1.0)
NVME_USED_PERCENT: Final = Limit(100.0)
# More is a vendor's own packing of several numbers into one.
PLAUSIBLE_SECTORS: Final = 1e9
# Of all frames. A link in order loses none; over 0.2 ms TCP reaches 2.2 Gbit/s at a loss of 0.1 %, 0.7 at 1 % (Mathis,
# Semke, Mahdavi, Ott 1997: 1.22 MSS / (RTT sqrt(loss))).
NIC_ERROR_RATIO: Final = Limit(0.001, 0.01)
NIC_ERRORS_AT_LEAST: Final = 10
CARRIER_LOSSES_PER_HOUR: Final = Limit(3.0)
# No NIC counts more frames in a second; a counter that says so is broken.
PLAUSIBLE_FRAMES_PER_S: Final = 1e9

# The board's controller judges by limits of its own (ipmitool, lib/ipmi_sdr.c: non-critical, critical, non-recoverable;
# lower or upper). A fan that stands still is one of several; when it is not, temperatures tell.
BMC_TEMPERATURE: Final = {"nc": DEGRADED, "cr": FAILING, "nr": FAILING}
BMC_FAN: Final = {"nc": DEGRADED, "cr": DEGRADED, "nr": FAILING}
BMC_WORDS: Final = {"nc": "non-critical", "cr": "critical", "nr": "non-recoverable"}

# NVM Express base specification, SMART / Health Information, critical warning; by bit.
NVME_WARNINGS: Final = {
    0: (FAILING, "its spare blocks are used up"),
    1: (DEGRADED, "its temperature is out of bounds"),
    2: (FAILING, "its reliability is degraded"),
    3: (FAILING, "it can only be read any more"),
    4: (DEGRADED, "the backup of its volatile memory has failed"),
    5: (FAILING, "its persistent memory can only be read any more"),
}


def temperature(what: str, celsius: float, critical_c: float | None) -> Finding | None:
    """Judge a temperature against the critical one that its sensor names; without one nobody knows what is hot."""
    if not is_plausible_c(celsius) or critical_c is None or not 0 < critical_c < 1000:
        return None
    state = OVER_CRITICAL_C.state(celsius - critical_c)
    return _finding(f"temperature of {what}", state, f"is {celsius:.0f} °C (critical {critical_c:.0f} °C)")


def fan(what: str, rpm: float, min_rpm: float) -> Finding | None:
    """Judge a fan against the least speed that its sensor names; 0 names none."""
    if not is_plausible_rpm(rpm) or not is_plausible_rpm(min_rpm) or rpm >= min_rpm:
        return None
    return _finding(f"fan {what}", DEGRADED, f"turns at {rpm:.0f} RPM (at least {min_rpm:.0f} RPM)")


def bmc_temperature(what: str, celsius: float, status: str) -> Finding | None:
    """Judge a temperature by what the board's controller says of it."""
    if not is_plausible_c(celsius) or status not in BMC_TEMPERATURE:
        return None
    text = f"is {celsius:.0f} °C, which its controller calls {BMC_WORDS[status]}"
    return _finding(f"temperature of {what}", BMC_TEMPERATURE[status], text)


def bmc_fan(what: str, speed: float, unit: str, status: str) -> Finding | None:
    """Judge a fan by what the board's controller says of it."""
    if not is_plausible_rpm(speed) or status not in BMC_FAN:
        return None
    text = f"turns at {speed:.0f} {unit}, which its controller calls {BMC_WORDS[status]}"
    return _finding(f"fan {what}", BMC_FAN[status], text)


def memory(what: str, corrected_per_day: float, uncorrected: int) -> Finding | None:
    """Judge the errors of a memory module: those that ECC mended, and those that it could not."""
    if uncorrected > 0:
        return _finding(f"memory {what}", UNCORRECTED.state(uncorrected), f"had {uncorrected} uncorrected errors")
    state = CORRECTED_PER_DAY.state(corrected_per_day)
    limit = f"limit {CORRECTED_PER_DAY.degraded:.0f}"
    return _finding(f"memory {what}", state, f"had {corrected_per_day:.0f} corrected errors in a day ({limit})")


def disk_status(what: str, has_passed: bool) -> Finding | None:
    """Judge a disk by its own word."""
    return _finding(f"disk {what}", OK if has_passed else FAILING, "says of itself that it is failing")


def disk_attribute(what: str, attribute: str, when_failed: str) -> Finding | None:
    """Judge an attribute by the threshold that the disk's maker gave it: below it now, or once."""
    state = {"now": FAILING, "past": DEGRADED}.get(when_failed, OK)
    return _finding(
        f"disk {what} {attribute}", state, f"{'is' if state is FAILING else 'was once'} below its threshold"
    )


def disk_sectors(what: str, attribute: str, count: int) -> Finding | None:
    """Judge the number of sectors that could not be read or written."""
    state = BAD_SECTORS.state(count) if 0 <= count <= PLAUSIBLE_SECTORS else OK
    return _finding(f"disk {what} {attribute}", state, f"is {count} (limit {BAD_SECTORS.degraded:.0f})")


def nvme(what: str, critical_warning: int, media_errors: int, percentage_used: int) -> list[Finding | None]:
    """Judge what an NVMe disk says of itself."""
    told = [
        _finding(f"disk {what}", state, f"warns that {text}")
        for bit, (state, text) in NVME_WARNINGS.items()
        if critical_warning >> bit & 1
    ]
    used = NVME_USED_PERCENT.state(percentage_used) if percentage_used <= 255 else OK
    errors = NVME_MEDIA_ERRORS.state(media_errors)
    return [
        *told,
        _finding(f"disk {what} media errors", errors, f"are {media_errors} (limit {NVME_MEDIA_ERRORS.degraded:.0f})"),
        _finding(f"disk {what} life", used, f"is used up to {percentage_used} %"),
    ]


def nic_errors(what: str, errors: int, frames: int, elapsed_s: float) -> Finding | None:
    """Judge the frames that a NIC could not receive or send, of all that it tried within `elapsed_s`."""
    total = frames + errors
    is_plausible = errors >= 0 and frames >= 0 and elapsed_s > 0 and total <= PLAUSIBLE_FRAMES_PER_S * elapsed_s
    if not is_plausible or errors < NIC_ERRORS_AT_LEAST:
        return None
    state = NIC_ERROR_RATIO.state(errors / total)
    text = f"had {errors} errors in {total} frames ({errors / total:.2%}, limit {NIC_ERROR_RATIO.degraded:.1%})"
    return _finding(f"NIC {what}", state, text)


def carrier(what: str, has_carrier: bool, losses_per_hour: float) -> Finding | None:
    """Judge the link of a NIC that had one."""
    if not has_carrier:
        return _finding(f"link of NIC {what}", DEGRADED, "is down")
    state = CARRIER_LOSSES_PER_HOUR.state(losses_per_hour)
    limit = f"limit {CARRIER_LOSSES_PER_HOUR.degraded:.0f}"
    return _finding(f"link of NIC {what}", state, f"went down {losses_per_hour:.0f} times in an hour ({limit})")


def is_plausible_c(celsius: float) -> bool:
    return PLAUSIBLE_C[0] <= celsius < PLAUSIBLE_C[1]


def is_plausible_rpm(rpm: float) -> bool:
    return PLAUSIBLE_RPM[0] <= rpm < PLAUSIBLE_RPM[1]


def _finding(what: str, state: HealthState, text: str) -> Finding | None:
    return None if state is OK else Finding(what, state, f"{what} {text}")
