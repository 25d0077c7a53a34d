"""Where guests have to be, with whom and away from whom: what tags and the configuration say, and whether that can be.

Tags of a guest, as XAPI keeps them. With `=` they must hold; with `?=` they should: a move may not make matters worse.

    migd:with=NAME     on one host with all guests of the same tag
    migd:apart=NAME    on no host with another guest of the same tag (XAPI's anti-affinity groups: as with `?=`)
    migd:pin=HOST      on that host, by name or uuid
    migd:hosts=GROUP   on the hosts of a group of the configuration

Rules that cannot all hold are reported by name, and no guest that they concern is moved: migd does not choose between
two wishes of its operator. What is found: a host or group that does not exist, pins without a host in common, guests to
be both together and apart, companions without a host in common or too large together for each, and more guests (or
groups of companions) to be kept apart than hosts that could take them.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from types import MappingProxyType
from typing import Annotated, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from msgspec import Meta

from migd_core.units import format_bytes
from migd_core.world import Guest, World
from migd_policies.allowed_hours import Window, may_move

PREFIX: Final = "migd:"
WITH: Final = "with"
APART: Final = "apart"
PIN: Final = "pin"
HOSTS: Final = "hosts"
KINDS: Final = (WITH, APART, PIN, HOSTS)


class RuleSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Rules that no tag can say; hosts are named by name or uuid.

    `host_groups` are what `migd:hosts=` refers to. No guest is sent to or taken from `ignored_hosts`. `reserve_bytes`
    of memory stay free on a host, whatever arrives. `allowed_hours` are the parts of days (`allowed_hours.py`), in
    `time_zone`, in which guests are moved unless an operator asks; without any, always.
    """

    host_groups: dict[str, list[str]] = {}
    ignored_hosts: list[str] = []
    reserve_bytes: dict[str, Annotated[int, Meta(ge=0)]] = {}
    allowed_hours: list[str] = []
    time_zone: str = "UTC"

    def __post_init__(self) -> None:
        for text in self.allowed_hours:
            Window.parse(text)
        try:
            ZoneInfo(self.time_zone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError(f"time_zone: expected a name like Europe/Berlin, found {self.time_zone!r}") from error

    def may_move(self, now_s: float, hours: Sequence[str] | None = None) -> bool:
        """Whether it is an allowed hour at a Unix time, or one of `hours` in the same time zone."""
        windows = tuple(Window.parse(text) for text in (self.allowed_hours if hours is None else hours))
        return may_move(windows, datetime.fromtimestamp(now_s, ZoneInfo(self.time_zone)))


@dataclass(frozen=True, slots=True, order=True)
class Rule:
    """One tag as it is written, and the guests (uuids) that bear it. `hosts` are those that it allows, if any."""

    tag: str
    kind: str
    must: bool
    guests: frozenset[str]
    hosts: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Contradiction:
    """Rules (as written) that cannot all hold, the guests that therefore stay where they are, and why."""

    rules: tuple[str, ...]
    guests: frozenset[str]
    text: str


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of one world, and what is wrong with them."""

    rules: tuple[Rule, ...]
    contradictions: tuple[Contradiction, ...]
    ignored_hosts: frozenset[str]
    reserve_bytes: Mapping[str, int]
    problems: tuple[str, ...] = ()

    def applied(self, world: World, *, singly: bool = False) -> World:
        """Return the world as policies and guards should see it: what the rules forbid of any one guest, forbidden.

        Pins and host groups bar hosts, contradictions and ignored hosts make guests immovable, reserves are not free.
        For policies that move guests `singly`, companions bar the hosts where the others are not, and guests to be kept
        apart those where the others are.
        """
        stays = {uuid: f"its rules contradict each other: {c.text}" for c in self.contradictions for uuid in c.guests}
        barred: dict[str, dict[str, str]] = {}
        for rule in self.rules:
            if rule.must and rule.hosts is not None:
                for uuid in rule.guests:
                    outside = {host: f"it is tagged {rule.tag}" for host in world.hosts if host not in rule.hosts}
                    barred.setdefault(uuid, {}).update(outside)
        if singly:
            for uuid, host, objection in self._forbidden_now(world):
                barred.setdefault(uuid, {}).setdefault(host, objection)
        hosts = {
            uuid: replace(host, memory_free_bytes=max(0, host.memory_free_bytes - self.reserve_bytes.get(uuid, 0)))
            for uuid, host in world.hosts.items()
        }
        ignored = dict.fromkeys(self.ignored_hosts, "the configuration says to ignore this host")
        guests = {}
        for uuid, guest in world.guests.items():
            why = guest.immovable_because or stays.get(uuid)
            if why is None and guest.host in self.ignored_hosts:
                why = "the configuration says to ignore its host"
            added = {**barred.get(uuid, {}), **ignored}
            if why == guest.immovable_because and not added:
                guests[uuid] = guest
                continue
            merged = MappingProxyType({**added, **guest.barred})
            guests[uuid] = replace(guest, immovable_because=why, barred=merged)
        return replace(world, hosts=MappingProxyType(hosts), guests=MappingProxyType(guests))

    def _forbidden_now(self, world: World) -> Iterator[tuple[str, str, str]]:
        place = places(world)
        for uuid in sorted(frozenset[str]().union(*(rule.guests for rule in self.rules))):
            for host in world.hosts:
                if host != place[uuid] and (why := self.objection(place, uuid, place[uuid], host)) is not None:
                    yield uuid, host, why

    def objection(self, place: Mapping[str, str], guest: str, source: str, target: str) -> str | None:
        """Return why the guest may not go from `source` to `target` if everybody else is at `place` (guest to host).

        `place` is where they are now, or where a whole plan brings them: companions may move if all of them do. What
        should be so, and what is not so yet, is never made worse.
        """
        for rule in self.rules:
            if guest not in rule.guests:
                continue
            others = [place[uuid] for uuid in rule.guests if uuid != guest and uuid in place]
            there, here = others.count(target), others.count(source)
            if rule.kind == APART and there > (0 if rule.must else here):
                return f"{there} of the guests tagged {rule.tag} would be with it"
            if rule.kind == WITH and there < here:
                return f"{here} of the guests tagged {rule.tag} would stay behind, {there} would be with it"
            if rule.hosts is not None and target not in rule.hosts and (rule.must or source in rule.hosts):
                return f"it is tagged {rule.tag}"
        return None


def places(world: World) -> dict[str, str]:
    """Return where every guest will be once the moves under way, migd's and others', are done."""
    place = {uuid: guest.arriving_at or guest.host for uuid, guest in world.guests.items()}
    return place | {move.guest: move.target for move in world.moves_in_flight if move.guest in place}


def are_kept_apart(guest: Guest, other: Guest) -> bool:
    """Whether a group or a tag, by must or by should, speaks against both on one host."""
    return (guest.group is not None and guest.group == other.group) or any(
        (rule := _parse(tag)) is not None and rule[0] == APART for tag in guest.tags & other.tags
    )


def resolve(world: World, settings: RuleSettings) -> Rules:
    """Return the rules that the guests' tags and `settings` make, and those that contradict each other."""
    by_name = {host.name: host.uuid for host in world.hosts.values()} | {uuid: uuid for uuid in world.hosts}
    groups = {
        name: frozenset(by_name[host] for host in hosts if host in by_name)
        for name, hosts in settings.host_groups.items()
    }
    bearers: dict[str, set[str]] = {}
    for guest in world.guests.values():
        for tag in guest.tags:
            if _parse(tag) is not None:
                bearers.setdefault(tag, set()).add(guest.uuid)
    rules, wrong = [], []
    for tag, guests in sorted(bearers.items()):
        kind, must, value = _parse(tag) or ("", True, "")
        hosts = None
        if kind == PIN:
            hosts = frozenset({by_name[value]}) if value in by_name else frozenset()
        elif kind == HOSTS:
            hosts = groups.get(value, frozenset())
        if hosts is not None and not hosts:
            wrong.append(Contradiction((tag,), frozenset(guests), _nothing_named(tag, kind, value, settings)))
        else:
            rules.append(Rule(tag, kind, must, frozenset(guests), hosts))
    found = Rules(
        rules=tuple(rules),
        contradictions=(),
        ignored_hosts=frozenset(by_name[name] for name in settings.ignored_hosts if name in by_name),
        reserve_bytes={by_name[name]: size for name, size in settings.reserve_bytes.items() if name in by_name},
        problems=tuple(
            f"[rules] {key} names {name}, but no host is called so"
            for key, names in (
                *((f"host_groups.{group}", names) for group, names in settings.host_groups.items()),
                ("ignored_hosts", settings.ignored_hosts),
                ("reserve_bytes", settings.reserve_bytes),
            )
            for name in names
            if name not in by_name
        ),
    )
    return replace(found, contradictions=(*wrong, *_contradictions(world, found)))


def _parse(tag: str) -> tuple[str, bool, str] | None:
    """Return kind, whether it must hold, and the value of a rule's tag; None for any other tag."""
    key, separator, value = tag.removeprefix(PREFIX).partition("=")
    must = not key.endswith("?")
    kind = key.removesuffix("?")
    return (kind, must, value) if tag.startswith(PREFIX) and separator and kind in KINDS else None


def _nothing_named(tag: str, kind: str, value: str, settings: RuleSettings) -> str:
    if kind == PIN:
        return f"{tag} names a host that is not in this pool"
    known = ", ".join(sorted(settings.host_groups)) or "none"
    return f"{tag} names a group without hosts of this pool in [rules.host_groups] (there: {known})"


def _contradictions(world: World, found: Rules) -> Iterator[Contradiction]:
    """Yield what cannot be of the rules that must hold."""
    companions = _companions(found.rules)
    everywhere = frozenset(world.hosts) - found.ignored_hosts
    allowed = {unit: _allowed(everywhere, found.rules, unit) for unit in set(companions.values())}
    for unit, (tags, hosts) in sorted(allowed.items(), key=lambda item: sorted(item[0])):
        together = {rule.tag for rule in found.rules if rule.must and rule.kind == WITH and rule.guests & unit}
        names = ", ".join(sorted(world.guests[uuid].name for uuid in unit))
        if not hosts and tags:
            text = f"{' and '.join(sorted(tags | together))} leave no host for {names}"
            yield Contradiction(tuple(sorted(tags | together)), unit, text)
            continue
        if len(unit) == 1:
            continue  # one guest alone has room where it is: the pool would not run it otherwise
        need = sum(world.guests[uuid].memory_bytes for uuid in unit)
        room = max((world.hosts[uuid].memory_bytes - found.reserve_bytes.get(uuid, 0) for uuid in hosts), default=0)
        if need > room:
            text = f"{', '.join(sorted(together))}: {names} need {format_bytes(need)}, no host has more than "
            yield Contradiction(tuple(sorted(tags | together)), unit, text + format_bytes(room))
    for rule in found.rules:
        if rule.kind != APART or not rule.must:
            continue
        units = {companions[uuid] for uuid in rule.guests}
        if len(units) < len(rule.guests):
            both = next(unit for unit in sorted(units, key=sorted) if len(unit & rule.guests) > 1)
            whose = {one.tag for one in found.rules if one.must and one.kind == WITH and one.guests & both}
            names = " and ".join(sorted(world.guests[uuid].name for uuid in both & rule.guests))
            text = f"{names} are to be together ({', '.join(sorted(whose))}) and apart ({rule.tag})"
            yield Contradiction((rule.tag, *sorted(whose)), rule.guests | both, text)
        elif (placed := _matched({unit: allowed[unit][1] for unit in units})) < len(units):
            said = frozenset[str]().union(*(allowed[unit][0] for unit in units))
            text = f"{rule.tag} keeps {len(units)} apart, but there are hosts for {placed} of them only"
            yield Contradiction((rule.tag, *sorted(said)), frozenset[str]().union(*units), text)


def _companions(rules: Iterable[Rule]) -> dict[str, frozenset[str]]:
    """Return for every guest with a rule all those that must be on one host with it, itself included."""
    found = {uuid: frozenset({uuid}) for rule in rules for uuid in rule.guests}
    for rule in rules:
        if rule.must and rule.kind == WITH:
            union = frozenset().union(*(found[uuid] for uuid in rule.guests))
            found.update(dict.fromkeys(union, union))
    return found


def _allowed(
    everywhere: frozenset[str], rules: Iterable[Rule], unit: frozenset[str]
) -> tuple[frozenset[str], frozenset[str]]:
    """Return the tags that say where all of `unit` must be, and the hosts, of `everywhere`, on which these agree."""
    hosts, tags = everywhere, set()
    for rule in rules:
        if rule.must and rule.hosts is not None and rule.guests & unit:
            hosts &= rule.hosts
            tags.add(rule.tag)
    return frozenset(tags), hosts


def _matched(hosts_of: Mapping[frozenset[str], frozenset[str]]) -> int:
    """Return how many units can have a host of their own: a maximum matching by augmenting paths (Kuhn 1955)."""
    taken: dict[str, frozenset[str]] = {}

    def place(unit: frozenset[str], tried: set[str]) -> bool:
        for host in sorted(hosts_of[unit] - tried):
            tried.add(host)
            if host not in taken or place(taken[host], tried):
                taken[host] = unit
                return True
        return False

    return sum(place(unit, set()) for unit in sorted(hosts_of, key=sorted))
