"""Small simulated pools in a line, and one migration on them."""

from typing import Literal

from migd_core.units import GIB
from migd_core.world import Level
from migd_sim.model import Cluster, MigrationEnd
from migd_sim.model.spec import GuestSpec, HogSpec, HostSpec, JobSpec, LevelSpec, PoolSpec

Rules = Literal["xen-legacy", "xen-4.6", "xenserver", "xcp-ng"]


def host(name: str, *, cpus: int = 4, link: float = 100e6, switch: str = "s", speed: float = 1.0) -> HostSpec:
    """A host of 64 GiB."""
    return HostSpec(name=name, cpus=cpus, memory_bytes=64 * GIB, link_bytes_per_s=link, switch=switch, speed=speed)


def guest(name: str, on: str, *, vcpus: int = 1, memory_bytes: int = GIB, base: float = 0.0) -> GuestSpec:
    """A guest that wants nothing and writes nothing by itself."""
    return GuestSpec(name=name, host=on, vcpus=vcpus, memory_bytes=memory_bytes, base_demand_vcpus=base)


def pool(*parts: HostSpec | GuestSpec | JobSpec | HogSpec, rules: Rules = "xen-4.6") -> PoolSpec:
    """A pool of the given parts."""
    return PoolSpec(
        name="test",
        hosts=tuple(part for part in parts if isinstance(part, HostSpec)),
        guests=tuple(part for part in parts if isinstance(part, GuestSpec)),
        jobs=tuple(part for part in parts if isinstance(part, JobSpec)),
        hogs=tuple(part for part in parts if isinstance(part, HogSpec)),
        rule_set=rules,
    )


LEVELS = {
    Level.SAME_GUEST: LevelSpec(bandwidth_bytes_per_s=2e9, latency_s=1e-6),
    Level.SAME_HOST: LevelSpec(bandwidth_bytes_per_s=60e6, latency_s=2e-3),
    Level.SAME_SWITCH: LevelSpec(bandwidth_bytes_per_s=40e6, latency_s=3e-3),
    Level.WIDE_AREA: LevelSpec(bandwidth_bytes_per_s=10e6, latency_s=50e-3),
}


def two_hosts(moving: GuestSpec, *, link: float, rules: Rules) -> Cluster:
    """Hosts `a` and `b`, and one guest on `a`."""
    return Cluster(pool(host("a", cpus=2, link=link), host("b", cpus=2, link=link), moving, rules=rules))


def uuid_of(cluster: Cluster, name: str) -> str:
    """Return the uuid of the host or guest of that name."""
    parts = (*cluster.spec.hosts, *cluster.spec.guests)
    return next(part.uuid for part in parts if part.name == name)


def migrate(cluster: Cluster, name: str = "g", to: str = "b", within_s: float = 3600.0) -> MigrationEnd:
    """Migrate one guest and return what it really took."""
    ends: list[MigrationEnd] = []
    cluster.start_migration(uuid_of(cluster, name), uuid_of(cluster, to), ends.append)
    cluster.run_until(cluster.now_s + within_s)
    (end,) = ends
    return end
