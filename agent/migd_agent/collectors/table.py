"""Which collectors there are, in the order in which they read. A new one is one file and one line here."""

from collections.abc import Callable
from typing import Final

import structlog

from migd_agent.collectors import Collector, flows, health, xen
from migd_agent.collectors.dom0 import Dom0
from migd_agent.collectors.xen import XenHost
from migd_agent.config import AutoGuests, HealthSection, MeasureSection, NoGuests, SimGuests, XenGuests
from migd_agent.failures import Failures
from migd_agent.guest_source import GuestSource
from migd_agent.xen import library


def guest_source(measure: MeasureSection, host_uuid: str, failures: Failures, *, may_probe: bool) -> GuestSource | None:
    """Return where guests are measured; None where they are not. Raises XenUnreadable."""
    if "guests" in measure.collectors_off:
        return None
    match measure.guests:
        case NoGuests():
            return None
        case AutoGuests() if not library.is_dom0():
            structlog.get_logger().info("no guests are measured: this is no Dom0 of a Xen host")
            return None
        case AutoGuests() | XenGuests():
            return XenHost(xen.connect(), host_uuid, measure.nics, xen.probes(failures) if may_probe else None)
        case SimGuests(url=url):
            from migd_agent.collectors.sim import EmulatedPool  # HTTP is 3 MB that a real Dom0 need not hold

            return EmulatedPool(host_uuid, url)


def _dom0(measure: MeasureSection, host_uuid: str, source: GuestSource | None) -> Collector | None:
    if source is not None and "dom0" in source.supplies:
        return None
    return Dom0(host_uuid, measure.nics)


def _guests(measure: MeasureSection, host_uuid: str, source: GuestSource | None) -> Collector | None:
    return source


def _flows(measure: MeasureSection, host_uuid: str, source: GuestSource | None) -> Collector | None:
    # An emulated pool has flows of its own, and what another machine's bridges carry is nobody's business.
    if measure.flows == "auto" and not isinstance(source, XenHost):
        return None
    switch = flows.switch_of(measure.flows)
    return flows.Flows(switch) if switch is not None else None


TABLE: Final[dict[str, Callable[[MeasureSection, str, GuestSource | None], Collector | None]]] = {
    "dom0": _dom0,
    "guests": _guests,
    "flows": _flows,
}


def chosen(
    measure: MeasureSection,
    host_uuid: str,
    source: GuestSource | None,
    watched: HealthSection,
    failures: Failures,
) -> tuple[Collector, ...]:
    """Return the collectors that the configuration asks for."""
    made = [collector for make in TABLE.values() if (collector := make(measure, host_uuid, source)) is not None]
    # An emulated host has a health of its own, which comes with its counters.
    sources = [] if isinstance(measure.guests, SimGuests) else health.sources(watched, measure.nics)
    return (*made, health.Health(sources, watched.recover_s, failures)) if sources else tuple(made)
