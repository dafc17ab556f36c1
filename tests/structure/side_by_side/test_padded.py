"""Graphs in frames against the same graphs as they come: their products, and where they lie."""

import pytest
import torch

from lds.graphs.batch import GraphBatch, graph_batch
from lds.structure.side_by_side.padded import PaddedGraphs, entries_of_each
from tests.rounding import of_product

N = 12


def graphs(seed: int, shares: tuple[float, ...]) -> tuple[GraphBatch, list[GraphBatch]]:
    """Several graphs with about these shares of all pairs: as one batch, and one by one."""
    generator = torch.Generator().manual_seed(seed)
    row, col = torch.triu_indices(N, N, 1)
    masks = [torch.rand(len(row), generator=generator) < share for share in shares]
    draw = torch.cat([torch.full((int(mask.sum()),), k) for k, mask in enumerate(masks)])
    rows, cols = (torch.cat([part[mask] for mask in masks]) for part in (row, col))
    single = [
        graph_batch(torch.zeros_like(row[mask]), row[mask], col[mask], 1, N, torch.float64)
        for mask in masks
    ]
    return graph_batch(draw, rows, cols, len(shares), N, torch.float64), single


@pytest.mark.parametrize("spare", [0, 1, 7, 100])
@pytest.mark.parametrize("shares", [(0.3,), (0.5, 0.0, 0.9), (1.0, 0.2)])
def test_every_graph_in_a_frame_has_the_products_of_the_graph(shares, spare):
    several, _ = graphs(0, shares)
    counts = entries_of_each(several)
    frames = PaddedGraphs(len(shares), N, max(counts) + spare, torch.float64, torch.device("cpu"))
    z = torch.randn(N, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    places = [graph.matrix.values().data_ptr() for graph in frames.graphs]
    for seed in (0, 1, 0):  # a second time nothing of the first is left
        several, single = graphs(seed, shares)
        if max(entries_of_each(several)) > frames.room:
            continue
        frames.load(several)
        for mine, expected in zip(frames.graphs, single, strict=True):
            close = {"rtol": 0, "atol": of_product(expected.matrix.to_dense(), z)}
            torch.testing.assert_close(mine.matrix @ z, expected.matrix @ z, **close)
            assert torch.equal(mine.scale, expected.scale)
            assert (mine.n_draws, mine.n_nodes) == (1, N)
            crow = mine.matrix.crow_indices()
            assert crow[-1] == frames.room
            assert (crow.diff() >= expected.matrix.crow_indices().diff()).all()
    assert [graph.matrix.values().data_ptr() for graph in frames.graphs] == places


def test_entries_are_counted_graph_by_graph():
    several, single = graphs(3, (0.4, 0.0, 1.0))
    assert entries_of_each(several) == [graph.matrix.values().numel() for graph in single]
    assert entries_of_each(several)[1:] == [N, N * N]  # the loops alone, and all pairs


def test_spare_room_is_spread_over_the_rows_and_reads_no_other_node():
    several, (single,) = graphs(4, (0.3,))
    spare = 5 * N + 3
    frames = PaddedGraphs(
        1, N, entries_of_each(several)[0] + spare, torch.float64, torch.device("cpu")
    )
    frames.load(several)
    (mine,) = frames.graphs
    more = mine.matrix.crow_indices().diff() - single.matrix.crow_indices().diff()
    assert more.sum() == spare
    assert more.max() - more.min() <= 1
    # A number that is none stays with its neighbours.
    z = torch.ones(N, 1, dtype=torch.float64)
    z[7] = torch.nan
    assert torch.equal((mine.matrix @ z).isnan(), (single.matrix @ z).isnan())
    assert not (mine.matrix @ z).isnan().all()
