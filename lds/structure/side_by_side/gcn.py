"""The GCNs of several runs as one: stacked weights, one block diagonal of graphs."""

from collections.abc import Sequence

import torch
from torch import Tensor

from lds.graphs.batch import GraphBatch
from lds.graphs.product import propagate
from lds.nn.features import DenseFeatures, SparseFeatures, keep_factors

Keep = tuple[Tensor, Tensor]
"""Dropout as factors on the entries of X `(n_runs, n_entries)` and on the hidden layer
`(n_runs · n_nodes, hidden_channels)`."""


class BatchedGCN:
    """R networks of one shape on the same X, each with its own weights, graph and dropout.

    The logits of each run are those of `GCN` with its weights on its graph.

    Arguments:
        features: X.
        dropout: of each run, in [0, 1).
    """

    def __init__(self, features: DenseFeatures | SparseFeatures, dropout: Sequence[float]) -> None:
        self._features = features
        self._n_members = len(dropout)
        self._dropout = dropout
        if not any(dropout):
            return
        if isinstance(features, SparseFeatures):
            self._copies = features.copies(len(dropout))
            self._entries = self._copies.entries
        else:
            self._entries = features.x.flatten()

    def __call__(self, params: dict[str, Tensor], graph: GraphBatch, keep: Keep | None) -> Tensor:
        """Compute logits `(n_runs, n_nodes, n_classes)`.

        Arguments:
            params: "W1" `(n_runs, n_features, hidden)`, "W2" `(n_runs, hidden, classes)`.
            graph: one draw, on the nodes of all runs one below the other.
            keep: dropout; None is none.
        """
        z = self._first(params["W1"], None if keep is None else keep[0])
        h = propagate(graph, z).relu()
        h = h if keep is None else h * keep[1]
        z = h.view(self._n_members, -1, h.shape[1]) @ params["W2"]
        out = propagate(graph, z.flatten(0, 1))
        return out.view(self._n_members, -1, out.shape[1])

    def keep(self, generators: Sequence[Sequence[torch.Generator]], hidden: int) -> Keep | None:
        """Draw dropout for several steps; each run draws what its own network would, in that order.

        Arguments:
            generators: for each step one a run, on the device.
            hidden: width of the hidden layer.

        Returns:
            Factors with the steps as a first dimension; None where nothing is dropped.
        """
        if not any(self._dropout):
            return None
        entries, n_steps = self._entries, len(generators)
        of_x = entries.new_ones((n_steps, self._n_members, len(entries)))
        of_hidden = entries.new_ones((n_steps, self._n_members, self._features.shape[0], hidden))
        for step, of_step in enumerate(generators):
            for member, (p, generator) in enumerate(zip(self._dropout, of_step, strict=True)):
                for mask in (of_x, of_hidden) if p else ():
                    mine = mask[step, member]
                    mine.copy_(keep_factors(mine.shape, p, mine.dtype, mine.device, generator))
        return of_x, of_hidden.view(n_steps, -1, hidden)

    def _first(self, weight: Tensor, keep: Tensor | None) -> Tensor:
        """Compute X W1 of every run, one below the other."""
        n_runs, n_features, hidden = weight.shape
        if keep is None:  # one product with all weights side by side
            side_by_side = weight.transpose(0, 1).reshape(n_features, n_runs * hidden)
            z = self._features.matmul(side_by_side)
            return z.view(-1, n_runs, hidden).transpose(0, 1).flatten(0, 1)
        entries = self._entries * keep
        if isinstance(self._features, SparseFeatures):
            return self._copies.matmul(weight, entries)
        return (entries.view(n_runs, -1, n_features) @ weight).flatten(0, 1)
