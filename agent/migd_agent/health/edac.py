"""Memory errors as the kernel counts them: /sys/devices/system/edac/mc.

Counters in the kernel's own memory, so they are read within a tick; they begin at 0 when the driver is loaded or reset.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from migd_agent.health import Finding, Found, limits, plain
from migd_agent.health.growth import Growth

NAME: Final = "edac"
FOLDER: Final = Path("sys/devices/system/edac/mc")
DAY_S: Final = 86400.0
MAX_MODULES: Final = 1024
# No machine lives to count so many.
MAX_COUNT: Final = 10**12


@dataclass(frozen=True, slots=True)
class Files:
    """What the kernel says of one module or, with `of` alone, of errors that it knows no module for; as it says it."""

    of: str
    module: str
    label: str
    corrected: str
    uncorrected: str
    since_s: str


@dataclass(frozen=True, slots=True)
class Errors:
    """The errors of one module since `age_s` seconds ago (None: that is not known)."""

    what: str
    corrected: int
    uncorrected: int
    age_s: float | None


class Edac:
    """The source of memory errors."""

    name = NAME
    is_reading = False

    def __init__(self, every_s: float, root: Path) -> None:
        self.every_s, self._root = every_s, root
        self._grown = Growth(DAY_S)

    def is_here(self) -> bool:
        return any(self._root.glob("mc[0-9]*"))

    def begin(self) -> None:
        self.is_reading = True

    def take(self, at_s: float) -> Found:
        self.is_reading = False
        return judge(parse(read(self._root)), self._grown, at_s)

    def close(self) -> None:
        """Nothing is held open."""


def read(root: Path) -> list[Files]:
    """Return what the kernel says of each module, at most MAX_MODULES."""
    found: list[Files] = []
    for controller in sorted(root.glob("mc[0-9]*")):
        since_s = _text(controller / "seconds_since_reset")
        modules = sorted(each for pattern in ("dimm*", "rank*") for each in controller.glob(pattern))
        if modules:
            unattributed = _text(controller / "ce_noinfo_count"), _text(controller / "ue_noinfo_count")
        else:
            unattributed = _text(controller / "ce_count"), _text(controller / "ue_count")
        found += [
            Files(
                of=controller.name,
                module=module.name,
                label=_text(module / "dimm_label"),
                corrected=_text(module / "dimm_ce_count"),
                uncorrected=_text(module / "dimm_ue_count"),
                since_s=since_s,
            )
            for module in modules
        ]
        found.append(Files(controller.name, "", "", *unattributed, since_s))
    return found[:MAX_MODULES]


def parse(read: list[Files]) -> list[Errors]:
    """Return the errors of each module whose counters are numbers that can be."""
    return list(_parsed(read))


def judge(modules: list[Errors], grown: Growth, at_s: float) -> Found:
    """Judge the errors of modules as of `at_s`; `grown` remembers those of earlier."""
    findings: list[Finding | None] = []
    for module in modules:
        per_day = grown.within(module.what, module.corrected, at_s, module.age_s)
        findings.append(limits.memory(module.what, per_day, module.uncorrected))
    grown.keep(module.what for module in modules)
    return Found(len(modules), tuple(each for each in findings if each is not None))


def _parsed(read: list[Files]) -> Iterator[Errors]:
    for files in read:
        corrected, uncorrected, age_s = (_count(text) for text in (files.corrected, files.uncorrected, files.since_s))
        if corrected is None and uncorrected is None:
            continue
        label = plain(files.label)
        place = f"{files.of} {files.module}" if files.module else f"of {files.of}, module not known,"
        # A label that firmware left as it was, or gave to several modules, names none.
        what = f"{label} ({place})" if label else place
        yield Errors(what, corrected or 0, uncorrected or 0, None if age_s is None else float(age_s))


def _count(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 and int(text) <= MAX_COUNT else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
