"""Several networks as one: class probabilities are a weighted mean of theirs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lds.graphs.batch import GraphBatch
from lds.nn.deep_sage import DeepSAGE
from lds.nn.discriminant import Discriminant
from lds.nn.features import DenseFeatures, SparseFeatures
from lds.nn.gcn import GCN
from lds.nn.label_pagerank import LabelPageRank
from lds.nn.new_nodes import Attachment
from lds.nn.node_forest import NodeForest
from lds.nn.pagerank import PageRank
from lds.nn.sage import SAGE

Params = dict[str, Tensor]
Network = GCN | PageRank | SAGE | DeepSAGE | Discriminant | LabelPageRank | NodeForest
"""A member of an ensemble."""

LOG_WEIGHTS = "log_weights"
"""Name, among the params of an ensemble, of the logarithms of the members' weights: `(n_members,)`.
The weights sum to 1."""

TELEPORTS = (0.1, 0.5, 1.0)
"""α of the PageRank members of the default ensemble: one that relies on the graph, one that relies
on a node's own features, and one without the graph."""

FULL_DROPOUT_FEATURES = 100
"""Number of features from which on X gets the dropout of the hidden layer. With fewer, its dropout
is less in proportion: few columns seldom repeat each other's information."""


class Ensemble:
    """A network with the logits log Σ_m π_m softmax(logits of member m).

    Its class probabilities are the weighted mean of the members'. Its `params` are "log_weights"
    and those of the members; the name of a member's param is prefixed by the member's number and a
    dot.

    Arguments:
        kinds: networks with the same number of classes.
        n_times: how often each kind is a member, each time with params of its own. The members are
            all kinds in order, `n_times` over.
    """

    def __init__(self, kinds: Sequence[Network], n_times: int = 1) -> None:
        self.kinds, self.n_times = tuple(kinds), n_times
        self.members = self.kinds * n_times

    def init(self, generator: torch.Generator, dtype: torch.dtype, device: torch.device) -> Params:
        """Draw fresh params of the members; their weights are equal."""
        fresh = [member.init(generator, dtype, device) for member in self.members]
        return self.join(fresh, torch.zeros(len(fresh), dtype=dtype, device=device).log_softmax(0))

    @staticmethod
    def join(params: Sequence[Params], log_weights: Tensor) -> Params:
        """Join the params of the members to those of the ensemble."""
        named = {
            f"{k}.{name}": leaf for k, mine in enumerate(params) for name, leaf in mine.items()
        }
        return {**named, LOG_WEIGHTS: log_weights}

    def of_member(self, params: Params, k: int) -> Params:
        """Return the params of member k."""
        prefix = f"{k}."
        return {
            name.removeprefix(prefix): leaf
            for name, leaf in params.items()
            if name.startswith(prefix)
        }

    def __call__(
        self,
        params: Params,
        features: DenseFeatures | SparseFeatures,
        graph: GraphBatch,
        *,
        training: bool,
    ) -> Tensor:
        """Return logarithms of class probabilities, `(n_draws, n_nodes, n_classes)`."""
        return self._mean(
            params, lambda member, mine: member(mine, features, graph, training=training)
        )

    def hidden(
        self, params: Params, features: DenseFeatures | SparseFeatures, graph: GraphBatch
    ) -> Tensor:
        """Return the hidden layers of all members, `(n_draws, n_nodes, sum of their channels)`."""
        return torch.cat(
            [
                member.hidden(self.of_member(params, k), features, graph)
                for k, member in enumerate(self.members)
            ],
            2,
        )

    def attach(
        self,
        params: Params,
        features: DenseFeatures | SparseFeatures,
        graph: GraphBatch,
        new: DenseFeatures | SparseFeatures,
        edges: Attachment,
    ) -> Tensor:
        """Return logarithms of class probabilities of new nodes; see `GCN.attach`."""
        return self._mean(
            params, lambda member, mine: member.attach(mine, features, graph, new, edges)
        )

    def penalty(self, params: Params) -> Tensor:
        """Return the sum of the members' penalties."""
        parts = [member.penalty(self.of_member(params, k)) for k, member in enumerate(self.members)]
        return torch.stack(parts).sum()

    def _mean(self, params: Params, logits: Callable[[Network, Params], Tensor]) -> Tensor:
        weighted = [
            logits(member, self.of_member(params, k)).log_softmax(2) + params[LOG_WEIGHTS][k]
            for k, member in enumerate(self.members)
        ]
        return torch.stack(weighted).logsumexp(0)


@dataclass(frozen=True)
class MoreMembers:
    """Which members there are that not every committee has.

    Attributes:
        sage: a `SAGE`: where a graph is given. A graph of near neighbours joins like nodes.
        forest: a `NodeForest`: where a graph is given, or features are measurements.
        deep: a `DeepSAGE`: where the given edges join unlike nodes.
    """

    sage: bool = False
    forest: bool = False
    deep: bool = False

    @classmethod
    def among(cls, params: Params) -> "MoreMembers":
        """Find them in the params of an ensemble, by names that no other member has."""
        names = {name.rpartition(".")[2] for name in params}
        return cls("V1" in names, "forest" in names, "layers" in names)


NO_MORE = MoreMembers()


def default_ensemble(
    n_features: int,
    hidden_channels: int,
    n_classes: int,
    dropout: float,
    n_times: int = 1,
    more: MoreMembers = NO_MORE,
) -> Ensemble:
    """Build the ensemble of the default method.

    Its members are a GCN; three PageRank networks, one for each of `TELEPORTS`; perhaps a SAGE,
    which keeps a node and its neighbours apart; two discriminants, with and without neighbours; the
    PageRank of the labels; and perhaps a forest and a deep SAGE.

    Arguments:
        n_features, hidden_channels, n_classes, dropout: of the members; the deep SAGE has a smaller
            dropout of its own in hidden layers.
        n_times: how often each of them is a member.
        more: which of those that are members by the problem.
    """
    sizes = (n_features, hidden_channels, n_classes)
    p_input = dropout * min(1.0, n_features / FULL_DROPOUT_FEATURES)
    gcn = GCN(*sizes, dropout, input_dropout=p_input)
    pageranks = [
        PageRank(*sizes, dropout, input_dropout=p_input, teleport=alpha) for alpha in TELEPORTS
    ]
    sage = [SAGE(*sizes, dropout, input_dropout=p_input)] if more.sage else []
    with_graph = Discriminant(n_features, n_classes)
    without_graph = Discriminant(n_features, n_classes, neighbors=False)
    deep = [DeepSAGE(*sizes, input_dropout=p_input)] if more.deep else []
    labels = LabelPageRank(n_classes)
    forest = [NodeForest(n_classes)] if more.forest else []
    kinds: list[Network] = [
        gcn,
        *pageranks,
        *sage,
        with_graph,
        without_graph,
        labels,
        *forest,
        *deep,
    ]
    return Ensemble(kinds, n_times)
