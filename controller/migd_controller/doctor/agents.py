"""Judges the agents: who is let in, who reports, of which release, with which clock, and what each cannot measure."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from migd_controller.core import Core
from migd_controller.doctor.findings import listed, number, ok, problem, warning
from migd_controller.events import Source
from migd_controller.intake import IntakeCounts
from migd_controller.telemetry import HostTelemetry
from migd_core import __version__
from migd_core.api import FindingView
from migd_core.units import format_duration

# Nothing that migd decides rests on the agents' clocks, but people match logs by them.
CLOCK_MAY_DIFFER_S: Final = 1.0
CLOCK_IS_WRONG_S: Final = 60.0
DIRTY_CURVE: Final = "dirty-curve"
FLOWS: Final = "flows"
_LOOK: Final = "`journalctl -u migd-agent -n 50`"


@dataclass(frozen=True, slots=True)
class Reporting:
    """The agents at one moment: `names` are the hosts that have one, by uuid, which all are on the list of agents."""

    core: Core
    authorised: frozenset[str]
    counts: IntakeCounts
    now_s: float
    wall_clock_s: float

    @property
    def known(self) -> dict[str, HostTelemetry]:
        """The hosts whose agents report now, by name."""
        limit_s = self.core.config.telemetry.stale_after_s
        return {
            self.core.inventory.host_name(uuid): host
            for uuid, host in self.core.telemetry.hosts.items()
            if host.source is Source.AGENT and self.now_s - host.arrived_s <= limit_s
        }


def agent_findings(reporting: Reporting) -> list[FindingView]:
    """Return what is to be said of the agents."""
    checks: tuple[Callable[[Reporting], Iterator[FindingView]], ...]
    checks = (_who_reports, _who_was_refused, _releases, _clocks, _arrivals, _dirty_pages, _traffic, _measurements)
    return [finding for check in checks for finding in check(reporting)]


def _who_reports(now: Reporting) -> Iterator[FindingView]:
    inventory, telemetry = now.core.inventory, now.core.telemetry
    listed_here = now.authorised & inventory.hosts.keys()
    silent = [uuid for uuid in listed_here if inventory.host_name(uuid) not in now.known]
    for uuid in sorted(silent, key=inventory.host_name):
        name, age_s = inventory.host_name(uuid), telemetry.age_s(uuid, now.now_s)
        since = "has not reported yet" if age_s is None else f"has not reported for {format_duration(age_s)}"
        yield problem(
            "agents",
            f"host {name}: its agent is on the list but {since}",
            f"on {name}: `systemctl restart migd-agent`, then {_LOOK} says why it does not get through",
        )
    if without := inventory.hosts.keys() - now.authorised:
        names = [inventory.host_name(uuid) for uuid in without]
        yield warning(
            "agents",
            f"{number(len(without), 'host')} without an agent, measured by XAPI alone, more slowly and without dirty "
            f"pages or traffic: {listed(names)}",
            "put an agent on it and let it in with `migctl keys authorise HOST_UUID KEY` (docs/dom0.md); where none "
            "can be, that is how it stays",
        )
    if inventory.is_known and (strangers := now.authorised - inventory.hosts.keys()):
        yield warning(
            "agents",
            f"the list of agents names {number(len(strangers), 'host')} that the pool does not have: "
            f"{listed(strangers)}",
            f"take them off {now.core.config.telemetry.agents_file}, unless the host is to join the pool",
        )
    if now.known and not silent:
        yield ok("agents", f"{number(len(now.known), 'agent')} on the list, and all of them report")


def _who_was_refused(now: Reporting) -> Iterator[FindingView]:
    counts = now.counts
    if not (counts.refused or counts.agents_refused):
        yield ok("telemetry", "nothing was refused since the controller started")
        return
    told = []
    if counts.agents_refused:
        told.append(f"{number(counts.agents_refused, 'connection')} of unknown agents refused")
    if counts.refused:
        told.append(f"{number(counts.refused, 'sample')} refused")
    yield warning(
        "telemetry",
        f"{' and '.join(told)} since the controller started; the last: {counts.last_refusal}",
        "let the key in if it is yours, else find out whose it is: `journalctl -u migd-controller -g refused`",
    )


def _releases(now: Reporting) -> Iterator[FindingView]:
    hosts_of: dict[str, list[str]] = defaultdict(list)
    for name, host in now.known.items():
        hosts_of[host.newest.version].append(name)
    for version, names in sorted(hosts_of.items()):
        if version != __version__:
            yield warning(
                "versions",
                f"{number(len(names), 'agent')} of release {version or 'unknown, an old one'}, the controller is "
                f"{__version__}: {listed(names)}",
                f"install migd-agent {__version__} there, then `systemctl restart migd-agent`",
            )
    if hosts_of.keys() == {__version__}:
        yield ok("versions", f"the controller and {number(len(now.known), 'agent')} are {__version__}")


def _clocks(now: Reporting) -> Iterator[FindingView]:
    if abs(set_by_s := now.wall_clock_s - now.now_s) > CLOCK_MAY_DIFFER_S:
        yield warning(
            "clocks",
            f"the clock of the controller's machine was set by {format_duration(set_by_s)} while the controller ran, "
            "which goes on by its old time",
            "`systemctl restart migd-controller`; `timedatectl` tells whether the clock is kept now",
        )
    told = {name: host for name, host in now.known.items() if host.newest.clock_s}
    off_s = {name: host.newest.clock_s - host.arrived_s - set_by_s for name, host in told.items()}
    for name, ahead_s in sorted(off_s.items()):
        how = "ahead of" if ahead_s > 0 else "behind"
        if abs(ahead_s) > CLOCK_MAY_DIFFER_S:
            yield (problem if abs(ahead_s) > CLOCK_IS_WRONG_S else warning)(
                "clocks",
                f"the clock of host {name} is {format_duration(abs(ahead_s))} {how} "
                "the controller's, so that their logs do not match",
                f"on {name}: `chronyc makestep`, and `timedatectl set-ntp true`",
            )
    if told and max(map(abs, off_s.values())) <= CLOCK_MAY_DIFFER_S:
        most_s = max(map(abs, off_s.values()))
        yield ok("clocks", f"{number(len(told), 'clock')} within {most_s:.3f} s of the controller's")


def _arrivals(now: Reporting) -> Iterator[FindingView]:
    if not now.known:
        return
    limit_s = now.core.config.telemetry.stale_after_s / 2
    late = {name: host.jitter_s for name, host in now.known.items() if host.jitter_s > limit_s}
    for name, jitter_s in sorted(late.items()):
        yield warning(
            "arrivals",
            f"samples of host {name} arrive up to {format_duration(jitter_s)} late (frozen from "
            f"{format_duration(2 * limit_s)} on)",
            f"on {name}: `uptime` and `ping` to the controller tell whether Dom0 or the network is overloaded; more "
            "CPU for Dom0, or a higher telemetry.stale_after_s",
        )
    if not late:
        most_s = max(host.jitter_s for host in now.known.values())
        yield ok("arrivals", f"samples arrive within {most_s:.3f} s of their rhythm")


def _dirty_pages(now: Reporting) -> Iterator[FindingView]:
    failing = _why(now, DIRTY_CURVE)
    for name, why in failing.items():
        yield warning(
            "log-dirty",
            f"host {name}: dirty pages cannot be counted: {why}",
            f"on {name}: the agent must run as root in Dom0 with libxenctrl of the running Xen; then "
            "`systemctl restart migd-agent`",
        )
    deaf = {name for name, host in now.known.items() if host.newest.host_uuid not in now.core.telemetry.listening}
    if deaf := deaf - failing.keys():
        yield warning(
            "log-dirty",
            f"{number(len(deaf), 'agent')} not listening for leases, so no guest there is probed: {listed(deaf)}",
            f"let its port {now.core.config.leases_on.rpartition(':')[2]} through the firewall, and take dirty-curve "
            "out of measure.collectors_off of its agent.toml",
        )
    if now.known and not failing and not deaf:
        yield ok("log-dirty", f"dirty pages can be counted on {number(len(now.known), 'host')}")


def _traffic(now: Reporting) -> Iterator[FindingView]:
    failing = _why(now, FLOWS)
    for name, why in failing.items():
        yield warning(
            "nft",
            f"host {name}: who talks to whom is not measured: {why}",
            f'on {name}: `apt-get install nftables && systemctl restart migd-agent`, or `flows = "off"` in its '
            "agent.toml",
        )
    if now.known and not failing:
        yield ok("nft", f"no switch of {number(len(now.known), 'host')} refuses to tell who talks to whom")


def _measurements(now: Reporting) -> Iterator[FindingView]:
    for name, host in sorted(now.known.items()):
        newest = host.newest
        because = dict(zip(newest.failed_collectors, newest.failed_because, strict=False))
        for what in newest.failed_collectors:
            if what not in (DIRTY_CURVE, FLOWS):
                is_grave = what in ("dom0", "guests")
                yield (problem if is_grave else warning)(
                    "measurements",
                    f"host {name}: {what} cannot be measured: {because.get(what, 'its agent does not say why')}",
                    f"on {name}: {_LOOK} has more",
                )


def _why(now: Reporting, what: str) -> dict[str, str]:
    """Return by host why that cannot be measured there."""
    found = {}
    for name, host in sorted(now.known.items()):
        failed = host.newest.failed_collectors
        if what in failed:
            reasons = dict(zip(failed, host.newest.failed_because, strict=False))
            found[name] = reasons.get(what, "its agent does not say why")
    return found
