"""A forest as a member: beside scikit-learn's, and what it says of new nodes."""

import numpy as np
import pytest
import torch
from sklearn.ensemble import ExtraTreesClassifier

from lds.graphs.batch import weighted_graph
from lds.nn import node_forest
from lds.nn.features import node_features
from lds.nn.new_nodes import NewEdges
from lds.nn.node_forest import (
    N_TREES,
    SMALLEST,
    NodeForest,
    fit_node_forest,
    forest_of_new_rows,
)

N, C = 40, 3
CPU, DOUBLE = torch.device("cpu"), torch.float64
ROWS = torch.arange(0, N, 2)
RNG = np.random.default_rng(0)
LABELS = RNG.integers(C, size=N)
COLUMNS = (LABELS[:, None] + RNG.normal(size=(N, 5))).astype(np.float32)
TRUTH = torch.from_numpy(LABELS)
X = node_features(COLUMNS, DOUBLE, CPU)
GRAPH = weighted_graph(
    torch.tensor([0, 1]), torch.tensor([1, 2]), torch.tensor([0.5, 0.25], dtype=DOUBLE), N
)


def fitted(weights=None, seed=3):
    return fit_node_forest(NodeForest(C), COLUMNS, TRUTH, ROWS, weights, dtype=DOUBLE, seed=seed)


def probabilities(params) -> np.ndarray:
    return NodeForest(C)(params, X, GRAPH, training=True)[0].softmax(1).numpy()


@pytest.mark.parametrize("weighted", [False, True])
def test_predictions_are_those_of_scikit_learn_with_a_floor(weighted):
    weights = np.where(LABELS == 1, 5.0, 1.0) if weighted else None
    known = LABELS[ROWS]
    mine = None if weights is None else weights[ROWS] / weights[ROWS].mean()
    least = 0.5 / len(ROWS) if weighted else 0.0
    forest = ExtraTreesClassifier(N_TREES, random_state=3, min_weight_fraction_leaf=least)
    forest.fit(COLUMNS[ROWS], known, mine)
    wanted = np.maximum(forest.predict_proba(COLUMNS), SMALLEST)
    given = None if weights is None else torch.from_numpy(weights)
    found = probabilities(fitted(given))
    assert found == pytest.approx(wanted / wanted.sum(1, keepdims=True), abs=1e-12)


def test_a_class_that_no_row_has_keeps_a_small_probability():
    params = fit_node_forest(NodeForest(C + 1), COLUMNS, TRUTH, ROWS, dtype=DOUBLE, seed=0)
    found = params["forest"].exp()
    assert found.shape == (N, C + 1)
    assert float(found[:, C].max()) == pytest.approx(SMALLEST, rel=0.01)
    assert found.sum(1).numpy() == pytest.approx(np.ones(N))


def test_rows_that_count_for_nothing_have_no_leaves_of_their_own():
    """Beside rows of class 0 that count a million times as much, others are noise."""
    weights = torch.from_numpy(np.where(LABELS == 0, 1e3, 1e-3))
    assert (probabilities(fitted(weights)).argmax(1) == 0).all()


def test_one_seed_gives_the_same_bits_and_another_one_others():
    assert torch.equal(fitted()["forest"], fitted()["forest"])
    assert not torch.equal(fitted()["forest"], fitted(seed=4)["forest"])


def test_of_many_rows_each_tree_reads_a_part(monkeypatch):
    monkeypatch.setattr(node_forest, "MOST_ROWS", 10)
    found = probabilities(fitted())
    assert (found[ROWS].max(1) < 1 - C * SMALLEST).any(), "trees have not seen some of the rows"
    assert (found.argmax(1) == LABELS).mean() > 0.6


@pytest.mark.parametrize("weighted", [False, True])
def test_trees_that_grow_again_say_of_new_rows_what_the_first_ones_do(weighted):
    weights = torch.from_numpy(np.where(LABELS == 1, 5.0, 1.0)) if weighted else None
    params = NodeForest(C).scaled(fitted(weights), 0.5)
    new = COLUMNS[1::2]
    found = forest_of_new_rows(params, COLUMNS, TRUTH, ROWS, weights, new)
    assert found.numpy() == pytest.approx(probabilities(params)[1::2], abs=1e-12)


def test_scaled_logits():
    params = fitted()
    network = NodeForest(C)
    twice = network(network.scaled(params, 2.0), X, GRAPH, training=False)
    assert torch.equal(twice, 2 * network(params, X, GRAPH, training=False))
    assert float(network.penalty(params)) == 0


def test_a_new_node_has_the_mean_of_its_neighbours_and_without_any_that_of_all():
    params, network = fitted(), NodeForest(C)
    nodes = torch.tensor([[0, 5], [7, 7]])
    weight = torch.tensor([[0.75, 0.25], [0.0, 0.0]], dtype=DOUBLE)
    new = node_features(COLUMNS[:2], DOUBLE, CPU)
    logits = network.attach(params, X, GRAPH, new, NewEdges(nodes, weight))
    p = params["forest"].exp()
    wanted = torch.stack([0.75 * p[0] + 0.25 * p[5], p.mean(0)])
    assert logits.softmax(2)[0].numpy() == pytest.approx(wanted.numpy(), abs=SMALLEST)
