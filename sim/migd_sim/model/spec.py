"""What a pool file says: hosts, guests, jobs, hogs, topology. Plain values; `Cluster` makes them live."""

import uuid
from collections.abc import Iterable
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta
from msgspec.structs import force_setattr, replace

from migd_core.units import PAGE_BYTES, Lasting, NotNegative, Positive, Seconds
from migd_core.world import Level
from migd_sim.model.writes import Writes

Count = Annotated[int, Meta(ge=1)]
Name = Annotated[str, Meta(min_length=1, max_length=128)]
_NAMESPACE = uuid.UUID("6f0c5a3e-5f2b-4d7b-9a77-6d6967640001")


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One table of a pool file; an unknown key is an error."""


class HostSpec(Part, frozen=True, kw_only=True):
    """A host. `speed` is what one core does in a second, in units of work; `link_bytes_per_s` counts per direction."""

    name: Name
    cpus: Count
    memory_bytes: Count
    uuid: str = ""
    speed: Positive = 1.0
    link_bytes_per_s: Positive = 117e6
    switch: Name = "switch"
    address: str = ""


class GuestSpec(Part, frozen=True, kw_only=True):
    """A guest, and the host it starts on (None: it does not run until it is started).

    `base_demand_vcpus` is what it wants with nothing running in it.
    """

    name: Name
    host: Name | None = None
    vcpus: Count
    memory_bytes: Count
    uuid: str = ""
    mac: str = ""
    base_demand_vcpus: NotNegative = 0.02
    writes: tuple[Writes, ...] = ()
    tags: tuple[str, ...] = ()


class PhaseSpec(Part, frozen=True, kw_only=True):
    """Steps that differ: the first `steps` of every `every_steps` take `work_factor` times the work, and `extra_s`.

    Meanwhile the job's guests write memory at `writes_ratio` of their pace: a history dump writes to a disk.
    """

    name: Name
    every_steps: Count
    steps: Count = 1
    work_factor: Positive = 1.0
    extra_s: Seconds = 0.0
    writes_ratio: NotNegative = 1.0


class FrontSpec(Part, frozen=True, kw_only=True):
    """Weather that wanders over the ring of ranks: those under it take `work_factor` times the work.

    From step `from_step` on it covers `width_ranks` ranks, beginning with `first_rank`; every `steps_a_rank` steps it
    is one rank further, and after having gone over `over_ranks` ranks it is gone.
    """

    name: Name
    first_rank: Annotated[int, Meta(ge=0)]
    width_ranks: Count
    over_ranks: Count
    steps_a_rank: Count
    work_factor: Positive
    from_step: Annotated[int, Meta(ge=0)] = 0

    @property
    def until_step(self) -> int:
        """The first step without it."""
        return self.from_step + self.over_ranks * self.steps_a_rank

    def first_at(self, step: int) -> int | None:
        """Return the first rank that it covers in a step, before the ring is closed; None where there is no front."""
        if not self.from_step <= step < self.until_step:
            return None
        return self.first_rank + (step - self.from_step) // self.steps_a_rank


class JobSpec(Part, frozen=True, kw_only=True):
    """A bulk-synchronous job: in each step every rank works, exchanges with its neighbours in the ring, and waits.

    `ranks` names the guest of each rank. `work_s` is the work of a rank and step, in core-seconds at speed 1, one value
    for all ranks or one for each; `exchange_bytes` goes to either neighbour. It begins at `starts_s` and ends after
    `steps` steps (0: never); if it `reports_progress`, the guest of the first rank tells its Dom0 how many are done.
    """

    name: Name
    ranks: Annotated[tuple[Name, ...], Meta(min_length=1)]
    work_s: Lasting | tuple[Lasting, ...] = 1.0
    exchange_bytes: NotNegative = 0.0
    phases: tuple[PhaseSpec, ...] = ()
    fronts: tuple[FrontSpec, ...] = ()
    starts_s: Seconds = 0.0
    steps: Annotated[int, Meta(ge=0)] = 0
    reports_progress: bool = False

    def work_of_rank_s(self, rank: int) -> float:
        """Return one rank's work in a plain step."""
        return self.work_s[rank] if isinstance(self.work_s, tuple) else self.work_s


class HogSpec(Part, frozen=True, kw_only=True):
    """Vcpus of a guest that do nothing but use a core, for a while."""

    guest: Name
    vcpus: Count
    starts_s: Seconds
    lasts_s: Lasting


class LevelSpec(Part, frozen=True, kw_only=True):
    """What a message between two ranks meets at one level.

    The wide area is what lies between two switches: `bandwidth_bytes_per_s`, each way, is all that two of them share,
    migrations included. Within a switch NICs are what is shared.
    """

    bandwidth_bytes_per_s: Positive
    latency_s: Seconds


def _levels() -> dict[Level, LevelSpec]:
    return {
        Level.SAME_GUEST: LevelSpec(bandwidth_bytes_per_s=2e9, latency_s=1e-6),
        Level.SAME_HOST: LevelSpec(bandwidth_bytes_per_s=60e6, latency_s=60e-6),
        Level.SAME_SWITCH: LevelSpec(bandwidth_bytes_per_s=110e6, latency_s=80e-6),
        Level.WIDE_AREA: LevelSpec(bandwidth_bytes_per_s=10e6, latency_s=5e-3),
    }


# A guest whose pages are tracked takes a fault at each first write: it runs at this much of its speed.
TRACKED_SPEED_RATIO: Final = 0.92
# What netback copies with a core of Dom0; of the order seen in the Xen 4.17 lab and told in XenServer's sizing notes.
DOM0_BYTES_PER_VCPU_S: Final = 1e9


class PoolSpec(Part, frozen=True, kw_only=True):
    """A whole pool.

    `tracked_speed_ratio` is at what part of its speed a guest runs while its pages are tracked, `dom0_bytes_per_vcpu_s`
    what a core of Dom0 copies between guests and NICs. A migration keeps `queue_bytes` waiting at the NIC it leaves by;
    each message from or to there waits in that queue, and has `window_bytes` under way at most.
    """

    name: Name
    hosts: Annotated[tuple[HostSpec, ...], Meta(min_length=1)]
    guests: tuple[GuestSpec, ...] = ()
    jobs: tuple[JobSpec, ...] = ()
    hogs: tuple[HogSpec, ...] = ()
    levels: dict[Level, LevelSpec] = msgspec.field(default_factory=_levels)
    rule_set: Literal["xen-legacy", "xen-4.6", "xenserver", "xcp-ng"] = "xen-4.6"
    clock_ratio: Positive = 1.0
    tracked_speed_ratio: Annotated[float, Meta(gt=0, le=1)] = TRACKED_SPEED_RATIO
    dom0_bytes_per_vcpu_s: Positive = DOM0_BYTES_PER_VCPU_S
    queue_bytes: NotNegative = 0.0
    window_bytes: Positive = 65536.0

    def __post_init__(self) -> None:
        """A level that the file does not name is as it usually is."""
        if missing := _levels().keys() - self.levels.keys():
            force_setattr(self, "levels", {**self.levels, **{level: _levels()[level] for level in sorted(missing)}})

    def checked(self) -> "PoolSpec":
        """Return the pool with every uuid, MAC and address filled in. Raises ValueError naming what does not fit."""
        for kind, things in (("host", self.hosts), ("guest", self.guests), ("job", self.jobs)):
            _refuse_twice(kind, (thing.name for thing in things))
        hosts = tuple(
            replace(host, uuid=host.uuid or self._uuid("host", host.name), address=host.address or f"127.0.0.{n}")
            for n, host in enumerate(self.hosts, start=1)
        )
        guests = tuple(
            replace(guest, uuid=guest.uuid or self._uuid("guest", guest.name), mac=guest.mac or self._mac(guest.name))
            for guest in self.guests
        )
        _refuse_twice("uuid", [host.uuid for host in hosts] + [guest.uuid for guest in guests])
        _refuse_twice("MAC", (guest.mac for guest in guests))
        names = {host.name for host in hosts}
        for guest in guests:
            if guest.host is not None and guest.host not in names:
                raise ValueError(f"guest {guest.name}: no host is called {guest.host}")
            written = sum(part.pages for part in guest.writes) * PAGE_BYTES
            if written > guest.memory_bytes:
                raise ValueError(f"guest {guest.name}: writes {written} bytes but has {guest.memory_bytes}")
        for host in hosts:
            used = sum(guest.memory_bytes for guest in guests if guest.host == host.name)
            if used > host.memory_bytes:
                raise ValueError(f"host {host.name}: its guests need {used} bytes, it has {host.memory_bytes}")
        self._check_jobs({guest.name: guest for guest in guests})
        return replace(self, hosts=hosts, guests=guests)

    def faster(self, times: float) -> "PoolSpec":
        """Return the same pool with processors, links and clocks `times` faster: all happens in 1/times of the time.

        What an agent measures per second stays consistent: CPU ratios as they were, bytes and pages `times` as many.
        """
        return replace(
            self,
            clock_ratio=self.clock_ratio * times,
            hosts=tuple(
                replace(host, speed=host.speed * times, link_bytes_per_s=host.link_bytes_per_s * times)
                for host in self.hosts
            ),
            guests=tuple(
                replace(guest, writes=tuple(part.faster(times) for part in guest.writes)) for guest in self.guests
            ),
            jobs=tuple(
                replace(
                    job,
                    starts_s=job.starts_s / times,
                    phases=tuple(replace(phase, extra_s=phase.extra_s / times) for phase in job.phases),
                )
                for job in self.jobs
            ),
            hogs=tuple(replace(hog, starts_s=hog.starts_s / times, lasts_s=hog.lasts_s / times) for hog in self.hogs),
            levels={
                level: LevelSpec(
                    bandwidth_bytes_per_s=link.bandwidth_bytes_per_s * times, latency_s=link.latency_s / times
                )
                for level, link in self.levels.items()
            },
        )

    def _check_jobs(self, guests: dict[str, GuestSpec]) -> None:
        taken: dict[str, str] = {}
        for job in self.jobs:
            if isinstance(job.work_s, tuple) and len(job.work_s) != len(job.ranks):
                raise ValueError(f"job {job.name}: {len(job.ranks)} ranks but {len(job.work_s)} values of work_s")
            for name in job.ranks:
                if name not in guests:
                    raise ValueError(f"job {job.name}: no guest is called {name}")
                if taken.setdefault(name, job.name) != job.name:
                    raise ValueError(f"guest {name}: belongs to jobs {taken[name]} and {job.name}")
                if job.ranks.count(name) > guests[name].vcpus:
                    raise ValueError(f"job {job.name}: guest {name} has fewer vCPUs than ranks")
            for phase in job.phases:
                if phase.steps >= phase.every_steps:
                    raise ValueError(f"job {job.name}: phase {phase.name} leaves no plain step of {phase.every_steps}")
            for front in job.fronts:
                if front.width_ranks > len(job.ranks):
                    raise ValueError(
                        f"job {job.name}: front {front.name} is {front.width_ranks} ranks wide, of {len(job.ranks)}"
                    )
        for hog in self.hogs:
            if hog.guest not in guests:
                raise ValueError(f"a hog runs in {hog.guest}, but no guest is called so")

    def _uuid(self, kind: str, name: str) -> str:
        return str(uuid.uuid5(_NAMESPACE, f"{self.name}/{kind}/{name}"))

    def _mac(self, name: str) -> str:
        """A MAC of Xen's own range, from the name."""
        tail = uuid.uuid5(_NAMESPACE, f"{self.name}/mac/{name}").bytes[:3]
        return "00:16:3e:" + ":".join(f"{byte:02x}" for byte in tail)


def _refuse_twice(kind: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"{kind} {name} is given twice")
        seen.add(name)
