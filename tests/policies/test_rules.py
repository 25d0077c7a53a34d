"""What tags and the configuration ask for, and what cannot be."""

from collections.abc import Mapping
from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from builders import guest, host, world
from migd_core.units import GIB
from migd_core.world import World
from migd_policies.rules import Contradiction, Rule, Rules, RuleSettings, resolve


def resolved(before: World, **sections: object) -> Rules:
    return resolve(before, RuleSettings(**sections))  # type: ignore[arg-type]


def now(of: World) -> Mapping[str, str]:
    return {uuid: one.host for uuid, one in of.guests.items()}


def test_tags_become_rules_and_other_tags_are_nobodys_business():
    before = world(
        host("a"),
        host("b"),
        guest("g0", on="a", tags=["migd:with=x", "migd:pin?=b", "migd:never", "production", "migd:with"]),
        guest("g1", on="a", tags=["migd:with=x", "migd:hosts=fast"]),
    )
    assert resolved(before, host_groups={"fast": ["a", "b"]}).rules == (
        Rule("migd:hosts=fast", "hosts", True, frozenset({"g1"}), frozenset({"a", "b"})),
        Rule("migd:pin?=b", "pin", False, frozenset({"g0"}), frozenset({"b"})),
        Rule("migd:with=x", "with", True, frozenset({"g0", "g1"})),
    )


def test_a_pinned_guest_may_go_nowhere_else():
    before = world(host("a"), host("b"), host("c"), guest("g0", on="a", tags=["migd:pin=b"]))
    after = resolved(before).applied(before)
    assert after.guests["g0"].barred == dict.fromkeys(("a", "c"), "it is tagged migd:pin=b")
    assert after.guests["g0"].immovable_because is None


def test_what_already_bars_a_host_keeps_its_own_reason():
    before = world(host("a"), host("b"), guest("g0", on="a"))
    after = resolved(before, ignored_hosts=["b"]).applied(before)
    assert after.guests["g0"].barred == {"b": "the configuration says to ignore this host"}
    assert resolved(before, ignored_hosts=["b"]).applied(after).guests == after.guests


def test_guests_of_an_ignored_host_stay_there():
    before = world(host("a"), host("b"), guest("g0", on="a"))
    after = resolved(before, ignored_hosts=["a"]).applied(before)
    assert after.guests["g0"].immovable_because == "the configuration says to ignore its host"


def test_a_reserve_is_not_free():
    before = world(host("a", memory_bytes=8 * GIB), host("b", memory_bytes=8 * GIB))
    after = resolved(before, reserve_bytes={"a": 3 * GIB, "b": 9 * GIB}).applied(before)
    assert {uuid: one.memory_free_bytes for uuid, one in after.hosts.items()} == {"a": 5 * GIB, "b": 0}


def test_settings_that_name_nobody_are_problems():
    found = resolved(world(host("a")), host_groups={"fast": ["a", "x"]}, ignored_hosts=["y"])
    assert found.problems == (
        "[rules] host_groups.fast names x, but no host is called so",
        "[rules] ignored_hosts names y, but no host is called so",
    )


def objections(tag: str, place: dict[str, str], source: str, target: str) -> str | None:
    hosts = [host(name) for name in "abc"]
    before = world(*hosts, *(guest(uuid, on=on, tags=[tag]) for uuid, on in place.items()))
    return resolved(before).objection(place, "g0", source, target)


def test_guests_that_must_be_apart_never_meet():
    why = objections("migd:apart=x", {"g0": "a", "g1": "b"}, "a", "b")
    assert why == "1 of the guests tagged migd:apart=x would be with it"
    assert objections("migd:apart=x", {"g0": "a", "g1": "b"}, "a", "c") is None
    assert objections("migd:apart=x", {"g0": "a", "g1": "a", "g2": "b"}, "a", "b") is not None


def test_guests_that_should_be_apart_never_become_less_so():
    assert objections("migd:apart?=x", {"g0": "a", "g1": "b"}, "a", "b") is not None
    assert objections("migd:apart?=x", {"g0": "a", "g1": "a", "g2": "b"}, "a", "b") is None


def test_companions_leave_together_or_not_at_all():
    why = objections("migd:with=x", {"g0": "a", "g1": "a"}, "a", "b")
    assert why == "1 of the guests tagged migd:with=x would stay behind, 0 would be with it"
    assert objections("migd:with=x", {"g0": "a", "g1": "b"}, "a", "b") is None


def test_a_guest_that_should_be_somewhere_may_come_but_not_leave():
    assert objections("migd:pin?=b", {"g0": "b"}, "b", "a") == "it is tagged migd:pin?=b"
    assert objections("migd:pin?=b", {"g0": "a"}, "a", "b") is None
    assert objections("migd:pin?=b", {"g0": "a"}, "a", "c") is None
    assert objections("migd:pin=b", {"g0": "a"}, "a", "c") == "it is tagged migd:pin=b"


def only(before: World, **sections: object) -> Contradiction:
    (found,) = resolved(before, **sections).contradictions
    return found


def test_two_pins_of_one_guest_contradict_each_other():
    before = world(host("a"), host("b"), guest("g0", on="a", tags=["migd:pin=a", "migd:pin=b"]), guest("g1", on="a"))
    text = "migd:pin=a and migd:pin=b leave no host for g0"
    assert only(before) == Contradiction(("migd:pin=a", "migd:pin=b"), frozenset({"g0"}), text)
    after = resolved(before).applied(before)
    assert after.guests["g0"].immovable_because == f"its rules contradict each other: {text}"
    assert after.guests["g1"] == before.guests["g1"]


def test_a_pin_to_nowhere_and_an_unknown_group_are_named():
    before = world(host("a"), guest("g0", on="a", tags=["migd:pin=x"]))
    assert only(before).text == "migd:pin=x names a host that is not in this pool"
    before = world(host("a"), guest("g0", on="a", tags=["migd:hosts=slow"]))
    assert only(before, host_groups={"fast": ["a"]}).text == (
        "migd:hosts=slow names a group without hosts of this pool in [rules.host_groups] (there: fast)"
    )


def test_what_must_be_together_and_apart_is_named():
    tags = ["migd:with=x", "migd:apart=y"]
    before = world(host("a"), host("b"), guest("g0", on="a", tags=tags), guest("g1", on="a", tags=tags))
    text = "g0 and g1 are to be together (migd:with=x) and apart (migd:apart=y)"
    assert only(before) == Contradiction(("migd:apart=y", "migd:with=x"), frozenset({"g0", "g1"}), text)


def test_companions_pinned_to_different_hosts_are_named():
    before = world(
        host("a"),
        host("b"),
        guest("g0", on="a", tags=["migd:with=x", "migd:pin=a"]),
        guest("g1", on="a", tags=["migd:with=x", "migd:with=z"]),
        guest("g2", on="a", tags=["migd:with=z", "migd:pin=b"]),
    )
    assert only(before).rules == ("migd:pin=a", "migd:pin=b", "migd:with=x", "migd:with=z")
    assert only(before).guests == {"g0", "g1", "g2"}


def test_companions_too_large_for_any_host_are_named():
    tags = ["migd:with=x"]
    before = world(
        host("a", memory_bytes=6 * GIB), host("b"), guest("g0", on="b", tags=tags), guest("g1", on="b", tags=tags)
    )
    assert resolved(before).contradictions == ()
    assert only(before, ignored_hosts=["b"]).text == "migd:with=x: g0, g1 need 8 GiB, no host has more than 6 GiB"


def test_more_to_keep_apart_than_hosts_are_named():
    tags = ["migd:apart=x", "migd:hosts=fast"]
    before = world(host("a"), host("b"), host("c"), *(guest(f"g{n}", on="a", tags=tags) for n in range(3)))
    found = only(before, host_groups={"fast": ["a", "b"]})
    assert found.text == "migd:apart=x keeps 3 apart, but there are hosts for 2 of them only"
    assert found.rules == ("migd:apart=x", "migd:hosts=fast")
    assert resolved(before, host_groups={"fast": ["a", "b", "c"]}).contradictions == ()


@st.composite
def tagged(draw: st.DrawFn) -> World:
    names = ["a", "b", "c"][: draw(st.integers(1, 3))]
    some = draw(st.randoms(use_true_random=False))
    tags = [f"migd:pin={name}" for name in names] + ["migd:with=x", "migd:with=y", "migd:apart=z"]
    guests = [
        guest(f"g{n}", on=some.choice(names), tags=some.sample(tags, some.randint(0, 2)))
        for n in range(draw(st.integers(1, 4)))
    ]
    return world(*(host(name) for name in names), *guests)


@settings(max_examples=200, deadline=None)
@given(before=tagged())
def test_rules_are_called_contradictory_exactly_if_no_placement_obeys_them(before: World):
    """Every placement is tried; one rule of keeping apart and memory for all, so that the check is complete."""
    found = resolved(before)
    guests, hosts = list(before.guests), list(before.hosts)

    def obeyed(place: dict[str, str]) -> bool:
        for rule in found.rules:
            where = [place[uuid] for uuid in rule.guests]
            if rule.kind == "apart" and len(set(where)) < len(where):
                return False
            if rule.kind == "with" and len(set(where)) > 1:
                return False
            if rule.hosts is not None and not set(where) <= rule.hosts:
                return False
        return True

    possible = any(obeyed(dict(zip(guests, places, strict=True))) for places in product(hosts, repeat=len(guests)))
    assert possible == (not found.contradictions)
