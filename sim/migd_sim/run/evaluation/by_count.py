"""Another bound on a job's time, for jobs that talk better elsewhere: by how many ranks' guests are away.

The states of `relaxed` tell hosts apart, so there are soon too many, and then all that matters is away for the price of
one move, or for none. Here a state is a number: so many guests with ranks are away, whichever they are, and the job is
as fast as if all were, but for the messages that so many cannot mend (`talk_left`). Going from one number to another
takes as many moves at least, each as cheap as the cheapest, one at a time off each home. Loads move for nothing.
"""

from dataclasses import dataclass
from itertools import pairwise
from math import ceil, inf
from typing import Final

from migd_sim.model.spec import JobSpec
from migd_sim.run.evaluation.best_speeds import Ground
from migd_sim.run.evaluation.case import Case
from migd_sim.run.evaluation.clairvoyant import Change, Epoch, Fate, fastest
from migd_sim.run.evaluation.relaxed import Relaxed
from migd_sim.run.evaluation.talk_left import slow_messages, talk_at_least_s

ANYWHERE: Final = "anywhere"


@dataclass(frozen=True, slots=True)
class Counted:
    """One job by how many guests of its ranks are away: state n is that n are, at `homes` hosts that they leave.

    `cheapest` is what one move takes at least.
    """

    job: JobSpec
    epochs: tuple[Epoch, ...]
    cheapest: Change
    homes: int

    def change(self, old: int, new: int) -> Change:
        """Return what going from one number to another takes at least."""
        turns = ceil(abs(new - old) / self.homes)
        return Change(turns * self.cheapest.lasts_s, turns * self.cheapest.lost_s)

    @property
    def least_time_s(self) -> float:
        """A time that no way of moving guests can beat."""
        return fastest(self.epochs, self.change, self.job.steps).time_s


def counted(case: Case, relaxed: Relaxed) -> Counted | None:
    """Return the job of `relaxed` by counts; None where not all of its ranks matter."""
    ground = Ground(case, relaxed.job)
    of_ranks = [group for group in relaxed.groups if group.guests[0] in ground.ranks]
    loads = {guest for group in relaxed.groups if group not in of_ranks for guest in group.guests}
    ranks = {guest for group in of_ranks for guest in group.guests}
    if ranks != ground.ranks.keys():
        return None
    slow, home_of = slow_messages(ground), dict.fromkeys(ranks, ANYWHERE)
    talks_s = [talk_at_least_s(ground, slow, home_of, {ANYWHERE: count}) for count in range(len(ranks) + 1)]
    epochs: list[Epoch] = []
    for starts_s, ends_s in pairwise([0.0, *case.change_times_s, inf]):
        died = {death.host for death in case.deaths if death.at_s <= starts_s}
        nobody = ground.steps_per_s(starts_s, died, loads, set(), talk_at_least_s=talks_s[0])
        speeds = [
            ground.steps_per_s(starts_s, died, loads | ranks, ranks, talk_at_least_s=each) for each in talks_s[1:]
        ]
        epochs.append(Epoch(starts_s, ends_s, (nobody, *speeds), _fates(case, ground, starts_s)))
    costs = [cost for group in of_ranks for cost in group.costs]
    return Counted(
        job=relaxed.job,
        epochs=tuple(epochs),
        cheapest=Change(min(cost.lasts_s for cost in costs), min(cost.lost_s for cost in costs)),
        homes=len({group.host for group in of_ranks}),
    )


def _fates(case: Case, ground: Ground, at_s: float) -> dict[int, Fate]:
    """With fewer away than a host that dies has guests with ranks, one is there; it is somewhere else afterwards."""
    found: dict[int, Fate] = {}
    for host in (death.host for death in case.deaths if death.at_s == at_s):
        there = sum(ground.home(guest) == host for guest in ground.ranks)
        for count in range(there):
            found[count] = Fate(min(len(ground.ranks), count + there), case.checkpoint_steps, case.restart_s)
    return found
