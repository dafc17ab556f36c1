"""LDS for PyTorch Geometric's `Data`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.transforms import BaseTransform

from lds._numbers import integer
from lds._random import replayed
from lds._words import facts_html
from lds.edges.marginals import EdgeMarginals, edge_marginals
from lds.estimators.data_object import as_data, class_numbers, stored_data, without_edges
from lds.estimators.evidence import Evidence
from lds.estimators.explanation import Explanation, explain
from lds.estimators.graph_export import GraphExport, attributes_of
from lds.estimators.graph_input import check_same, graph_input
from lds.estimators.masks import SplitChoice, check_split
from lds.estimators.new_nodes import NewNodes
from lds.estimators.pictures import FitPictures
from lds.estimators.verbose import fit_progress
from lds.estimators.weights import ClassWeight
from lds.graphs.interop import select_edges, to_edge_index
from lds.graphs.undirected import Weights, check_weights
from lds.run_folder import Run, clear_fit, load_settings
from lds.structure.context import OnIteration, OnMember
from lds.structure.iteration import Iteration
from lds.structure.learn import learn
from lds.structure.methods.base import Method
from lds.structure.methods.registry import DEFAULT, METHODS, method_of
from lds.structure.metrics import entropy
from lds.structure.options import check_names, check_seed
from lds.structure.result import EDGE_CUTOFF, Learned


@dataclass(frozen=True, eq=False, repr=False)
class LearnedStructure(NewNodes, FitPictures, GraphExport):
    """The result of `learn_structure`; its tensors are on the device of `data.x`.

    Attributes:
        data: as given, or made from a networkx graph.
        edge_index: int64 `(2, n_entries)`, both directions of every edge with probability > 1e-4.
        edge_probs: float32 `(n_entries,)`, in (0, 1].
        predictions: int64 `(n_nodes,)`, the most likely class, numbered as in `data.y`.
        probabilities: float32 `(n_nodes, n_classes)`, mean over drawn graphs (eq. 9.7).
        classes: int64 `(n_classes,)`: the class of each column of `probabilities`, ascending (of a
            run of `lds fit`, in its order). They are those of the train and validation nodes.
        learned: the result with weights, distribution and history.
        made_features: whether features were made from the graph.
    """

    data: Data
    edge_index: Tensor
    edge_probs: Tensor
    predictions: Tensor
    probabilities: Tensor
    classes: Tensor
    learned: Learned
    made_features: bool = False

    def __repr__(self) -> str:
        n_edges = int(self.edge_index.shape[1]) // 2
        edges = f"{n_edges:,} edges with probability > {EDGE_CUTOFF:g}"
        return f"LearnedStructure({edges},\n  {self.learned!r})"

    def as_run(self) -> Run:
        """Make the record of the run that `lds.plots` and `lds.report` read."""
        return self.learned.as_run(**self._named())

    def save(self, folder: str | Path, *, overwrite: bool = False) -> None:
        """Write the run to a folder as `lds fit` does, without pickle.

        `load` reads it back; `lds report` and `lds export` take the folder.

        Arguments:
            folder: made if need be.
            overwrite: True writes over a run that the folder holds.

        Raises:
            FileExistsError: the folder holds a run, or files of another origin that would be lost.
        """
        if overwrite:
            clear_fit(folder)
        self.learned.save(folder, overwrite=overwrite, **self._named())

    def _named(self) -> dict[str, Any]:
        made = {"made_features": True} if self.made_features else {}
        return {"classes": self.classes.tolist(), "settings": {"data": "PyG data", **made}}

    @classmethod
    def load(cls, folder: str | Path, data: Data | nx.Graph | None = None) -> "LearnedStructure":
        """Read a run back from the folder that `save` or `lds fit` wrote.

        Arguments:
            folder: of the run.
            data: that was learned from; None makes a data object of the features, labels and
                roles in the folder. It has no graph.

        Raises:
            FileNotFoundError: the folder is not that of a finished run.
            ValueError: a file is damaged or of another format, or data is not what the run learned
                from, by its number of nodes and by the classes of nodes that it learned.
        """
        learned = Learned.load(folder)
        settings = load_settings(folder)
        classes = class_numbers(settings["classes"])  # those of `lds fit` are texts
        made = settings.get("made_features", False)
        if data is None:
            data = stored_data(learned.problem, classes)
        else:
            data = as_data(data)
            check_same(data, learned.problem, classes)
        return _structure(data, learned, classes, torch.device("cpu"), made)

    def explain(self, node: int, most: int = 10) -> Explanation:
        """Say why a node got its class, see `lds.estimators.explanation.Explanation`."""
        return explain(self.as_run(), self._evidence(), node, most=most)

    def _evidence(self) -> Evidence:
        return Evidence.of(self.learned)

    def _graph(self) -> tuple[sp.csr_array, dict[str, Any], sp.csr_array]:
        nodes = attributes_of(self.learned, self.classes.cpu().numpy())
        return self.learned.edges.to_csr(EDGE_CUTOFF), nodes, self.learned.start

    def _repr_html_(self) -> str:
        return facts_html("LearnedStructure", self.learned.facts())

    @property
    def history(self) -> list[Iteration]:
        """One record for each outer iteration; the default method adds one for the refit."""
        return self.learned.history

    def sample(self, seed: int | None = None) -> Tensor:
        """Draw one graph, some edges of `edge_index`: `(2, n_entries)`, both directions.

        Arguments:
            seed: of the graph, in [0, 2^64); None draws a seed from torch's random state.
        """
        seed = int(torch.randint(1 << 62, ())) if seed is None else integer("seed", seed)
        if not 0 <= seed < 1 << 64:
            raise ValueError(f"seed must be 0 or more and below 2^64, got {seed}")
        with replayed(seed):
            _, row, col = self.learned.stored_edges.draw().edges()
        both = torch.stack([torch.cat([row, col]), torch.cat([col, row])])
        return both[:, (both[0] * self.learned.problem.n_nodes + both[1]).argsort()].to(
            self.edge_index.device
        )

    @property
    def entropy(self) -> Tensor:
        """`(n_nodes,)`, nats, of `probabilities`: the whole uncertainty of a node."""
        found = torch.from_numpy(entropy(self.learned.probabilities))
        return found.to(self.probabilities)

    @property
    def mutual_information(self) -> Tensor:
        """`(n_nodes,)`, nats: the part of the entropy that the uncertainty of the graph causes."""
        return torch.from_numpy(self.learned.mutual_information).to(self.probabilities)

    def edge_marginals(self, n_draws: int = 1000, seed: int = 0) -> EdgeMarginals:
        """Draw graphs from the learned distribution, as `sample` does, and count each edge."""
        return edge_marginals(self.learned.stored_edges, n_draws, seed)

    def to_data(
        self,
        threshold: float | None = None,
        *,
        top_k: int | None = None,
        n_edges: int | None = None,
    ) -> Data:
        """Copy the data and replace its graph by the learned one.

        At most one rule selects edges; without one it is `threshold=0.5`.

        Arguments:
            threshold: in (0, 1]: keep edges of at least this probability.
            top_k: keep an edge if it is among the k most probable of one of its two nodes.
            n_edges: keep this many undirected edges, the most probable.

        Returns:
            The copy, with a new `edge_index` and `edge_weight` (the probability). It lacks other
            attributes of the former edges, such as `edge_attr`. Of a `Batch` it is one graph, a
            `Data` with the field `batch`: learned edges may join nodes of two graphs.
        """
        if threshold is None and top_k is None and n_edges is None:
            threshold = 0.5
        n_nodes = self.probabilities.shape[0]
        shape = (n_nodes, n_nodes)
        parts = (self.edge_probs.cpu().numpy(), self.edge_index.cpu().numpy())
        matrix = sp.csr_array(sp.coo_array(parts, shape))
        index, weight = to_edge_index(select_edges(matrix, threshold, top_k, n_edges))
        new = without_edges(self.data, n_nodes)
        device = self.edge_index.device
        new.edge_index = torch.from_numpy(index).to(device)
        new.edge_weight = torch.from_numpy(weight).to(device)
        return new


class LearnStructure(BaseTransform):
    """Replace the graph of a data object by a learned one, as a PyG transform.

    It takes as long as a fit. As the `pre_transform` of a data set it runs once.

    Arguments:
        threshold, top_k, n_edges: as for `LearnedStructure.to_data`.
        split, edge_weight, class_weight, method, seed, device: as for `learn_structure`.
        options: of the method, by name.

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
        >>> new = LearnStructure(n_neighbors=3, max_iter=1, refits=1)(data)
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
        class_weight: ClassWeight = None,
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
        self.class_weight = class_weight
        self.method, self.seed, self.options = method, seed, options

    def forward(self, data: Data) -> Data:
        """Copy `data` with the learned `edge_index` and `edge_weight`; see `learn_structure`."""
        learned = learn_structure(
            data,
            split=self.split,
            edge_weight=self.edge_weight,
            class_weight=self.class_weight,
            method=self.method,
            seed=self.seed,
            device=self.device,
            **self.options,
        )
        return learned.to_data(**self.rule)

    def __repr__(self) -> str:
        taken: dict[str, Any] = {"split": self.split, "edge_weight": self.edge_weight}
        taken["class_weight"] = self.class_weight
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
    class_weight: ClassWeight = None,
    sample_weight: Tensor | None = None,
    method: str = DEFAULT,
    seed: int = 0,
    device: torch.device | str = "cpu",
    on_iteration: OnIteration | None = None,
    on_member: OnMember | None = None,
    verbose: bool = False,
    checkpoint: str | Path | None = None,
    resume: bool = False,
    n_jobs: int | None = None,
    **options: Any,
) -> LearnedStructure:
    """Learn the graph of a PyG data object.

    Arguments:
        data: with y, masks, x and perhaps a graph; it is not changed. For a networkx graph see
            `lds.estimators.data_object.as_data`.

            - y `(n_nodes,)`: class numbers, any integers (whole floats, booleans). It is read at
              the nodes of the two masks only, where -1 and NaN, no label, are refused.
            - train_mask, val_mask: boolean `(n_nodes,)` or `(n_nodes, n_splits)`, or node numbers.
              The seed divides the validation nodes into two halves: one for the outer objective,
              one for early stopping. Without val_mask the training nodes are divided in three,
              class by class. Without train_mask all labelled nodes train, if some nodes have no
              label. test_mask is not read where there is a train_mask.
            - x `(n_nodes, n_features)`: dense or sparse real numbers, finite. If it is missing, or
              the same for every node, features are made from the graph (see
              `lds.graphs.structural`).
            - edge_index `(2, n_edges)`, adj_t or adj: the graph, each edge in one direction or in
              both; loops and repeated edges change nothing. Without it the graph starts from
              nearest neighbours.
            - edge_weight `(n_edges,)`: starting probabilities; without it, edge_attr of one column.
              A matrix adj_t or adj holds its weights itself.
        split: the column of the masks; or a mapping from "train" and "valid" to nodes, as OGB's
            `get_idx_split` returns it.
        edge_weight: "given": weights are probabilities and must be in [0, 1]; "scale": each is
            divided by the largest; "ignore": all are 1; None: "given", or "scale" with a warning if
            a weight is above 1.
        class_weight, sample_weight: what train and validation nodes count in every loss and score,
            as for `LDSClassifier`: by class number, or "balanced"; and `(n_nodes,)`, above 0.
        method: "default", "thesis" (Algorithm 7 to the letter) or "views" (label PageRank along
            learned views of likeness, of which the given graph is one). The default takes views
            where there is no graph, no val_mask and no option.
        seed, device, n_jobs: of everything random; where to compute; in how many processes, as for
            `LDSClassifier`.
        on_iteration: called after each outer iteration.
        on_member: called by the default method before it trains its committee, and each time that
            members are trained, with how many are trained and how many there will be.
        verbose: True shows progress and an estimate of the time left where these functions would
            be called and are None: a bar in terminals and notebooks, elsewhere a line each time.
        checkpoint: folder for the state after every outer iteration; None keeps none. A folder
            with the state of an earlier run is refused, unless that run is resumed.
        resume: True continues from the state in the folder; without one, the run begins. On a CPU
            the result is equal, bit for bit, to that of a run without interruption.
        options: of the method, by name, see `lds.structure.methods`; None is the default.

    Raises:
        TypeError: an option is unknown, or data or one of its fields has a type that cannot be
            used.
        ValueError: data lacks a field, or has a field that cannot be used.

    A `UserWarning` names what was guessed: edges in one direction only, weights that were scaled,
    features that were made, training nodes that were divided into roles.

    For the controls that `lds fit` prints, what the same labels reach without a learned graph, see
    `lds.structure.controls.run_controls(found.learned.problem, found.learned.method, seed=seed)`.
    """
    chosen = _method(method, options)
    check_weights(edge_weight)
    check_seed(seed)
    given = graph_input(data, chosen, seed, split, edge_weight, sample_weight, class_weight)
    chosen = chosen.for_problem(given.problem)
    with fit_progress(verbose, chosen.to_dict()["max_iter"]) as shown:
        result = learn(
            given.problem,
            chosen,
            seed=seed,
            device=device,
            on_iteration=on_iteration or shown.on_iteration,
            on_member=on_member or shown.on_member,
            checkpoint=checkpoint,
            resume=resume,
            n_jobs=n_jobs,
        )
    return _structure(given.data, result, given.classes, given.home, given.made)


def _structure(
    data: Data, result: Learned, numbers: NDArray[np.int64], home: torch.device, made: bool
) -> LearnedStructure:
    """Make tensors of a result, on the device `home`."""
    index, probs = to_edge_index(result.edges.to_csr(EDGE_CUTOFF))
    probabilities = torch.from_numpy(result.probabilities).to(home)
    classes = torch.from_numpy(numbers).to(home)
    return LearnedStructure(
        data,
        torch.from_numpy(index).to(home),
        torch.from_numpy(probs).to(home),
        classes[probabilities.argmax(1)],
        probabilities,
        classes,
        result,
        made,
    )


def _method(name: str, options: dict[str, Any]) -> Method:
    """Make a method with options; an option that is None has its default.

    Raises:
        TypeError, ValueError: as of `registry.method_of`.
    """
    if name in METHODS:
        check_names(METHODS[name], options)
    return method_of(name, **{key: value for key, value in options.items() if value is not None})
