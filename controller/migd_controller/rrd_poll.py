"""Asks the XAPI of each host that has no agent what it has measured, in worker threads, and tells the event loop.

A host has an agent when the list of agents names it, whether that agent speaks at present or not: an agent that falls
silent freezes its host, and nothing steps in for it.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from migd_controller.events import MeasuringFailed, PoolHost, SampleArrived, Source
from migd_controller.inventory import Inventory
from migd_controller.rrd import STEP_S, RrdError, sample_of
from migd_controller.xapi import Pool, PoolRefusal, PoolUnreachable
from migd_core.messages import HostSample

WORKERS: Final = 8
# How much of the past is asked for, by the host's own clock: the newest whole step is in it.
PAST_S: Final = 3 * STEP_S


class RrdPoll:
    """Feeds the hosts without an agent. `sink` is called in the event loop."""

    def __init__(
        self,
        pool: Pool,
        inventory: Inventory,
        has_agent: Callable[[str], bool],
        sink: Callable[[SampleArrived | MeasuringFailed], None],
    ) -> None:
        self._pool, self._inventory, self._has_agent, self._sink = pool, inventory, has_agent, sink
        self._threads = ThreadPoolExecutor(WORKERS, thread_name_prefix="rrd")
        self._problems: dict[str, str] = {}

    async def run(self, period_s: float) -> None:
        """Ask every `period_s` (0: never) until cancelled; a slow host does not hold up the others."""
        if period_s == 0:
            return
        asking: dict[str, asyncio.Task[None]] = {}
        async with asyncio.TaskGroup() as tasks:
            while True:
                asking = {uuid: task for uuid, task in asking.items() if not task.done()}
                for host in list(self._inventory.hosts.values()):
                    if host.is_live and host.uuid not in asking and not self._has_agent(host.uuid):
                        asking[host.uuid] = tasks.create_task(self._ask(host), name=f"rrd of {host.name}")
                await asyncio.sleep(period_s)

    def close(self) -> None:
        """Let the worker threads end. Close the pool first, or they wait for its answers."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    async def _ask(self, host: PoolHost) -> None:
        try:
            sample = await asyncio.get_running_loop().run_in_executor(self._threads, self._sample, host)
        except (RrdError, PoolRefusal, PoolUnreachable) as error:
            problem = str(error)
            if self._problems.get(host.uuid) != problem:  # each is journaled: say it once
                self._problems[host.uuid] = problem
                self._sink(MeasuringFailed(host=host.uuid, problem=problem))
            return
        self._problems.pop(host.uuid, None)
        self._sink(SampleArrived(sample=sample, source=Source.RRD))

    def _sample(self, host: PoolHost) -> HostSample:
        path = f"/rrd_updates?start=-{PAST_S:g}&cf=AVERAGE&interval={STEP_S:g}&host=true&json=true"
        return sample_of(self._pool.fetch(host.address, path), host.uuid, host.control_domains)
