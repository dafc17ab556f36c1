"""Means by group of pairs, against a loop over every pair of a dense matrix."""

import numpy as np
import pytest
import scipy.sparse as sp

from lds._types import Split
from lds.edges.free import FreeEdges
from lds.edges.groups import PairGroups
from lds.graphs.candidates import PairList

N = 300  # more than one tile of rows


def problem(seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, N)
    rows = rng.permutation(N)
    split = Split(rows[:20], rows[20:50], rows[50:60], rows[60:200])
    upper = sp.triu(sp.random_array((N, N), density=0.05, rng=rng), k=1)
    theta = sp.csr_array(upper + upper.T)
    truth = sp.triu(sp.random_array((N, N), density=0.01, rng=rng), k=1)
    return labels, split, theta, sp.csr_array(truth + truth.T)


def by_hand(labels, split, theta, held_out):
    known = set(split.train) | set(split.validation) | set(split.stopping)
    groups = {"same": [], "different": [], "unknown": [], "held_out": []}
    dense, edges = theta.toarray(), held_out.toarray()
    for i in range(N):
        for j in range(i + 1, N):
            if i not in known or j not in known:
                groups["unknown"].append(dense[i, j])
            else:
                groups["same" if labels[i] == labels[j] else "different"].append(dense[i, j])
            if edges[i, j]:
                groups["held_out"].append(dense[i, j])
    return {name: np.mean(values) for name, values in groups.items()}


@pytest.mark.parametrize("support", ["all", "sparse"])
def test_means_are_those_of_a_loop_over_pairs(support):
    labels, split, theta, held_out = problem()
    pairs = None if support == "all" else PairList.of(theta)
    edges = FreeEdges(theta, candidates=pairs)
    found = PairGroups(labels, split, held_out).means(edges)
    expected = by_hand(labels, split, theta, held_out)
    assert list(found) == list(expected)
    assert found == pytest.approx(expected, rel=1e-5)


def test_labels_without_a_role_in_learning_are_not_read():
    labels, split, theta, _ = problem()
    edges = FreeEdges(theta)
    changed = labels.copy()
    changed[split.test] = 3 - changed[split.test]
    assert PairGroups(labels, split).means(edges) == PairGroups(changed, split).means(edges)


def test_groups_without_pairs_are_left_out():
    labels, every = np.arange(4), np.arange(4)
    split = Split(every[:2], every[2:3], every[3:], every[:0])
    theta = sp.csr_array(np.ones((4, 4)) - np.eye(4))
    assert PairGroups(labels, split).means(FreeEdges(theta)) == {"different": 1.0}
