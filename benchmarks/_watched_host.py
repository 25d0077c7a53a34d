"""The files of a server with many sensors, and programs that answer as its disks and its BMC would.

12 chips of 8 temperatures and 2 fans each, 2 memory controllers of 12 modules each, 4 NICs, 8 disks, a BMC of 60
sensors.
"""

import json
from pathlib import Path
from typing import Final

WATCHED: Final = ("edac", "hwmon", "ipmi", "nics", "smart")
CHIPS, TEMPERATURES, FANS = 12, 8, 2
CONTROLLERS, MODULES = 2, 12
NICS, DISKS, BMC_SENSORS, ATTRIBUTES = 4, 8, 60, 22
_STATISTICS: Final = ("rx_packets", "tx_packets", "rx_errors", "tx_errors")


def make(root: Path) -> None:
    """Write the files under `root`, and the programs into its `bin`."""
    for chip in range(CHIPS):
        folder = root / "sys/class/hwmon" / f"hwmon{chip}"
        _write(folder, name=f"chip{chip}")
        for number in range(1, TEMPERATURES + 1):
            sensor = f"temp{number}"
            values = {"input": 45000, "max": 80000, "crit": 100000, "label": f"Core {number}", "crit_alarm": 0}
            _write(folder, **{f"{sensor}_{kind}": value for kind, value in values.items()})
        for number in range(1, FANS + 1):
            _write(folder, **{f"fan{number}_input": 4200, f"fan{number}_min": 600})
    for controller in range(CONTROLLERS):
        folder = root / "sys/devices/system/edac/mc" / f"mc{controller}"
        _write(folder, seconds_since_reset=1000, ce_noinfo_count=0, ue_noinfo_count=0)
        for module in range(MODULES):
            label = f"CPU{controller}_DIMM_{module}"
            _write(folder / f"dimm{module}", dimm_label=label, dimm_ce_count=0, dimm_ue_count=0)
    for nic in range(NICS):
        folder = root / "sys/class/net" / f"eno{nic}"
        (folder / "device").mkdir(parents=True)
        _write(folder, carrier=1, carrier_down_count=1)
        _write(folder / "statistics", **dict.fromkeys(_STATISTICS, 0))
    _write(root / "dev", ipmi0="")
    _program(root / "bin", "ipmitool", "sdr", "".join(_sensor(number) for number in range(BMC_SENSORS)))
    disks = [{"name": f"/dev/sd{letter}", "info_name": f"/dev/sd{letter}", "type": "scsi"} for letter in "abcdefgh"]
    attributes = [
        {"id": number, "name": f"Attribute_{number}", "value": 100, "when_failed": "", "raw": {"value": 0}}
        for number in range(1, ATTRIBUTES)
    ]
    disk = {"smart_status": {"passed": True}, "ata_smart_attributes": {"table": attributes}}
    _program(root / "bin", "smartctl", "--scan", _json(devices=disks[:DISKS]), _json(**disk))


def _sensor(number: int) -> str:
    return f"Sensor {number:<9} | 40 degrees C      | ok\n"


def _json(**values: object) -> str:
    return json.dumps({"smartctl": {"exit_status": 0}, **values}, indent=2)


def _write(folder: Path, **files: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(f"{text}\n")


def _program(folder: Path, name: str, word: str, answer: str, other: str = "") -> None:
    """Write a program that prints `answer` where `word` is on its command line, else `other`."""
    _write(folder, **{f"{name}.answer": answer, f"{name}.other": other})
    cases = f"*{word}*) exec cat {folder}/{name}.answer;; *) exec cat {folder}/{name}.other;;"
    (folder / name).write_text(f'#!/bin/sh\ncase "$*" in {cases} esac\n')
    (folder / name).chmod(0o755)
