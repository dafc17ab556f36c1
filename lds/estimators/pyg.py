"""LDS for PyTorch Geometric's `Data`."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.transforms import BaseTransform

from lds._types import Features, Split
from lds.bilevel.step import replayed
from lds.config import LDSConfig
from lds.graphs.interop import from_edge_index, select_edges, to_edge_index
from lds.graphs.knn import knn_adjacency, metrics
from lds.graphs.similarity import AUTO
from lds.nn.features import SPARSE_BELOW
from lds.structure.checks import check_memory
from lds.structure.learner import Iteration, LDSResult, learn
from lds.structure.marginals import EdgeMarginals, edge_marginals
from lds.structure.metrics import entropy

EDGE_CUTOFF = 1e-4
"""Probabilities at or below this are left out of `edge_index`; `sample` draws from all."""


@dataclass(frozen=True, eq=False)
class LearnedStructure:
    """What `learn_structure` found; its tensors lie where `data.x` does.

    Attributes:
        data: as given.
        edge_index: int64 `(2, n_entries)`, both directions of every edge with probability > 1e-4.
        edge_probs: float32 `(n_entries,)`, in (0, 1].
        predictions: int64 `(n_nodes,)`, the most likely class.
        probabilities: float32 `(n_nodes, n_classes)`, mean over drawn graphs (eq. 9.7).
        result: weights, distribution and history.
    """

    data: Data
    edge_index: Tensor
    edge_probs: Tensor
    predictions: Tensor
    probabilities: Tensor
    result: LDSResult

    @property
    def history(self) -> list[Iteration]:
        """One record an outer iteration."""
        return self.result.history

    def sample(self, seed: int | None = None) -> Tensor:
        """One graph drawn from the distribution: `edge_index` `(2, n_entries)`, both directions.

        Arguments:
            seed: which graph; None takes one number from torch's random state, so that every call
                draws anew.
        """
        with replayed(int(torch.randint(1 << 62, ())) if seed is None else seed):
            _, row, col = self.result.edges.draw().edges()
        both = torch.stack([torch.cat([row, col]), torch.cat([col, row])])
        return both[:, (both[0] * self.result.edges.n_nodes + both[1]).argsort()].to(
            self.edge_index.device
        )

    @property
    def entropy(self) -> Tensor:
        """`(n_nodes,)`, nats, of `probabilities`: how unsure a prediction is in all."""
        found = torch.from_numpy(entropy(self.result.probabilities))
        return found.to(self.probabilities)

    @property
    def mutual_information(self) -> Tensor:
        """`(n_nodes,)`, nats: the part of the entropy that comes from not knowing the graph."""
        return torch.from_numpy(self.result.mutual_information).to(self.probabilities)

    def edge_marginals(self, n_draws: int = 1000, seed: int = 0) -> EdgeMarginals:
        """How many of `n_draws` drawn graphs have each edge, and the number of draws."""
        return edge_marginals(self.result.edges, n_draws, seed)

    def to_data(
        self,
        threshold: float | None = None,
        *,
        top_k: int | None = None,
        n_edges: int | None = None,
    ) -> Data:
        """A copy of the data with the learned graph in the place of its own.

        Arguments:
            threshold: in (0, 1]: edges at least as probable; 0.5 where no other rule is given.
            top_k: edges among the k most probable of either of their nodes.
            n_edges: so many undirected edges, the most probable.

        Returns:
            `edge_index` and `edge_weight` (the probability) replace what was there; other
            attributes of the former edges, such as `edge_attr`, are left out.
        """
        if threshold is None and top_k is None and n_edges is None:
            threshold = 0.5
        shape = (self.data.num_nodes, self.data.num_nodes)
        parts = (self.edge_probs.cpu().numpy(), self.edge_index.cpu().numpy())
        matrix = sp.csr_array(sp.coo_array(parts, shape))
        index, weight = to_edge_index(select_edges(matrix, threshold, top_k, n_edges))
        new = copy.copy(self.data)
        for name in self.data.edge_attrs():
            del new[name]
        device = self.edge_index.device
        new.edge_index = torch.from_numpy(index).to(device)
        new.edge_weight = torch.from_numpy(weight).to(device)
        return new


class LearnStructure(BaseTransform):
    """A PyG transform that swaps a data object's graph for the learned one.

    It takes as long as a fit. As the `pre_transform` of a data set it does so once; in a `Compose`
    it goes where the graph is to be replaced.

    Arguments:
        threshold, top_k, n_edges: which edges, as for `LearnedStructure.to_data`: those of
            probability >= 0.5 without a rule.
        device: where to compute.
        options: those of `lds.config.LDSConfig`, by name, `seed` among them.

    Raises:
        TypeError: an unknown option, or one of another kind.
        ValueError: an option is out of range.

    Examples:
        >>> import torch
        >>> from torch_geometric.data import Data
        >>> from lds import LearnStructure
        >>> x = torch.eye(2).repeat_interleave(8, 0) + torch.linspace(0, 0.2, 32).view(16, 2)
        >>> train, val = torch.arange(16) % 4 == 0, torch.arange(16) % 2 == 1
        >>> data = Data(x=x, y=torch.arange(16) // 8, train_mask=train, val_mask=val)
        >>> new = LearnStructure(n_neighbors=3, max_inner=20, max_iter=2)(data)
        >>> new.edge_index.shape[1] == new.edge_weight.numel() > 0
        True
    """

    def __init__(
        self,
        threshold: float | None = None,
        *,
        top_k: int | None = None,
        n_edges: int | None = None,
        device: torch.device | str = "cpu",
        **options: Any,
    ) -> None:
        self.rule: dict[str, Any] = {"threshold": threshold, "top_k": top_k, "n_edges": n_edges}
        select_edges(sp.csr_array((1, 1)), **self.rule)  # raises where it is no rule
        self.device, self.options = device, options
        _config(options)

    def forward(self, data: Data) -> Data:
        """A copy of `data` with `edge_index` and `edge_weight` learned; see `learn_structure`."""
        return learn_structure(data, device=self.device, **self.options).to_data(**self.rule)

    def __repr__(self) -> str:
        given = {k: v for k, v in {**self.rule, **self.options}.items() if v is not None}
        return f"LearnStructure({', '.join(f'{k}={v!r}' for k, v in given.items())})"


def learn_structure(
    data: Data,
    *,
    device: torch.device | str = "cpu",
    on_iteration: Callable[[Iteration], None] | None = None,
    checkpoint: str | Path | None = None,
    resume: bool = False,
    **options: Any,
) -> LearnedStructure:
    """Learn the graph of a PyG data object.

    Arguments:
        data: with x `(n_nodes, n_features)`, dense or sparse, integer y `(n_nodes,)`, boolean
            train_mask and val_mask `(n_nodes,)`; its edge_index, if it has edges, starts the graph
            (edge_weight: starting probabilities), else kNN does. The val_mask nodes are halved at
            random by the seed: one half judges the edges, the other stops the run. No other label
            is read. It is not changed.
        device: where to compute.
        on_iteration: called after each outer iteration.
        checkpoint: folder in which the state is kept after every outer iteration; None keeps none.
            One that holds an earlier run's is refused, unless that is resumed.
        resume: True goes on from there, on a CPU to bitwise the same result as without the
            interruption; where nothing is, it begins.
        options: those of `lds.config.LDSConfig`, by name, `seed` and `method` among them; the
            method's own defaults hold for the others (`LDSConfig.of`). method="lds" is the
            thesis's.

    Raises:
        TypeError: an unknown option, or a field of another kind.
        ValueError: data lacks a field, or cannot be learned from.
    """
    config = _config(options)
    for name in ("x", "y", "train_mask", "val_mask"):
        value = getattr(data, name, None)
        if value is None:
            raise ValueError(f"data must have {name}, got {data}")
        if not isinstance(value, Tensor):
            raise TypeError(f"data.{name} must be a tensor, got {type(value).__name__}")
    for name in ("edge_index", "edge_weight"):
        value = getattr(data, name, None)
        if value is not None and not isinstance(value, Tensor):
            raise TypeError(f"data.{name} must be a tensor, got {type(value).__name__}")
    if data.x.dim() != 2:
        raise ValueError(f"data.x must be (n_nodes, n_features), got {tuple(data.x.shape)}")
    check_memory(data.x.shape[0], config, device=device)
    features = _features(data.x, config)
    split = _split(data, config.seed)
    labels = _labels(data, split)
    start = _start(data, features, config)
    result = learn(
        features, labels, split, start, config, device=device, on_iteration=on_iteration,
        checkpoint=checkpoint, resume=resume,
    )  # fmt: skip
    index, probs = to_edge_index(result.edges.to_csr(EDGE_CUTOFF))
    home = data.x.device
    probabilities = torch.from_numpy(result.probabilities).to(home)
    return LearnedStructure(
        data,
        torch.from_numpy(index).to(home),
        torch.from_numpy(probs).to(home),
        probabilities.argmax(1),
        probabilities,
        result,
    )


def _config(options: dict[str, Any]) -> LDSConfig:
    known_options = {option.name for option in fields(LDSConfig)}
    if unknown := sorted(options.keys() - known_options):
        raise TypeError(
            f"learn_structure takes no option {unknown[0]!r}; it takes "
            f"{', '.join(sorted(known_options))}"
        )
    return LDSConfig.of(**options)


def _features(x: Tensor, config: LDSConfig) -> Features:
    """X on the CPU, as CSR where that is smaller and the metric takes it."""
    x = x.detach().cpu().float()
    if x.layout != torch.strided:
        entries = x.to_sparse_coo().coalesce()
        place = tuple(entries.indices().numpy())
        return sp.csr_array(sp.coo_array((entries.values().numpy(), place), tuple(x.shape)))
    dense: NDArray[np.float32] = x.numpy()
    few = np.count_nonzero(dense) < SPARSE_BELOW * dense.size
    return sp.csr_array(dense) if few and config.metric in (AUTO, *metrics(sparse=True)) else dense


def _split(data: Data, seed: int) -> Split:
    rows = {}
    for name in ("train_mask", "val_mask"):
        mask = getattr(data, name)
        if mask.dtype != torch.bool or mask.shape != data.x.shape[:1]:
            raise ValueError(
                f"data.{name} must be boolean of shape {tuple(data.x.shape[:1])}, "
                f"got {mask.dtype} of shape {tuple(mask.shape)}"
            )
        rows[name] = np.flatnonzero(mask.cpu().numpy())
    train, val = rows["train_mask"], rows["val_mask"]
    if not train.size:
        raise ValueError("data.train_mask must have at least one node, got none")
    if val.size < 2:
        raise ValueError(
            "data.val_mask must have at least two nodes, one to judge the edges and one to stop, "
            f"got {val.size}"
        )
    both = np.intersect1d(train, val)
    if both.size:
        raise ValueError(f"data.train_mask and data.val_mask must not share nodes, got {both[0]}")
    val = np.random.default_rng(seed).permutation(val)
    half = val.size // 2
    return Split(train, np.sort(val[:half]), np.sort(val[half:]), train[:0])


def _labels(data: Data, split: Split) -> NDArray[np.int64]:
    """The labels of the split's nodes, -1 elsewhere."""
    n_nodes = data.x.shape[0]
    if data.y.dtype == torch.bool or data.y.is_floating_point() or data.y.is_complex():
        raise TypeError(f"data.y must hold integers, the numbers of classes, got {data.y.dtype}")
    if tuple(data.y.shape) not in {(n_nodes,), (n_nodes, 1)}:
        raise ValueError(
            f"data.y must have one class a node, ({n_nodes},), got {tuple(data.y.shape)}"
        )
    given = data.y.reshape(-1).cpu().numpy().astype(np.int64)
    labels = np.full(n_nodes, -1, dtype=np.int64)
    for rows in (split.train, split.validation, split.stopping):
        labels[rows] = given[rows]
    return labels


def _start(data: Data, features: Features, config: LDSConfig) -> sp.csr_array | None:
    if data.edge_index is None and "adj_t" in data:
        raise ValueError("data must have its graph as edge_index, got adj_t")
    if data.edge_index is None or data.edge_index.numel() == 0:
        if config.method == "committee":
            return None
        return knn_adjacency(features, config.n_neighbors, config.metric)
    weight = data.edge_weight if "edge_weight" in data else None
    values = None if weight is None else weight.detach().cpu().numpy()
    return from_edge_index(data.edge_index.cpu().numpy(), values, data.x.shape[0])
