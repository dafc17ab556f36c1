"""Columns that describe a node by what lies around it, beside loops over its neighbours."""

import networkx as nx
import numpy as np
import pytest
import scipy.sparse as sp

from lds.graphs.neighbourhood import COMPONENTS, STEPS, neighbourhood_columns

N, F = 30, 4
ROUNDING = 1e-5  # float32


def example(weighted: bool) -> tuple[np.ndarray, sp.csr_array]:
    rng = np.random.default_rng(0)
    graph = nx.gnm_random_graph(N - 1, 60, seed=0)
    graph.add_node(N - 1)  # alone
    dense = nx.to_numpy_array(graph)
    if weighted:
        weight = rng.uniform(0.5, 2, size=(N, N))
        dense *= weight + weight.T
    return rng.normal(size=(N, F)), sp.csr_array(dense)


def by_loops(x: np.ndarray, dense: np.ndarray) -> np.ndarray:
    degree = dense.sum(1)
    log = np.log1p(degree)

    def around(z: np.ndarray, i: int) -> np.ndarray:
        return sum((a * z[j] for j, a in enumerate(dense[i])), 0 * z[0]) / (degree[i] or 1)

    means = [x]
    logs = [log]
    for _ in range(STEPS):
        means.append(np.array([around(means[-1], i) for i in range(N)]))
        logs.append(np.array([around(logs[-1], i) for i in range(N)]))
    largest = [max((log[j] for j in np.flatnonzero(row)), default=0) for row in dense]
    normalised = [
        sum(row[j] / np.sqrt(degree[i] * degree[j]) for j in np.flatnonzero(row))
        for i, row in enumerate(dense)
    ]
    return np.column_stack([*means, *logs, largest, normalised])


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("sparse", [False, True])
def test_columns_are_those_by_loops(weighted, sparse):
    x, graph = example(weighted)
    found = neighbourhood_columns(sp.csr_array(x) if sparse else x, graph)
    assert found == pytest.approx(by_loops(x, graph.toarray()), abs=ROUNDING)


def test_entries_that_are_stored_zeros_are_no_edges():
    x, graph = example(weighted=False)
    with_zeros = graph.copy()
    with_zeros.data[:] = 0
    alone = neighbourhood_columns(x, with_zeros)
    assert alone[:, :F] == pytest.approx(x, abs=ROUNDING)
    assert not alone[:, F:].any()


@pytest.mark.parametrize("sparse", [False, True])
def test_many_features_become_their_leading_singular_vectors(sparse):
    """Inner products of rows are those of the best approximation of this rank."""
    rng = np.random.default_rng(1)
    low = rng.normal(size=(3 * COMPONENTS, COMPONENTS // 4))
    x = low @ rng.normal(size=(COMPONENTS // 4, 2 * COMPONENTS))
    graph = sp.csr_array(nx.to_scipy_sparse_array(nx.cycle_graph(len(x)), dtype=np.float64))
    found = neighbourhood_columns(sp.csr_array(x) if sparse else x, graph)
    assert found.shape == (len(x), (STEPS + 1) * COMPONENTS + 5)
    own = found[:, :COMPONENTS].astype(np.float64)
    assert own @ own.T == pytest.approx(x @ x.T, abs=1e-3)


@pytest.mark.parametrize("sparse", [False, True])
def test_features_that_say_nothing_are_zeros(sparse):
    _, graph = example(weighted=False)
    x = np.zeros((N, 2 * COMPONENTS))
    found = neighbourhood_columns(sp.csr_array(x) if sparse else x, graph)
    assert not found[:, :-5].any()
    assert found[:, -5:].any(), "degrees are left"
