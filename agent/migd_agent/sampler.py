"""Makes one sample a tick out of what the collectors read, whichever of them fail."""

import uuid
from collections.abc import Mapping, Sequence
from typing import Final

from msgspec.structs import replace

from migd_agent.collectors import Collector
from migd_agent.failures import Failures
from migd_agent.probing import Probed
from migd_core.counters import HostCounters
from migd_core.messages import FlowSample, HostSample
from migd_core.rates import Formed, Stamp, form

# A host whose own figures fail goes on reporting its last ones, marked as missing, so that the controller learns why.
# After this long the agent falls silent, and the controller freezes the host as stale.
HOLD_S: Final = 10.0
NOTHING_PROBED: Final = Probed()
# Flows are told when they were read; again after this long, because samples get lost and controllers restart.
TELL_FLOWS_EVERY_S: Final = 10.0


class Sampler:
    """Remembers the last reading, and numbers the samples of this run of the agent."""

    def __init__(self, collectors: Sequence[Collector], failures: Failures) -> None:
        self._collectors, self._failures = collectors, failures
        self._boot_id = str(uuid.uuid4())
        self._sequence = 0
        self._last: HostCounters | None = None
        self._measured: HostSample | None = None
        self._guests_refused: Mapping[str, str] = {}
        self._flows: tuple[FlowSample, ...] | None = None
        self._flows_told_s = 0.0

    @property
    def boot_id(self) -> str:
        """The name of this run of the agent, in every sample."""
        return self._boot_id

    @property
    def guests(self) -> dict[str, int]:
        """The guests that the last reading found here: their domids by uuid."""
        return {} if self._last is None else {guest.uuid: guest.domid for guest in self._last.guests}

    def tick(self, now_s: float, probed: Probed = NOTHING_PROBED) -> HostSample | None:
        """Read the machine and return the sample since the last tick; None where there is nothing to say yet.

        `now_s` is the agent's monotonic time. A sample that fails in part names what is missing in it.
        """
        before = self._last
        now, missing = self._read()
        stamp = Stamp(self._boot_id, self._sequence, now_s, probed.curves, probed.report)
        formed = Formed(None) if before is None or now is None else form(before, now, stamp)
        self._last = now or before
        self._report(formed, missing)
        sample = formed.sample or (self._hold(stamp) if "dom0" in missing else None)
        if sample is None:
            return None
        if formed.sample is not None:
            self._measured = formed.sample
        self._sequence += 1
        names = self._failures.names()
        return replace(
            self._with_flows(sample), failed_collectors=names, failed_because=tuple(map(self._failures.why, names))
        )

    def _read(self) -> tuple[HostCounters | None, dict[str, str | Exception]]:
        """Return what the collectors read together, and why the parts that are missing are."""
        counters: HostCounters | None = None
        missing: dict[str, str | Exception] = {}
        for collector in self._collectors:
            try:
                counters = collector.collect(counters)
            except Exception as error:  # noqa: BLE001 - whatever breaks in one collector, the others go on
                missing |= dict.fromkeys(collector.supplies, error)
        return counters, missing

    def _report(self, formed: Formed, missing: dict[str, str | Exception]) -> None:
        """Add to `missing` what the rates refused, and tell it all."""
        if formed.host_refused is not None:
            missing["dom0"] = f"impossible: {formed.host_refused}"
        if formed.all_guests_refused is not None:
            missing["guests"] = f"impossible: {formed.all_guests_refused}"
        if formed.sample is not None:
            self._guests_refused = formed.guests_refused
        refused = {f"guest:{guest}": f"impossible: {why}" for guest, why in self._guests_refused.items()}
        self._failures.report("tick", missing | refused)

    def _hold(self, stamp: Stamp) -> HostSample | None:
        """Return the host's last own figures, without guests, while they are younger than HOLD_S."""
        last = self._measured
        if last is None or stamp.monotonic_s - last.monotonic_s > HOLD_S:
            return None
        return replace(
            last,
            sequence=stamp.sequence,
            monotonic_s=stamp.monotonic_s,
            probe=stamp.probe,
            guests=(),
            flows=(),
            flows_held=True,
        )

    def _with_flows(self, sample: HostSample) -> HostSample:
        """Return `sample`, with the flows that hold where they were not told for a while."""
        if not sample.flows_held:
            self._flows, self._flows_told_s = sample.flows, sample.monotonic_s
        elif self._flows is not None and sample.monotonic_s - self._flows_told_s >= TELL_FLOWS_EVERY_S:
            self._flows_told_s = sample.monotonic_s
            return replace(sample, flows=self._flows, flows_held=False)
        return sample
