"""What disks say of themselves: `smartctl -j`, first for the list of disks, then for one disk after the other.

A disk that sleeps is let sleep (`-n standby`), one that does not answer is given up after a while, and the others are
asked all the same.
"""

from dataclasses import replace
from typing import Final

import msgspec

from migd_agent.command import Command, is_installed, start_of
from migd_agent.health import Finding, Found, HealthUnreadable, limits, plain

NAME: Final = "smart"
TOOL: Final = "smartctl"
TIMEOUT_S: Final = 30.0
MAX_DISKS: Final = 128
# Of smartctl's exit code (its manual page): the command line was wrong; the disk could not be opened, or sleeps.
_NOT_ASKED: Final = 0b11
# Reallocated, pending and uncorrectable sectors; makers count other things under other numbers.
_SECTORS: Final = frozenset({5, 197, 198})


class _Message(msgspec.Struct):
    string: str
    severity: str = ""


class _Run(msgspec.Struct):
    exit_status: int
    messages: list[_Message] = []


class Disk(msgspec.Struct, frozen=True):
    """A disk as `smartctl --scan` lists it. Behind a RAID controller, many have one `name`."""

    name: str
    info_name: str
    type: str

    @property
    def arguments(self) -> tuple[str, ...]:
        """What names it to smartctl."""
        # The scan calls SATA disks `scsi`, and to say so would keep smartctl from finding out.
        return (self.name,) if self.type == "scsi" else ("-d", self.type, self.name)


class _Scan(msgspec.Struct):
    smartctl: _Run
    devices: list[Disk] = []


class _Status(msgspec.Struct):
    passed: bool


class _Raw(msgspec.Struct):
    value: int


class _Attribute(msgspec.Struct):
    id: int
    name: str
    raw: _Raw
    when_failed: str = ""


class _Attributes(msgspec.Struct):
    table: list[_Attribute] = []


class _NvmeLog(msgspec.Struct):
    critical_warning: int = 0
    media_errors: int = 0
    percentage_used: int = 0


class _Report(msgspec.Struct):
    smartctl: _Run
    smart_status: _Status | None = None
    ata_smart_attributes: _Attributes | None = None
    nvme_smart_health_information_log: _NvmeLog | None = None
    scsi_grown_defect_list: int | None = None


_decode_scan: Final = msgspec.json.Decoder(_Scan).decode
_decode_report: Final = msgspec.json.Decoder(_Report).decode


class Smart:
    """The source of disks' own judgement."""

    name = NAME

    def __init__(self, every_s: float, tool: str = TOOL, timeout_s: float = TIMEOUT_S) -> None:
        self.every_s, self._tool = every_s, tool
        self._smartctl = read(tool, timeout_s)
        self._is_scanning = False
        self._left: list[Disk] = []
        self._found: list[Found] = []

    @property
    def is_reading(self) -> bool:
        return self._smartctl.is_running

    def is_here(self) -> bool:
        return is_installed(self._tool)

    def begin(self) -> None:
        self._is_scanning, self._left, self._found = True, [], []
        self._smartctl.begin("--scan")

    def take(self, at_s: float) -> Found | None:
        if self._is_scanning:
            output = self._smartctl.take()
            if output is None:
                return None
            self._is_scanning, self._left = False, parse_scan(output)
        elif not self._take_disk():
            return None
        if self._left:
            try:
                self._smartctl.begin("-H", "-A", "-n", "standby", *self._left[0].arguments)
            except HealthUnreadable as error:  # it still hangs on the disk before: the others wait for another time
                unread = frozenset(_what(disk) for disk in self._left)
                self._found.append(Found(unread=unread, problem=str(error)))
            else:
                return None
        return _together(self._found)

    def close(self) -> None:
        self._smartctl.close()

    def _take_disk(self) -> bool:
        """Take the answer of the disk that was asked; return whether it is there, or has been given up."""
        disk = self._left[0]
        try:
            output = self._smartctl.take()
            if output is None:
                return False
            self._found.append(parse(output, disk))
        except HealthUnreadable as error:
            self._found.append(Found(unread=frozenset({_what(disk)}), problem=str(error)))
        del self._left[0]
        return True


def read(tool: str = TOOL, timeout_s: float = TIMEOUT_S) -> Command:
    """Return what asks smartctl. It exits with other codes than 0 for many reasons; its answer says which."""
    return Command(tool, "-j", failure=HealthUnreadable, timeout_s=timeout_s, is_failure=lambda code: code < 0)


def parse_scan(output: bytes) -> list[Disk]:
    """Return the disks that `smartctl --scan -j` lists, at most MAX_DISKS. Raises HealthUnreadable."""
    try:
        scan = _decode_scan(output.decode(errors="replace"))
    except (msgspec.DecodeError, RecursionError) as error:
        raise _unreadable("--scan", output, error) from error
    if scan.smartctl.exit_status & _NOT_ASKED:
        raise HealthUnreadable(f"{TOOL} --scan: {_said(scan.smartctl)}")
    return scan.devices[:MAX_DISKS]


def parse(output: bytes, disk: Disk) -> Found:
    """Judge one disk by the output of `smartctl -j -H -A`. Raises HealthUnreadable.

    One that sleeps, and one that has nothing to say of itself, is not judged. What is no UTF-8 in it is a name that
    the disk gives to something.
    """
    what = _what(disk)
    try:
        report = _decode_report(output.decode(errors="replace"))
    except (msgspec.DecodeError, RecursionError) as error:
        raise _unreadable(what, output, error) from error
    if report.smartctl.exit_status & _NOT_ASKED:
        if any(" mode, exit(" in message.string for message in report.smartctl.messages):
            return Found(unread=frozenset({what}))
        raise HealthUnreadable(f"{TOOL} {what}: {_said(report.smartctl)}")
    findings: list[Finding | None] = []
    if report.smart_status is not None:
        findings.append(limits.disk_status(what, report.smart_status.passed))
    for attribute in report.ata_smart_attributes.table if report.ata_smart_attributes is not None else ():
        name = plain(attribute.name)
        findings.append(limits.disk_attribute(what, name, attribute.when_failed))
        if attribute.id in _SECTORS:
            findings.append(limits.disk_sectors(what, name, attribute.raw.value))
    if (log := report.nvme_smart_health_information_log) is not None:
        findings += limits.nvme(what, log.critical_warning, log.media_errors, log.percentage_used)
    if report.scsi_grown_defect_list is not None:
        findings.append(limits.disk_sectors(what, "grown defects", report.scsi_grown_defect_list))
    is_judged = report.smart_status is not None or log is not None or report.ata_smart_attributes is not None
    return Found(int(is_judged), tuple(replace(each, device=what) for each in findings if each is not None))


def _what(disk: Disk) -> str:
    return plain(disk.info_name or disk.name)


def _together(found: list[Found]) -> Found:
    return Found(
        judged=sum(each.judged for each in found),
        findings=tuple(finding for each in found for finding in each.findings),
        unread=frozenset().union(*(each.unread for each in found)),
        problem="; ".join(each.problem for each in found if each.problem)[:1000],
    )


def _said(run: _Run) -> str:
    texts = [message.string for message in run.messages]
    return f"exit code {run.exit_status}: {plain('; '.join(texts)) or 'it does not say why'}"


def _unreadable(what: str, output: bytes, error: Exception) -> HealthUnreadable:
    return HealthUnreadable(f"{TOOL} {what}: expected JSON as smartctl 7 prints it: {error}; found {start_of(output)}")
