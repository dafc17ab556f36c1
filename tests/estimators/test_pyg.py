"""learn_structure: the PyTorch Geometric face."""

import numpy as np
import pytest
import torch
from torch_geometric.data import Data
from torch_geometric.utils import is_undirected, to_undirected

from lds import learn_structure

QUICK = {"n_neighbors": 4, "max_inner": 40, "max_iter": 3}


def blobs(n=90, **fields):
    rng = np.random.default_rng(0)
    y = np.arange(n) % 3
    x = rng.standard_normal((n, 4)) + 5 * np.eye(4)[y]
    train, val = torch.zeros(n, dtype=torch.bool), torch.zeros(n, dtype=torch.bool)
    train[:15], val[15:45] = True, True
    base = {
        "x": torch.tensor(x).float(),
        "y": torch.tensor(y),
        "train_mask": train,
        "val_mask": val,
    }
    return Data(**{**base, **fields})


def test_a_graph_is_learned_without_one():
    data = blobs()
    learned = learn_structure(data, **QUICK)
    assert (learned.predictions == data.y)[45:].float().mean() >= 0.95
    assert learned.edge_probs.shape == (learned.edge_index.shape[1],)
    assert learned.edge_probs.min() > 1e-4
    assert learned.edge_probs.max() <= 1
    assert is_undirected(learned.edge_index, learned.edge_probs, num_nodes=90)
    torch.testing.assert_close(learned.probabilities.sum(1), torch.ones(90))
    assert len(learned.history) == 3


def test_to_data_keeps_edges_above_the_threshold_and_the_original():
    data = blobs()
    learned = learn_structure(data, **QUICK)
    better = learned.to_data(threshold=0.9)
    strong = learned.edge_probs >= 0.9
    assert torch.equal(better.edge_index, learned.edge_index[:, strong])
    assert torch.equal(better.edge_weight, learned.edge_probs[strong])
    assert torch.equal(better.x, data.x)
    assert "edge_weight" not in data
    with pytest.raises(ValueError, match=r"threshold .* in \(0, 1\], got 0"):
        learned.to_data(threshold=0)


def test_samples_follow_the_distribution():
    learned = learn_structure(blobs(), **QUICK)
    dense = torch.from_numpy(learned.result.edges.to_csr().toarray()).double()
    draws = [learned.sample(seed) for seed in range(200)]
    assert torch.equal(draws[3], learned.sample(3))
    assert all(is_undirected(draw, num_nodes=90) for draw in draws)
    counts = torch.tensor([draw.shape[1] for draw in draws]).double() / 2
    expected, variance = dense.sum() / 2, (dense * (1 - dense)).sum() / 2
    assert abs(counts.mean() - expected) <= 4 * (variance / 200).sqrt() + 1e-9


def test_a_given_graph_starts_the_probabilities():
    y = torch.arange(90) % 3
    row, col = torch.nonzero(y[:, None] == y[None, :]).T
    index = torch.stack([row, col])[:, row != col]
    noise = torch.randn(90, 4, generator=torch.Generator().manual_seed(0))
    weight = torch.full((index.shape[1],), 0.5)
    data = blobs(x=noise, edge_index=index, edge_weight=weight)
    learned = learn_structure(data, outer_lr=1e-30, max_inner=150, max_iter=3)
    assert torch.equal(learned.edge_index, index)
    assert torch.equal(learned.edge_probs, weight)
    assert (learned.predictions == data.y).float().mean() >= 0.9


def test_labels_outside_the_masks_are_not_read():
    data = blobs()
    hidden = blobs(y=torch.where(data.train_mask | data.val_mask, data.y, 0))
    first, second = learn_structure(data, **QUICK), learn_structure(hidden, **QUICK)
    assert torch.equal(first.probabilities, second.probabilities)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"val_mask": None}, "data must have val_mask"),
        ({"train_mask": torch.ones(90)}, "data.train_mask must be boolean"),
        ({"edge_index": torch.tensor([[0], [1]])}, "to_undirected"),
        (
            {"edge_index": to_undirected(torch.tensor([[0], [95]]))},
            "must number nodes from 0 to 89",
        ),
        ({"x": torch.full((90, 4), float("nan"))}, "finite"),
    ],
)
def test_bad_data_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        learn_structure(blobs(**change), **QUICK)


def test_an_unknown_option_is_refused():
    with pytest.raises(TypeError, match="n_neighbours"):
        learn_structure(blobs(), n_neighbours=3)
