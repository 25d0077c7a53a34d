"""The emulated pool as the demo needs it: what its file says, what really happens in it, and the hog."""

import http.client
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Final
from urllib.parse import urlsplit

import msgspec

from migd_core import config
from migd_core.api import MigrationView
from migd_core.errors import MigdError

TIMEOUT_S: Final = 5.0
POOL_FILE: Final[Traversable] = resources.files("migd_cli.demo") / "pool.toml"


class NamedGuest(msgspec.Struct, frozen=True):
    """A guest of the pool file."""

    name: str


class NamedHost(msgspec.Struct, frozen=True):
    """A host of the pool file."""

    name: str
    uuid: str


class NamedJob(msgspec.Struct, frozen=True):
    """A job of the pool file: the guests of its ranks."""

    name: str
    ranks: tuple[str, ...]


class Outline(msgspec.Struct, frozen=True):
    """What the demo has to know of its pool file."""

    hosts: tuple[NamedHost, ...]
    jobs: tuple[NamedJob, ...]
    guests: tuple[NamedGuest, ...]


def outline() -> Outline:
    """Return the outline of the demo's pool file."""
    return config.parse(POOL_FILE.read_text(encoding="utf-8"), Outline, name=str(POOL_FILE))


class Ready(msgspec.Struct, frozen=True):
    """The line with which the pool says that it is up: where it speaks XenAPI, and where the truth is told."""

    url: str
    control: str


class JobTruth(msgspec.Struct, frozen=True):
    """A job as it really runs."""

    name: str
    steps_done: float


class MigrationTruth(msgspec.Struct, frozen=True):
    """A migration as it really went; `target` is a host's name, `ended_s` None while it goes on."""

    guest_uuid: str
    target: str
    ended_s: float | None
    pause_s: float


class Truth(msgspec.Struct, frozen=True):
    """What really happens. `now_s` is this machine's monotonic clock."""

    now_s: float
    jobs: tuple[JobTruth, ...]
    migrations: tuple[MigrationTruth, ...]

    def steps_of(self, job: str) -> float:
        """Return the steps that a job has done."""
        return next(each.steps_done for each in self.jobs if each.name == job)

    def pauses_s(self, migrations: list[MigrationView]) -> dict[str, float]:
        """Return how long each migration that really took place made its guest stand still, by cause."""
        left = [each for each in self.migrations if each.ended_s is not None]
        found = {}
        for view in sorted(migrations, key=lambda each: each.started_at):
            for truth in left:
                if (truth.guest_uuid, truth.target) == (view.guest, view.target_name):
                    found[view.cause] = truth.pause_s
                    left.remove(truth)
                    break
        return found


class EmulatedPool:
    """The control endpoint of a running emulated pool."""

    def __init__(self, url: str) -> None:
        self._address = urlsplit(url).netloc

    def truth(self) -> Truth:
        """Return what really happens now. Raises MigdError."""
        return msgspec.json.decode(self._ask("GET", "/truth"), type=Truth)

    def start_hog(self, guest: str, vcpus: int) -> None:
        """Let `vcpus` of a guest use a core each from now on. Raises MigdError."""
        self._ask("POST", "/hog", msgspec.json.encode({"guest": guest, "vcpus": vcpus, "lasts_s": None}))

    def _ask(self, method: str, path: str, body: bytes | None = None) -> bytes:
        connection = http.client.HTTPConnection(self._address, timeout=TIMEOUT_S)
        try:
            connection.request(method, path, body)
            answer = connection.getresponse()
            read = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise MigdError(f"the emulated pool does not answer {method} {path}: {error}") from error
        finally:
            connection.close()
        if answer.status != 200:
            raise MigdError(f"the emulated pool answers {method} {path} with {answer.status}: {read.decode()}")
        return read
