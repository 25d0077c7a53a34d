"""What the next leader must know of the last one, whatever became of everything else: small enough for a claim.

Each claim carries it, and each change of the pool is preceded by a claim. So who takes over knows of every migration
that can have been asked for, of every cooldown and quarantine, and of what operators have set, even where it could not
hear of anything else. What fills pages and can be learned again stays out: the progress of jobs, speeds, accounts.
"""

import zlib
from typing import Final

import msgspec
from msgspec.structs import replace

from migd_controller.leadership import Claim
from migd_controller.memory import Memory
from migd_core.decoding import UNDECODABLE
from migd_core.errors import MigdError
from migd_policies.job_progress import Track

_FIELDS: Final = (
    "policy",
    "policy_config",
    "is_paused",
    "automation",
    "causes",
    "jobs",
    "last_moved_at",
    "in_flight",
    "holds",
    "leases",
    "sets",
    "links",
    "maintenance",
    "turned_down",
)


def will(memory: Memory) -> bytes:
    """Return what must not be lost of a memory."""
    kept = {name: getattr(memory, name) for name in _FIELDS}
    kept["jobs"] = {name: replace(job, track=Track()) for name, job in memory.jobs.items()}
    return zlib.compress(msgspec.msgpack.encode(Memory(**kept)))


class Heard(msgspec.Struct, frozen=True):
    """A memory as the leader of this `life` had it after so many changes, and what its clock showed (Unix time)."""

    life: str
    revision: int
    at: float
    memory: Memory


def weight(memory: Memory) -> tuple[object, ...]:
    """Return what of a memory the next leader is to know at once; its other changes go with the next renewal."""
    jobs = tuple((job.name, job.guests, job.limits) for job in memory.jobs.values())
    lists = (memory.in_flight, memory.leases, memory.sets)
    set_by_operators = (memory.policy, memory.policy_config, memory.is_paused, memory.automation, memory.links)
    kept = (memory.holds, memory.last_moved_at.keys(), memory.maintenance, memory.turned_down)
    return (*set_by_operators, jobs, *kept, *(frozenset(each) for each in lists))


def inherited(own: Memory, left: bytes) -> Memory:
    """Return a memory as the `will` of a leader has it, and else as one's own. Raises MigdError."""
    try:
        last = msgspec.msgpack.decode(zlib.decompress(left), type=Memory)
    except (zlib.error, *UNDECODABLE) as error:
        raise MigdError(
            f"what the last leader has left in the pool cannot be read: {error}; both controllers need the same release"
        ) from error
    jobs = {
        name: replace(job, track=own.jobs[name].track) if name in own.jobs else job for name, job in last.jobs.items()
    }
    return replace(own, **{**{name: getattr(last, name) for name in _FIELDS}, "jobs": jobs})


def succeeding(own: Memory, last: Claim | None, is_ones_own: bool, left: bytes | None, heard: Heard | None) -> Memory:
    """Return what to go on with after the holder of a claim, where none is known: with one's own memory.

    `is_ones_own` where an earlier life of this controller made it; then all is here, unless that had not begun yet and
    only passed on what it had found (revision 0). `left` is what stands in the claim, `heard` the newest memory that
    was heard of. Raises MigdError.
    """
    if last is None or (is_ones_own and last.told.revision > 0):
        return own
    if heard is not None and heard.life == last.life and heard.revision >= last.told.revision:
        return heard.memory
    return inherited(own, left) if left is not None else own
