"""How far a host is emptied, and what keeps the guests that stay. Pure: the core in, a body of the API out."""

from typing import Final

from migd_controller.core import Core
from migd_controller.guards import objection
from migd_controller.maintenance import emptied
from migd_controller.set_promises import as_promised
from migd_controller.views import maintenance_text
from migd_core import api
from migd_core.world import Guest

_ORDER: Final = ("moving", "waiting", "stays")


def evacuation_view(core: Core, uuid: str, now_s: float) -> api.EvacuationView:
    """What is left on a host (uuid), or what emptying it would do. Raises KeyError for one that is not known."""
    world = as_promised(core.world(now_s), core.memory.sets)
    host, known = world.hosts[uuid], core.memory.maintenance
    hosts = {each: "" for each, state in known.items() if state.is_emptied and each in world.hosts} | {uuid: ""}
    found = emptied(world, hosts, core.config.guards)
    is_under_way = uuid in known and known[uuid].is_emptied
    left = [
        _leaving(core, guest, found.targets.get(guest.uuid), found.stays.get(guest.uuid), is_under_way=is_under_way)
        for guest in world.guests_on[uuid]
    ]
    return api.EvacuationView(
        host=uuid,
        host_name=host.name,
        is_under_way=is_under_way,
        maintenance=maintenance_text(core, host),
        guests=sorted(left, key=lambda each: (_ORDER.index(each.state), each.guest_name)),
    )


def _leaving(core: Core, guest: Guest, target: str | None, stays: str | None, *, is_under_way: bool) -> api.LeavingView:
    inventory = core.inventory
    for migration in core.memory.in_flight.values():
        if migration.guest == guest.uuid:
            return api.LeavingView(
                guest=guest.uuid,
                guest_name=guest.name,
                state="moving",
                target=migration.target,
                target_name=migration.target_name,
                migration=migration.cause,
                progress_ratio=migration.progress_ratio,
                predicted_s=migration.predicted_s,
            )
    if target is None:
        text = stays or "nobody moves it now"
        return api.LeavingView(guest=guest.uuid, guest_name=guest.name, state="stays", text=text)
    refused = _refused_because(core, guest.uuid) if is_under_way else ""
    return api.LeavingView(
        guest=guest.uuid,
        guest_name=guest.name,
        state="stays" if refused else "waiting",
        target=target,
        target_name=inventory.host_name(target),
        text=refused or "waits for its turn",
    )


def _refused_because(core: Core, guest: str) -> str:
    """Say what stopped a guest in the last control period, other than that its turn had not come."""
    last = core.last_decision
    for candidate in last.candidates if last is not None else ():
        if candidate.guest == guest and (gate := objection(candidate.gates)) is not None:
            return gate.text
    return ""
