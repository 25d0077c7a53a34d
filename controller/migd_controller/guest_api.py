"""The routes that `migctl measure guest` asks: have a guest's dirty pages counted, and what moving it would take."""

from aiohttp import web
from aiohttp.typedefs import Handler

from migd_controller import probe_requests
from migd_controller.control import Control
from migd_controller.events import PoolGuest, ProbeRequested
from migd_controller.http.answers import answer
from migd_controller.views import candidate_view
from migd_core import api
from migd_core.errors import UnknownName


class GuestApi:
    """The handlers of one controller's single guests."""

    def __init__(self, control: Control) -> None:
        self._control, self._core = control, control.core

    @property
    def handlers(self) -> dict[tuple[str, str], Handler]:
        """Every route of a guest's measurement, by method and path."""
        return {
            ("GET", "/v1/guests/{guest}/probe"): self._probe,
            ("POST", "/v1/guests/{guest}/probe"): self._ask_for_probe,
            ("GET", "/v1/guests/{guest}/targets"): self._targets,
        }

    async def _probe(self, request: web.Request) -> web.Response:
        return answer(self._probe_view(self._named(request)))

    async def _ask_for_probe(self, request: web.Request) -> web.Response:
        guest, core = self._named(request), self._core
        probe_requests.refuse_if_never(guest.uuid, core.inventory, core.telemetry, core.config)
        self._control.dispatch(ProbeRequested(guest=guest.uuid))
        return answer(self._probe_view(guest), status=202)

    async def _targets(self, request: web.Request) -> web.Response:
        candidates = self._core.by_hand(self._named(request).uuid, self._control.clock.now_s())
        return answer([candidate_view(each, self._core.inventory) for each in candidates])

    def _named(self, request: web.Request) -> PoolGuest:
        """Return the running guest of the path. Raises UnknownName."""
        name = request.match_info["guest"]
        guest = self._core.inventory.guest_named(name)
        if guest is None:
            raise UnknownName(f"no single running guest is called {name!r}; `migctl guests` lists them")
        return guest

    def _probe_view(self, guest: PoolGuest) -> api.ProbeView:
        core, now_s = self._core, self._control.clock.now_s()
        memory = core.memory
        is_under_way = any(lease.guest == guest.uuid and not lease.is_ending for lease in memory.leases.values())
        asked_at, measured_at = memory.probe_asked.get(guest.uuid), core.telemetry.measured_at(guest.uuid)
        waits_for, waits_s = "", 0.0
        if not is_under_way:
            waits_for, waits_s = probe_requests.waits_for(
                guest.uuid, now_s, core.inventory, core.telemetry, memory, core.config
            )
        return api.ProbeView(
            guest=guest.uuid,
            guest_name=guest.name,
            state="under-way" if is_under_way else "none" if asked_at is None else "asked",
            asked_at=asked_at,
            measured_at=measured_at if measured_at > 0 else None,
            waits_for=waits_for,
            waits_s=waits_s,
        )
