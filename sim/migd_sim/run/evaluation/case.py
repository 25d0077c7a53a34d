"""One case to judge policies by: a pool with its jobs and loads, and what befalls it. Plain values, drawn by `sets`."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from migd_core.health import HealthState
from migd_core.world import Level
from migd_sim.model import PoolSpec


@dataclass(frozen=True, slots=True)
class HealthTurn:
    """What the sensors of a host (by name) say from `at_s` on."""

    at_s: float
    host: str
    state: HealthState


@dataclass(frozen=True, slots=True)
class Death:
    """A host (by name) dies at `at_s`, with all that runs on it."""

    at_s: float
    host: str


@dataclass(frozen=True, slots=True)
class Maintenance:
    """A host (by name) is to be empty from `grace_s` after `at_s` on, for `lasts_s` seconds.

    Nobody may bring guests there from `at_s` on. What is still there after the grace is moved by the administrator.
    """

    host: str
    at_s: float
    grace_s: float
    lasts_s: float

    @property
    def ends_s(self) -> float:
        return self.at_s + self.grace_s + self.lasts_s


@dataclass(frozen=True, slots=True)
class Case:
    """A pool, and what happens to it beyond its hogs.

    `asked_s` is the wall-clock limit that each job's user asked for. A job that loses a guest goes on from its last
    checkpoint (`checkpoint_steps` apart, 0: from the start) `restart_s` later, the lost guests on other hosts.
    `link_errors` is what a measurement of a level's bandwidth gives over what is true, `clock_errors` by host what its
    clock promises over what its CPUs do. With `loads_follow`, the hog of
    a host goes along to wherever a guest of a job has moved from there. The controller, if there is one, is killed and
    started again at `restarts_s`. Whatever is not over at `horizon_s` is cut off.
    """

    name: str
    pool: PoolSpec
    asked_s: Mapping[str, float]
    horizon_s: float
    turns: tuple[HealthTurn, ...] = ()
    deaths: tuple[Death, ...] = ()
    maintenances: tuple[Maintenance, ...] = ()
    restarts_s: tuple[float, ...] = ()
    checkpoint_steps: int = 0
    restart_s: float = 600.0
    loads_follow: bool = False
    link_errors: Mapping[Level, float] = field(default_factory=dict)
    clock_errors: Mapping[str, float] = field(default_factory=dict)

    @property
    def change_times_s(self) -> tuple[float, ...]:
        """When something changes whatever anybody does: hogs and jobs come and go, health turns, hosts die."""
        times = {turn.at_s for turn in self.turns}
        times |= {time for death in self.deaths for time in (death.at_s, death.at_s + self.restart_s)}
        times |= {time for hog in self.pool.hogs for time in (hog.starts_s, hog.starts_s + hog.lasts_s)}
        times |= {job.starts_s for job in self.pool.jobs}
        times |= {time for one in self.maintenances for time in (one.at_s, one.at_s + one.grace_s, one.ends_s)}
        return tuple(sorted(time for time in times if 0 < time < self.horizon_s))

    def closed_hosts(self, at_s: float) -> set[str]:
        """Return the hosts (by name) that are out of service at a time."""
        return {one.host for one in self.maintenances if one.at_s <= at_s < one.ends_s}
