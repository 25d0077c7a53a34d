"""The simulated cluster: hosts, links, guests, MPI-like jobs, live migration. Deterministic; knows no clock."""

from migd_sim.model.cluster import CannotMigrate, Cluster
from migd_sim.model.parts import Migration, MigrationEnd
from migd_sim.model.spec import PoolSpec

__all__ = ["CannotMigrate", "Cluster", "Migration", "MigrationEnd", "PoolSpec"]
