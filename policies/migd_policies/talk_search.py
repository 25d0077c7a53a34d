"""Where guests that talk should be: the placement that communicates cheaply and moves few, by local search.

What is made small is Σ bytes_per_s · s_per_byte[host of a, host of b] over all flows, and a price for each guest that
is not where it was. A search goes downhill by the best move of one guest, or where there is none by the best exchange
of two, until neither helps. From where guests are now that ends in the nearest valley, so searches also begin where
guests that talk most have been merged into clusters of up to a host's size, and each cluster put where it is cheapest:
the coarsening of multilevel partitioning (Karypis and Kumar 1998). Each end is gone over again with all guests of a
host, and those of them that talk with each other, as one. The best end counts.
"""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Places = NDArray[np.intp]
Flags = NDArray[np.bool_]

CLUSTER_RATIOS = (1.0, 0.7, 0.5, 0.35, 0.25)
NOWHERE = -1
TINY = 1e-9
# Totals that differ beyond these digits are the same.
DIGITS = 9


@dataclass(frozen=True, slots=True)
class Talk:
    """Guests and hosts as arrays. A placement is the index of each guest's host; `home` is the present one.

    `near` has the bytes per second of each guest with each other it talks with, `anchored` (guests × hosts) what it
    costs on each host to talk with guests that stay, in seconds a second. `s_per_byte` is hosts × hosts; `price`
    (guests × hosts) is what being there counts besides, 0 at home. `room_vcpus` is what guests may want of each host
    together, those at home on it included, `free` the memory that arriving guests may take.
    """

    near: Sequence[dict[int, float]]
    anchored: Floats
    s_per_byte: Floats
    price: Floats
    may_go: Flags
    demand: Floats
    room_vcpus: Floats
    memory: Floats
    free: Floats
    home: Places


class Placement:
    """Where guests are, and what each of them would cost elsewhere; follows each move."""

    def __init__(self, talk: Talk, place: Places) -> None:
        self.talk = talk
        self.place = place.copy()
        hosts = len(talk.room_vcpus)
        self.wanted = np.bincount(place, talk.demand, hosts)
        away = place != talk.home
        self.arriving = np.bincount(place[away], talk.memory[away], hosts)
        pairs = [(guest, peer, rate) for guest, near in enumerate(talk.near) for peer, rate in near.items()]
        guests, peers = (np.array([pair[end] for pair in pairs], dtype=np.intp) for end in (0, 1))
        self._pairs = guests, peers, np.array([rate for *_, rate in pairs], dtype=np.float64)
        self.cost_at = talk.anchored.copy()
        np.add.at(self.cost_at, guests, self._pairs[2][:, None] * talk.s_per_byte[place[peers]])

    @property
    def total(self) -> float:
        """What is made small."""
        talk, everybody = self.talk, np.arange(len(self.place))
        anchored = talk.anchored[everybody, self.place]
        both_ends = self.cost_at[everybody, self.place] - anchored
        return float((both_ends / 2 + anchored + talk.price[everybody, self.place]).sum())

    def move(self, guest: int, host: int) -> None:
        """Let a guest be on another host."""
        talk, before = self.talk, int(self.place[guest])
        for at, sign in ((before, -1.0), (host, 1.0)):
            self.wanted[at] += sign * talk.demand[guest]
            if at != talk.home[guest]:
                self.arriving[at] += sign * talk.memory[guest]
        self.place[guest] = host
        for peer, rate in talk.near[guest].items():
            self.cost_at[peer] += rate * (talk.s_per_byte[:, host] - talk.s_per_byte[:, before])

    def differences(self) -> Floats:
        """Return by how much the total changes with each guest on each host instead, whether it fits or not."""
        everybody = np.arange(len(self.place))
        there = self.cost_at + self.talk.price
        found: Floats = there - there[everybody, self.place][:, None]
        return found

    def fits(self) -> Flags:
        """Return which guests may be put on which hosts now."""
        talk = self.talk
        has_cpu = talk.demand[:, None] <= (talk.room_vcpus - self.wanted)[None, :] + TINY
        found: Flags = talk.may_go & has_cpu & self._has_memory()
        return found

    def downhill(self) -> bool:
        """Go on as long as a move or an exchange lowers the total; return whether any did."""
        steps = 0
        while self._move_best() or self._exchange_best():
            steps += 1
        return steps > 0

    def _has_memory(self) -> Flags:
        talk = self.talk
        at_home = np.zeros(talk.may_go.shape, dtype=np.bool_)
        has_home = np.flatnonzero(talk.home != NOWHERE)
        at_home[has_home, talk.home[has_home]] = True
        found: Flags = at_home | (talk.memory[:, None] <= (talk.free - self.arriving)[None, :])
        return found

    def _move_best(self) -> bool:
        differences = np.where(self.fits(), self.differences(), np.inf)
        guest, host = np.unravel_index(int(differences.argmin()), differences.shape)
        if not differences[guest, host] < -TINY:
            return False
        self.move(int(guest), int(host))
        return True

    def _exchange_best(self) -> bool:
        talk, place = self.talk, self.place
        differences = np.where(talk.may_go & self._has_memory(), self.differences(), np.inf)
        to_others = differences[:, place]
        total = to_others + to_others.T
        guests, peers, rates = self._pairs
        here, there = place[guests], place[peers]
        within = talk.s_per_byte[here, here] + talk.s_per_byte[there, there]
        # What two have with each other does not change.
        total[guests, peers] -= rates * (within - 2 * talk.s_per_byte[here, there])
        left = (talk.room_vcpus - self.wanted)[place]
        arrives_more = talk.demand[:, None] - talk.demand[None, :]
        fits = (arrives_more <= np.maximum(0.0, left)[None, :] + TINY) & (place[:, None] != place[None, :])
        total = np.where(fits & fits.T, total, np.inf)
        one, other = np.unravel_index(int(total.argmin()), total.shape)
        if not total[one, other] < -TINY:
            return False
        left_by_one, left_by_other = int(place[one]), int(place[other])
        self.move(int(one), left_by_other)
        self.move(int(other), left_by_one)
        return True


def search(talk: Talk) -> Places:
    """Return the best placement found; `home` where nothing is better."""
    if not len(talk.home):
        return talk.home
    packed = (_packed(talk, list(_clusters(talk, ratio * float(talk.room_vcpus.max())))) for ratio in CLUSTER_RATIOS)
    ends = [_settled(talk, start) for start in (talk.home, *packed) if start is not None]
    return min(ends, key=lambda end: round(end.total, DIGITS)).place


def _settled(talk: Talk, start: Places) -> Placement:
    """Return where it goes downhill from `start`: by guests, by parts of jobs on one host, by all guests of a host."""
    placement = Placement(talk, start)
    placement.downhill()
    while True:
        before = placement.total
        for groups in (_fragments(talk, placement.place), _contents(placement.place)):
            coarse = Placement(_contracted(talk, groups), placement.place[[group[0] for group in groups]])
            if coarse.downhill():
                place = placement.place.copy()
                for group, host in zip(groups, coarse.place, strict=True):
                    place[group] = host
                placement = Placement(talk, place)
                placement.downhill()
        if not placement.total < before - TINY:
            return placement


def _fragments(talk: Talk, place: Places) -> list[list[int]]:
    """Return the guests of each host that talk with each other, directly or not."""
    groups, seen = list[list[int]](), set[int]()
    for guest in range(len(place)):
        if guest not in seen:
            group, found = [], [guest]
            seen.add(guest)
            while found:
                group.append(one := found.pop())
                near = [peer for peer in talk.near[one] if peer not in seen and place[peer] == place[one]]
                seen.update(near)
                found += near
            groups.append(sorted(group))
    return groups


def _contents(place: Places) -> list[list[int]]:
    """Return the guests of each host that has any."""
    return [np.flatnonzero(place == host).tolist() for host in np.unique(place)]


def _contracted(talk: Talk, groups: Sequence[list[int]]) -> Talk:
    """Return the same with each group as one guest. No host is its home: its memory counts as arriving everywhere."""
    group_of = {guest: number for number, group in enumerate(groups) for guest in group}
    near: list[dict[int, float]] = [{} for _ in groups]
    within = np.zeros(len(groups))
    for guest, peers in enumerate(talk.near):
        for peer, rate in peers.items():
            one, other = group_of[guest], group_of[peer]
            if one == other:
                within[one] += rate / 2
            else:
                near[one][other] = near[one].get(other, 0.0) + rate
    return Talk(
        near=near,
        anchored=np.array([talk.anchored[group].sum(axis=0) for group in groups])
        + within[:, None] * np.diag(talk.s_per_byte)[None, :],
        s_per_byte=talk.s_per_byte,
        price=np.array([talk.price[group].sum(axis=0) for group in groups]),
        may_go=np.array([talk.may_go[group].all(axis=0) for group in groups]),
        demand=np.array([talk.demand[group].sum() for group in groups]),
        room_vcpus=talk.room_vcpus,
        memory=np.array([talk.memory[group].sum() for group in groups]),
        free=talk.free,
        home=np.full(len(groups), NOWHERE, dtype=np.intp),
    )


def _packed(talk: Talk, groups: list[list[int]]) -> Places | None:
    """Return a placement of the groups, the largest first, each where it is cheapest; None if they cannot be packed.

    A group that fits nowhere is taken apart.
    """
    groups.sort(key=lambda group: (-float(talk.demand[group].sum()), group[0]))
    room, free = talk.room_vcpus.copy(), talk.free.copy()
    cost_at = talk.anchored + talk.price
    place, placed = talk.home.copy(), np.zeros(len(talk.home), dtype=np.bool_)
    while groups:
        group = groups.pop(0)
        away = talk.home[group][:, None] != np.arange(len(room))
        arriving = (talk.memory[group][:, None] * away).sum(axis=0)
        fits = talk.may_go[group].all(axis=0) & (float(talk.demand[group].sum()) <= room + TINY) & (arriving <= free)
        host = int(np.where(fits, cost_at[group].sum(axis=0), np.inf).argmin())
        if not fits[host]:
            if len(group) == 1:
                return None
            groups = [[guest] for guest in group] + groups
            continue
        room[host] -= talk.demand[group].sum()
        free[host] -= arriving[host]
        place[group], placed[group] = host, True
        for guest in group:
            for peer, rate in talk.near[guest].items():
                if not placed[peer]:
                    cost_at[peer] += rate * talk.s_per_byte[:, host]
    return place


def _clusters(talk: Talk, most: float) -> Iterator[list[int]]:
    """Yield guests that talk most for what they want, merged two by two as long as they want `most` vCPUs together."""
    members = {guest: [guest] for guest in range(len(talk.home))}
    wanted = {guest: float(talk.demand[guest]) for guest in members}
    near = {guest: dict(peers) for guest, peers in enumerate(talk.near)}

    def entry(a: int, b: int) -> tuple[float, int, int, float]:
        rate = near[a][b]
        return -rate / max(TINY, wanted[a] * wanted[b]), min(a, b), max(a, b), rate

    heap = [entry(a, b) for a, peers in near.items() for b in peers if a < b]
    heapq.heapify(heap)
    while heap:
        score, a, b, rate = heapq.heappop(heap)
        if a not in near or b not in near or entry(a, b) != (score, a, b, rate) or wanted[a] + wanted[b] > most + TINY:
            continue
        members[a] += members.pop(b)
        wanted[a] += wanted.pop(b)
        for peer, more in near.pop(b).items():
            del near[peer][b]
            if peer != a:
                near[a][peer] = near[peer][a] = near[a].get(peer, 0.0) + more
        for peer in near[a]:
            heapq.heappush(heap, entry(a, peer))
    yield from (sorted(group) for group in members.values())
