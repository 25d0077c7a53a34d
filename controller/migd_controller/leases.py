"""A lease: what allows one agent to probe one guest, for a while in which nobody migrates that guest."""

from collections.abc import Mapping
from typing import Final

import msgspec

from migd_core.messages import ProbeLease

# Sessions of one guest lie so far apart (see the agent's log_dirty.py) that a lease has room for one.
SESSIONS: Final = 1
_BLOCK: Final = "migd counts its dirty pages: lease "


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """One guest that may be probed (uuids; times are Unix seconds, but for `until_s` on the agent's clock).

    `over_at` is when the agent has ended the probe for certain. `is_ending` once the pool was asked to allow migrations
    again; the lease is over when the pool has.
    """

    lease: str
    guest: str
    host: str
    asked_at: float
    over_at: float
    boot_id: str = ""
    until_s: float = 0.0
    ages_s: tuple[float, ...] = ()
    guest_name: str = ""
    host_name: str = ""
    is_ending: bool = False

    @property
    def for_agent(self) -> ProbeLease:
        """The lease as its agent gets it."""
        return ProbeLease(
            lease=self.lease,
            host_uuid=self.host,
            guest_uuid=self.guest,
            boot_id=self.boot_id,
            until_s=self.until_s,
            ages_s=self.ages_s,
            sessions=SESSIONS,
        )

    def ending(self) -> "Lease":
        """Return the lease once the pool is asked to allow migrations again."""
        return msgspec.structs.replace(self, is_ending=True)


Leases = Mapping[str, Lease]


def lease_text(lease: Lease, now_s: float) -> str:
    """Say why a guest on lease may not be migrated, and for how long."""
    if lease.is_ending:
        return f"migd has counted its dirty pages ({lease.lease}), and the pool is about to allow migrations again"
    left_s = max(0.0, lease.over_at - now_s)
    return f"migd counts its dirty pages ({lease.lease}); it may be migrated again in {left_s:.0f} s at most"


def block_text(lease: str) -> str:
    """Return what stands in a guest's `blocked_operations` while it is on `lease`."""
    return _BLOCK + lease


def lease_of_block(text: str) -> str:
    """Return the lease that an entry of `blocked_operations` is of, empty where it is somebody else's."""
    return text.removeprefix(_BLOCK) if text.startswith(_BLOCK) else ""
