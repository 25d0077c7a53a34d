"""Moves that were made although their job was over before they could pay, in hindsight.

What migd went by at the time is what it believed of the job's remaining time; what it is held against here is when the
job really ended.
"""

from collections.abc import Sequence

from migd_controller.decision import Decision
from migd_sim.run.closed_loop import EPOCH_S
from migd_sim.run.evaluation.play import play
from migd_sim.run.evaluation.sets import draw
from migd_sim.run.evaluation.watched import Watched


class _Recorded(Watched):
    """A run whose decisions can be read."""

    @property
    def decisions(self) -> Sequence[Decision]:
        return self._loop.decisions


def late_moves(policy: str, set_names: Sequence[str], runs: int, seed: int) -> tuple[int, int]:
    """Return how many moves `policy` made in `runs` cases of each set that had a break-even, and how many too late.

    A guest of no job, or of one that is over, moves for others: its move may pay until the last of the jobs is over.
    """
    made = late = 0
    for set_name in set_names:
        for number in range(runs):
            case = draw(set_name, seed, number)
            player = _Recorded(case, policy, "progress")
            took_s = play(case, player).took_s
            for decision in player.decisions:
                for one in decision.candidates:
                    if one.is_accepted and one.price is not None and one.price.break_even_s is not None:
                        job, at_s = player.cluster.guests[one.guest].job, decision.at - EPOCH_S
                        own_s = 0.0 if job is None else took_s[job.name]
                        over_s = own_s if own_s > at_s else max(took_s.values())
                        made += 1
                        late += one.price.break_even_s > over_s - at_s
    return made, late
