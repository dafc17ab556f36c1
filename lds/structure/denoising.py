"""Denoising as an objective: predict masked features from a node's own and its neighbours'.

Labels give no gradient to edges far from labelled nodes; features do everywhere. Some entries of X
are masked, and two layers on the drawn graph predict them: a graph does so well if it joins nodes
with similar features (SLAPS). The decoder is a further inner variable.
"""

import functools
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

from lds.graphs.pairwise import Pattern, pair_products
from lds.graphs.product import propagate
from lds.graphs.similarity import WORDS_BELOW
from lds.nn.features import DenseFeatures, SparseFeatures
from lds.nn.gcn import glorot

HIDDEN = 64
"""Width of the hidden layer."""

MASKED = 0.2
"""Share of the stored entries that one call masks, in (0, 1)."""

NEGATIVES = 5
"""Negative samples for each masked word: random words, taken as absent."""


@dataclass(frozen=True)
class Denoiser:
    """Mean loss of the masked entries of X, on one drawn graph.

    Words (sparse features): binary cross-entropy, nats, of each masked word and `NEGATIVES` random
    ones. Measurements (dense features): squared error over the mean variance of the columns.

    References:
        Fatemi, El Asri and Kazemi, 2021, §4.3, https://arxiv.org/abs/2102.05034

    Arguments:
        features: X.
    """

    features: DenseFeatures | SparseFeatures

    @classmethod
    def of(cls, features: DenseFeatures | SparseFeatures) -> "Denoiser":
        """Make a denoiser of words where few features are not 0, else of measurements."""
        if isinstance(features, SparseFeatures) and features.share >= WORDS_BELOW:
            return cls(DenseFeatures(features.dense()))
        return cls(features)

    def init(
        self, generator: torch.Generator, dtype: torch.dtype, device: torch.device
    ) -> dict[str, Tensor]:
        """Draw fresh encoder and decoder: "encoder" `(n_features, code)`, "decoder" and "bias"."""
        n = self.features.shape[1]
        return {
            "encoder": glorot(n, HIDDEN, generator).to(device, dtype),
            "decoder": glorot(n, HIDDEN, generator).to(device, dtype),
            "bias": torch.zeros(n, dtype=dtype, device=device),
        }

    def loss(self, params: dict[str, Tensor], hyper: dict[str, Any]) -> Tensor:
        """Compute the mean loss of one mask; mask and graph draw from torch's random state."""
        graph = hyper["edges"].draw()
        kept, hidden = self.features.hide(MASKED)
        code = propagate(graph, kept.matmul(params["encoder"]) / (1 - MASKED)).relu()
        code = propagate(graph, code)
        row, col, truth = hidden
        if isinstance(self.features, DenseFeatures):
            predicted = code @ params["decoder"].t() + params["bias"]
            return (predicted[row, col] - truth).square().mean() / self._variance
        n_words = self.features.shape[1]
        other = torch.randint(n_words, (NEGATIVES, len(row))).to(row.device)
        # A masked word, then its negatives: pairs stay in the order of their rows.
        words = torch.cat([col.unsqueeze(0), other]).t().flatten()
        pairs = Pattern.of(row.repeat_interleave(1 + NEGATIVES), words, self.features.shape)
        logits = pair_products(code, params["decoder"], pairs)
        logits = (logits + params["bias"].index_select(0, words)).view(-1, 1 + NEGATIVES)
        total = softplus(-logits[:, 0]).sum() + softplus(logits[:, 1:]).sum()
        return total / max(1, logits.numel())

    @functools.cached_property
    def _variance(self) -> float:
        """The mean variance of the columns; 1 if it is 0."""
        assert isinstance(self.features, DenseFeatures)
        found = float(self.features.x.var(0, correction=0).mean())
        return found if math.isfinite(found) and found > 0 else 1.0
