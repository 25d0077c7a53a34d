"""What `colocate` is compared with: the best placement of a small cluster."""

import random
from dataclasses import replace

import numpy as np
from benchmarks._talking_cluster import TINY, brute_force, random_cluster


def test_the_best_of_all_placements_fills_no_host() -> None:
    cluster = random_cluster(random.Random(7), 3, 6, 1, 0.6)
    best = brute_force(cluster)
    assert cluster.highest_load(best) <= 1.0 + TINY
    assert cluster.cost(best) <= cluster.cost(cluster.place)


def test_guests_that_cannot_be_placed_without_filling_a_host_are_spread_as_well_as_they_can_be() -> None:
    cluster = replace(random_cluster(random.Random(7), 3, 4, 1, 0.9), demand=np.full(4, 3.0), cpus=np.full(3, 5.0))
    assert cluster.highest_load(brute_force(cluster)) == 6.0 / 5.0
