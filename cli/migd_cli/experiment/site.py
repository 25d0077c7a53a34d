"""The cluster as a measurement sees and steers it: the controller's API, with patience while that restarts.

One that never answered is not waited for: it may not be there at all.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeVar
from urllib.parse import quote

from migd_cli.client import Client, decode
from migd_cli.failures import Failure, RequestFailed, Unreachable
from migd_core.api import (
    AutomationRequest,
    AutomationView,
    GuestView,
    HostView,
    JobView,
    MigrateRequest,
    MigrationView,
    StatusView,
)
from migd_core.automation import Automation

T = TypeVar("T")
UNREACHABLE_AT_MOST_S: Final = 90.0
AGAIN_EVERY_S: Final = 1.0
# As many of the newest migrations as can have begun during a run.
NEWEST: Final = 200


@dataclass(frozen=True, slots=True)
class Moment:
    """The guests that belong together with one, where each is (names), and the migrations known (by cause).

    `others` are the name and the host's name of every other guest, by uuid.
    """

    guest: GuestView
    places: dict[str, str]
    migrations: dict[str, MigrationView]
    others: dict[str, tuple[str, str]] = field(default_factory=dict)

    def of_guest(self) -> list[MigrationView]:
        """Return the migrations of the guest itself."""
        return [each for each in self.migrations.values() if each.guest == self.guest.uuid]


class Site:
    """Asks the controller. `wait` lets seconds pass, and raises what is to end the measurement."""

    def __init__(self, client: Client, wait: Callable[[float], None]) -> None:
        self._client, self.wait = client, wait
        self._has_answered = False

    def guest(self, name: str) -> GuestView:
        """Return a running guest, by name or uuid. Raises Failure."""
        guests = self._get("/v1/guests", list[GuestView])
        found = [each for each in guests if name in (each.name, each.uuid)]
        if len(found) != 1:
            raise Failure(f"no single running guest is called {name}; `migctl guests` lists them")
        return found[0]

    def host(self, name: str) -> HostView:
        """Return a host, by name or uuid. Raises Failure."""
        found = [each for each in self._get("/v1/hosts", list[HostView]) if name in (each.name, each.uuid)]
        if len(found) != 1:
            raise Failure(f"no single host is called {name}; `migctl hosts` lists them")
        return found[0]

    def status(self) -> StatusView:
        return self._get("/v1/status", StatusView)

    def moment(self, name: str) -> Moment:
        """Return where a guest and the others of its job are now, and which migrations there are. Raises Failure."""
        guests = self._get("/v1/guests", list[GuestView])
        (guest,) = [each for each in guests if name in (each.name, each.uuid)] or [self.guest(name)]
        jobs = {job.name: set(job.guests) for job in self._get("/v1/jobs", list[JobView])}
        together = {guest.uuid} | jobs.get(guest.job or "", set())
        places = {each.name: each.host_name for each in guests if each.uuid in together}
        others = {each.uuid: (each.name, each.host_name) for each in guests if each.uuid not in together}
        return Moment(guest, places, {each.cause: each for each in self._migrations()}, others)

    def migration(self, cause: str) -> MigrationView:
        """Return one of the newest migrations. Raises Failure."""
        for each in self._migrations():
            if each.cause == cause:
                return each
        raise Failure(f"the controller no longer knows migration {cause}; `migctl history` lists those it does")

    def migrate(self, guest: str, host: str) -> MigrationView:
        """Ask for a migration, once. Raises RequestFailed with the gates that refuse it, and Unreachable."""
        answer = self._client.ask("POST", "/v1/migrations", MigrateRequest(guest=guest, host=host))
        return decode(answer, MigrationView)

    def cancel(self, cause: str) -> None:
        """Ask for the end of a migration; one that is over needs none."""
        try:
            self._patiently(lambda: self._client.ask("POST", f"/v1/migrations/{quote(cause, safe='')}/cancel"))
        except RequestFailed:
            return

    def automation(self) -> AutomationView:
        return self._get("/v1/automation", AutomationView)

    def set_automation(self, level: Automation | None) -> None:
        """Choose the cluster's level, or take back what was chosen. Raises Failure."""
        self._patiently(lambda: self._client.ask("PUT", "/v1/automation", AutomationRequest(level=level)))

    def _migrations(self) -> list[MigrationView]:
        return self._get(f"/v1/migrations?limit={NEWEST}", list[MigrationView])

    def _get(self, path: str, type_: type[T]) -> T:
        return self._patiently(lambda: self._client.get(path, type_))

    def _patiently(self, ask: Callable[[], T]) -> T:
        """Ask again while nobody answers, as when the controller restarts."""
        until_s = time.monotonic() + UNREACHABLE_AT_MOST_S
        while True:
            try:
                answer = ask()
            except Unreachable:
                if not self._has_answered or time.monotonic() > until_s:
                    raise
            else:
                self._has_answered = True
                return answer
            self.wait(AGAIN_EVERY_S)
