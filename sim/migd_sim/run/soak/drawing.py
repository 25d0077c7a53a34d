"""Draws a case from its seed alone: a small cluster, a controller's settings, and some storms of things that go wrong.

Between storms nothing happens for an hour or two, as in life; what a storm has begun may last into the calm. In half of
the cases the policy is the reckless one, which puts every gate to the test; in the others it is one of migd's own.
"""

from collections.abc import Sequence
from random import Random
from typing import Final

from migd_controller.config import (
    AutomationSection,
    GuardsSection,
    LedgerSection,
    PhasesSection,
    ProbeSection,
    TopologySection,
)
from migd_core.automation import Automation
from migd_core.job_limits import JobLimitsChange
from migd_core.units import GIB, MIB, PAGE_BYTES
from migd_policies.registry import BUILT_IN
from migd_policies.rules import RuleSettings
from migd_sim.model.spec import GuestSpec, HostSpec, JobSpec, PhaseSpec, PoolSpec
from migd_sim.model.writes import ArraySweep, RandomWrites, Writes
from migd_sim.run.evaluation.drawing import between
from migd_sim.run.soak.case import Case, Happening, What
from migd_sim.run.soak.reckless import RECKLESS

HOURS: Final = (5.0, 7.0)
STORMS: Final = (2, 3)
STORM_S: Final = 300.0
A_STORM: Final = (8, 20)
STORAGES: Final = ("fast", "slow")
CODES: Final = (
    "INTERNAL_ERROR",
    "VM_FAILED_SUSPEND_ACKNOWLEDGMENT",
    "HOST_NOT_ENOUGH_FREE_MEMORY",
    "VM_LACKS_FEATURE",
    "VM_CRASHED",
    "VM_INCOMPATIBLE_WITH_THIS_HOST",
    "A_CODE_OF_TOMORROW",
)
MOVES: Final = ("ask", "human-migrates")
TAGS: Final = (
    "migd:never",
    "migd:no-probe",
    "migd:apart=soak",
    "migd:with=soak",
    "migd:apart?=soak",
    "migd:hosts=some",
)
SHRINKING_RATIO: Final = 0.01
HOURS_OF_DAY: Final = ("00:00-02:00", "01:00-03:00", "03:00-06:00", "22:00-01:00")


def draw(seed: int) -> Case:
    """Return the case of a seed."""
    rng = Random(f"soak {seed}")
    link = rng.choice((11.7e6, 117e6, 117e6, 1.25e9))
    two_switches = rng.random() < 0.25
    hosts = [
        HostSpec(
            name=f"h{n}",
            cpus=rng.choice((2, 4, 4, 8)),
            memory_bytes=rng.choice((4, 6, 8)) * GIB,
            speed=rng.choice((1.0, 1.0, 1.0, 0.8)),
            link_bytes_per_s=link,
            switch=f"s{n % 2}" if two_switches else "s0",
        )
        for n in range(rng.choice((3, 3, 4, 4, 5)))
    ]
    guests = _guests(rng, hosts)
    jobs = _jobs(rng, guests)
    length_s = rng.uniform(*HOURS) * 3600.0
    policy = RECKLESS if rng.random() < 0.5 else rng.choice(sorted(BUILT_IN))
    return Case(
        seed=seed,
        until_s=length_s,
        pool=PoolSpec(
            name=f"soak-{seed}",
            hosts=tuple(hosts),
            guests=tuple(guests),
            jobs=tuple(jobs),
            rule_set=rng.choice(("xen-4.6", "xcp-ng", "xenserver", "xen-4.6")),
        ),
        policy=policy,
        guards=_guards(rng),
        ledger=LedgerSection(horizon_s=rng.choice((3600.0, 14400.0))),
        topology=TopologySection(
            switches={name: [h.name for h in hosts if h.switch == name] for name in {h.switch: 0 for h in hosts}}
        ),
        probe=ProbeSection(
            guest_time_ratio=rng.choice((0.01, 0.05, 0.05)),
            apart_s=rng.choice((300.0, 900.0)),
            window_at_most_s=rng.choice((8.0, 20.0)),
        ),
        automation=AutomationSection(level=rng.choice((*[Automation.AUTOMATIC] * 5, Automation.RECOMMEND))),
        phases=PhasesSection(wait_at_most_s=rng.choice((0.0, 0.0, 300.0))),
        rules=RuleSettings(
            host_groups={"some": [host.name for host in hosts[: rng.randint(1, len(hosts))]]},
            ignored_hosts=[hosts[-1].name] if rng.random() < 0.08 else [],
            reserve_bytes={hosts[0].name: GIB} if rng.random() < 0.2 else {},
            allowed_hours=[rng.choice(HOURS_OF_DAY)] if rng.random() < 0.15 else [],
        ),
        agentless=tuple(host.name for host in hosts if rng.random() < 0.08),
        storages={host.name: tuple(each for each in STORAGES if rng.random() < 0.8) for host in hosts},
        disks={guest.name: rng.choice(STORAGES) for guest in guests if rng.random() < 0.3},
        groups={guest.name: "spread" for guest in guests if rng.random() < 0.25} if rng.random() < 0.4 else {},
        shrinking=tuple(each.name for each in guests if Random(f"soak {seed} {each.name}").random() < SHRINKING_RATIO),
        happenings=_with_slow_clocks(seed, _happenings(rng, _Storm(rng, hosts, guests, jobs), jobs, length_s), hosts),
    )


def _with_slow_clocks(seed: int, happenings: Sequence[Happening], hosts: Sequence[HostSpec]) -> tuple[Happening, ...]:
    """Return what happens with clocks going wrong in the midst of it; drawn apart, so that the rest stays as it was."""
    rng = Random(f"soak {seed} clocks")
    slow = [
        Happening(
            at_s=round(rng.choice(happenings).at_s + rng.uniform(0.0, 60.0), 1),
            what="clock-slow",
            of=rng.choice(hosts).name,
            value=round(rng.uniform(0.02, 0.95), 2),
            lasts_s=round(between(rng, 5.0, 900.0), 1),
        )
        for _ in range(rng.choice((0, 0, 0, 1, 2)))
    ]
    return tuple(sorted((*happenings, *slow), key=lambda each: each.at_s))


def _happenings(rng: Random, storm: "_Storm", jobs: Sequence[JobSpec], length_s: float) -> tuple[Happening, ...]:
    """Return the jobs as they are named at first, and the storms."""
    found = [Happening(at_s=1.0, what="job-added", of=job.name, value=rng.choice((0.0, 0.0, 5400.0))) for job in jobs]
    for begins_s in sorted(rng.uniform(30.0, length_s - 2 * STORM_S) for _ in range(rng.randint(*STORMS))):
        found += [storm.happening(begins_s + rng.uniform(0.0, STORM_S)) for _ in range(rng.randint(*A_STORM))]
    found += [storm.insisted(each) for each in found if each.what in MOVES and rng.random() < 0.4]
    return tuple(sorted(found, key=lambda each: each.at_s))


def _guests(rng: Random, hosts: Sequence[HostSpec]) -> list[GuestSpec]:
    free = {host.name: host.memory_bytes for host in hosts}
    guests: list[GuestSpec] = []
    everybodys, bears = rng.choice((*TAGS, "migd:apart=soak", "migd:apart=soak")), rng.choice((0.0, 0.0, 0.4))
    for number in range(rng.randint(len(hosts) + 1, 2 * len(hosts) + 2)):
        memory = rng.choice((256, 512, 1024, 1024, 2048)) * MIB
        fitting = [name for name, left in free.items() if left >= memory]
        host = rng.choice(fitting) if fitting else None
        if host is not None:
            free[host] -= memory
        tags = tuple(sorted({tag for tag in TAGS if rng.random() < (bears if tag == everybodys else 0.03)}))
        if rng.random() < 0.06:
            tags = (*tags, f"migd:pin={rng.choice(hosts).name}")
        guests.append(
            GuestSpec(
                name=f"g{number}",
                host=host,
                vcpus=rng.choice((1, 2, 2, 4)),
                memory_bytes=memory,
                writes=_writes(rng, memory),
                tags=tags,
            )
        )
    return guests


def _writes(rng: Random, memory_bytes: int) -> tuple[Writes, ...]:
    pages = int(rng.uniform(0.02, 0.5) * memory_bytes / PAGE_BYTES)
    kind = rng.randrange(3)
    if kind == 0:
        return ()
    if kind == 1:
        return (RandomWrites(pages=pages, tau_s=between(rng, 0.5, 60.0)),)
    return (ArraySweep(pages=pages, period_s=between(rng, 1.0, 60.0)),)


def _jobs(rng: Random, guests: Sequence[GuestSpec]) -> list[JobSpec]:
    running = [guest.name for guest in guests if guest.host is not None]
    jobs = []
    for number in range(rng.randint(1, 2)):
        ranks = [running.pop(rng.randrange(len(running))) for _ in range(min(rng.randint(2, 4), len(running)))]
        if not ranks:
            break
        phases: tuple[PhaseSpec, ...] = ()
        if rng.random() < 0.15:
            phases = (PhaseSpec(name="dump", every_steps=600, steps=60, work_factor=1.5, writes_ratio=0.1),)
        jobs.append(
            JobSpec(
                name=f"job{number}",
                ranks=tuple(ranks),
                work_s=rng.choice((0.5, 1.0, 2.0)),
                exchange_bytes=rng.choice((0.0, 1e5, 5e6)),
                phases=phases,
                reports_progress=rng.random() < 0.3,
                steps=rng.choice((0, 0, 10_000)),
            )
        )
    return jobs


def _guards(rng: Random) -> GuardsSection:
    return GuardsSection(
        cooldown_s=rng.choice((60.0, 300.0, 1800.0)),
        retry_after_s=rng.choice((60.0, 600.0)),
        retry_at_most_s=rng.choice((3600.0, 86400.0)),
        max_concurrent=rng.choice((1, 2, 3, 4)),
        max_concurrent_per_source=rng.choice((1, 2, 3)),
        max_concurrent_per_target=rng.choice((1, 2, 3)),
        behind_ratio=rng.choice((0.0, 0.05)),
        behind_at_least_s=rng.choice((0.0, 60.0)),
        stall_per_hour_s=rng.choice((1.0, 5.0, 3600.0)),
        no_stall_last_s=rng.choice((0.0, 0.0, 1200.0)),
        min_gain_s=rng.choice((0.0, 0.0, 10.0, 60.0)),
        certainty_sds=rng.choice((0.0, 1.0)),
        memory_reserve_ratio=rng.choice((0.0, 0.0, 0.1)),
    )


class _Storm:
    """Draws what goes wrong, and what people do, around one moment."""

    def __init__(self, rng: Random, hosts: Sequence[HostSpec], guests: Sequence[GuestSpec], jobs: Sequence[JobSpec]):
        self._rng = rng
        self._hosts, self._guests = [host.name for host in hosts], [guest.name for guest in guests]
        self._jobs, self._link = [job.name for job in jobs], hosts[0].link_bytes_per_s

    def happening(self, at_s: float) -> Happening:
        """Return one thing that happens at `at_s`."""
        rng = self._rng
        what: What = rng.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        lasts_s = round(between(rng, 5.0, 900.0), 1)
        host, guest = rng.choice(self._hosts), rng.choice(self._guests)
        known: dict[str, dict[str, object]] = {
            "samples-late": {"of": host, "value": round(between(rng, 1.0, 90.0), 1)},
            "leases-late": {"value": round(between(rng, 1.0, 90.0), 1)},
            "health": {"of": host, "to": rng.choice(("ok", "degraded", "failing"))},
            "xapi-slow": {"value": round(between(rng, 0.5, 20.0), 1)},
            "xapi-cut": {"lasts_s": round(between(rng, 1.0, 200.0), 1)},
            "xapi-restarts": {"lasts_s": round(between(rng, 1.0, 60.0), 1)},
            "coordinator-changes": {"lasts_s": round(between(rng, 20.0, 300.0), 1)},
            "events-late": {"value": round(between(rng, 1.0, 60.0), 1)},
            "task-lingers": {"value": round(between(rng, 5.0, 300.0), 1)},
            "migration-fails": {"to": rng.choice(CODES), "value": round(between(rng, 1.0, 60.0), 1)},
            "link-slow": {"of": host, "value": self._link / rng.choice((10.0, 10.0, 1e4))},
            "human-migrates": {"of": guest, "to": host},
            "guest-renamed": {"of": guest, "to": rng.choice((f"{guest} anew", self._hosts[0], self._guests[0]))},
            "guest-tagged": {"of": guest, "to": rng.choice((*TAGS, f"migd:pin={host}", "migd:pin=nowhere"))},
            "guest-blocked": {"of": guest, "to": "backup"},
            "guest-busy": {"of": guest, "to": "snapshot"},
            "hog": {"of": guest, "value": float(rng.randint(1, 4)), "lasts_s": round(between(rng, 60.0, 7200.0))},
            "ask": {"of": guest if rng.random() < 0.75 else "", "to": host},
            "policy": {"of": rng.choice((*BUILT_IN, RECKLESS))},
            "automation": {"to": rng.choice(("", "off", "recommend", "automatic"))},
            "maintenance": {"of": host, "value": float(rng.random() < 0.5)},
            "job-added": {"of": rng.choice(self._jobs), "value": rng.choice((0.0, 900.0, 7200.0))},
            "job-limited": {"of": rng.choice(self._jobs), "limits": self._limits()},
            "job-removed": {"of": rng.choice(self._jobs)},
            "shadow-added": {"of": rng.choice(sorted(BUILT_IN))},
            "shadow-removed": {"of": rng.choice(sorted(BUILT_IN))},
            "links-measured": {"value": self._link * rng.uniform(0.2, 1.0)},
            "controller-dies": {
                "lasts_s": round(between(rng, 1.0, 120.0), 1),
                "value": float(rng.choice((-1, -1, 0, 1, 2))),
                "shift_s": rng.choice((0.0, 0.0, 30.0, -30.0, 3600.0, -3600.0)),
            },
            "controller-stalls": {"lasts_s": round(between(rng, 1.0, 120.0), 1)},
        }
        whom = host if what in OF_HOSTS else guest if what in OF_GUESTS else ""
        fields: dict[str, object] = {"of": whom, "lasts_s": lasts_s, **known.get(what, {})}
        return Happening(at_s=round(at_s, 1), what=what, **fields)  # type: ignore[arg-type]

    def insisted(self, moved: Happening) -> Happening:
        """Return how somebody asks for a guest that was moved a moment ago to be moved somewhere else."""
        rng = self._rng
        at_s = round(moved.at_s + between(rng, 0.05, 20.0), 2)
        return Happening(at_s=at_s, what="ask", of=moved.of, to=rng.choice(self._hosts))

    def _limits(self) -> JobLimitsChange:
        rng = self._rng
        match rng.randrange(4):
            case 0:
                return JobLimitsChange(stall_per_hour_s=rng.choice((0.0, 1.0, None)))
            case 1:
                return JobLimitsChange(no_stall_last_s=rng.choice((600.0, 3600.0, None)))
            case 2:
                return JobLimitsChange(allowed_hours=rng.choice(((rng.choice(HOURS_OF_DAY),), None)))
        return JobLimitsChange(automation=rng.choice((*Automation, None)))


OF_HOSTS: Final = frozenset(
    {
        "agent-dies",
        "agent-silent",
        "samples-doubled",
        "samples-swapped",
        "samples-absurd",
        "host-dies",
        "host-disabled",
        "host-evacuating",
        "storage-detached",
        "evacuate",
        "stay",
    }
)
OF_GUESTS: Final = frozenset(
    {"suspend-hangs", "guest-stops", "guest-starts", "guest-reboots", "guest-paused", "block-left", "release"}
)
# How often each happens beside the others.
WEIGHTS: Final[dict[What, float]] = {
    "agent-dies": 3,
    "agent-silent": 2,
    "samples-late": 3,
    "samples-doubled": 2,
    "samples-swapped": 2,
    "samples-absurd": 4,
    "leases-late": 2,
    "health": 5,
    "xapi-slow": 3,
    "xapi-cut": 3,
    "xapi-restarts": 4,
    "coordinator-changes": 2,
    "events-late": 3,
    "task-lost": 3,
    "task-lingers": 2,
    "migration-fails": 6,
    "link-slow": 4,
    "suspend-hangs": 2,
    "host-dies": 2,
    "host-disabled": 2,
    "host-evacuating": 1,
    "storage-detached": 2,
    "human-migrates": 5,
    "guest-stops": 2,
    "guest-starts": 4,
    "guest-reboots": 2,
    "guest-renamed": 1,
    "guest-tagged": 5,
    "guest-paused": 1,
    "guest-blocked": 2,
    "guest-busy": 2,
    "block-left": 1,
    "hog": 18,
    "ask": 45,
    "cancel": 3,
    "approve": 4,
    "refuse": 1,
    "release": 3,
    "pause": 3,
    "policy": 4,
    "automation": 3,
    "maintenance": 3,
    "evacuate": 3,
    "stay": 1,
    "job-added": 4,
    "job-limited": 4,
    "job-removed": 1,
    "shadow-added": 1,
    "shadow-removed": 1,
    "links-measured": 1,
    "controller-dies": 6,
    "controller-stalls": 3,
}
