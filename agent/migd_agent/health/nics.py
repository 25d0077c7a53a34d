"""Errors and lost links of this host's NICs, as their drivers count them: /sys/class/net.

Counters in the kernel's own memory, so they are read within a tick.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from migd_agent.health import Finding, Found, limits
from migd_agent.health.growth import Growth

NAME: Final = "nics"
FOLDER: Final = Path("sys/class/net")
HOUR_S: Final = 3600.0
MAX_NICS: Final = 256
_FRAMES: Final = ("statistics/rx_packets", "statistics/tx_packets")
_ERRORS: Final = ("statistics/rx_errors", "statistics/tx_errors")
_LINK: Final = ("carrier", "carrier_down_count")


@dataclass(frozen=True, slots=True)
class Nic:
    """What one NIC has counted. `has_carrier` is None where it is switched off, and so has no link to lose."""

    frames: int
    errors: int
    carrier_losses: int
    has_carrier: bool | None


class Nics:
    """The source of NICs' troubles; `nics` empty means all physical ones."""

    name = NAME
    is_reading = False

    def __init__(self, every_s: float, root: Path, nics: tuple[str, ...] = ()) -> None:
        self.every_s, self._nics, self._root = every_s, nics, root
        self._judge = Judge()

    def is_here(self) -> bool:
        return bool(self._chosen())

    def begin(self) -> None:
        self.is_reading = True

    def take(self, at_s: float) -> Found:
        self.is_reading = False
        return self._judge.judge(parse(read(self._root, self._chosen())), at_s)

    def close(self) -> None:
        """Nothing is held open."""

    def _chosen(self) -> list[str]:
        return [name for name in (self._nics or physical(self._root)) if (self._root / name).is_dir()][:MAX_NICS]


def physical(root: Path) -> list[str]:
    """Return the NICs that lead out of this machine. A guest's interface in Dom0 counts what the guest loses."""
    found = []
    for device in sorted(root.glob("*/device")):
        subsystem = device / "subsystem"
        if not (subsystem.is_symlink() and subsystem.readlink().name == "xen-backend"):
            found.append(device.parent.name)
    return found


def read(root: Path, nics: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return what the files of each NIC say, by file; one that cannot be read is left out."""
    return {
        nic: {file: text for file in (*_FRAMES, *_ERRORS, *_LINK) if (text := _text(root / nic / file)) is not None}
        for nic in nics
    }


def parse(read: Mapping[str, Mapping[str, str]]) -> dict[str, Nic]:
    """Return the NICs whose counters are numbers."""
    nics = {}
    for name, files in read.items():
        frames, errors = ([_count(files.get(file)) for file in files_] for files_ in (_FRAMES, _ERRORS))
        if None in frames or None in errors:
            continue
        nics[name] = Nic(
            frames=sum(count or 0 for count in frames),
            errors=sum(count or 0 for count in errors),
            carrier_losses=_count(files.get("carrier_down_count")) or 0,
            has_carrier={"0": False, "1": True}.get(files.get("carrier", "")),
        )
    return nics


class Judge:
    """Judges NICs by what they counted since they were judged last. Pure."""

    def __init__(self) -> None:
        self._before: Mapping[str, Nic] = {}
        self._before_s = 0.0
        self._had_carrier: set[str] = set()
        self._losses = Growth(HOUR_S)

    def judge(self, nics: Mapping[str, Nic], at_s: float) -> Found:
        """Judge the NICs as of `at_s`. A link that was never there is a socket that nobody uses."""
        findings: list[Finding | None] = []
        for name, nic in nics.items():
            if (before := self._before.get(name)) is not None:
                errors, frames = nic.errors - before.errors, nic.frames - before.frames
                findings.append(limits.nic_errors(name, errors, frames, at_s - self._before_s))
            if nic.has_carrier:
                self._had_carrier.add(name)
            elif nic.has_carrier is None:
                self._had_carrier.discard(name)
            losses = self._losses.within(name, nic.carrier_losses, at_s)
            if name in self._had_carrier:
                findings.append(limits.carrier(name, bool(nic.has_carrier), losses))
        self._losses.keep(nics)
        self._had_carrier &= nics.keys()
        self._before, self._before_s = nics, at_s
        return Found(len(nics), tuple(each for each in findings if each is not None))


def _count(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) <= 20 else None


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return None
