"""Graphs from a mask over a list of pairs, against graphs built edge by edge."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch

import lds.edges.list_sampler
from lds.edges.list_sampler import ListedEntries
from lds.graphs.batch import GraphBatch, graph_batch
from lds.graphs.candidates import PairList

N = 15


def pairs(p: float = 0.3) -> PairList:
    upper = np.triu(np.random.default_rng(0).random((N, N)) < p, 1)
    return PairList.of(sp.csr_array(upper.astype(float)))


def assert_equal(first: GraphBatch, second: GraphBatch) -> None:
    assert (first.n_draws, first.n_nodes) == (second.n_draws, second.n_nodes)
    assert torch.equal(first.scale, second.scale)
    for part in ("crow_indices", "col_indices", "values"):
        mine, other = (getattr(graph.matrix, part)() for graph in (first, second))
        assert mine.dtype == other.dtype
        assert torch.equal(mine, other)


@pytest.mark.parametrize("at_once", [1, 3])
@pytest.mark.parametrize("n_draws", [1, 4])
@pytest.mark.parametrize("n_more", [0, 9])
@pytest.mark.parametrize("p", [0.0, 0.3])
def test_a_mask_and_further_edges_make_the_graph_of_those_edges(
    p, n_more, n_draws, at_once, monkeypatch
):
    monkeypatch.setattr(lds.edges.list_sampler, "_at_once", lambda n_draws, device: at_once)
    known = pairs(p)
    generator = torch.Generator().manual_seed(1)
    there = torch.rand(n_draws, known.n_pairs, generator=generator) < 0.7
    every = np.setdiff1d(np.flatnonzero(np.triu(np.ones((N, N)), 1)), known.keys)
    draw = torch.arange(n_more) % n_draws
    key = torch.from_numpy(every)[torch.randperm(len(every), generator=generator)[:n_more]]
    more = (draw, key // N, key % N)
    entries = ListedEntries.of(known, torch.device("cpu"))
    got = entries.graphs(there, torch.float32, more if n_more else None)
    listed_draw, place = there.nonzero(as_tuple=True)
    listed = torch.from_numpy(known.keys)[place]
    edges = (torch.cat([listed_draw, draw]), torch.cat([listed, key]))
    expected = graph_batch(edges[0], edges[1] // N, edges[1] % N, n_draws, N, torch.float32)
    assert_equal(got, expected)


def test_certain_pairs_are_always_drawn_and_impossible_ones_never():
    known = pairs()
    probs = torch.zeros(known.n_pairs + 5)  # buffers are longer than the list
    probs[: known.n_pairs : 2] = 1
    probs[known.n_pairs :] = 1
    graph = ListedEntries.of(known, torch.device("cpu")).draw(probs, 3, torch.Generator())
    draw, row, col = graph.edges()
    expected = known.keys[::2].tolist()
    for s in range(3):
        assert (row * N + col)[draw == s].tolist() == expected
