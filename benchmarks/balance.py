"""`balance` against hbal on the same random clusters, hbal judging both: `python -m benchmarks balance [--seed N]`.

Goals: a final score no higher than hbal's on every cluster, with no more moves; from 32 hosts up at most a hundredth of
its CPU time (planning: hbal's whole run less one that only starts, reads and scores); and 1,000 hosts with 12,000
guests in 2 s at most. The seed is drawn afresh and among the figures. Each cluster goes to standard error.
"""

import random
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks._htools import KINDS, Hbal, TextCluster, random_cluster
from benchmarks.planning import busy_world
from migd_policies.balance import Balance
from migd_policies.spread_search import Found, Limits, search

SIZES: Final = ((16, KINDS), (24, KINDS), (32, KINDS), (48, ("hot", "tight")), (64, ("tight",)))
GUESTS_A_HOST: Final = 6
# hbal prints eight digits.
PRINTED: Final = 1e-8
LARGE: Final = (1000, 12_000)
# hbal's defaults: it stops at a score of 1e-9, or below 0.1 when a move gains less than 0.01.
AS_HBAL: Final = Limits(enough=1e-9, min_gain=0.01, small=0.1)


def measure(seed: int) -> dict[str, Any]:
    """Return every cluster's figures, how many of them meet each goal, and the seconds for the large world."""
    figures: dict[str, Any] = {"seed": seed, **_large_s(seed)}
    try:
        with tempfile.TemporaryDirectory() as folder:
            clusters = _compared(Hbal(Path(folder)), random.Random(seed))
    except FileNotFoundError as why:
        print(f"balance: not compared with hbal: {why}", file=sys.stderr)
        return {**figures, "skipped": str(why)}
    large = [one for one in clusters if one["hosts"] >= 32]
    return {
        **figures,
        "clusters": len(clusters),
        "score_not_higher": sum(one["score"] <= one["hbal_score"] + PRINTED for one in clusters),
        "no_more_moves": sum(one["moves"] <= one["hbal_moves"] for one in clusters),
        "score_ratio_median": round(statistics.median(one["score"] / one["hbal_score"] for one in clusters), 3),
        "moves_ratio_median": round(statistics.median(one["moves"] / one["hbal_moves"] for one in clusters), 3),
        "cpu_ratio_from_32_hosts_least": round(min(one["hbal_cpu_s"] / one["cpu_s"] for one in large)),
        "cpu_ratio_from_32_hosts_median": round(statistics.median(one["hbal_cpu_s"] / one["cpu_s"] for one in large)),
        "each": clusters,
    }


def _compared(hbal: Hbal, rng: random.Random) -> list[dict[str, Any]]:
    search(random_cluster(rng, "uniform", 8, 4).arrays(), AS_HBAL)  # numpy loads parts of itself when first used
    print(f"{'hosts':>5} {'kind':9} {'guests':>6}  {'score':>8}  {'migd':^22}  {'hbal':^22}", file=sys.stderr)
    found = []
    for hosts, kinds in SIZES:
        for kind in kinds:
            one = {"hosts": hosts, "kind": kind, **_one(hbal, random_cluster(rng, kind, hosts, GUESTS_A_HOST))}
            found.append(one)
            print(
                f"{hosts:5} {kind:9} {one['guests']:6}  {one['score_before']:8.5f}  "
                f"{one['score']:.5f} {one['moves']:3} {one['cpu_s']:8.4f} s  "
                f"{one['hbal_score']:.5f} {one['hbal_moves']:3} {one['hbal_cpu_s']:8.3f} s",
                file=sys.stderr,
                flush=True,
            )
    return found


def _one(hbal: Hbal, cluster: TextCluster) -> dict[str, Any]:
    text, loads = cluster.text(cluster.place), cluster.utilisation()
    arrays = cluster.arrays()
    started_s = time.process_time()
    found = search(arrays, AS_HBAL)
    cpu_s = time.process_time() - started_s
    theirs = hbal.balance(text, loads)
    return {
        "guests": len(cluster.instances),
        "score_before": hbal.score(text, loads),
        "score": hbal.score(cluster.text(_carried_out(cluster, found)), loads),
        "moves": len(found.moves),
        "cpu_s": cpu_s,
        "hbal_score": hbal.score(cluster.text(cluster.placed(theirs.node_of)), loads),
        "hbal_moves": theirs.moves,
        "hbal_cpu_s": max(0.0, theirs.cpu_s - hbal.starting_cpu_s(text, loads)),
    }


def _carried_out(cluster: TextCluster, found: Found) -> list[int]:
    """Return where the guests are in the end. Raises AssertionError if one does not find its memory on the way."""
    place = list(cluster.place)
    for guest, target in found.moves:
        if cluster.free(place)[target] <= cluster.instances[guest].memory:
            raise AssertionError(f"move of {cluster.instances[guest].name} to node {target}: no memory there")
        place[guest] = target
    return place


def _large_s(seed: int) -> dict[str, Any]:
    """Return how long the policy takes for its next moves in a large world, and for as many as are worth anything."""
    figures: dict[str, Any] = {}
    hosts, guests = LARGE
    for name, policy in (("next", Balance()), ("all", Balance(max_moves=guests))):
        took_s, moves = list[float](), 0
        for _ in range(3):
            world = busy_world(hosts, guests, seed=seed)  # anew: a world keeps its indices once they were asked for
            started_s = time.process_time()
            moves = len(policy.propose(world).moves)
            took_s.append(time.process_time() - started_s)
        figures[f"{hosts}_hosts_{guests}_guests_{name}_moves"] = moves
        figures[f"{hosts}_hosts_{guests}_guests_{name}_cpu_s"] = round(min(took_s), 3)
    figures["numpy"] = np.__version__
    return figures
