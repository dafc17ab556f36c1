"""Two-layer networks of one size, side by side: each product is computed once for all of them."""

from collections.abc import Sequence

import torch
from torch import Tensor

from lds.graphs.batch import GraphBatch
from lds.graphs.pagerank_product import pagerank_product
from lds.graphs.product import propagate
from lds.nn.features import DenseFeatures, SparseFeatures, drop
from lds.nn.gcn import GCN
from lds.nn.pagerank import PageRank
from lds.nn.sage import SAGE, neighbour_mean

Params = dict[str, Tensor]
Stackable = GCN | PageRank | SAGE


class Stack:
    """Networks as one whose logits, `(n_networks, n_nodes, n_classes)`, are theirs.

    The loss of a stack is the sum of theirs, so each gets the gradient that it would get alone. On
    a small graph a training step is mostly the overhead of starting operations, and a stack starts
    little more of them than one network does.

    In training its networks share the dropout of X; each has its own in the hidden layer.

    Arguments:
        networks: of the same sizes, dropouts and, where they have any, hops.

    Raises:
        ValueError: they differ in one of these.
    """

    def __init__(self, networks: Sequence[Stackable]) -> None:
        self.networks = tuple(networks)
        hops = {net.n_hops for net in networks if isinstance(net, PageRank) and net.n_hops}
        if len({(n.sizes, n.dropout, n.input_dropout) for n in networks}) != 1 or len(hops) > 1:
            raise ValueError("networks of a stack must have the same sizes, dropouts and hops")
        # Params lie in this order: without biases first, with a second pair of weights last.
        self._order = sorted(range(len(networks)), key=lambda k: _rank(networks[k]))
        ranks = [_rank(net) for net in networks]
        self._counts = [ranks.count(rank) for rank in range(4)]
        spread = [networks[k] for k in self._order if _rank(networks[k]) == 1]
        self._teleports = [net.teleport for net in spread if isinstance(net, PageRank)]
        self._n_hops = hops.pop() if hops else 0
        self.sizes = networks[0].sizes
        self.dropout, self.input_dropout = networks[0].dropout, networks[0].input_dropout

    def init(self, generator: torch.Generator, dtype: torch.dtype, device: torch.device) -> Params:
        """Draw fresh params of the networks, one after another."""
        return self.join([net.init(generator, dtype, device) for net in self.networks])

    def join(self, params: Sequence[Params]) -> Params:
        """Join params of the networks.

        Returns:
            "W1" `(n_features, n · hidden_channels)`, "W2" `(n, hidden_channels, n_classes)`, with
            the weights for neighbours last; "b1" and "b2" of the networks that have biases.
        """
        mine = [params[k] for k in self._order]
        biased, paired = mine[self._counts[0] :], mine[len(mine) - self._counts[3] :]
        like = mine[0]["W1"]
        return {
            "W1": torch.cat([p["W1"] for p in mine] + [p["V1"] for p in paired], 1),
            "b1": torch.cat([like.new_zeros(0), *(p["b1"] for p in biased)]),
            "W2": torch.stack([p["W2"] for p in mine] + [p["V2"] for p in paired]),
            "b2": torch.cat([like.new_zeros(0), *(p["b2"] for p in biased)]).view(
                -1, 1, self.sizes[2]
            ),
        }

    def of_network(self, params: Params, k: int) -> Params:
        """Return copies of the params of network k."""
        place, h, n = self._order.index(k), self.sizes[1], len(self.networks)
        w1 = params["W1"].view(self.sizes[0], -1, h)
        found = {"W1": w1[:, place], "W2": params["W2"][place]}
        if (biased := place - self._counts[0]) >= 0:
            found |= {"b1": params["b1"].view(-1, h)[biased], "b2": params["b2"][biased, 0]}
        if (paired := place - (n - self._counts[3])) >= 0:
            found |= {"V1": w1[:, n + paired], "V2": params["W2"][n + paired]}
        return {
            name: leaf.clone(memory_format=torch.contiguous_format) for name, leaf in found.items()
        }

    def __call__(
        self,
        params: Params,
        features: DenseFeatures | SparseFeatures,
        graph: GraphBatch,
        *,
        training: bool,
    ) -> Tensor:
        """Return logits on one graph.

        In training, dropout draws from torch's random state.
        """
        p, p_input = (self.dropout, self.input_dropout) if training else (0.0, 0.0)
        n, (_, h, c) = graph.n_nodes, self.sizes
        n_gcn, n_spread, n_alone, n_sage = self._counts
        n_first = n_gcn + n_spread + n_alone
        z = features.matmul(params["W1"], p_input)
        widths = [n_gcn * h, (n_spread + n_alone) * h, n_sage * h, n_sage * h]
        mixed, own, of_sage, to_mean = z.split(widths, 1)
        if n_gcn:
            mixed = propagate(graph, mixed)
        if n_sage:
            of_sage = of_sage + neighbour_mean(graph, to_mean)
        biased = torch.cat([own, of_sage], 1) + params["b1"]
        hidden = drop(torch.cat([mixed, biased], 1).relu(), p).view(n, -1, h).transpose(0, 1)
        out = torch.baddbmm(
            torch.cat([params["b2"].new_zeros(n_gcn, 1, c), params["b2"]]),
            hidden,
            params["W2"][: len(self.networks)],
        )
        of_gcn, spread, alone, of_sage = out.split(self._counts)
        if n_gcn:
            of_gcn = _apart(propagate(graph, _together(of_gcn)), c)
        if n_spread:
            each = zip(spread, self._teleports, strict=True)
            spread = torch.stack([pagerank_product(graph, z, self._n_hops, a) for z, a in each])
        if n_sage:
            to_mean = hidden[n_first:] @ params["W2"][len(self.networks) :]
            of_sage = of_sage + _apart(neighbour_mean(graph, _together(to_mean)), c)
        logits = torch.cat([of_gcn, spread, alone, of_sage])
        if self._order == sorted(self._order):
            return logits
        return logits[torch.tensor(self._order, device=logits.device).argsort()]

    def penalty(self, params: Params) -> Tensor:
        """Return the sum of the penalties of the networks."""
        return 0.5 * params["W1"].square().sum()


def _rank(network: Stackable) -> int:
    """The place of a kind of network in a stack."""
    if isinstance(network, PageRank):
        return 1 if network.n_hops else 2
    return 3 if isinstance(network, SAGE) else 0


def _together(z: Tensor) -> Tensor:
    """Reshape (n_networks, n_nodes, n_classes) to columns, network by network."""
    return z.transpose(0, 1).reshape(z.shape[1], -1)


def _apart(z: Tensor, n_classes: int) -> Tensor:
    """Undo `_together`."""
    return z.view(z.shape[0], -1, n_classes).transpose(0, 1)
