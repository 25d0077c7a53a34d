"""Draws the parts of a case from a random stream: how long, how big, what is written, where it stands."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, exp, log
from random import Random

from migd_core.units import GIB, MIB, PAGE_BYTES
from migd_sim.model.spec import GuestSpec, HogSpec, HostSpec, JobSpec
from migd_sim.model.writes import ArraySweep, RandomWrites, Writes

# Users ask for some six times what their job takes; few ask for less than it takes with half of its speed.
OVER_ASKED_MEDIAN = 6.0
OVER_ASKED_SIGMA = 0.6
LEAST_ASKED = 2.0


def between(rng: Random, low: float, high: float) -> float:
    """Return a number from `low` to `high`, each order of magnitude as likely."""
    return exp(rng.uniform(log(low), log(high)))


def asked_s(rng: Random, takes_s: float) -> float:
    """Return the wall-clock limit that a user asks for whose job takes `takes_s`: lognormal, six-fold in the middle."""
    return takes_s * max(LEAST_ASKED, OVER_ASKED_MEDIAN * exp(rng.gauss(0.0, OVER_ASKED_SIGMA)))


def writes(rng: Random, memory_bytes: int, fastest_s: float) -> tuple[Writes, ...]:
    """Return up to two kinds of random writes and two sweeps over at most 60 % of the memory."""
    kinds = rng.randint(0, 2), rng.randint(0, 2)
    left = int(rng.uniform(0.05, 0.6) * memory_bytes / PAGE_BYTES)
    found: list[Writes] = []
    for number in range(sum(kinds)):
        pages = int(left * rng.uniform(0.2, 0.8))
        left -= pages
        if number < kinds[0]:
            found.append(RandomWrites(pages=pages, tau_s=between(rng, fastest_s, 60.0)))
        else:
            found.append(ArraySweep(pages=pages, period_s=between(rng, max(1.0, fastest_s), 60.0)))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Talk:
    """How much of a step is talk: between the two shares, if both messages of a rank go at `bytes_per_s`."""

    least_ratio: float
    most_ratio: float
    bytes_per_s: float


@dataclass(frozen=True, slots=True)
class Room:
    """The cores and the memory that a host has left for what is still to be placed."""

    host: HostSpec
    cores: int
    memory_bytes: int


def place_ranks(rng: Random, rooms: Sequence[Room], guests: int, ranks_each: int, memory_bytes: int) -> list[str]:
    """Return a host (name) for each guest, none asked for more cores or memory than it has; fewer if they do not fit.

    As a batch system does, one host is filled after the other, or all are filled evenly.
    """
    slots = {
        room.host.name: min(room.cores // ranks_each, room.memory_bytes // memory_bytes)
        for room in rng.sample(list(rooms), len(rooms))
    }
    if rng.random() < 0.5:
        return [name for name, count in slots.items() for _ in range(count)][:guests]
    found: list[str] = []
    while len(found) < guests and any(slots.values()):
        for name in [name for name, count in slots.items() if count]:
            slots[name] -= 1
            found.append(name)
    return found[:guests]


def job(rng: Random, name: str, guests: Sequence[str], ranks_each: int, length_s: float, talk: Talk) -> JobSpec:
    """Return a job that takes about `length_s` with nobody in its way."""
    step_s = min(between(rng, 0.05, 10.0), length_s / 50)
    share = rng.uniform(talk.least_ratio, talk.most_ratio)
    return JobSpec(
        name=name,
        ranks=tuple(guest for guest in guests for _ in range(ranks_each)),
        work_s=step_s * (1.0 - share),
        exchange_bytes=step_s * share * talk.bytes_per_s / 2,
        steps=ceil(length_s / step_s),
    )


def hogs(
    rng: Random, guests: Sequence[GuestSpec], count: int, length_s: float, lasts_s: tuple[float, float]
) -> list[HogSpec]:
    """Return loads that come and go in `guests` while a job of `length_s` runs; those of one guest never overlap."""
    found: list[HogSpec] = []
    until_s = dict.fromkeys((guest.name for guest in guests), 0.0)
    for starts_s in sorted(rng.uniform(0.0, 0.9 * length_s) for _ in range(count if guests else 0)):
        free = [guest for guest in guests if until_s[guest.name] <= starts_s]
        if free:
            guest = rng.choice(free)
            long_s = between(rng, *lasts_s)
            vcpus = rng.randint(ceil(guest.vcpus / 2), guest.vcpus)
            found.append(HogSpec(guest=guest.name, vcpus=vcpus, starts_s=starts_s, lasts_s=long_s))
            until_s[guest.name] = starts_s + long_s + 1.0
    return found


def memory_bytes(rng: Random, link_bytes_per_s: float) -> int:
    """Return a guest's memory: 256 MiB to 16 GiB, and no more than what the link sends in ten minutes."""
    most = min(16.0 * GIB, 600.0 * link_bytes_per_s)
    return int(between(rng, 256 * MIB, most)) // MIB * MIB
