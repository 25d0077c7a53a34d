"""What Dom0s say, read from captured text; and where guests are, told from what hosts said at different times."""

from dataclasses import replace
from pathlib import Path

import pytest

from migd_core.units import MIB
from migd_xapi.backend import Why
from migd_xapi.xl.residence import Known, View, arriving, residence
from migd_xapi.xl.text import Domain, Malformed, parse, why_of

DOM0 = Path(__file__).parent / "dom0"
STATES = """\
Name                                        ID   Mem VCPUs\tState\tTime(s)
Domain-0                                     0   384     1     r-----      23.7
d1                                           1    96     1     --p---      16.9
"""
ANSWER = {
    "machine-id": "0123456789abcdef0123456789abcdef\n",
    "cpuinfo": "processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel name\t: QEMU Virtual CPU version 2.5+\n",
    "info": (DOM0 / "xl-info.txt").read_text(),
    "list": (DOM0 / "xl-list-l.json").read_text(),
    "states": STATES,
    "end": "",
}
GUEST = Domain("g", "g", 1, "pv", 1, 96 * MIB)


def answer(**changed: str) -> str:
    return "".join(f"== migd {name}\n{text}" for name, text in {**ANSWER, **changed}.items())


def view(host: str, began_s: float, *domains: Domain, is_up: bool = True) -> View:
    return View(host, began_s, began_s + 0.5, domains, is_up)


def test_an_answer_is_read() -> None:
    facts = parse(answer())
    assert (facts.uuid, facts.cpus, facts.memory_bytes) == ("01234567-89ab-cdef-0123-456789abcdef", 1, 1279 * MIB)
    assert (facts.cpu_vendor, facts.xen_version) == ("AuthenticAMD", "4.17.5")
    assert facts.cpu_features.startswith("078bf3fd-82982203-")
    (guest,) = facts.domains
    assert (guest.name, guest.domid, guest.macs, guest.is_paused) == ("d1", 1, ("00:16:3e:00:00:01",), True)


@pytest.mark.parametrize(
    "changed",
    [
        {"info": "xen_version : 4.17.5\n"},
        {"info": "nr_cpus : many\ncpu_mhz : 1\ntotal_memory : 1\nfree_memory : 1\n"},
        {"list": "libxl: error: no permission\n"},
        {"list": '[{"domid": -1, "config": {"c_info": {"name": "x"}}}]\n'},
        {"list": '[{"domid": 1, "config": {"c_info": {"name": "x", "uuid": "../x; reboot"}}}]\n'},
    ],
)
def test_what_cannot_be_read_says_so(changed: dict[str, str]) -> None:
    with pytest.raises(Malformed, match="xl "):
        parse(answer(**changed))


def test_an_answer_that_was_cut_is_not_believed() -> None:
    with pytest.raises(Malformed, match="lacks end, states"):
        parse(answer().partition("== migd states")[0])


def test_a_copy_that_arrives_is_not_the_guest() -> None:
    incoming = replace(GUEST, name="g--incoming", domid=9)
    views = [view("a", 1, GUEST), view("b", 2, incoming)]
    assert residence({}, views) == {"g": Known(GUEST, "a")}
    assert arriving("g", views) == "b"


def test_a_guest_between_two_looks_is_not_gone() -> None:
    away, incoming = replace(GUEST, name="g--migratedaway"), replace(GUEST, name="g--incoming")
    known = {"g": Known(GUEST, "a")}
    assert residence(known, [view("a", 1, away), view("b", 1, incoming)]) == known


def test_the_host_that_was_asked_last_is_right() -> None:
    assert residence({}, [view("b", 2, GUEST), view("a", 1, GUEST)])["g"].host == "b"


def test_a_guest_is_gone_only_when_every_host_was_asked_anew() -> None:
    known = residence({"g": Known(GUEST, "a")}, [view("a", 2), view("b", 1)])
    assert known == {"g": Known(GUEST, "a", missed_s=2.5)}
    known = residence(known, [view("a", 3), view("b", 1)])
    assert known["g"].host == "a"
    assert residence(known, [view("a", 3), view("b", 3)]) == {"g": Known(GUEST, None, missed_s=2.5)}
    assert residence(known, [view("a", 3), view("b", 3, GUEST)]) == {"g": Known(GUEST, "b")}


def test_of_a_dead_hosts_guests_nobody_knows() -> None:
    known = {"g": Known(GUEST, "a")}
    assert residence(known, [view("a", 1, GUEST, is_up=False), view("b", 9)]) == known
    assert residence(known, [view("a", 1, GUEST, is_up=False), view("b", 9, GUEST)])["g"].host == "b"


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("root@node2: Permission denied (publickey).", Why.TARGET_UNREACHABLE),
        ("ConnectionRefusedError: [Errno 111] Connection refused", Why.TARGET_UNREACHABLE),
        ("xc: error: Cannot allocate memory", Why.NO_MEMORY),
        ("xc: error: Failed to enable logdirty: 95,22,0", Why.OTHER),
    ],
)
def test_causes_are_read_from_what_xl_says(said: str, why: Why) -> None:
    assert why_of(f"Saving to migration stream\n{said}\nMigration failed, resuming at sender.\n") is why
