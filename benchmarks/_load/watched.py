"""The controller as a process of its own, and what it costs: memory, CPU, ticks, answers."""

import contextlib
import json
import re
import resource
import signal
import statistics
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import msgspec
import psutil  # type: ignore[import-untyped]

from migd_cli.client import Client
from migd_cli.demo.children import Brood
from migd_cli.failures import Unreachable
from migd_core import api

EVERY_S: Final = 1.0
SCRAPE_EVERY: Final = 15
STATUS_EVERY: Final = 5
ANSWERS_WITHIN_S: Final = 60.0
# As systemd/migd-controller.service has it.
FILES: Final = 65536
_CONFIG: Final = """\
state_dir = "{folder}/state"
socket = "{folder}/controller.sock"
period_s = {period_s}

[telemetry]
listen = "tcp://127.0.0.1:*"
secret_key_file = "{folder}/controller.key_secret"
agents_file = "{folder}/agents.toml"

[xapi]
url = "{url}"
username = "root"
password_file = "{folder}/xapi.password"
timeout_s = 600.0

[policy]
name = "least-loaded"

[automation]
level = "recommend"

[http]
listen = "127.0.0.1:0"
"""


class Controller:
    """A controller on loopback, which ends with the block."""

    def __init__(self, folder: Path, pool_url: str, period_s: float) -> None:
        self._folder = folder
        self.socket, self.journal = folder / "controller.sock", folder / "state" / "journal.sqlite"
        (folder / "xapi.password").write_text("any\n")
        (folder / "controller.toml").write_text(_CONFIG.format(folder=folder, url=pool_url, period_s=period_s))
        self._brood = Brood(folder)

    def __enter__(self) -> Self:
        soft, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, FILES), most))  # what a child inherits
        try:
            self._child = self._brood.start(
                "controller", "migd_controller", "--config", str(self._folder / "controller.toml")
            )
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, most))
        ready = self._logged("controller ready", ANSWERS_WITHIN_S)
        self.telemetry, self.leases, self.url = ready["telemetry"], ready["leases"], ready["url"]
        self.process = psutil.Process(self._child.pid)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._brood.end()

    def wait_for_inventory(self, within_s: float) -> None:
        """Return once the pool's hosts and guests are known."""
        self._logged("inventory read", within_s)

    def check(self) -> None:
        """Raises ChildDied with its last words where it has ended."""
        self._brood.check()

    def log(self) -> str:
        """Return all that it has logged."""
        return self._child.log()

    def ticks_s(self, log: str) -> list[float]:
        """Return what each control cycle took that is told of in a part of the log."""
        return [float(found) for found in re.findall(r'"took_s": ?([0-9.e-]+)', log)]

    def status(self) -> api.StatusView:
        """Return what `migctl status` shows."""
        return msgspec.json.decode(self._ask("GET", "/v1/status"), type=api.StatusView)

    def scrape(self) -> bytes:
        """Return what Prometheus gets."""
        return self._ask("GET", "/metrics")

    def token(self) -> str:
        """Return a new token of a viewer."""
        answer = self._ask("POST", "/v1/tokens", api.TokenRequest(name="watcher", role=api.Role.VIEWER))
        return msgspec.json.decode(answer, type=api.NewTokenView).token

    def counts_at_rest(self) -> dict[str, float]:
        """Return its counts of samples, once they stand still."""
        before = -1.0
        while (counts := self.counts())["received"] != before:
            before = counts["received"]
            time.sleep(2.0)
        return counts

    def end(self) -> None:
        """End it by SIGTERM, as systemd does."""
        self._child.send(signal.SIGTERM)
        if not self._child.wait(ANSWERS_WITHIN_S) or not self._child.has_succeeded():
            raise RuntimeError(f"the controller did not end well; {self._child.last_words()}")

    def counts(self) -> dict[str, float]:
        """Return its counts of samples."""
        found = re.findall(rb"^migd_samples_(\w+)_total ([0-9.e+]+)$", self.scrape(), re.MULTILINE)
        return {name.decode(): float(value) for name, value in found}

    def _ask(self, method: str, path: str, body: msgspec.Struct | None = None) -> bytes:
        return Client(str(self.socket), ANSWERS_WITHIN_S).ask(method, path, body)

    def _logged(self, event: str, within_s: float) -> dict[str, Any]:
        until_s = time.monotonic() + within_s
        while True:
            self._brood.check()
            for line in self.log().splitlines():
                if f'"{event}"' in line:
                    found: dict[str, Any] = json.loads(line)
                    return found
            if time.monotonic() > until_s:
                raise TimeoutError(f"the controller has not logged {event!r} within {within_s:g} s")
            time.sleep(0.1)


class Watched:
    """A controller looked at every second."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self._turn = 0
        self._part = ""
        self._rss: dict[str, list[int]] = {}
        self._status_s: list[float] = []
        self._frozen: list[int] = [0]

    def watch(self, seconds: float) -> None:
        """Look for so long, and scrape and ask for the status now and then, as in life."""
        until_s = time.monotonic() + seconds
        while (now_s := time.monotonic()) < until_s:
            self._controller.check()
            self._rss.setdefault(self._part, []).append(self._controller.process.memory_info().rss)
            self._turn += 1
            asked_s = time.monotonic()
            with contextlib.suppress(Unreachable):  # that it took so long is a figure
                if self._turn % SCRAPE_EVERY == 0:
                    self._controller.scrape()
                if self._turn % STATUS_EVERY == 0:
                    self._frozen.append(self._controller.status().hosts_frozen)
            self._status_s.append(time.monotonic() - asked_s)
            time.sleep(max(0.0, min(until_s, now_s + EVERY_S) - time.monotonic()))

    def part(self, name: str) -> tuple[float, float, int]:
        """Begin a part of the run."""
        self._part, self._rss[name], self._status_s, self._frozen = name, [], [], [0]
        return time.monotonic(), _cpu_s(self._controller.process), len(self._controller.log())

    def over(self, began: tuple[float, float, int]) -> dict[str, float]:
        """Return the figures of the part that `began`."""
        at_s, cpu_s, at_byte = began
        ticks = sorted(self._controller.ticks_s(self._controller.log()[at_byte:]))
        rss = self._rss[self._part] or [self._controller.process.memory_info().rss]
        return {
            "cpu_ratio": round((_cpu_s(self._controller.process) - cpu_s) / (time.monotonic() - at_s), 3),
            "rss_median_mb": round(statistics.median(rss) / 1e6, 1),
            "rss_most_mb": round(max(rss) / 1e6, 1),
            "ticks": len(ticks),
            "tick_p50_s": _quantile(ticks, 0.5),
            "tick_p99_s": _quantile(ticks, 0.99),
            "tick_worst_s": _quantile(ticks, 1.0),
            "status_worst_s": round(max(self._status_s, default=0.0), 3),
            "hosts_frozen_most": max(self._frozen),
        }

    def rss_of(self, part: str) -> list[int]:
        """Return the resident memory, in bytes, of each second of a part."""
        return self._rss[part]


def flatness(rss: list[int]) -> float:
    """Return by how much memory grew over a part by a straight line through it, over its mean."""
    if len(rss) < 2:
        return 0.0
    slope, _ = statistics.linear_regression(range(len(rss)), rss)
    return round(slope * len(rss) / statistics.fmean(rss), 4)


def _quantile(values: list[float], share: float) -> float:
    return values[min(len(values) - 1, int(share * len(values)))] if values else float("nan")


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
