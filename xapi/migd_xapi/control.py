"""The control endpoint: what the emulated Dom0s count, what really happened, and what the cluster shall suffer.

Plain HTTP and JSON on a listener of its own. None of it is XenAPI's, and none of it can be had there. All times are
this machine's monotonic clock.
"""

import math
from itertools import pairwise
from typing import Annotated, Final

import msgspec
from aiohttp import web
from msgspec import Meta

from migd_core.decoding import UNDECODABLE
from migd_core.units import Lasting
from migd_xapi.addresses import bound_socket
from migd_xapi.backend import BackendRefusal
from migd_xapi.faults import AnyFault, FaultRefused
from migd_xapi.injector import Injector
from migd_xapi.sim_backend import SimBackend, SimMigration

BODY_LIMIT_BYTES: Final = 64 * 1024
MAX_CURVE_POINTS: Final = 64  # what a DirtyCurve may have
decoded_fault: Final = msgspec.json.Decoder(AnyFault).decode


class JobTruth(msgspec.Struct, frozen=True, kw_only=True):
    """A job's progress."""

    name: str
    steps_done: float
    steps_per_s: float


class MigrationTruth(msgspec.Struct, frozen=True, kw_only=True):
    """One migration as it went; `pages` counts each round, the final copy last. `ended_s` is None while it goes on."""

    guest: str
    guest_uuid: str
    source: str
    target: str
    started_s: float
    ended_s: float | None
    rounds: int
    pages: tuple[int, ...]
    bytes: int
    pause_s: float
    ok: bool
    reason: str


class HostTruth(msgspec.Struct, frozen=True, kw_only=True):
    """A host: whether it has power, and what its NIC carries each way."""

    name: str
    is_up: bool
    link_bytes_per_s: float


class GuestTruth(msgspec.Struct, frozen=True, kw_only=True):
    """A guest, and the host that has its domain; None where none has."""

    name: str
    uuid: str
    host: str | None


class Truth(msgspec.Struct, frozen=True, kw_only=True):
    """What really happens; hosts by name."""

    now_s: float
    hosts: tuple[HostTruth, ...]
    guests: tuple[GuestTruth, ...]
    jobs: tuple[JobTruth, ...]
    migrations: tuple[MigrationTruth, ...]


class Hog(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """vCPUs of a guest (name or uuid) that use a core each, for `lasts_s` seconds or until they are told to stop."""

    guest: str
    vcpus: Annotated[int, Meta(ge=1)]
    lasts_s: Lasting | None = None


class Control:
    """The HTTP server of the control endpoint."""

    def __init__(self, backend: SimBackend, injector: Injector) -> None:
        self._backend, self._injector = backend, injector
        application = web.Application(client_max_size=BODY_LIMIT_BYTES)
        application.add_routes(
            [
                web.get("/truth", self._truth),
                web.get("/dom0/{host}", self._counters),
                web.get("/dom0/{host}/dirty/{guest}", self._dirty_curve),
                web.post("/hog", self._start_hog),
                web.delete("/hog/{guest}", self._stop_hog),
                web.get("/faults", self._faults),
                web.post("/faults", self._inject),
            ]
        )
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)

    async def start(self, address: str, port: int) -> str:
        """Listen, and return the URL. Raises MigdError."""
        await self._runner.setup()
        listening = bound_socket(address, port, "the control endpoint")
        await web.SockSite(self._runner, listening).start()
        return f"http://{address}:{listening.getsockname()[1]}"

    async def stop(self) -> None:
        """Close all connections."""
        await self._runner.cleanup()

    async def _truth(self, request: web.Request) -> web.Response:
        self._backend.settle()
        cluster = self._backend.cluster
        truth = Truth(
            now_s=self._backend.began_s + cluster.now_s,
            hosts=tuple(
                HostTruth(name=state.spec.name, is_up=state.is_up, link_bytes_per_s=state.link_bytes_per_s)
                for state in cluster.hosts.values()
            ),
            guests=tuple(
                GuestTruth(name=state.spec.name, uuid=uuid, host=self._host_name(state.host))
                for uuid, state in cluster.guests.items()
            ),
            jobs=tuple(
                JobTruth(name=name, steps_done=job.steps_done, steps_per_s=job.steps_per_s)
                for name, job in cluster.jobs.items()
            ),
            migrations=tuple(map(self._migration, self._backend.migrations)),
        )
        return _json(truth)

    def _host_name(self, uuid: str | None) -> str | None:
        return self._backend.cluster.hosts[uuid].spec.name if uuid is not None else None

    def _migration(self, record: SimMigration) -> MigrationTruth:
        cluster, began_s = self._backend.cluster, self._backend.began_s
        end = record.truth()
        return MigrationTruth(
            guest=cluster.guests[end.guest].spec.name,
            guest_uuid=end.guest,
            source=cluster.hosts[end.source].spec.name,
            target=cluster.hosts[end.target].spec.name,
            started_s=began_s + end.started_s,
            ended_s=began_s + end.ended_s if record.ended else None,
            rounds=len(end.pages_by_round),
            pages=end.pages_by_round,
            bytes=end.sent_bytes,
            pause_s=end.pause_s,
            ok=end.ok,
            reason=end.reason,
        )

    async def _counters(self, request: web.Request) -> web.Response:
        try:
            return _json(self._backend.counters(self._host(request)))
        except BackendRefusal as refusal:
            raise web.HTTPServiceUnavailable(text=str(refusal)) from refusal

    async def _dirty_curve(self, request: web.Request) -> web.Response:
        host, guest = self._host(request), self._guest(request.match_info["guest"])
        state = self._backend.cluster.guests[guest]
        if state.host != host:
            raise web.HTTPNotFound(text=f"guest {state.spec.name} is not on this host")
        if state.migration is not None:
            raise web.HTTPConflict(text=f"guest {state.spec.name} is being migrated: its pages are tracked already")
        return _json(self._backend.dirty_curve(guest, _ages_s(request.query.get("ages", ""))))

    async def _start_hog(self, request: web.Request) -> web.Response:
        try:
            hog = msgspec.json.decode(await request.read(), type=Hog)
        except UNDECODABLE as error:
            raise web.HTTPBadRequest(
                text=f'expected {{"guest": ..., "vcpus": ..., "lasts_s": ...}}: {error}'
            ) from error
        guest = self._guest(hog.guest)
        self._backend.settle()
        self._backend.cluster.start_hog(guest, hog.vcpus, hog.lasts_s)
        return _json(hog)

    async def _stop_hog(self, request: web.Request) -> web.Response:
        guest = self._guest(request.match_info["guest"])
        self._backend.settle()
        self._backend.cluster.stop_hog(guest)
        return _json({})

    async def _faults(self, request: web.Request) -> web.Response:
        return _json(tuple(self._injector.happened))

    async def _inject(self, request: web.Request) -> web.Response:
        try:
            fault = decoded_fault(await request.read())
        except UNDECODABLE as error:
            raise web.HTTPBadRequest(
                text=f'expected a fault like {{"kind": "host-dies", "host": "xen1"}}: {error}'
            ) from error
        try:
            await self._injector.inject(fault)
        except FaultRefused as error:
            raise web.HTTPConflict(text=str(error)) from error
        return _json(fault)

    def _host(self, request: web.Request) -> str:
        uuid = request.match_info["host"]
        state = self._backend.cluster.hosts.get(uuid)
        if state is None:
            raise web.HTTPNotFound(text=f"no host has the uuid {uuid}")
        if not state.is_up:
            raise web.HTTPServiceUnavailable(text=f"host {state.spec.name} is down")
        return uuid

    def _guest(self, name_or_uuid: str) -> str:
        for uuid, state in self._backend.cluster.guests.items():
            if name_or_uuid in (uuid, state.spec.name):
                return uuid
        raise web.HTTPNotFound(text=f"no guest has the name or uuid {name_or_uuid}")


def _ages_s(text: str) -> tuple[float, ...]:
    try:
        ages_s = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise web.HTTPBadRequest(text=f"ages: expected seconds like 0.05,0.1,0.2, found {text!r}") from None
    rises = all(earlier < later for earlier, later in pairwise(ages_s))
    if not rises or not 0 < ages_s[0] <= ages_s[-1] < math.inf or len(ages_s) > MAX_CURVE_POINTS:
        raise web.HTTPBadRequest(text=f"ages: expected 1 to {MAX_CURVE_POINTS} seconds that rise, found {text!r}")
    return ages_s


def _json(value: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json")
