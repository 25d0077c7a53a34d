"""Asks Slurm what runs, every so often, and tells the core. What Slurm does not answer changes nothing."""

import asyncio
from typing import Final

import structlog

from migd_controller import slurm_drain
from migd_controller.command_output import CommandFailed, output_of
from migd_controller.config import SlurmSection
from migd_controller.control import Control
from migd_controller.events import JobRemoved
from migd_controller.slurm_changes import changes
from migd_controller.slurm_drain import SINFO_ARGUMENTS, Under, updates
from migd_controller.slurm_jobs import SlurmProblem, decoded
from migd_controller.slurm_nodes import NodeGuests

log = structlog.get_logger()
# A job takes some 4 KB of JSON, so these are 16,000 of them. Reading 10,000 takes half a second, in a thread.
MOST_BYTES: Final = 64 * 1024 * 1024
MOST_PROBLEMS: Final = 5
# How soon it is looked again whether the pool has told its guests, without which no node is anybody.
UNKNOWN_POOL_S: Final = 0.5


class SlurmWatch:
    """Keeps the core's jobs like Slurm's. `problem` says what is wrong, or is empty."""

    def __init__(self, section: SlurmSection, control: Control) -> None:
        self._section, self._control = section, control
        self.problem = "Slurm has not answered yet"

    async def run(self) -> None:
        """Ask every `every_s` until cancelled."""
        while True:
            is_known = self._control.core.inventory.is_known
            if is_known:
                await self.turn()
            await asyncio.sleep(self._section.every_s if is_known else min(UNKNOWN_POOL_S, self._section.every_s))

    async def turn(self) -> None:
        """Ask once, and take in what is new."""
        asked_at = self._control.clock.now_s()
        try:
            printed = await output_of(self._section.squeue, self._section.timeout_s, MOST_BYTES)
            told = await asyncio.to_thread(decoded, printed)
        except (CommandFailed, SlurmProblem) as error:
            self._say((f"{error}; the jobs of Slurm stay as they are until it answers",))
            return
        core = self._control.core
        nodes = NodeGuests(self._section, core.inventory.guests)
        found = changes(core.memory.jobs, told, nodes.uuid_of, core.inventory.guest_name, asked_at)
        for event in found.events:
            self._control.take_in(event)
            is_over = isinstance(event, JobRemoved)
            log.info("job over" if is_over else "job taken from Slurm", job=event.name)
        self._say((*found.problems, *await self._drain(nodes)) if self._section.drain else found.problems)

    async def _drain(self, guests: NodeGuests) -> tuple[str, ...]:
        """Keep new jobs off nodes whose guests are on a failing host; return what went wrong."""

        def under(node: str) -> Under | None:
            guest = core.inventory.guests.get(guests.uuid_of(node) or "")
            if guest is None:
                return None
            return Under(core.inventory.host_name(guest.host), core.telemetry.health(guest.host))

        core, section = self._control.core, self._section
        try:
            printed = await output_of((*section.sinfo, *SINFO_ARGUMENTS), section.timeout_s, MOST_BYTES)
        except CommandFailed as error:
            return (f"{error}; no node is drained until it answers",)
        problems = []
        for update in updates(slurm_drain.nodes(printed), under):
            try:
                await output_of((*section.scontrol, *update.arguments), section.timeout_s, MOST_BYTES)
            except CommandFailed as error:
                problems.append(f"node {update.node} cannot be set to {update.state}: {error}")
            else:
                log.info("node set", node=update.node, state=update.state, why=update.reason or "its host is well")
        return tuple(problems)

    def _say(self, problems: tuple[str, ...]) -> None:
        """Keep what is wrong for `migctl status`, and log it once."""
        shown = problems[:MOST_PROBLEMS]
        more = f"; and {len(problems) - len(shown)} more" if len(problems) > len(shown) else ""
        text = "; ".join(shown) + more
        if text != self.problem:
            (log.warning if text else log.info)("slurm", why=text or "every job of Slurm is known")
        self.problem = text
