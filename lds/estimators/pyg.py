"""LDS for PyTorch Geometric's `Data`."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor
from torch_geometric.data import Data

from lds._types import Split
from lds.bilevel.step import replayed
from lds.config import LDSConfig
from lds.graphs.interop import edges_above, from_edge_index, to_edge_index
from lds.graphs.knn import knn_adjacency
from lds.structure.checks import check_memory
from lds.structure.learner import Iteration, LDSResult, learn

EDGE_CUTOFF = 1e-4
"""Probabilities at or below this are left out of `edge_index`; `sample` draws from all."""


@dataclass(frozen=True)
class LearnedStructure:
    """What `learn_structure` found.

    Attributes:
        edge_index: int64 `(2, n_entries)`, both directions of every edge with probability > 1e-4.
        edge_probs: float32 `(n_entries,)`, in (0, 1].
        predictions: int64 `(n_nodes,)`, the most likely class.
        probabilities: float32 `(n_nodes, n_classes)`, mean over drawn graphs (eq. 9.7).
        result: weights, distribution and history.
    """

    data: Any
    edge_index: Tensor
    edge_probs: Tensor
    predictions: Tensor
    probabilities: Tensor
    result: LDSResult

    @property
    def history(self) -> list[Iteration]:
        """One record an outer iteration."""
        return self.result.history

    def sample(self, seed: int = 0) -> Tensor:
        """One graph drawn from the distribution: `edge_index` `(2, n_edges)`, both directions."""
        with replayed(seed):
            matrix = self.result.edges.draw().matrix
        crow, col = matrix.crow_indices().long(), matrix.col_indices().long()
        row = torch.repeat_interleave(
            torch.arange(crow.numel() - 1, device=crow.device), crow.diff()
        )
        return torch.stack([row, col])[:, row != col].cpu()

    def to_data(self, threshold: float = 0.5) -> Any:
        """A copy of the data with the edges of probability >= `threshold` as its graph.

        `edge_index` and `edge_weight` (the probability) replace what was there.
        """
        shape = (self.data.num_nodes, self.data.num_nodes)
        parts = (self.edge_probs.numpy(), self.edge_index.numpy())
        index, weight = to_edge_index(
            edges_above(sp.csr_array(sp.coo_array(parts, shape)), threshold)
        )
        new = copy.copy(self.data)
        new.edge_index, new.edge_weight = torch.from_numpy(index), torch.from_numpy(weight)
        return new


def learn_structure(
    data: Data,
    *,
    device: torch.device | str = "cpu",
    on_iteration: Callable[[Iteration], None] | None = None,
    **options: Any,
) -> LearnedStructure:
    """Learn the graph of a PyG data object (LDS, Algorithm 7).

    Arguments:
        data: with x `(n_nodes, n_features)`, y `(n_nodes,)`, boolean train_mask and val_mask; its
            edge_index, if it has edges, starts the graph (edge_weight: starting probabilities),
            else kNN does. The val_mask nodes are halved at random by the seed: one half judges
            the edges, the other stops the run. No other label is read.
        device: where to compute.
        on_iteration: called after each outer iteration.
        options: those of `lds.config.LDSConfig`, by name, `seed` among them.

    Raises:
        TypeError: an unknown option.
        ValueError: data lacks a field, or cannot be learned from.
    """
    config = LDSConfig(**options)
    for name in ("x", "y", "train_mask", "val_mask"):
        if getattr(data, name, None) is None:
            raise ValueError(f"data must have {name}, got {data}")
    x = data.x.to_dense() if data.x.layout != torch.strided else data.x
    dense = x.detach().cpu().numpy().astype(np.float32)
    features = sp.csr_array(dense) if (dense != 0).mean() < 0.25 else dense
    n_nodes = dense.shape[0]
    check_memory(n_nodes, config, device=device)
    for name in ("train_mask", "val_mask"):
        mask = getattr(data, name)
        if mask.dtype != torch.bool or tuple(mask.shape) != (n_nodes,):
            raise ValueError(
                f"data.{name} must be boolean of shape ({n_nodes},), "
                f"got {mask.dtype} of shape {tuple(mask.shape)}"
            )
    train = np.flatnonzero(data.train_mask.cpu().numpy())
    rng = np.random.default_rng(config.seed)
    val = rng.permutation(np.flatnonzero(data.val_mask.cpu().numpy()))
    half = val.size // 2
    split = Split(train, np.sort(val[:half]), np.sort(val[half:]), train[:0])
    labels = data.y.reshape(-1).cpu().numpy().astype(np.int64)
    start = _start(data, features, n_nodes, config)
    result = learn(features, labels, split, start, config, device=device, on_iteration=on_iteration)
    index, probs = to_edge_index(result.edges.to_csr(EDGE_CUTOFF))
    probabilities = torch.from_numpy(result.probabilities)
    return LearnedStructure(
        data,
        torch.from_numpy(index),
        torch.from_numpy(probs),
        probabilities.argmax(1),
        probabilities,
        result,
    )


def _start(data: Data, features: Any, n_nodes: int, config: LDSConfig) -> sp.csr_array:
    if data.edge_index is None or data.edge_index.numel() == 0:
        return knn_adjacency(features, config.n_neighbors, config.metric)
    weight = data.edge_weight if "edge_weight" in data else None
    values = None if weight is None else weight.detach().cpu().numpy().reshape(-1)
    return from_edge_index(data.edge_index.cpu().numpy(), values, n_nodes)
