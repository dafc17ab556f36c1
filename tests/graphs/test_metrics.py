"""Homophily, by hand and by networkx."""

import math

import networkx as nx
import numpy as np
import pytest
import scipy.sparse as sp

from lds.graphs.metrics import adjusted_homophily, class_homophily, homophily


def path_graph():
    """0 - 1 - 2 - 3 with weights 1, 0.5, 0.25."""
    dense = np.zeros((4, 4))
    for i, weight in enumerate((1, 0.5, 0.25)):
        dense[i, i + 1] = dense[i + 1, i] = weight
    return sp.csr_array(dense)


def test_it_is_the_weight_of_edges_within_a_class():
    labels = np.array([0, 0, 1, 1])
    assert homophily(path_graph(), labels) == pytest.approx((1 + 0.25) / 1.75)
    # At the nodes of class 0: edge 0-1 from both ends, edge 1-2 from one.
    expected = [2 / 2.5, 0.5 / 1.0]
    np.testing.assert_allclose(class_homophily(path_graph(), labels, 2), expected)


def test_edges_of_unlabelled_nodes_do_not_count():
    labels = np.array([0, 0, -1, 1])
    assert homophily(path_graph(), labels) == 1
    assert math.isnan(class_homophily(path_graph(), labels, 2)[1])


@pytest.mark.parametrize("seed", range(3))
def test_beyond_chance_it_is_the_assortativity_coefficient(seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, 40)
    upper = np.triu(rng.random((40, 40)) < np.where(labels[:, None] == labels, 0.3, 0.1), 1)
    graph = nx.from_numpy_array(upper | upper.T)
    nx.set_node_attributes(graph, dict(enumerate(labels.tolist())), "label")
    expected = nx.attribute_assortativity_coefficient(graph, "label")
    found = adjusted_homophily(sp.csr_array((upper | upper.T).astype(float)), labels)
    assert found == pytest.approx(expected, rel=1e-12)


def test_beyond_chance_weights_count_and_unlabelled_nodes_do_not():
    # Weights within and between: 1 + 0.25 of 1.75; degrees of the classes 2.5 and 1.
    h, e = 1.25 / 1.75, (2.5 / 3.5) ** 2 + (1 / 3.5) ** 2
    found = adjusted_homophily(path_graph(), np.array([0, 0, 1, 1]))
    assert found == pytest.approx((h - e) / (1 - e))
    assert math.isnan(adjusted_homophily(path_graph(), np.array([0, 0, -1, 1])))  # one class left
    assert math.isnan(adjusted_homophily(path_graph(), np.array([0, -1, 1, -1])))  # no edge left
