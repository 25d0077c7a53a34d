"""The benchmark's clusters, as text that hbal 3.0.2 has read, and its score, as hbal has printed it."""

import random
import re
from pathlib import Path

import numpy as np
import pytest
from benchmarks._htools import KINDS, TextCluster, random_cluster

from migd_policies.spread import Spread
from migd_policies.spread_search import Limits, search

CAPTURED = Path(__file__).parent / "captured"
SAID = (CAPTURED / "five-nodes.hbal").read_text()


@pytest.fixture
def cluster() -> TextCluster:
    return random_cluster(random.Random("captured"), "hot", 5, 4)


def test_a_cluster_is_written_as_hbal_has_read_it(cluster: TextCluster):
    assert cluster.text(cluster.place) == (CAPTURED / "five-nodes.data").read_text()
    assert cluster.utilisation() == (CAPTURED / "five-nodes.loads").read_text()


def test_every_step_of_hbal_has_the_score_that_hbal_gave_it(cluster: TextCluster):
    spread = Spread(cluster.arrays())
    nodes = {node.name: index for index, node in enumerate(cluster.nodes)}
    instances = {instance.name: index for index, instance in enumerate(cluster.instances)}
    first = re.search(r"Initial score: ([\d.]+)", SAID)
    assert first is not None
    assert spread.score == pytest.approx(float(first[1]), abs=1e-8)
    steps = re.findall(r"^ +\d+\. (\S+) \S+ +=> (\S+) +([\d.]+) a=fa:\S+$", SAID, re.MULTILINE)
    assert steps
    for instance, target, score in steps:
        guests, targets = np.array([instances[instance]]), np.array([nodes[target]])
        assert spread.fits(guests, targets)[0]
        # It was the best of all moves, as it is here.
        every = spread.differences(*spread.every_move())
        assert spread.differences(guests, targets)[0] == pytest.approx(every.min(), abs=1e-9)
        spread.move(instances[instance], nodes[target])
        assert spread.score == pytest.approx(float(score), abs=1e-8)


def test_the_search_ends_lower_than_hbal_did_with_no_more_moves(cluster: TextCluster):
    found = search(cluster.arrays(), Limits())
    last = re.search(r"Cluster score improved from [\d.]+ to ([\d.]+)\nSolution length=(\d+)", SAID)
    assert last is not None
    assert found.score_after <= float(last[1]) + 1e-8  # it prints eight digits
    assert len(found.moves) <= int(last[2])


@pytest.mark.parametrize("kind", KINDS)
def test_a_random_cluster_never_takes_more_memory_than_there_is(kind: str):
    cluster = random_cluster(random.Random(kind), kind, 8, 6)
    assert min(cluster.free(cluster.place)) > 0
