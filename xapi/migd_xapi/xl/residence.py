"""Which host has each guest, told from what each host said last. Pure: hosts are asked at different times.

A guest that moves has two domains: `NAME--incoming` on the target until the source has let go of it, and for a moment
`NAME--migratedaway` on the source. Neither is the guest. One that was missed on its host may have arrived at another
that was asked earlier, so it is gone only when every host was asked anew and none has it. Of the guests of a host that
does not answer nobody knows: they are where they were until they are seen elsewhere.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from migd_xapi.xl.text import INCOMING, Domain


@dataclass(frozen=True, slots=True)
class View:
    """What a host (its uuid) said, asked between two moments of the monotonic clock; `is_up`: it still answers."""

    host: str
    began_s: float
    ended_s: float
    domains: tuple[Domain, ...]
    is_up: bool = True


@dataclass(frozen=True, slots=True)
class Known:
    """A guest as it was last seen. `host` is None once it is gone, since `missed_s`: then it was first missed."""

    domain: Domain
    host: str | None
    missed_s: float | None = None


def residence(known: Mapping[str, Known], views: Iterable[View]) -> dict[str, Known]:
    """Return all guests that are there or were, by uuid."""
    up = sorted((view for view in views if view.is_up), key=lambda view: view.began_s)
    found = {domain.uuid: Known(domain, view.host) for view in up for domain in view.domains if not domain.is_in_flight}
    in_flight = {domain.uuid for view in up for domain in view.domains if domain.is_in_flight}
    at = {view.host: view for view in up}
    for uuid, guest in known.items():
        if uuid not in found:
            view = at.get(guest.host) if guest.host is not None else None
            found[uuid] = guest if view is None or uuid in in_flight else _missed(guest, view, up)
    return found


def arriving(uuid: str, views: Iterable[View]) -> str | None:
    """Return the host that a guest is arriving at, None where it does not move."""
    return next(
        (
            view.host
            for view in views
            for domain in view.domains
            if view.is_up and domain.uuid == uuid and domain.name.endswith(INCOMING)
        ),
        None,
    )


def _missed(guest: Known, view: View, up: Iterable[View]) -> Known:
    if guest.missed_s is None:
        guest = replace(guest, missed_s=view.ended_s)
    assert guest.missed_s is not None
    is_gone = all(other.began_s > guest.missed_s for other in up)
    return replace(guest, host=None) if is_gone else guest
