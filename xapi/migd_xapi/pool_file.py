"""A pool file: the simulated cluster, and how XAPI presents it."""

from pathlib import Path

import msgspec

from migd_core import config
from migd_core.errors import ConfigError
from migd_core.units import Positive
from migd_sim.model.cluster import Cluster
from migd_sim.model.spec import PoolSpec
from migd_xapi.faults import AnyFault
from migd_xapi.settings import Settings


class PoolFile(PoolSpec, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `--pool` names. `faster = N` lets processors, links and clocks of the cluster be N times faster."""

    times_faster: Positive = msgspec.field(default=1.0, name="faster")
    xapi: Settings = Settings()
    faults: tuple[AnyFault, ...] = ()

    def faults_in(self, times_faster: float) -> tuple[AnyFault, ...]:
        """Return the faults of the file's cluster, so many times faster."""
        return tuple(fault.faster(times_faster) for fault in self.faults)


def load(path: Path) -> PoolFile:
    """Return what the file says. Raises ConfigError."""
    return config.load(path, PoolFile)


def cluster_of(file: PoolFile, times_faster: float, name: str) -> Cluster:
    """Return the file's cluster, so many times faster; `name` stands for the file in errors. Raises ConfigError."""
    try:
        return Cluster(file.faster(times_faster))
    except ValueError as error:
        raise ConfigError(f"{name}: {error}") from error
