"""LDS for PyTorch Geometric's `Data`."""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import networkx as nx
import scipy.sparse as sp
import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.transforms import BaseTransform

from lds._random import replayed
from lds.edges.marginals import EdgeMarginals, edge_marginals
from lds.estimators.graph_input import graph_input
from lds.estimators.masks import SplitChoice, check_split
from lds.graphs.interop import select_edges, to_edge_index
from lds.graphs.undirected import Weights, check_weights
from lds.run_folder import Run
from lds.structure.context import OnIteration
from lds.structure.iteration import Iteration
from lds.structure.learn import learn
from lds.structure.methods.base import Method
from lds.structure.methods.registry import DEFAULT, METHODS, method_of
from lds.structure.metrics import entropy
from lds.structure.options import check_names
from lds.structure.result import EDGE_CUTOFF, Learned


@dataclass(frozen=True, eq=False, repr=False)
class LearnedStructure:
    """What `learn_structure` found; its tensors lie where `data.x` does.

    Attributes:
        data: as given; made from a networkx graph.
        edge_index: int64 `(2, n_entries)`, both directions of every edge with probability > 1e-4.
        edge_probs: float32 `(n_entries,)`, in (0, 1].
        predictions: int64 `(n_nodes,)`, the most likely class, numbered as in `data.y`.
        probabilities: float32 `(n_nodes, n_classes)`, mean over drawn graphs (eq. 9.7).
        classes: int64 `(n_classes,)`, ascending: the class of each column of `probabilities`, among
            those that the labels which were read show.
        learned: the whole result: weights, distribution and history.
    """

    data: Data
    edge_index: Tensor
    edge_probs: Tensor
    predictions: Tensor
    probabilities: Tensor
    classes: Tensor
    learned: Learned

    def __repr__(self) -> str:
        n_edges = int(self.edge_index.shape[1]) // 2
        edges = f"{n_edges:,} edges with probability > {EDGE_CUTOFF:g}"
        return f"LearnedStructure({edges},\n  {self.learned!r})"

    def as_run(self) -> Run:
        """The record of the run, for `lds.plots` and `lds.report`."""
        return self.learned.as_run(classes=self.classes.tolist(), settings={"data": "PyG data"})

    def save(self, folder: str | Path) -> None:
        """Write the run to a folder as `lds fit` does, without pickle.

        `lds report` and `lds export` take the folder; `lds.structure.result.Learned` loads it.

        Arguments:
            folder: made if need be; an earlier run there is written over.
        """
        self.learned.save(folder, classes=self.classes.tolist(), settings={"data": "PyG data"})

    @property
    def history(self) -> list[Iteration]:
        """One record an outer iteration."""
        return self.learned.history

    def sample(self, seed: int | None = None) -> Tensor:
        """One graph drawn from the distribution: `edge_index` `(2, n_entries)`, both directions.

        Arguments:
            seed: which graph; None takes one number from torch's random state, so that every call
                draws anew.
        """
        with replayed(int(torch.randint(1 << 62, ())) if seed is None else seed):
            _, row, col = self.learned.edges.draw().edges()
        both = torch.stack([torch.cat([row, col]), torch.cat([col, row])])
        return both[:, (both[0] * self.learned.edges.n_nodes + both[1]).argsort()].to(
            self.edge_index.device
        )

    @property
    def entropy(self) -> Tensor:
        """`(n_nodes,)`, nats, of `probabilities`: how unsure a prediction is in all."""
        found = torch.from_numpy(entropy(self.learned.probabilities))
        return found.to(self.probabilities)

    @property
    def mutual_information(self) -> Tensor:
        """`(n_nodes,)`, nats: the part of the entropy that comes from not knowing the graph."""
        return torch.from_numpy(self.learned.mutual_information).to(self.probabilities)

    def edge_marginals(self, n_draws: int = 1000, seed: int = 0) -> EdgeMarginals:
        """How many of `n_draws` drawn graphs have each edge, and the number of draws."""
        return edge_marginals(self.learned.edges, n_draws, seed)

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
        n_nodes = self.probabilities.shape[0]
        shape = (n_nodes, n_nodes)
        parts = (self.edge_probs.cpu().numpy(), self.edge_index.cpu().numpy())
        matrix = sp.csr_array(sp.coo_array(parts, shape))
        index, weight = to_edge_index(select_edges(matrix, threshold, top_k, n_edges))
        new = copy.copy(self.data)
        if self.data.x is None:
            new.num_nodes = n_nodes  # PyG would guess it from the edges
        for name in {*new.edge_attrs(), "adj_t"} & set(new.keys()):
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
        split, edge_weight: as for `learn_structure`.
        device: where to compute.
        method: "default" or "thesis".
        seed: of everything random.
        options: those of the method, by name.

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
        split: SplitChoice | None = None,
        edge_weight: Weights | None = None,
        method: str = DEFAULT,
        seed: int = 0,
        device: torch.device | str = "cpu",
        **options: Any,
    ) -> None:
        self.rule: dict[str, Any] = {"threshold": threshold, "top_k": top_k, "n_edges": n_edges}
        select_edges(sp.csr_array((1, 1)), **self.rule)  # raises where it is no rule
        check_split(split)
        check_weights(edge_weight)
        _method(method, options)  # raises where there is no such method or option
        self.split, self.edge_weight, self.device = split, edge_weight, device
        self.method, self.seed, self.options = method, seed, options

    def forward(self, data: Data) -> Data:
        """A copy of `data` with `edge_index` and `edge_weight` learned; see `learn_structure`."""
        learned = learn_structure(
            data,
            split=self.split,
            edge_weight=self.edge_weight,
            method=self.method,
            seed=self.seed,
            device=self.device,
            **self.options,
        )
        return learned.to_data(**self.rule)

    def __repr__(self) -> str:
        taken = {"split": self.split, "edge_weight": self.edge_weight}
        run = {"method": self.method, "seed": self.seed}
        every = {**self.rule, **taken, **run, **self.options}
        default = {"method": DEFAULT, "seed": 0}
        given = {k: v for k, v in every.items() if v is not None and v != default.get(k)}
        return f"LearnStructure({', '.join(f'{k}={v!r}' for k, v in given.items())})"


def learn_structure(
    data: Data | nx.Graph,
    *,
    split: SplitChoice | None = None,
    edge_weight: Weights | None = None,
    method: str = DEFAULT,
    seed: int = 0,
    device: torch.device | str = "cpu",
    on_iteration: OnIteration | None = None,
    checkpoint: str | Path | None = None,
    resume: bool = False,
    **options: Any,
) -> LearnedStructure:
    """Learn the graph of a PyG data object.

    Arguments:
        data: with y and masks, x, and a graph or none. It is not changed. A networkx graph is read
            as `lds.estimators.data_object.as_data` says.

            - y `(n_nodes,)`: class numbers, any integers (whole floats, booleans). It is read at
              the nodes of the two masks only, where -1 and NaN, no label, are refused.
            - train_mask, val_mask: boolean `(n_nodes,)` or `(n_nodes, n_splits)`, or node numbers.
              The validation nodes are halved at random by the seed: one half judges the edges, the
              other stops the run. Without val_mask the training nodes are divided in three, class
              by class; without train_mask all labelled nodes train, where some have no label.
              test_mask is never read.
            - x `(n_nodes, n_features)`: dense or sparse real numbers, finite. Where it is missing
              or the same for every node, features are made from the graph (see
              `lds.graphs.structural`).
            - edge_index `(2, n_edges)` or adj_t: the graph, each edge in one direction or in both;
              loops and repeated edges change nothing. Without it the graph starts from nearest
              neighbours.
            - edge_weight `(n_edges,)`: starting probabilities; without it, edge_attr of one column.
        split: which column of the masks; or a mapping from "train" and "valid" to nodes, as OGB's
            `get_idx_split` gives it.
        edge_weight: "given": weights are probabilities and must be in [0, 1]; "scale": each is
            divided by the largest; "ignore": all edges count alike; None: "given", or, where a
            weight is above 1, "scale" with a warning.
        method: "default", or "thesis" (Algorithm 7 to the letter).
        seed: of everything random.
        device: where to compute.
        on_iteration: called after each outer iteration.
        checkpoint: folder in which the state is kept after every outer iteration; None keeps none.
            One that holds an earlier run's is refused, unless that is resumed.
        resume: True goes on from there, on a CPU to bitwise the same result as without the
            interruption; where nothing is, it begins.
        options: those of the method, by name, see `lds.structure.methods`.

    Raises:
        TypeError: an unknown option, another kind of object, or a field of another kind.
        ValueError: data lacks a field, or cannot be learned from.

    Whatever had to be guessed is said in a `UserWarning`: edges in one direction only, weights that
    were scaled, features that were made, validation nodes that were dealt.
    """
    chosen = _method(method, options)
    check_weights(edge_weight)
    metric = chosen.to_dict()["metric"]
    given = graph_input(data, metric, seed, split, edge_weight)
    result = learn(
        given.problem,
        chosen,
        seed=seed,
        device=device,
        on_iteration=on_iteration,
        checkpoint=checkpoint,
        resume=resume,
    )
    index, probs = to_edge_index(result.edges.to_csr(EDGE_CUTOFF))
    home = given.home
    probabilities = torch.from_numpy(result.probabilities).to(home)
    classes = torch.from_numpy(given.classes).to(home)
    return LearnedStructure(
        given.data,
        torch.from_numpy(index).to(home),
        torch.from_numpy(probs).to(home),
        classes[probabilities.argmax(1)],
        probabilities,
        classes,
        result,
    )


def _method(name: str, options: dict[str, Any]) -> Method:
    """A method with options; those that are None have its defaults.

    Raises:
        TypeError, ValueError: as of `registry.method_of`.
    """
    if name in METHODS:
        check_names(METHODS[name], options)
    return method_of(name, **{key: value for key, value in options.items() if value is not None})
