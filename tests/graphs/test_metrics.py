"""Homophily, by hand."""

import math

import numpy as np
import pytest
import scipy.sparse as sp

from lds.graphs.metrics import class_homophily, homophily


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
