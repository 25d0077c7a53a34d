"""A host of an emulated pool and its guests, as its Dom0 would count them.

The host's own figures come from the pool too: this machine's would describe the wrong one.
"""

from typing import Final
from urllib.parse import quote

import msgspec

from migd_agent.control_endpoint import Answer, ControlEndpoint, PendingAnswer
from migd_agent.xen.log_dirty import OutOfTime, StoodBack
from migd_core.counters import HostCounters
from migd_core.decoding import UNDECODABLE
from migd_core.errors import MigdError
from migd_core.messages import DirtyCurve

# Far below a period, so that a pool that hangs neither delays a tick for long nor the end of the agent.
TIMEOUT_S: Final = 0.4

_decode_counters: Final = msgspec.json.Decoder(HostCounters).decode
_decode_curve: Final = msgspec.json.Decoder(DirtyCurve).decode


class UnusableAnswer(MigdError):
    """The emulated pool answered something else than counters or a curve."""


class EmulatedPool:
    """The guest source behind an emulated pool's control endpoint."""

    supplies = ("dom0", "guests")
    can_probe = True

    def __init__(self, host_uuid: str, url: str) -> None:
        self._host_uuid = host_uuid
        self._path = f"/dom0/{quote(host_uuid, safe='')}"
        self._endpoint = ControlEndpoint(url, TIMEOUT_S)

    def collect(self, so_far: HostCounters | None) -> HostCounters:
        return parse(self.read(), self._host_uuid)

    def read(self) -> Answer:
        """Return the pool's answer to the question for this host's counters."""
        return self._endpoint.get(self._path)

    def begin_curve(
        self, guest_uuid: str, ages_s: tuple[float, ...], sessions: int, until_s: float
    ) -> "PendingSimCurve":
        ages = ",".join(f"{age_s:g}" for age_s in ages_s)
        path = f"{self._path}/dirty/{quote(guest_uuid, safe='')}?ages={ages}"
        return PendingSimCurve(self._endpoint.begin(path), guest_uuid, until_s)

    def close(self) -> None:
        self._endpoint.close()


class PendingSimCurve:
    """A curve that was asked for; the pool answers with the median of its sessions."""

    def __init__(self, pending: PendingAnswer, guest_uuid: str, until_s: float) -> None:
        self._pending, self._guest_uuid, self.due_s = pending, guest_uuid, until_s
        self._is_late = False

    def fileno(self) -> int:
        return self._pending.fileno()

    def advance(self, now_s: float) -> bool:
        if self._pending.is_readable:
            return True
        self._is_late = now_s >= self.due_s
        return self._is_late

    def take(self) -> DirtyCurve | None:
        if self._is_late:
            self.close()
            raise OutOfTime(f"guest {self._guest_uuid}: the emulated pool did not answer in the time granted")
        return parse_curve(self._pending.take())

    def close(self) -> None:
        self._pending.close()


def parse(answer: Answer, host_uuid: str) -> HostCounters:
    """Return the counters in `answer`. Raises UnusableAnswer."""
    if answer.status != 200:
        raise UnusableAnswer(f"GET {answer.url}: expected status 200, found {answer.status}: {_start(answer)}")
    try:
        counters = _decode_counters(answer.body)
    except UNDECODABLE as error:
        raise UnusableAnswer(
            f"GET {answer.url}: expected counters of a host as JSON: {error}; found {_start(answer)}"
        ) from error
    if counters.host_uuid != host_uuid:
        raise UnusableAnswer(f"GET {answer.url}: expected counters of host {host_uuid}, found {counters.host_uuid}")
    return counters


def parse_curve(answer: Answer) -> DirtyCurve | None:
    """Return the curve in `answer`; None where the guest is gone (404).

    Raises StoodBack where it migrates (409), UnusableAnswer.
    """
    if answer.status == 404:
        return None
    if answer.status == 409:
        raise StoodBack(answer.body[:200].decode("utf-8", errors="backslashreplace") or "the pool does not say why")
    if answer.status != 200:
        raise UnusableAnswer(f"GET {answer.url}: expected status 200, 404 or 409, found {answer.status}")
    try:
        curve = _decode_curve(answer.body)
    except UNDECODABLE as error:
        raise UnusableAnswer(
            f"GET {answer.url}: expected a dirty curve as JSON: {error}; found {_start(answer)}"
        ) from error
    if (why := curve.contradiction()) is not None:
        raise UnusableAnswer(f"GET {answer.url}: an impossible curve: {why}")
    return curve


def _start(answer: Answer) -> str:
    return repr(answer.body[:80].decode("utf-8", errors="backslashreplace"))
