"""Several networks as one, whose class probabilities are a weighted mean of theirs."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from lds.graphs.batch import GraphBatch
from lds.nn.discriminant import Discriminant
from lds.nn.features import DenseFeatures, SparseFeatures
from lds.nn.gcn import GCN, Attached
from lds.nn.label_pagerank import LabelPageRank
from lds.nn.pagerank import PageRank

Params = dict[str, Tensor]
Kind = GCN | PageRank | Discriminant | LabelPageRank

LOG_WEIGHTS = "log_weights"
"""Among the params of a committee: `(n_members,)`, logarithms of weights that sum to 1."""


TELEPORTS = (0.1, 0.5, 1.0)
"""Of the default committee's members: far along the graph, close to a node's own features, and
without the graph: where it misleads, the early-stopping rows say so."""


MANY = 100
"""Features from which on X has the dropout of the hidden layer. It is less in proportion where they
are fewer: nothing else tells what a column hides."""


class Committee:
    """log Σ_m π_m softmax(member_m), so that its softmax is the weighted mean of the members'.

    Its `params` are those of the members, each name after the member's number and a dot, and
    `log_weights`.

    Arguments:
        kinds: networks with as many classes.
        n_times: how often each of them is a member, with weights of its own; the kinds in turn.
    """

    def __init__(self, kinds: Sequence[Kind], n_times: int = 1) -> None:
        self.kinds, self.n_times = tuple(kinds), n_times
        self.members = self.kinds * n_times

    def init(self, generator: torch.Generator, dtype: torch.dtype, device: torch.device) -> Params:
        """Fresh members of equal weight."""
        fresh = [member.init(generator, dtype, device) for member in self.members]
        return self.join(fresh, torch.zeros(len(fresh), dtype=dtype, device=device).log_softmax(0))

    @staticmethod
    def join(params: Sequence[Params], log_weights: Tensor) -> Params:
        """The params of a committee from those of its members."""
        named = {
            f"{k}.{name}": leaf for k, mine in enumerate(params) for name, leaf in mine.items()
        }
        return {**named, LOG_WEIGHTS: log_weights}

    def of_member(self, params: Params, k: int) -> Params:
        """The params of member k."""
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
        """Logarithms of class probabilities, `(n_draws, n_nodes, n_classes)`."""
        return self._mean(
            params, lambda member, mine: member(mine, features, graph, training=training)
        )

    def hidden(
        self, params: Params, features: DenseFeatures | SparseFeatures, graph: GraphBatch
    ) -> Tensor:
        """The members' hidden layers side by side, `(n_draws, n_nodes, total channels)`."""
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
        attached: Attached,
    ) -> Tensor:
        """Logarithms of class probabilities of new nodes; see `GCN.attach`."""
        return self._mean(
            params, lambda member, mine: member.attach(mine, features, graph, new, attached)
        )

    def penalty(self, params: Params) -> Tensor:
        """The sum of the members' penalties."""
        parts = [member.penalty(self.of_member(params, k)) for k, member in enumerate(self.members)]
        return torch.stack(parts).sum()

    def _mean(self, params: Params, logits: Callable[[Kind, Params], Tensor]) -> Tensor:
        weighted = [
            logits(member, self.of_member(params, k)).log_softmax(2) + params[LOG_WEIGHTS][k]
            for k, member in enumerate(self.members)
        ]
        return torch.stack(weighted).logsumexp(0)


def committee(
    n_features: int, hidden_channels: int, n_classes: int, dropout: float, n_times: int = 1
) -> Committee:
    """The default committee: networks that train on labels, models of all features, and the graph.

    A GCN, PageRank that trusts the graph more, less or not at all, two discriminants, the last of
    which does not see the graph, and the PageRank of the labels, which sees nothing else.

    Arguments:
        n_features, hidden_channels, n_classes, dropout: as of its members.
        n_times: how often each of them is a member.
    """
    sizes = (n_features, hidden_channels, n_classes, dropout)
    of_x = dropout * min(1.0, n_features / MANY)
    walkers = [PageRank(*sizes, input_dropout=of_x, teleport=alpha) for alpha in TELEPORTS]
    models = [Discriminant(n_features, n_classes, neighbors=heard) for heard in (True, False)]
    gcn = GCN(*sizes, input_dropout=of_x)
    return Committee([gcn, *walkers, *models, LabelPageRank(n_classes)], n_times)
