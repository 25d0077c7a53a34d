"""One examination: all findings, in the order in which to mend them."""

import time
from collections.abc import Awaitable, Callable, Mapping

from migd_controller.control import Control
from migd_controller.doctor.agents import Reporting, agent_findings
from migd_controller.doctor.guests import guest_findings
from migd_controller.doctor.leader import leader_findings
from migd_controller.doctor.pool import PoolFacts, pool_findings
from migd_controller.intake import IntakeCounts
from migd_core import __version__
from migd_core.api import ExaminationView, LeaderView

AskPool = Callable[[Mapping[str, str]], Awaitable[PoolFacts]]


class Doctor:
    """Examines one controller, its agents and its pool."""

    def __init__(
        self,
        control: Control,
        counts: IntakeCounts,
        authorised: Callable[[], frozenset[str]] = frozenset,
        ask_pool: AskPool | None = None,
    ) -> None:
        """`authorised` are the hosts (uuids) on the list of agents; `ask_pool` asks the pool, given its addresses."""
        self._control, self._counts = control, counts
        self._authorised, self._ask_pool = authorised, ask_pool
        self.leader: Callable[[], LeaderView | None] = lambda: None

    async def examine(self) -> ExaminationView:
        """Return what there is to say."""
        core, facts = self._control.core, PoolFacts()
        if self._ask_pool is not None and core.pool.is_reachable:
            addresses = {host.name: host.address for host in core.inventory.hosts.values() if host.address}
            facts = await self._ask_pool(addresses)
        now_s = self._control.clock.now_s()
        reporting = Reporting(core, self._authorised(), self._counts, now_s, time.time())
        return ExaminationView(
            version=__version__,
            findings=[
                *pool_findings(core, facts, now_s),
                *leader_findings(self.leader()),
                *agent_findings(reporting),
                *guest_findings(core.inventory),
            ],
        )
