"""What an examination finds, and that it names the mend."""

from cluster_of_events import Cluster, pool_guest, pool_host
from msgspec.structs import replace

from migd_controller.doctor.agents import Reporting, agent_findings
from migd_controller.doctor.guests import guest_findings
from migd_controller.doctor.leader import leader_findings
from migd_controller.doctor.pool import NEEDED, PoolFacts, PoolUser, pool_findings
from migd_controller.events import PoolReachability, Resource, SampleArrived
from migd_controller.intake import IntakeCounts
from migd_core import __version__
from migd_core.api import FindingView, LeaderView, StandbyView, Verdict

SAN, LOCAL = Resource("san", "SAN"), Resource("local", "Local storage")


def cluster(**of_a: object) -> Cluster:
    """Two hosts whose agents have reported for a minute, all as it should be but for `of_a`, in each sample of `a`."""
    made = Cluster([pool_host("a", storages=("san",)), pool_host("b", storages=("san",))], [pool_guest("g", on="a")])
    for _ in range(60):
        made.now_s += 1.0
        made.sequence += 1
        for host in ("a", "b"):
            sample = replace(made.sample(host, {}), version=__version__, clock_s=made.now_s)
            made.tell(SampleArrived(sample=replace(sample, **of_a) if host == "a" else sample))
    made.core.telemetry.listening |= {"a", "b"}
    return made


def of_agents(
    made: Cluster,
    authorised: frozenset[str] = frozenset({"a", "b"}),
    counts: IntakeCounts | None = None,
    set_by_s: float = 0.0,
) -> list[FindingView]:
    now = Reporting(made.core, authorised, counts or IntakeCounts(), made.now_s, made.now_s + set_by_s)
    return agent_findings(now)


def wrong(findings: list[FindingView]) -> list[tuple[str, str]]:
    """What is not ok: check and text. Each must name its mend, and what is ok none."""
    for finding in findings:
        assert bool(finding.mend) == (finding.verdict is not Verdict.OK), finding
    return [(each.check, each.text) for each in findings if each.verdict is not Verdict.OK]


def test_a_cluster_as_it_should_be_has_nothing_to_mend() -> None:
    found = of_agents(cluster())
    assert wrong(found) == []
    assert [(each.check, each.text) for each in found] == [
        ("agents", "2 agents on the list, and all of them report"),
        ("telemetry", "nothing was refused since the controller started"),
        ("versions", f"the controller and 2 agents are {__version__}"),
        ("clocks", "2 clocks within 0.000 s of the controller's"),
        ("arrivals", "samples arrive within 0.000 s of their rhythm"),
        ("log-dirty", "dirty pages can be counted on 2 hosts"),
        ("nft", "no switch of 2 hosts refuses to tell who talks to whom"),
    ]


def test_an_agent_that_is_silent_is_a_problem_and_one_that_never_spoke_too() -> None:
    made = cluster()
    made.now_s += 30.0
    made.tell(
        SampleArrived(sample=replace(made.sample("b", {}), sequence=10_000, version=__version__, clock_s=made.now_s))
    )
    (silent,) = [each for each in of_agents(made) if each.verdict is Verdict.PROBLEM]
    assert silent.text == "host a: its agent is on the list but has not reported for 30 s"
    assert silent.mend.startswith("on a: `systemctl restart migd-agent`")
    fresh = Cluster([pool_host("a"), pool_host("b")], [])
    assert [text for _, text in wrong(of_agents(fresh))] == [
        "host a: its agent is on the list but has not reported yet",
        "host b: its agent is on the list but has not reported yet",
    ]


def test_hosts_without_an_agent_and_agents_without_a_host_are_told() -> None:
    assert wrong(of_agents(cluster(), frozenset({"a", "gone"}))) == [
        (
            "agents",
            "1 host without an agent, measured by XAPI alone, more slowly and without dirty pages or traffic: b",
        ),
        ("agents", "the list of agents names 1 host that the pool does not have: gone"),
    ]


def test_what_was_refused_is_told_with_the_last_reason() -> None:
    counts = IntakeCounts(refused=2, agents_refused=1, last_refusal="an agent with the unknown key abc was refused")
    assert wrong(of_agents(cluster(), counts=counts)) == [
        (
            "telemetry",
            "1 connection of unknown agents refused and 2 samples refused since the controller started; the last: "
            "an agent with the unknown key abc was refused",
        )
    ]


def test_agents_of_another_release_are_told() -> None:
    assert wrong(of_agents(cluster(version="0.0.9"))) == [
        ("versions", f"1 agent of release 0.0.9, the controller is {__version__}: a")
    ]
    assert wrong(of_agents(cluster(version=""))) == [
        ("versions", f"1 agent of release unknown, an old one, the controller is {__version__}: a")
    ]


def test_a_clock_that_differs_is_a_warning_and_one_far_off_a_problem() -> None:
    for clock_s, verdict, text in (
        (1_000_060.0 - 4.0, Verdict.WARNING, "the clock of host a is 4.0 s behind the controller's"),
        (1_000_060.0 + 7200.0, Verdict.PROBLEM, "the clock of host a is 2 h ahead of the controller's"),
    ):
        (off,) = [each for each in of_agents(cluster(clock_s=clock_s)) if each.verdict is not Verdict.OK]
        assert (off.check, off.verdict, off.text.partition(",")[0]) == ("clocks", verdict, text)


def test_a_clock_of_the_controller_that_was_set_is_told_and_agents_are_held_against_the_new_time() -> None:
    assert [check for check, _ in wrong(of_agents(cluster(), set_by_s=100.0))] == ["clocks"] * 3
    ahead = cluster()
    for host in ahead.core.telemetry.hosts.values():
        host.newest = replace(host.newest, clock_s=host.newest.clock_s + 100.0)
    (only,) = wrong(of_agents(ahead, set_by_s=100.0))
    assert only[1].startswith("the clock of the controller's machine was set by 100 s")


def test_samples_that_arrive_late_now_and_then_are_told() -> None:
    late = cluster()
    late.now_s += 4.0
    for host in ("a", "b"):
        sample = replace(late.sample(host, {}), sequence=1000, version=__version__, clock_s=late.now_s)
        late.tell(SampleArrived(sample=replace(sample, monotonic_s=late.now_s - (3.0 if host == "a" else 0.0))))
    assert wrong(of_agents(late)) == [("arrivals", "samples of host a arrive up to 3.0 s late (frozen from 5.0 s on)")]


def test_what_an_agent_cannot_measure_is_told_with_its_reason() -> None:
    failing = cluster(
        failed_collectors=("dirty-curve", "flows", "guests", "health:smart"),
        failed_because=("no guest is probed: no libxenctrl", "nft cannot be run", "xenstat is silent", "no smartctl"),
    )
    assert wrong(of_agents(failing)) == [
        ("log-dirty", "host a: dirty pages cannot be counted: no guest is probed: no libxenctrl"),
        ("nft", "host a: who talks to whom is not measured: nft cannot be run"),
        ("measurements", "host a: guests cannot be measured: xenstat is silent"),
        ("measurements", "host a: health:smart cannot be measured: no smartctl"),
    ]
    old = cluster(failed_collectors=("flows",))
    assert wrong(of_agents(old)) == [("nft", "host a: who talks to whom is not measured: its agent does not say why")]


def test_an_agent_that_hears_of_no_leases_is_told() -> None:
    deaf = cluster()
    deaf.core.telemetry.listening.discard("a")
    assert wrong(of_agents(deaf)) == [("log-dirty", "1 agent not listening for leases, so no guest there is probed: a")]


USER = PoolUser("migd", is_local_superuser=False, permissions=frozenset(NEEDED))


def test_the_pools_user_is_held_against_what_migd_calls() -> None:
    core, now_s = cluster().core, 0.0

    def user(permissions: frozenset[str] = frozenset(), is_local_superuser: bool = False) -> list[tuple[str, str]]:
        return wrong(pool_findings(core, PoolFacts(user=PoolUser("migd", is_local_superuser, permissions)), now_s))

    assert user(permissions=frozenset(NEEDED)) == []
    assert user(permissions=frozenset(NEEDED[1:])) == [("pool user", "migd may not call vm.pool_migrate")]
    assert user(permissions=frozenset((*NEEDED, "subject.add_to_roles"))) == [
        ("pool user", "migd may administer the pool; migd needs role vm-power-admin")
    ]
    assert user(is_local_superuser=True) == [
        ("pool user", "migd is a local superuser of the pool and may do everything; migd needs role vm-power-admin")
    ]
    assert user() == [("pool user", "the pool does not tell what migd may do")]


def test_certificates_that_end_soon_have_ended_or_are_not_trusted_are_told() -> None:
    core, day_s = cluster().core, 86400.0
    facts = PoolFacts(
        user=USER,
        expires_at={"a": 40 * day_s, "b": 10 * day_s, "c": -day_s},
        untrusted={"d": "https://192.0.2.4 does not answer: its certificate is not trusted (self-signed)"},
    )
    assert wrong(pool_findings(core, facts, 0.0)) == [
        (
            "certificates",
            "host d: https://192.0.2.4 does not answer: its certificate is not trusted (self-signed); should it become "
            "the coordinator, the pool is lost to migd",
        ),
        ("certificates", "the certificate of host b expires in 10 d"),
        ("certificates", "the certificate of host c expired 24 h ago"),
    ]
    fine = pool_findings(core, PoolFacts(user=USER, expires_at={"a": 40 * day_s, "b": 41 * day_s}), 0.0)
    assert fine[-1].text == "2 certificates trusted, the first expires in 40 d"


def test_a_pool_that_does_not_answer_is_a_problem_in_its_own_words() -> None:
    made = cluster()
    made.tell(PoolReachability(is_reachable=False, problem="https://pool does not answer: connection refused"))
    assert wrong(pool_findings(made.core, PoolFacts(), 0.0)) == [
        ("pool", "XAPI cannot be used: https://pool does not answer: connection refused")
    ]


def test_a_host_that_the_pool_takes_for_dead_is_told() -> None:
    made = Cluster([pool_host("a"), pool_host("b", is_live=False)], [])
    assert wrong(pool_findings(made.core, PoolFacts(user=USER), 0.0)) == [("pool", "the pool takes 1 host for dead: b")]


def test_guests_that_may_go_anywhere_have_nothing_to_mend() -> None:
    found = guest_findings(cluster().core.inventory)
    assert wrong(found) == []
    assert [each.check for each in found] == ["storage", "networks", "memory", "cpus", "passthrough"]


def test_what_binds_guests_to_their_host_is_told() -> None:
    lan = Resource("lan", "LAN")
    bound = Cluster(
        [
            pool_host("a", storages=("san", "local"), networks=("lan",), cpu_vendor="Intel", cpu_features_hvm="3"),
            pool_host("b", storages=("san",), cpu_vendor="Intel", cpu_features_hvm="1"),
            pool_host("c", storages=("san",), cpu_vendor="AMD", cpu_features_hvm="1"),
        ],
        [
            pool_guest("free", on="a", storages=(SAN,), cpu_vendor="Intel", cpu_features="1"),
            pool_guest("local1", on="a", storages=(LOCAL, SAN)),
            pool_guest("local2", on="a", storages=(LOCAL,)),
            pool_guest("wired", on="a", networks=(lan,)),
            pool_guest("nowhere", on="b", storages=(Resource("lost", "Lost"),)),
            pool_guest("balloon", on="a", memory_may_shrink=True),
            pool_guest("new", on="a", cpu_vendor="Intel", cpu_features="3"),
            pool_guest("gpu", on="b", devices=("1 GPU", "2 USB devices"), blocked_because="it has a GPU"),
            pool_guest("bare", on="b", blocked_because="pool_migrate is not among its allowed operations"),
        ],
    )
    assert wrong(guest_findings(bound.core.inventory)) == [
        (
            "storage",
            "2 guests with disks on Local storage, which host a alone has attached, and so bound to it: local1, local2",
        ),
        ("storage", "1 guest with disks on Lost, which no host has attached, and so bound to it: nowhere"),
        ("networks", "1 guest on network LAN, which host a alone is on: wired"),
        (
            "memory",
            "1 guest with a dynamic memory minimum below the maximum, which a migration would shrink, and so not "
            "moved: balloon",
        ),
        ("cpus", "CPUs of more than one vendor, between which no guest moves (AMD: c; Intel: a, b)"),
        ("cpus", "1 guest started with CPU features that host b does not have: new"),
        ("passthrough", "guest gpu has 1 GPU and 2 USB devices of its host, which it cannot leave"),
        ("guests", "guest bare may not be migrated: pool_migrate is not among its allowed operations"),
    ]


def test_where_there_is_but_one_controller_nobody_leads() -> None:
    assert list(leader_findings(None)) == []


def test_a_leader_and_a_standby_as_they_should_be_have_nothing_to_mend() -> None:
    leads = LeaderView(
        name="one", leads=True, leader="one", lease_s=15.0, standbys=[StandbyView(name="two", since=0.0)]
    )
    stands_by = LeaderView(name="two", leads=False, leader="one", lease_s=15.0, memory_s=4.0, ahead_s=0.3)
    assert [each.text for each in (*leader_findings(leads), *leader_findings(stands_by))] == [
        "one leads; two can take over",
        "one leads; two follows it, and can take over",
    ]


def test_what_would_keep_another_controller_from_taking_over_is_told() -> None:
    alone = LeaderView(name="one", leads=True, leader="one", lease_s=15.0)
    deaf = LeaderView(name="two", leads=False, leader="one", lease_s=15.0)
    late = replace(deaf, memory_s=31.0, ahead_s=-3.0)
    twin = replace(deaf, name="one", memory_s=1.0)
    nobody = replace(deaf, leader="")
    found = [each for view in (alone, deaf, late, twin, nobody) for each in leader_findings(view)]
    assert wrong(found) == [
        ("leader", "one leads, and nobody stands by"),
        (
            "leader",
            "one leads, and its memory is not heard of: the progress of jobs and what was learned would be lost",
        ),
        (
            "leader",
            "one leads, and its memory was heard of 31 s ago: the progress of jobs and what was learned would be lost",
        ),
        ("leader", "this machine's clock is 3.0 s behind that of one: cooldowns would be off by as much"),
        ("leader", "another controller is called one, too, and leads"),
        ("leader", "nobody leads"),
    ]
