"""Methods of class pool."""

from typing import Final

from migd_xapi import ha
from migd_xapi.method import Methods
from migd_xapi.pool import Call
from migd_xapi.roles import POOL_OPERATOR

METHODS: Final = Methods()


@METHODS.add("pool.ha_failover_plan_exists", "int n", returns="bool", role=POOL_OPERATOR)
def ha_failover_plan_exists(call: Call, failures: int) -> bool:
    """Return whether any so many hosts may fail without a protected VM being lost."""
    return ha.plan_exists(call.pool, failures)


@METHODS.add("pool.ha_compute_max_host_failures_to_tolerate", returns="int", role=POOL_OPERATOR)
def ha_compute_max_host_failures_to_tolerate(call: Call) -> int:
    """Return how many hosts may fail at most without a protected VM being lost."""
    return ha.tolerated_failures(call.pool)
