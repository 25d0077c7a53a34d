"""Judges whether another controller could take over, and from whom."""

from collections.abc import Iterator
from typing import Final

from migd_controller.doctor.findings import listed, ok, problem, warning
from migd_core.api import FindingView, LeaderView
from migd_core.units import format_duration

# Cooldowns and holds are kept as times, so the next leader's are off by as much.
APART_S: Final = 2.0
# Something of a memory changes every control period.
SILENT_LEASES: Final = 2.0
_CHECK: Final = "leader"


def leader_findings(view: LeaderView | None) -> Iterator[FindingView]:
    """Yield what is to be said of who leads; nothing where there is but one controller."""
    if view is None:
        return
    if view.problem:
        yield problem(_CHECK, view.problem, "put right what it names; the lease is in the pool's other_config")
    if view.leads:
        if not view.standbys:
            yield warning(
                _CHECK,
                f"{view.name} leads, and nobody stands by",
                "`systemctl start migd-controller` on another machine with a section [leader]; its log says what it "
                "lacks, and it must reach this machine at the port of probe.listen",
            )
        else:
            yield ok(_CHECK, f"{view.name} leads; {listed(each.name for each in view.standbys)} can take over")
        return
    if view.leader == view.name:
        yield problem(
            _CHECK,
            f"another controller is called {view.name}, too, and leads",
            "give each its own leader.name, and `systemctl restart migd-controller`",
        )
    elif not view.leader:
        yield warning(_CHECK, "nobody leads", f"wait for {format_duration(view.lease_s)}; then the log says why")
    elif view.memory_s is None or view.memory_s > SILENT_LEASES * view.lease_s:
        heard = f"was heard of {format_duration(view.memory_s)} ago" if view.memory_s is not None else "is not heard of"
        yield warning(
            _CHECK,
            f"{view.leader} leads, and its memory {heard}: the progress of jobs and what was learned would be lost",
            f"open the port of probe.listen on {view.leader} to this machine; is leader.address there right?",
        )
    else:
        yield ok(_CHECK, f"{view.leader} leads; {view.name} follows it, and can take over")
    if view.memory_s is not None and abs(view.ahead_s) > APART_S:
        where = "ahead of" if view.ahead_s > 0 else "behind"
        yield warning(
            _CHECK,
            f"this machine's clock is {format_duration(abs(view.ahead_s))} {where} that of {view.leader}: "
            "cooldowns would be off by as much",
            "`timedatectl` on both; let chrony or systemd-timesyncd set them",
        )
