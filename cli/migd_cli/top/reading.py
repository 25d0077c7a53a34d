"""What is to be seen at one moment: the controller's answers to six questions, asked one after the other."""

import time
from dataclasses import dataclass
from typing import Final

from migd_cli.client import Client
from migd_core.api import GuestView, HostView, JobView, MigrationView, RecommendationView, StatusView

# Those under way, which stand first, and enough of the latest to see how the last ones ended.
MIGRATIONS_ASKED: Final = 20


@dataclass(frozen=True, slots=True)
class Reading:
    """One moment; `at_s` is the Unix time at which it was asked for."""

    at_s: float
    status: StatusView
    hosts: list[HostView]
    guests: list[GuestView]
    jobs: list[JobView]
    recommendations: list[RecommendationView]
    migrations: list[MigrationView]

    def is_after_restart_of(self, before: "Reading | None") -> bool:
        """Whether the controller that answered began after the one that answered `before`."""
        return before is not None and self.status.uptime_s < before.status.uptime_s

    def migration_of(self, guest: str) -> MigrationView | None:
        """Return the migration of a guest (uuid) that is under way."""
        return next((each for each in self.migrations if each.ok is None and each.guest == guest), None)


def read(client: Client) -> Reading:
    """Ask for everything. Raises Unreachable or RequestFailed."""
    at_s = time.time()
    status = client.get("/v1/status", StatusView)
    latest = client.get(f"/v1/migrations?limit={MIGRATIONS_ASKED}", list[MigrationView])
    # One that ends between two questions is in both answers: the later one is right.
    known = {each.cause: each for each in [*status.migrations, *latest]}
    return Reading(
        at_s=at_s,
        status=status,
        hosts=client.get("/v1/hosts", list[HostView]),
        guests=client.get("/v1/guests", list[GuestView]),
        jobs=client.get("/v1/jobs", list[JobView]),
        recommendations=client.get("/v1/recommendations", list[RecommendationView]),
        migrations=list(known.values()),
    )
