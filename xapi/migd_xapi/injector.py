"""Lets faults happen: at once, or when their time comes."""

import time
from collections import deque
from collections.abc import Sequence
from functools import partial
from math import inf
from typing import Final, assert_never

import msgspec
import structlog

from migd_core.errors import ConfigError
from migd_core.health import HostHealth
from migd_xapi import by_hand
from migd_xapi.faults import (
    AnswersDelayed,
    AnyFault,
    ClockJumps,
    ConnectionDropped,
    CoordinatorChanges,
    FaultRefused,
    HealthChanges,
    HostDies,
    HostReturns,
    HumanDisables,
    HumanEnables,
    HumanMigrates,
    HumanReboots,
    HumanRenames,
    HumanShutsDown,
    HumanStarts,
    HumanTags,
    LinkRecovers,
    LinkSlows,
    SuspendHangs,
    ToolstackRestarts,
)
from migd_xapi.names import Names
from migd_xapi.outages import Outages
from migd_xapi.server import Server
from migd_xapi.sim_backend import SimBackend
from migd_xapi.timers import Timers

REMEMBERED: Final = 1000
_log = structlog.get_logger()


class Happened(msgspec.Struct, frozen=True, kw_only=True):
    """A fault that has happened, by this machine's monotonic clock."""

    at_s: float
    fault: AnyFault


class Injector:
    """Does to a pool what faults say. `happened` has the latest ones."""

    def __init__(self, server: Server, backend: SimBackend) -> None:
        self.happened: deque[Happened] = deque(maxlen=REMEMBERED)
        self._server, self._backend = server, backend
        self._names = Names(server.pool)
        self._timers = Timers()
        self._outages = Outages(server, backend, self._timers)

    def check(self, faults: Sequence[AnyFault], name: str) -> None:
        """Raise ConfigError where one of a pool file's faults names somebody who is not there; `name` is the file."""
        for number, fault in enumerate(faults):
            try:
                self._names.check(fault)
            except FaultRefused as error:
                raise ConfigError(f"{name}: faults[{number}]: {error}") from error

    async def inject(self, fault: AnyFault) -> None:
        """Let a fault happen when its time comes; return at once, or when it has happened. Raises FaultRefused."""
        self._names.check(fault)
        if fault.at_s > 0:
            self._timers.after(fault.at_s, partial(self._planned, fault))
        else:
            await self._happen(fault)

    async def close(self) -> None:
        """Give up what has not happened yet."""
        await self._timers.close()

    def _set_link(self, host: str, factor: float, lasts_s: float | None = None) -> None:
        cluster, uuid = self._backend.cluster, self._names.host(host)["uuid"]
        healthy_bytes_per_s = cluster.hosts[uuid].spec.link_bytes_per_s
        cluster.set_link(uuid, healthy_bytes_per_s * factor, inf if lasts_s is None else lasts_s)

    async def _planned(self, fault: AnyFault) -> None:
        try:
            await self._happen(fault)
        except FaultRefused as error:
            _log.warning("a fault did not happen", why=str(error), **msgspec.to_builtins(fault))

    async def _happen(self, fault: AnyFault) -> None:
        self._backend.settle()
        names, outages, cluster = self._names, self._outages, self._backend.cluster
        disturbances = self._server.listener.disturbances
        match fault:
            case HostDies(host=host, noticed_after_s=noticed_after_s):
                await outages.kill(names.host(host), noticed_after_s)
            case HostReturns(host=host):
                await outages.revive(names.host(host))
            case CoordinatorChanges(host=host, down_s=down_s):
                await outages.hand_over(names.host(host), down_s)
            case ToolstackRestarts(down_s=down_s, migrations=migrations):
                await outages.restart(down_s, migrations)
            case LinkSlows(host=host, factor=factor, lasts_s=lasts_s):
                self._set_link(host, factor, lasts_s)
            case LinkRecovers(host=host):
                self._set_link(host, 1.0)
            case HealthChanges(host=host, state=state, reasons=reasons):
                health = HostHealth(state=state, reasons=reasons, watched=("emulated",))
                cluster.set_health(names.host(host)["uuid"], health)
            case SuspendHangs(guest=guest, lasts_s=lasts_s):
                cluster.hang_suspend(names.vm(guest)["uuid"], inf if lasts_s is None else lasts_s)
            case ConnectionDropped():
                disturbances.drop(fault)
            case AnswersDelayed():
                disturbances.delay(fault)
            case ClockJumps(by_s=by_s):
                self._server.pool.clock.ahead_s += by_s
            case (
                HumanMigrates()
                | HumanShutsDown()
                | HumanReboots()
                | HumanStarts()
                | HumanRenames()
                | HumanTags()
                | HumanDisables()
                | HumanEnables()
            ):
                outages.check_answered()
                await by_hand.do(self._server, names, fault)
            case _:
                assert_never(fault)
        self.happened.append(Happened(at_s=time.monotonic(), fault=fault))
        _log.info("a fault has happened", **msgspec.to_builtins(fault))
