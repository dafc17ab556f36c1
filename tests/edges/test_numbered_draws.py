"""Graphs by number: the same whenever they are asked for, and draws of their distribution."""

import pickle

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from lds.edges import numbered_draws
from lds.edges.free import FreeEdges
from lds.edges.numbered_draws import NumberedDraws
from lds.graphs.candidates import PairList

N = 9
UPPER = np.triu_indices(N, 1)
THETA = np.linspace(0.05, 0.95, len(UPPER[0]))


def distribution() -> FreeEdges:
    upper = sp.coo_array((THETA, UPPER), shape=(N, N))
    start = sp.csr_array(upper + upper.T)
    return FreeEdges(start, torch.float64, candidates=PairList.of(start))


def edges(draws: NumberedDraws, t: int) -> np.ndarray:
    """Whether each pair is an edge of graph t."""
    return draws(t).draw().matrix.to_dense().numpy()[UPPER] > 0


def test_a_number_names_one_graph_whatever_was_asked_before_and_in_another_process():
    draws = NumberedDraws(distribution(), 5)
    first = [edges(draws, t) for t in range(100)]
    assert draws(3).graph is draws(3).graph, "kept, beyond the recent draws of the distribution"
    for other in (NumberedDraws(distribution(), 5), pickle.loads(pickle.dumps(draws))):
        for t in reversed(range(100)):
            assert np.array_equal(edges(other, t), first[t])
    assert not np.array_equal(edges(NumberedDraws(distribution(), 6), 0), first[0])


def test_graphs_that_are_not_kept_are_drawn_again_the_same(monkeypatch):
    kept = [edges(NumberedDraws(distribution(), 5), t) for t in range(3)]
    monkeypatch.setattr(numbered_draws, "KEPT_BYTES", 1)
    draws = NumberedDraws(distribution(), 5)
    assert all(np.array_equal(edges(draws, t), kept[t]) for _ in range(2) for t in range(3))
    assert len(draws._kept) == 1


@pytest.mark.ci
def test_pairs_are_edges_as_often_as_theta_says_and_independently_by_number():
    n, of = 4000, distribution()
    drawn = np.stack([edges(NumberedDraws(of, seed), 7) for seed in range(n // 2)])
    numbered = NumberedDraws(of, 0)
    drawn = np.concatenate([drawn, [edges(numbered, t) for t in range(n // 2)]])
    z = (drawn.mean(0) - THETA) / np.sqrt(THETA * (1 - THETA) / n)
    assert np.abs(z).max() < 4  # of 36 pairs; a number that repeats its neighbour's graph has more
    by_number = drawn[n // 2 :] - THETA
    products = (by_number[1:] * by_number[:-1]).sum(1) / (THETA * (1 - THETA)).sum()
    assert abs(products.mean()) < 4 * products.std() / np.sqrt(len(products))


def test_the_random_state_outside_stays_as_it_is():
    state = torch.get_rng_state()
    NumberedDraws(distribution(), 1)(0)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("t", [0, 11])
def test_a_graph_has_no_record_of_products(t):
    assert NumberedDraws(distribution(), 1)(t).draw().products is None
