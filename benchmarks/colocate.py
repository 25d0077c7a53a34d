"""`colocate` against the best of all placements, and against METIS: `python -m benchmarks colocate [--seed N]`.

Small clusters are held against brute force, large ones against METIS's best of many tries, on the same random clusters
(seed drawn afresh, among the figures). `colocate` is asked again and again until it proposes nothing more. It has no
more cost of communication than theirs and 5 %, moves fewer guests, and fills no host beyond its CPUs.

METIS is no part of migd: it comes with `pip install 'migd[bench]'`, and without it that half is skipped and says so.
"""

import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from benchmarks._talking_cluster import MOST_LOAD, TINY, Places, TalkingCluster, brute_force, metis, random_cluster
from migd_policies.colocate import Colocate

# `colocate` asks what a move saves, brute force does not: against that, a thousandth of a second a second is enough.
# METIS meets it as it is by default.
MIN_GAIN_RATIO: Final = 0.001
SMALL: Final = 40
# Hosts, guests, switches.
LARGE: Final = ((16, 64, 1), (16, 96, 2), (32, 128, 1), (32, 192, 2), (64, 256, 1), (64, 256, 4))
TRIES: Final = 2


def measure(seed: int) -> dict[str, Any]:
    """Return, of small and large clusters, cost over theirs, guests moved by each, and the figures of each cluster."""
    rng = random.Random(seed)
    small = [
        random_cluster(rng, hosts, 8, rng.choice((1, 2)), rng.uniform(0.5, 0.9), may_invert=True)
        for hosts in (rng.choice((3, 4)) for _ in range(SMALL))
    ]
    large = [
        random_cluster(rng, hosts, guests, switches, rng.uniform(0.5, 0.9))
        for hosts, guests, switches in LARGE
        for _ in range(TRIES)
    ]
    figures: dict[str, Any] = {"seed": seed, "small": _compared(small, brute_force, MIN_GAIN_RATIO)}
    try:
        figures["large"] = _compared(large, lambda cluster: metis(cluster, seed), Colocate().min_gain_ratio)
    except ModuleNotFoundError as error:
        figures["skipped"] = f"not compared with METIS: {error}; pip install 'migd[bench]' brings it"
        print(f"colocate: {figures['skipped']}", file=sys.stderr)
    return figures


def text(figures: dict[str, Any]) -> str:
    """Return a line for each kind of cluster, and one for each large one."""
    lines = [f"colocate: --seed {figures['seed']}"]
    for kind, they in (("small", "brute force"), ("large", "METIS")):
        if (found := figures.get(kind)) is not None:
            lines.append(
                f"    {found['clusters']} {kind} clusters: cost / {they}'s {found['cost_ratio_median']:.3f} (median), "
                f"{found['cost_ratio_worst']:.3f} (worst); moved {found['moved']} guests, {they} {found['their_moved']}"
            )
    for one in figures.get("large", {}).get("each", ()):
        lines.append(
            f"    {one['hosts']:3} hosts {one['guests']:4} guests {one['switches']} switches {one['load']:4.0%} load: "
            f"before {one['cost_before']:7.3f}, colocate {one['cost']:7.3f} with {one['moved']:3} moved in "
            f"{one['took_s']:6.2f} s, METIS {one['their_cost']:7.3f} with {one['their_moved']:3} "
            f"(fullest {one['their_highest_load']:.0%})"
        )
    return "\n".join(lines)


def _compared(
    clusters: Sequence[TalkingCluster], other: Callable[[TalkingCluster], Places], min_gain_ratio: float
) -> dict[str, Any]:
    each = [_one(cluster, other(cluster), min_gain_ratio) for cluster in clusters]
    ratios = [(one["cost"] + TINY) / (one["their_cost"] + TINY) for one in each]
    return {
        "clusters": len(each),
        "cost_ratio_median": statistics.median(ratios),
        "cost_ratio_worst": max(ratios),
        "within_five_percent": sum(ratio <= 1.05 for ratio in ratios),
        "moved": sum(one["moved"] for one in each),
        "their_moved": sum(one["their_moved"] for one in each),
        "no_more_moved": sum(one["moved"] <= one["their_moved"] for one in each),
        "overfull": sum(one["highest_load"] > max(MOST_LOAD, one["highest_load_before"]) + TINY for one in each),
        "each": each,
    }


def _one(cluster: TalkingCluster, theirs: Places, min_gain_ratio: float) -> dict[str, Any]:
    started_s = time.process_time()
    ours, migrations = _colocated(cluster, min_gain_ratio)
    return {
        "hosts": len(cluster.cpus),
        "guests": len(cluster.demand),
        "switches": len(np.unique(cluster.switch)),
        "load": float(cluster.demand.sum() / cluster.cpus.sum()),
        "cost_before": cluster.cost(cluster.place),
        "highest_load_before": cluster.highest_load(cluster.place),
        "cost": cluster.cost(ours),
        "moved": cluster.moved(ours),
        "migrations": migrations,
        "highest_load": cluster.highest_load(ours),
        "took_s": time.process_time() - started_s,
        "their_cost": cluster.cost(theirs),
        "their_moved": cluster.moved(theirs),
        "their_highest_load": cluster.highest_load(theirs),
    }


def _colocated(cluster: TalkingCluster, min_gain_ratio: float) -> tuple[Places, int]:
    """Return where `colocate` has the guests once it proposes nothing more, and the migrations that took."""
    policy, place, migrations = Colocate(min_gain_ratio=min_gain_ratio), cluster.place.copy(), 0
    while moves := policy.propose(cluster.world(place)).moves:
        for move in moves:
            place[int(move.guest[5:])] = int(move.target[4:])
        migrations += len(moves)
    return place, migrations
