"""What a distribution of edges is to the bilevel core and to the loop of restarts.

Four instances of the idea: `FreeEdges`, one probability for each pair (the thesis);
`LogisticEdges`, probabilities as a function of few coefficients; `PathwiseEdges` and `ValueEdges`,
one probability for each pair with another gradient estimator than straight-through.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from lds.edges.recorder import EdgeGradient, EdgeRecorder, GivenGraph, ProductRecorder
from lds.edges.sampler import EdgeSampler, next_seed
from lds.graphs.batch import GraphBatch
from lds.graphs.candidates import Candidates, PairList
from lds.graphs.edge_weights import PairGradient


class EdgeDistribution(ABC):
    """Independent edges A_ij ~ Ber(θ_ij), A symmetric without loops.

    As a hyperparameter it owns its gradient: the bilevel core sees one leaf, calls `record` before
    it differentiates, and gets the gradient that `descend` takes.

    Attributes:
        needs_values: whether the gradient is made of values of E on given graphs, by `estimate`;
            otherwise it comes from derivatives, by `record`.

    Arguments:
        sampler: draws the graphs; holds the candidate pairs and θ.
    """

    needs_values: ClassVar[bool] = False

    def __init__(self, sampler: EdgeSampler) -> None:
        self._sampler = sampler

    @property
    def pairs(self) -> Candidates:
        """The pairs that may become edges."""
        return self._sampler.pairs

    @property
    def probs(self) -> Tensor:
        """θ as a flat buffer, `(pairs.size,)`; entries that belong to no pair are 0."""
        return self._sampler.probs

    @property
    def n_nodes(self) -> int:
        """N."""
        return self.pairs.n_nodes

    @property
    def expected_edges(self) -> float:
        """Σ_{i<j} θ_ij, the expected number of undirected edges of a draw."""
        return self._sampler.expected_edges

    def draw(self, n_draws: int = 1) -> GraphBatch:
        """Draw S independent graphs, normalised, as one batch.

        A draw takes one number from torch's random state, the seed of `drawn`.

        Arguments:
            n_draws: S >= 1.
        """
        return self.drawn(n_draws, next_seed())

    def drawn(self, n_draws: int, seed: int) -> GraphBatch:
        """Draw the S graphs of a seed; the same seed and θ give the same graphs."""
        return self._sampler.drawn(n_draws, seed)

    def to_csr(self, cutoff: float = 0.0) -> sp.csr_array:
        """Symmetric CSR of all θ > cutoff, `(n_nodes, n_nodes)`."""
        index = (self.probs > cutoff).nonzero().squeeze(1)
        row, col = (part.cpu().numpy() for part in self.pairs.pairs(index))
        values = self.probs[index].cpu().numpy()
        upper = sp.coo_array((values, (row, col)), shape=(self.n_nodes, self.n_nodes))
        return sp.csr_array(upper + upper.T)

    def record(self) -> EdgeRecorder:
        """Make the stand-in for this leaf during one application of Φ_t or E."""
        return ProductRecorder(self.pairs, self.draw)

    @abstractmethod
    def descend(self, gradient: EdgeGradient, lr: float, seed: int = 0) -> None:
        """Take one step of size `lr` against the gradient of E, in place.

        Arguments:
            gradient: ∂E/∂θ of the undirected pairs.
            lr: η.
            seed: of what the step draws; only a growing support draws anything.
        """

    def estimate(
        self, values: Callable[[GivenGraph], float], n_draws: int, seed: int
    ) -> PairGradient:
        """Estimate ∂E[h(A)]/∂θ from values of h on drawn graphs; only where `needs_values`.

        Arguments:
            values: h, from a graph in the place of this distribution to a number.
            n_draws: graphs.
            seed: of the graphs.

        Raises:
            TypeError: the gradient of this distribution comes from derivatives.
        """
        raise TypeError(
            f"{type(self).__name__} takes its gradient from derivatives, by record(); estimate() "
            "is for distributions with needs_values"
        )

    @abstractmethod
    def copy(self) -> "EdgeDistribution":
        """Copy the distribution; a later step on either leaves the other as it is."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""

    @abstractmethod
    def restore(self, state: Mapping[str, Any]) -> None:
        """Go back to a `state()` of a distribution over the same data."""


def dense_gradient(gradient: EdgeGradient, pairs: Candidates, like: Tensor) -> Tensor:
    """Write a gradient out as a buffer over the pairs, of the dtype and on the device of `like`."""
    flat = torch.zeros_like(like)
    add_gradient(flat, pairs, gradient, 1.0)
    return flat


def add_gradient(flat: Tensor, pairs: Candidates, gradient: EdgeGradient, alpha: float) -> None:
    """Add alpha times a gradient to a buffer over the pairs, in place."""
    if isinstance(gradient, PairGradient):
        gradient.add_to(flat, pairs, alpha)
    else:
        pairs.add_products(flat, gradient.left, gradient.right, alpha)


def packed(pairs: Candidates, probs: Tensor) -> dict[str, Any]:
    """Pack θ and its pairs for a checkpoint: one bit an entry, and the entries that are not 0."""
    flat = probs.cpu()
    nonzero = flat != 0
    stored = {"nonzero": torch.from_numpy(np.packbits(nonzero.numpy())), "probs": flat[nonzero]}
    if isinstance(pairs, PairList):
        stored["keys"] = torch.from_numpy(pairs.keys)
    return stored


def unpacked(
    stored: Mapping[str, Any], pairs: Candidates, like: Tensor
) -> tuple[Candidates, Tensor]:
    """Unpack pairs and θ from what `packed` made.

    Arguments:
        stored: by `packed`.
        pairs: pairs of the same kind on the same nodes.
        like: a tensor of the dtype and on the device of θ.
    """
    if isinstance(pairs, PairList):
        pairs = PairList(pairs.n_nodes, stored["keys"].numpy())
    bits = np.unpackbits(stored["nonzero"].numpy(), count=pairs.size)
    flat = torch.zeros(pairs.size, dtype=like.dtype)
    flat[torch.from_numpy(bits.view(bool))] = stored["probs"]
    return pairs, flat.to(like.device)
