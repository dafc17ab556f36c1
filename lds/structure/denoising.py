"""Denoising as an objective: hidden features, told from a node's own and its neighbours'.

Labels say nothing of edges far from any labelled node; features are everywhere. Some entries of X
are hidden, and two layers on the drawn graph are to tell what they were: a graph that helps is one
that joins nodes alike in what was hidden (SLAPS). The decoder is a further inner variable.
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
"""Width of the code."""

MASKED = 0.2
"""Share of the stored entries that one call hides."""

NEGATIVES = 5
"""Entries drawn at random for each word that was hidden, taken for words that are not there."""


@dataclass(frozen=True)
class Denoiser:
    """Mean loss of the hidden entries of X, on one drawn graph.

    Words (sparse features): a hidden word and `NEGATIVES` random ones a row, binary cross-entropy,
    nats. Measurements (dense features): squared error over the mean variance of the columns.

    References:
        Fatemi, El Asri and Kazemi, 2021, §4.3, https://arxiv.org/abs/2102.05034

    Arguments:
        features: X.
    """

    features: DenseFeatures | SparseFeatures

    @classmethod
    def of(cls, features: DenseFeatures | SparseFeatures) -> "Denoiser":
        """Of features that are words only where few are not 0; storage does not decide."""
        if isinstance(features, SparseFeatures) and features.share >= WORDS_BELOW:
            return cls(DenseFeatures(features.dense()))
        return cls(features)

    def init(
        self, generator: torch.Generator, dtype: torch.dtype, device: torch.device
    ) -> dict[str, Tensor]:
        """Fresh encoder and decoder: "encoder" `(n_features, code)`, "decoder" and "bias"."""
        n = self.features.shape[1]
        return {
            "encoder": glorot(n, HIDDEN, generator).to(device, dtype),
            "decoder": glorot(n, HIDDEN, generator).to(device, dtype),
            "bias": torch.zeros(n, dtype=dtype, device=device),
        }

    def loss(self, params: dict[str, Tensor], hyper: dict[str, Any]) -> Tensor:
        """The mean loss of what one mask hides; mask and graph draw from torch's random state."""
        graph = hyper["edges"].draw()
        kept, hidden = self.features.hide(MASKED)
        code = propagate(graph, kept.matmul(params["encoder"]) / (1 - MASKED)).relu()
        code = propagate(graph, code)
        row, col, truth = hidden
        if isinstance(self.features, DenseFeatures):
            told = code @ params["decoder"].t() + params["bias"]
            return (told[row, col] - truth).square().mean() / self._variance
        n_words = self.features.shape[1]
        other = torch.randint(n_words, (NEGATIVES, len(row))).to(row.device)
        # A hidden word, then its negatives: pairs stay in the order of their rows.
        told_of = torch.cat([col.unsqueeze(0), other]).t().flatten()
        pairs = Pattern.of(row.repeat_interleave(1 + NEGATIVES), told_of, self.features.shape)
        logits = pair_products(code, params["decoder"], pairs)
        logits = (logits + params["bias"].index_select(0, told_of)).view(-1, 1 + NEGATIVES)
        total = softplus(-logits[:, 0]).sum() + softplus(logits[:, 1:]).sum()
        return total / max(1, logits.numel())

    @functools.cached_property
    def _variance(self) -> float:
        """The mean variance of the columns; 1 where they have none."""
        assert isinstance(self.features, DenseFeatures)
        found = float(self.features.x.var(0, correction=0).mean())
        return found if math.isfinite(found) and found > 0 else 1.0
