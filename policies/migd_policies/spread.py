"""How unevenly load lies on hosts, and what moving guests does to that, scored by difference.

    score = Σ over resources of weight × standard deviation over hosts of (load / capacity)

This is the measure that Ganeti's hbal lowers (htools, Cluster/Metrics). A move changes two values of each resource, so
its effect follows from the running sum and sum of squares of the values; nothing is copied, and thousands of moves are
scored by one array expression. A host's `capacity` and a guest's `demand` are in the same unit for each resource.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
Flags = NDArray[np.bool_]

# Up to so many pairs of guest and host all are scored exactly; of more, so many of those that the gradient finds best.
# On 150 random clusters of up to 40 hosts the steepest move was among them each time, at less than half of the time.
PAIRS_SCORED: Final = 3_000
SHORTLIST: Final = 256
SHORTLIST_OF_HOST: Final = 64  # where many moves are made at a time
UNGROUPED: Final = -1


@dataclass(frozen=True, slots=True)
class Cluster:
    """What a search starts from: K resources, N hosts, G guests, all by index.

    `fixed` (K×N) is load that stays where it is, `capacity` (K×N) what a host has, `demand` (K×G) what a guest brings
    with it, `weights` (K) how much each resource counts. `home` (G) is where each guest is, `may_go` (G×N) whether it
    may be moved there; its own host never counts. `memory` (G) must be free on a host that it arrives on, `free` (N)
    is what is free now. Guests of one `group` (G; UNGROUPED: none) never come closer together than they are.
    """

    fixed: Floats
    capacity: Floats
    demand: Floats
    weights: Floats
    home: Indices
    may_go: Flags
    memory: Floats
    free: Floats
    group: Indices


class Spread:
    """One placement of a cluster's guests: its score, and exact differences to its neighbours."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        hosts = cluster.capacity.shape[1]
        self.place = cluster.home.copy()
        self.free = cluster.free.copy()
        load = cluster.fixed.copy()
        for resource, demand in enumerate(cluster.demand):
            load[resource] += np.bincount(self.place, weights=demand, minlength=hosts)
        self._inverse = 1.0 / cluster.capacity
        # Centred, so that the sum of squares keeps its digits; the centre stays, whatever moves.
        value = load * self._inverse
        self._centre = value.mean(axis=1, keepdims=True)
        self.value = value - self._centre
        self._sum = self.value.sum(axis=1)
        self._squares = (self.value**2).sum(axis=1)
        groups = int(cluster.group.max(initial=UNGROUPED)) + 1
        self._members = np.zeros((groups + 1, hosts), dtype=np.intp)  # the last row is of those in no group
        np.add.at(self._members, (cluster.group, self.place), 1)
        self._everyone = np.arange(len(self.place))
        self._is_open = cluster.may_go.copy()  # whatever is free: allowed, and neither its home nor where it is
        self._is_open[self._everyone, cluster.home] = False
        self._is_movable = self._is_open.any(axis=1)
        self._features = np.concatenate([cluster.demand**2, cluster.demand]).T

    @property
    def score(self) -> float:
        return float(self._weighted(self._sum, self._squares))

    def load_ratio(self, host: int) -> Floats:
        """Return the host's load over its capacity, for each resource."""
        loads: Floats = self.value[:, host] + self._centre[:, 0]
        return loads

    def differences(self, guests: Indices, targets: Indices) -> Floats:
        """Return what moving each guest, alone, to another host (same shape) adds to the score; below 0 is better."""
        sources = self.place[guests]
        change, squares = self._step(guests, sources, targets)
        return self._weighted(self._sum[:, None] + change, self._squares[:, None] + squares) - self.score

    def exchanges(self, first: Indices, second: Indices) -> Floats:
        """Return what it adds to the score if each guest of `first` and its partner of `second` exchange two hosts."""
        a, b = self.place[first], self.place[second]
        at_a = (self.cluster.demand[:, second] - self.cluster.demand[:, first]) * self._inverse[:, a]
        at_b = (self.cluster.demand[:, first] - self.cluster.demand[:, second]) * self._inverse[:, b]
        squares = at_a * (at_a + 2.0 * self.value[:, a]) + at_b * (at_b + 2.0 * self.value[:, b])
        return self._weighted(self._sum[:, None] + at_a + at_b, self._squares[:, None] + squares) - self.score

    def moved(self) -> Indices:
        """Return the guests that are not where they were."""
        return np.nonzero(self.place != self.cluster.home)[0]

    def every_move(self) -> tuple[Indices, Indices]:
        """Return every open pair of a guest and a host: one that it may go to, with its memory free, not its home."""
        guests, targets = np.nonzero(self._open(self._everyone))
        return guests, targets

    def best_moves(self, guests: Indices | None = None, *, of_all: bool = False) -> tuple[Indices, Indices]:
        """Return the few best open moves of these guests (or of all), in no order; `of_all`, however many there are."""
        guests = self._everyone if guests is None else guests
        of_all = of_all or len(guests) * self.value.shape[1] <= PAIRS_SCORED
        rows, targets = _least(self._scores(guests) if of_all else self._estimates(guests), SHORTLIST)
        return guests[rows], targets

    def promising_moves_of_each_host(self, most_guests: int) -> tuple[Indices, Indices]:
        """Return promising moves of a few guests of each host, those that it gains most by losing."""
        entering, leaving = self._terms(self._everyone)
        estimate = self._features @ entering.mean(axis=1) + leaving
        estimate[~self._is_movable] = np.inf
        order = np.lexsort((estimate, self.place))
        place = self.place[order]
        rank = np.arange(len(order)) - np.searchsorted(place, place)
        guests = order[rank < most_guests]
        guests = guests[np.isfinite(estimate[guests])]
        rows, targets = _least(self._estimates(guests), SHORTLIST_OF_HOST * self.value.shape[1], below=0.0)
        return guests[rows], targets

    def promising_exchanges(self, guests: Indices) -> tuple[Indices, Indices]:
        """Return the few pairs of these guests whose exchanging hosts the gradient finds best.

        Each may go to the other's host once that one is gone; guests of groups stay out of it.
        """
        place, memory = self.place[guests], self.cluster.memory[guests]
        going = self._slopes(guests)[:, place]
        demand, squared = self.cluster.demand[:, guests], self._inverse[:, place] ** 2
        # Two that pass each other do not add to what the other left behind: the products of both their demands.
        meeting = (self._slope[:, None] * demand * squared).T @ demand
        estimate = going + going.T - 2.0 * (meeting + meeting.T)
        is_open = self._is_open[guests][:, place] & (self.cluster.group[guests] == UNGROUPED)[:, None]
        is_open &= memory[:, None] - memory <= self.free[place]  # what arrives less what leaves
        estimate[~(is_open & is_open.T)] = np.inf
        estimate[np.tril_indices(len(guests))] = np.inf
        first, second = _least(estimate, SHORTLIST)
        return guests[first], guests[second]

    def fits(self, guests: Indices, targets: Indices) -> Flags:
        """Whether each guest may go to its target now: allowed, not there already, memory free, groups kept apart."""
        return (
            self._is_open[guests, targets]
            & (self.cluster.memory[guests] <= self.free[targets])
            & self.keeps_apart(guests, targets)
        )

    def keeps_apart(self, guests: Indices, targets: Indices) -> Flags:
        """Whether each move leaves the guest's group at least as much apart: fewer members there than here."""
        group = self.cluster.group[guests]
        apart: Flags = (group == UNGROUPED) | (self._members[group, targets] < self._members[group, self.place[guests]])
        return apart

    def move(self, guest: int, target: int) -> None:
        """Put the guest on another host, whatever is allowed."""
        one, there = np.array([guest]), np.array([target])
        source = int(self.place[guest])
        change, squares = self._step(one, np.array([source]), there)
        self._sum += change[:, 0]
        self._squares += squares[:, 0]
        self.value[:, source] -= self.cluster.demand[:, guest] * self._inverse[:, source]
        self.value[:, target] += self.cluster.demand[:, guest] * self._inverse[:, target]
        self.free[source] += self.cluster.memory[guest]
        self.free[target] -= self.cluster.memory[guest]
        self._members[self.cluster.group[guest], source] -= 1
        self._members[self.cluster.group[guest], target] += 1
        self.place[guest] = target
        self._is_open[guest, target] = False
        self._is_open[guest, source] = self.cluster.may_go[guest, source] and source != self.cluster.home[guest]

    def _step(self, guests: Indices, sources: Indices, targets: Indices) -> tuple[Floats, Floats]:
        """Return what each move adds to the sum and to the sum of squares of each resource (K×moves)."""
        demand = self.cluster.demand[:, guests]
        left = demand * self._inverse[:, sources]
        came = demand * self._inverse[:, targets]
        squares = left * (left - 2.0 * self.value[:, sources]) + came * (came + 2.0 * self.value[:, targets])
        return came - left, squares

    def _weighted(self, total: Floats, squares: Floats) -> Floats:
        hosts = self.value.shape[1]
        variance = squares / hosts - (total / hosts) ** 2
        result: Floats = self.cluster.weights @ np.sqrt(np.maximum(variance, 0.0))
        return result

    def _open(self, guests: Indices) -> Flags:
        group = self.cluster.group[guests]
        here = self._members[group, self.place[guests]]
        is_open = self._is_open[guests] & (self.cluster.memory[guests][:, None] <= self.free)
        grouped = np.nonzero(group != UNGROUPED)[0]
        is_open[grouped] &= self._members[group[grouped]] < here[grouped, None]
        return is_open

    def _scores(self, guests: Indices) -> Floats:
        """Return the score (guests×N) after each open move, infinite for the others."""
        hosts = self.value.shape[1]
        places, demand = self.place[guests], self.cluster.demand[:, guests]
        left = demand * self._inverse[:, places]
        squares = self._squares[:, None] + left * (left - 2.0 * self.value[:, places])
        total = self._sum[:, None] - left
        score = np.zeros((len(guests), hosts))
        for resource, weight in enumerate(self.cluster.weights):  # one after the other: they fit the cache
            came = np.multiply.outer(demand[resource], self._inverse[resource])
            mean = (came + total[resource][:, None]) / hosts
            came *= came + 2.0 * self.value[resource]
            came += squares[resource][:, None]
            came /= hosts
            came -= mean * mean
            np.maximum(came, 0.0, out=came)
            np.sqrt(came, out=came)
            came *= weight
            score += came
        score[~self._open(guests)] = np.inf
        return score

    def _estimates(self, guests: Indices) -> Floats:
        """Return the first-order effect (guests×N) of each open move, infinite for the others."""
        estimate = self._slopes(guests)
        estimate[~self._open(guests)] = np.inf
        return estimate

    def _slopes(self, guests: Indices) -> Floats:
        """Return the first-order effect (guests×N) of each move, open or not: one product of matrices.

        d score = Σ weight / (2 × deviation × hosts) × d Σ (value − mean)², and that is the sum of a term of the guest
        where it is, and of a product of the guest's demand with a term of the target.
        """
        entering, leaving = self._terms(guests)
        slopes: Floats = self._features[guests] @ entering
        slopes += leaving[:, None]
        return slopes

    def _terms(self, guests: Indices) -> tuple[Floats, Floats]:
        """Return the first-order effect of entering each host (2K×N, times features), and of leaving (guests)."""
        height = self.value - (self._sum / self.value.shape[1])[:, None]
        slope = self._slope[:, None]
        entering = np.concatenate([slope * self._inverse**2, 2.0 * slope * height * self._inverse])
        places = self.place[guests]
        left = self.cluster.demand[:, guests] * self._inverse[:, places]
        leaving = self._slope @ (left * (left - 2.0 * height[:, places]))
        return entering, leaving

    @property
    def _slope(self) -> Floats:
        """What one unit of each resource's sum of squares adds to the score (K)."""
        hosts = self.value.shape[1]
        variance = self._squares / hosts - (self._sum / hosts) ** 2
        slope: Floats = self.cluster.weights / (2.0 * hosts * np.sqrt(np.maximum(variance, 1e-12)))
        return slope


def _least(values: Floats, most: int, below: float = np.inf) -> tuple[Indices, Indices]:
    """Return rows and columns of the least values below a bound, at most so many, in no order."""
    flat = values.ravel()
    found = np.flatnonzero(flat < below)
    if len(found) > most:
        found = found[np.argpartition(flat[found], most)[:most]]
    rows, columns = np.divmod(found, values.shape[1]) if values.size else (found, found)
    return rows, columns
