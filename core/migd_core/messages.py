"""What travels on the wire: one `HostSample` a second from a Dom0, and leases to probe a guest to a Dom0.

Rates are formed by the agent from cumulative counters, over `interval_s`. Bounds stand in the types, so that a message
with a negative rate or a ratio above one is refused while it is decoded, with the path of the offending value.
Unknown fields are ignored, so that a newer agent can talk to an older controller.

What a controller keeps ten thousands of is hidden from Python's search for cycles (`gc=False`): such values are in
none, and looking through them all keeps a controller from its work for a part of a second.
"""

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from migd_core.health import UNKNOWN, HostHealth
from migd_core.progress import Progress

Ratio = Annotated[float, Meta(ge=0, le=1)]
Rate = Annotated[float, Meta(ge=0, lt=1e15)]
Bytes = Annotated[int, Meta(ge=0)]
Seconds = Annotated[float, Meta(ge=0, lt=1e12)]
Name = Annotated[str, Meta(min_length=1, max_length=128)]

MAX_GUESTS = 1024
MAX_FLOWS = 8192
# A lease, beyond its longest age: the way to the agent, a start at random within a second, and the way into its loop.
PROBE_AROUND_S: Final = 5.0


class DirtyCurve(msgspec.Struct, frozen=True, gc=False):
    """Unique pages dirtied since a clean bitmap, against the time since then.

    `unique_pages[i]` pages had been written at least once `ages_s[i]` seconds after the bitmap was cleaned; both
    rise. `measured_s` is the agent's monotonic time at the end of the measurement.
    """

    ages_s: Annotated[tuple[Seconds, ...], Meta(min_length=1, max_length=64)]
    unique_pages: Annotated[tuple[Annotated[int, Meta(ge=0)], ...], Meta(min_length=1, max_length=64)]
    measured_s: Seconds = 0.0

    def contradiction(self) -> str | None:
        """Say what makes this curve impossible, or None."""
        if len(self.ages_s) != len(self.unique_pages):
            return f"{len(self.ages_s)} ages but {len(self.unique_pages)} counts"
        if list(self.ages_s) != sorted(set(self.ages_s)):
            return "ages do not rise"
        if list(self.unique_pages) != sorted(self.unique_pages):
            return "unique pages fall with age"
        return None


class GuestSample(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What one guest did during the interval, as Dom0 counts it.

    `cpu_ratio` is CPU time over `vcpus` × interval; rx and tx are from the guest's point of view, read and written are
    of its disks. `progress` is what the guest says of the job that runs in it, None where it says nothing.
    """

    uuid: Name
    vcpus: Annotated[int, Meta(ge=1)]
    cpu_ratio: Ratio
    memory_bytes: Bytes
    rx_bytes_per_s: Rate
    tx_bytes_per_s: Rate
    dirty_curve: DirtyCurve | None = None
    read_bytes_per_s: Rate = 0.0
    written_bytes_per_s: Rate = 0.0
    progress: Progress | None = None


class FlowSample(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Bytes per second from one MAC address to another, as the bridge of this Dom0 saw them."""

    source_mac: Name
    target_mac: Name
    bytes_per_s: Rate


class ProbeLease(msgspec.Struct, frozen=True, kw_only=True, tag="probe-lease"):
    """Allows one agent to probe one guest, until a time that it reads on its own clock.

    `lease` is the controller's cause id. `boot_id` is the run of the agent whose monotonic clock `until_s` is of: the
    probe is off by then, however late the lease arrives, and another run refuses it.
    """

    lease: Name
    host_uuid: Name
    guest_uuid: Name
    boot_id: Name
    until_s: Seconds
    ages_s: Annotated[tuple[Annotated[float, Meta(gt=0, le=40)], ...], Meta(min_length=1, max_length=64)]
    sessions: Annotated[int, Meta(ge=1, le=3)]

    def contradiction(self) -> str | None:
        """Say what makes this lease impossible, or None."""
        if any(later <= earlier for earlier, later in zip(self.ages_s, self.ages_s[1:], strict=False)):
            return "ages do not rise"
        return None

    def refusal(self, now_s: float) -> str:
        """Say why this lease may not be taken at `now_s` on its agent's clock, empty where it may."""
        return f"the lease came {now_s - self.until_s:.1f} s after its end" if now_s >= self.until_s else ""


class ProbeRevoked(msgspec.Struct, frozen=True, kw_only=True, tag="probe-revoked"):
    """Takes a lease back: the agent gives the probe up at once."""

    lease: Name
    host_uuid: Name

    def contradiction(self) -> None:
        """Nothing makes a revocation impossible."""


ProbeState = Literal["under-way", "done", "refused", "revoked", "stood-back", "failed", "expired"]


class ProbeReport(msgspec.Struct, frozen=True, kw_only=True):
    """What has become of the newest lease that reached this run of the agent; `text` says why it is not a curve."""

    lease: Name
    guest_uuid: Name
    state: ProbeState
    text: Annotated[str, Meta(max_length=1024)] = ""


class HostSample(msgspec.Struct, frozen=True, kw_only=True, tag="host-sample"):
    """What one host and its guests did during the interval.

    `cpu_ratio` is the CPU time of all domains over `cpus` × interval, `dom0_cpu_ratio` the part of it that Dom0 used.
    `sequence` rises by one a sample within one `boot_id` of the agent; `monotonic_s` is the agent's own clock.
    `link_bytes_per_s` is the speed of the NIC that carries migrations (0: not known).
    `flows` are those between the last two readings of the switch, which is not read in every interval: with
    `flows_held` they are left out, and the last ones that were told still hold. `samples_dropped` counts what the agent
    could not send since it started. `failed_collectors` names what is missing: with `dom0` the host's own figures are
    not of this interval but the last that could be measured, with `guests` all guests, with `guest:<uuid>` that one,
    whose counters were impossible, with `flows` who talks to whom, with `health:<tool>` what that tool would tell of
    the host's health. `failed_because` says why, in the same order. `probe` is repeated in every sample, because
    samples may be lost. `version` is the agent's release, `clock_s` what the host's clock showed as the sample left
    (Unix time; 0: not told).
    """

    host_uuid: Name
    boot_id: Name
    sequence: Annotated[int, Meta(ge=0)]
    monotonic_s: Seconds
    interval_s: Annotated[float, Meta(gt=0, lt=1e6)]
    cpus: Annotated[int, Meta(ge=1, le=65536)]
    cpu_ratio: Ratio
    dom0_cpu_ratio: Ratio
    memory_bytes: Annotated[int, Meta(ge=1)]
    memory_free_bytes: Bytes
    rx_bytes_per_s: Rate
    tx_bytes_per_s: Rate
    link_bytes_per_s: Rate = 0.0
    guests: Annotated[tuple[GuestSample, ...], Meta(max_length=MAX_GUESTS)] = ()
    flows: Annotated[tuple[FlowSample, ...], Meta(max_length=MAX_FLOWS)] = ()
    samples_dropped: Annotated[int, Meta(ge=0)] = 0
    failed_collectors: Annotated[tuple[Name, ...], Meta(max_length=64)] = ()
    probe: ProbeReport | None = None
    flows_held: bool = False
    health: HostHealth = UNKNOWN
    failed_because: Annotated[tuple[Annotated[str, Meta(max_length=256)], ...], Meta(max_length=64)] = ()
    version: Annotated[str, Meta(max_length=64)] = ""
    clock_s: Seconds = 0.0

    def contradiction(self) -> str | None:
        """Say what makes this sample impossible although each value is within its bounds, or None.

        A host that shows no CPU use while its guests run, or guests that use more CPU than the host has, comes from a
        broken counter; a balancer that believes it empties or fills the host. A link that carries less than a byte a
        second would make prices that are no numbers.
        """
        uuids = [guest.uuid for guest in self.guests]
        if len(set(uuids)) != len(uuids):
            return "a guest is listed twice"
        guest_cpus = sum(guest.cpu_ratio * guest.vcpus for guest in self.guests)
        if guest_cpus > self.cpus * self.cpu_ratio + 0.1 * self.cpus + 0.1:
            return (
                f"guests use {guest_cpus:.1f} CPUs but the host reports {self.cpus * self.cpu_ratio:.1f} of {self.cpus}"
            )
        if self.memory_free_bytes > self.memory_bytes:
            return f"free memory {self.memory_free_bytes} is more than all memory {self.memory_bytes}"
        if 0 < self.link_bytes_per_s < 1:
            return f"a link of {self.link_bytes_per_s:g} bytes/s"
        for guest in self.guests:
            if guest.dirty_curve is not None and (why := guest.dirty_curve.contradiction()):
                return f"dirty curve of guest {guest.uuid}: {why}"
        return None
