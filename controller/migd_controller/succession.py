"""What follows from who leads: what a standby does not do, and how one leader goes on where another was."""

import asyncio
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import msgspec
import structlog
import zmq
from msgspec.structs import replace as with_fields
from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from migd_controller.commands import AnyCommand
from migd_controller.config import ControllerConfig
from migd_controller.control import Control
from migd_controller.events import AnyEvent, LeaderSeen, Tick, TookOver
from migd_controller.inheritance import Heard, succeeding, weight, will
from migd_controller.leader import Deposed, Leader, NotLeading
from migd_controller.leader_claims import Seal
from migd_controller.leadership import Told
from migd_controller.lease_outbox import LeaseOutbox
from migd_controller.memory import Memory
from migd_controller.memory_stream import MemoryFollower, frames, sealed
from migd_core.api import LeaderView, StandbyView
from migd_core.errors import Refused

log = structlog.get_logger()
# What changes in one go is told in one go.
TELL_AFTER_S: Final = 0.1
_ANY_ADDRESS: Final = ("0.0.0.0", "[::]", "*")


class Succession:
    """One controller's place among several. `has_begun` once it leads, until another does."""

    def __init__(
        self, config: ControllerConfig, control: Control, outbox: LeaseOutbox, context: zmq.Context[Any]
    ) -> None:
        """`outbox` is where leases go out to agents, and memory to standbys. Raises ConfigError, MigdError."""
        assert config.leader is not None
        self._config, self._control, self._outbox = config, control, outbox
        self._seal = Seal(config.telemetry.secret_key_file)
        self.name = config.leader.name or socket.gethostname()
        self._address = config.leader.address or socket.getfqdn()
        self.has_begun = False
        self._port = outbox.endpoint.rpartition(":")[2]
        self._followers: dict[str, float] = {}
        self._followed: Heard | None = None
        self._followed_s = 0.0
        self._ahead_s = 0.0
        self._is_due = False
        outbox.follows = self._follows
        self.follower = MemoryFollower(context, self.name, config.telemetry.secret_key_file, self._seal, self._take)
        self.changes = 0
        self._seen = ""
        self._memory, self._weight = control.core.memory, weight(control.core.memory)
        self._revision = 0
        self.leader = Leader(
            with_fields(config.leader, name=self.name),
            config.xapi,
            self._seal,
            config.state_dir,
            self._told,
            lambda: will(self._memory_to_leave()),
            lambda: control.core.memory.pool_addresses,
            self._heard_lease,
        )
        control.watchers.append(self._heard)

    async def run(self, lead: Callable[[], None]) -> None:
        """Wait until it is this controller's turn, go on where the last leader was, and `lead`."""
        predecessor = await self.leader.begins()
        memory, name = self._memory_to_leave(), predecessor.told.name if predecessor is not None else ""
        self.has_begun = True
        self._revision = 1
        self.follower.follow("")
        self.changes += 1
        number = self.leader.holder.number if self.leader.holder is not None else 0
        log.info("leads", controller=self.name, claim=number, after=name or None, adopted=len(memory.in_flight))
        if self._config.record.on:  # not before: what is heard of a leader's memory is no event, and on no record
            self._control.recording.switch_on(self._control.clock.now_s())
        self._control.dispatch(
            TookOver(name=self.name, number=number, predecessor=name, memory=msgspec.msgpack.encode(memory))
        )
        self._control.dispatch(Tick())
        lead()

    @property
    def leads(self) -> bool:
        """Whether this controller leads, and knows what the last leader has left."""
        return self.has_begun and self.leader.leads

    def refusal(self) -> str:
        """Say why nothing can be asked of this controller, and who can be; empty where it leads."""
        if self.leads:
            return ""
        claim = self.leader.holder
        if self.has_begun or claim is None or claim.life == self.leader.life:
            why = self.leader.problem or "its lease is not renewed"
            return f"controller {self.name} cannot tell whether it still leads: {why}; ask again when the pool answers"
        told = claim.told
        where = f"`migctl --url {told.api}`" if told.api else f"`migctl` on {told.name}"
        return f"controller {self.name} stands by, and {told.name} leads: ask that one, by {where}"

    async def settled(self) -> None:
        """Return once the next leader would know of what was done just now. Raises Refused where it might not."""
        try:
            await self.leader.renewed()
        except (NotLeading, Deposed) as error:
            raise Refused(
                f"it was done here, but {error}: should another controller lead now, it does not know of it; "
                "`migctl status` tells"
            ) from error

    def view(self) -> LeaderView:
        """Return who leads, and how this controller stands to that."""
        claim, leads = self.leader.holder, self.leads
        told = claim.told if claim is not None else Told()
        return LeaderView(
            name=self.name,
            leads=leads,
            leader=self.name if leads else told.name,
            api=told.api,
            since=told.since,
            number=claim.number if claim is not None else 0,
            lease_s=self._config.leader.lease_s if self._config.leader is not None else 0.0,
            heard_s=max(0.0, self.leader.heard_s) if claim is not None else None,
            standbys=[StandbyView(name=name, since=since) for name, since in self._followers.items()] if leads else [],
            memory_s=time.monotonic() - self._followed_s if self._followed is not None and not leads else None,
            ahead_s=0.0 if leads else self._ahead_s,
            problem=self.leader.problem or self.leader.fence_problem,
        )

    def families(self) -> Iterable[Metric]:
        """Return what Prometheus is told."""
        yield GaugeMetricFamily("migd_leading", "1 while this controller leads.", value=self.leads)
        yield GaugeMetricFamily(
            "migd_lease_remaining_seconds", "Until the lease ends if it is not renewed.", value=self.leader.lasts_s
        )
        yield CounterMetricFamily(
            "migd_leader_changes", "How often another controller was seen to lead.", value=self.changes
        )

    def _memory_to_leave(self) -> Memory:
        """Return what the next leader is to go on with: as long as this one has not begun, what the last has left."""
        own, last = self._control.core.memory, self.leader.predecessor
        if self.has_begun or last is None:
            return own
        return succeeding(own, last, self.leader.was_here(last), self.leader.left_by(last), self._followed)

    def _told(self) -> Told:
        api = ""
        if (http := self._config.http) is not None:
            host, _, port = http.listen.rpartition(":")
            if http.certificate_file is not None:  # without one it is heard on this machine only
                api = f"https://{self._address if host in _ANY_ADDRESS else host}:{port}"
        return Told(
            name=self.name,
            api=api,
            stream=f"tcp://{self._address}:{self._port}",
            at=self._control.clock.now_s(),
            revision=self._revision if self.has_begun else 0,
        )

    def _heard_lease(self) -> None:
        """Keep on record who leads, where that is another controller."""
        claim = self.leader.holder
        if self.has_begun or claim is None or claim.life == self.leader.life:
            return
        if claim.life == self._seen:
            return
        self._seen = claim.life
        self.follower.follow(claim.told.stream)
        self.changes += 1
        log.info("stands by", controller=self.name, leader=claim.told.name, claim=claim.number)
        self._control.take_in(LeaderSeen(name=claim.told.name, number=claim.number))

    def _heard(self, event: AnyEvent, commands: Sequence[AnyCommand]) -> None:
        """Let the next leader know of what must not be lost, at once where it is no mere progress."""
        memory = self._control.core.memory
        if memory is self._memory:
            return
        self._memory = memory
        self._revision += 1
        if self.has_begun and (now := weight(memory)) != self._weight:
            self._weight = now
            self.leader.hurry()
        self._tell_soon()

    def _follows(self, follower: str, is_there: bool) -> None:
        """Note who stands by, and tell who comes what is known."""
        if is_there:
            self._followers[follower] = self._control.clock.now_s()
            self._tell_soon()
        else:
            self._followers.pop(follower, None)
        log.info("standby comes" if is_there else "standby goes", standby=follower)

    def _tell_soon(self) -> None:
        """Let standbys hear of the memory, together with what changes until then."""
        if self.has_begun and self._followers and not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_later(TELL_AFTER_S, self._tell)

    def _tell(self) -> None:
        self._is_due = False
        now_s = self._control.clock.now_s()
        content = sealed(Heard(self.leader.life, self._revision, now_s, self._control.core.memory), self._seal)
        for follower in self._followers:
            self._outbox.tell(frames(follower, content))

    def _take(self, heard: Heard) -> None:
        """Know what the leader knows, and keep it over a restart."""
        if self.has_begun or heard.life != self._seen:
            return
        self._followed, self._followed_s = heard, time.monotonic()
        self._ahead_s = self._control.clock.now_s() - heard.at
        self._control.know(heard.memory)
