"""Whatever set is wanted and whatever fails: at no moment is memory over-committed or a rule broken."""

import random
from collections import Counter

from cluster_of_events import pool_guest, pool_host
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from sets_of_moves import FREE, Wanting

from migd_controller.commands import StartMigration
from migd_controller.events import Paused, Resumed
from migd_core.units import GIB
from migd_policies.rules import RuleSettings

TAGS = (("migd:apart=x",), ("migd:pin?=h0",), ("migd:hosts=group",), ("migd:with=y",))


class Watched(Wanting):
    """A cluster that looks after each command at where guests are; a guest that moves is on both of its hosts."""

    def watch(self) -> None:
        self.at = {uuid: {guest.host} for uuid, guest in self.guests.items()}
        self.before = {uuid: guest.host for uuid, guest in self.guests.items()}
        self.seen = len(self.commands)

    def look(self) -> None:
        rules = self.core.config.rules
        for command in self.commands[self.seen :]:
            if isinstance(command, StartMigration):
                self.started_one(command, rules)
        self.seen = len(self.commands)

    def started_one(self, start: StartMigration, rules: RuleSettings) -> None:
        assert self.at[start.guest] == {start.source}, "a guest starts where it is, and moves once at a time"
        assert not {start.source, start.target} & set(rules.ignored_hosts)
        there = self.on(start.target)
        self.at[start.guest].add(start.target)
        size = {uuid: guest.memory_bytes for uuid, guest in self.guests.items()}
        kept = rules.reserve_bytes.get(start.target, 0)
        taken = size[start.guest] + sum(size[uuid] for uuid in there)
        assert taken + kept <= self.hosts[start.target].memory_for_guests_bytes
        tags = self.guests[start.guest].tags
        assert "migd:hosts=group" not in tags or start.target in rules.host_groups["group"]
        assert "migd:pin?=h0" not in tags or self.before[start.guest] != "h0"
        if "migd:apart=x" in tags:
            assert not [uuid for uuid in there if "migd:apart=x" in self.guests[uuid].tags]

    def on(self, host: str) -> list[str]:
        return [uuid for uuid, hosts in self.at.items() if host in hosts]

    def ends(self, guest: str, *, moves: bool) -> None:
        self.end(guest, moves=moves)
        self.at[guest] = {self.guests[guest].host}
        self.look()


def drawn(some: random.Random) -> tuple[Watched, dict[str, str]]:
    """A small tight cluster, rules, and a placement that is wanted of some of its guests: any, or hosts in exchange."""
    names = [f"h{n}" for n in range(some.randint(3, 5))]
    guests, taken = [], dict.fromkeys(names, 0)
    sizes = some.choice(((2,), (2,), (1, 2, 3)))
    for n in range(some.randint(2, 6)):
        on, size = some.choice(names), some.choice(sizes)
        taken[on] += size
        tags = some.choice(TAGS) if some.random() < 0.2 else ()
        guests.append(pool_guest(f"g{n}", on, memory_bytes=size * GIB, tags=tags))
    hosts = [
        pool_host(name, memory_for_guests_bytes=max(1, taken[name] + some.choice((0, 0, 0, 2, 3))) * GIB)
        for name in names
    ]
    rules = RuleSettings(
        host_groups={"group": some.sample(names, 2)},
        ignored_hosts=some.sample(names, 1) if some.random() < 0.15 else [],
        reserve_bytes={some.choice(names): GIB} if some.random() < 0.3 else {},
    )
    config = replace(FREE, rules=rules, guards=replace(FREE.guards, max_concurrent=some.randint(1, 4)))
    going = some.sample(guests, some.randint(2, len(guests)))
    goals = [guest.host for guest in going]
    exchanged = [*goals[1:], goals[0]] if some.random() < 0.7 else some.choices(names, k=len(going))
    wanted = {guest.uuid: target for guest, target in zip(going, exchanged, strict=True)}
    return Watched(hosts, guests, wanted, config), wanted


def follow(seed: int, seen: Counter[str]) -> None:
    some = random.Random(seed)
    cluster, wanted = drawn(some)
    cluster.watch()
    cluster.run(1)
    cluster.look()
    begun = [step for each in cluster.sets for step in each.steps]
    seen["steps"] += len(begun)
    seen["detours"] += sum(step.is_detour for step in begun)
    seen["waits"] += sum(bool(step.after) for step in begun)
    fails = some.random() < 0.4
    cluster.want({})
    for _ in range(60):
        under_way = sorted(m.guest for m in cluster.core.memory.in_flight.values())
        if not under_way and not cluster.sets:
            break
        if under_way and some.random() < 0.7:
            cluster.ends(some.choice(under_way), moves=not (fails and some.random() < 0.3))
        elif some.random() < 0.1:
            cluster.tell(Paused())
            cluster.run(1)
            cluster.look()
            cluster.tell(Resumed())
        cluster.run(1)
        cluster.look()
    assert cluster.sets == []
    assert cluster.core.memory.in_flight == {}
    if begun and not fails:
        place = {uuid: guest.host for uuid, guest in cluster.guests.items()}
        assert {uuid: place[uuid] for uuid in wanted} == wanted
        seen["done"] += 1


def test_memory_and_rules_hold_at_every_moment_and_all_arrive_where_nothing_fails() -> None:
    seen: Counter[str] = Counter()

    @settings(max_examples=600, deadline=None)
    @given(seed=st.integers(0, 2**32))
    def holds(seed: int) -> None:
        follow(seed, seen)

    holds()
    assert min(seen[what] for what in ("steps", "detours", "waits", "done")) > 5, seen
