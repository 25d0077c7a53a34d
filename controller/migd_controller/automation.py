"""How much migd may do by itself with a guest, and the gate that says so. Pure.

The cluster has a level, and a job may have one of its own, which counts in place of it; but off is off for every guest.
Moves that belong together have the lowest level of them all. What an operator asks for by hand has no such gate.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from migd_controller.config import AutomationSection
from migd_controller.decision import Gate
from migd_controller.jobs import job_of, limits
from migd_controller.maintenance import is_asked_for
from migd_controller.memory import Memory
from migd_controller.recommendations import turned_down, who
from migd_core.automation import Automation
from migd_core.units import format_duration
from migd_core.world import Move

AUTOMATION: Final = "automation"
_LOWEST_FIRST: Final = (Automation.OFF, Automation.RECOMMEND, Automation.AUTOMATIC)


def cluster_level(memory: Memory, section: AutomationSection) -> Automation:
    """Return the cluster's level: the operator's, or else the configured one."""
    return section.level if memory.automation is None else memory.automation


def level(memory: Memory, section: AutomationSection, job: str) -> Automation:
    """Return the level that counts for the guests of a job."""
    everybodys, own = cluster_level(memory, section), limits(memory, job).automation
    return everybodys if own is None or everybodys is Automation.OFF else own


@dataclass(frozen=True, slots=True)
class Stance:
    """The gate that moves which belong together have in common, and whether an operator is to be asked about them."""

    gate: Gate
    asks: bool = False


def stance(
    memory: Memory, section: AutomationSection, moves: Sequence[Move], now_s: float, approved: str = ""
) -> Stance:
    """Return how migd stands towards moves that belong together.

    `approved` says who has let them be made, if somebody has; only off stands against that.
    """
    if all(is_asked_for(memory.maintenance, move) for move in moves):
        return Stance(Gate(name=AUTOMATION, passed=True, text="an operator has its host emptied"))
    levels = {job: level(memory, section, job) for job in (job_of(memory, move.guest) for move in moves)}
    job = min(levels, key=lambda each: _LOWEST_FIRST.index(levels[each]))
    found = levels[job]
    said = f"automation is {found}" + (f" for job {job}" if found is not cluster_level(memory, section) else "")
    if found is Automation.OFF:
        return Stance(Gate(name=AUTOMATION, passed=False, text=f"{said}; `migctl automation set` changes that"))
    if approved or found is Automation.AUTOMATIC:
        return Stance(Gate(name=AUTOMATION, passed=True, text=approved or said))
    if (refused := turned_down(moves, memory.turned_down, now_s, section.refused_for_s)) is not None:
        ago_s = max(0.0, now_s - refused.at)
        text = (
            f"{said}, and {who(refused.by)} refused {refused.name} {format_duration(ago_s)} ago: the guest is not "
            f"recommended again for {format_duration(section.refused_for_s)}"
        )
        threshold_s = section.refused_for_s
        return Stance(Gate(name=AUTOMATION, passed=False, text=text, value=ago_s, threshold=threshold_s, unit="s"))
    text = f"{said}: an operator has to approve it (`migctl recommendations`)"
    return Stance(Gate(name=AUTOMATION, passed=False, text=text), asks=True)
