"""What the members and the coefficients of the default method say, see `structure.account`."""

from collections import defaultdict
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from lds.edges.free import FreeEdges
from lds.edges.logistic import BESIDE_GRAPH, LogisticEdges
from lds.nn.deep_sage import DeepSAGE
from lds.nn.discriminant import Discriminant
from lds.nn.ensemble import LOG_WEIGHTS, Ensemble, Network
from lds.nn.label_pagerank import LabelPageRank
from lds.nn.node_forest import NodeForest
from lds.nn.pagerank import PageRank
from lds.nn.sage import SAGE
from lds.structure.account import Coefficients, MemberPredictions
from lds.structure.methods.refit import expected_graph
from lds.structure.task import Task

if TYPE_CHECKING:
    from lds.structure.result import Learned


@torch.no_grad()
def members_of(learned: "Learned", ensemble: Ensemble, task: Task) -> MemberPredictions:
    """Compute the predictions of the members on the expected graph.

    Members of one kind, one of each refit, count as one: the weighted mean of them.

    Arguments:
        learned: the result, whose params are those of the ensemble.
        ensemble: its members.
        task: with their features.
    """
    graph = expected_graph(cast(LogisticEdges | FreeEdges, learned.edges))
    shares = learned.params[LOG_WEIGHTS].exp()
    sums: dict[str, Tensor] = {}
    weights: dict[str, float] = defaultdict(float)
    for k, member in enumerate(ensemble.members):
        mine = ensemble.of_member(learned.params, k)
        logits = member(mine, task.features, graph, training=False)[0]
        name, share = _name(member), float(shares[k])
        part = share * logits.softmax(1)
        sums[name] = sums[name] + part if name in sums else part
        weights[name] += share
    return {
        name: (weights[name], (total / max(weights[name], 1e-12)).cpu().numpy())
        for name, total in sums.items()
    }


def coefficients_of(learned: "Learned", names: tuple[str, str]) -> Coefficients:
    """Pair each coefficient of the edge distribution with its start.

    Arguments:
        learned: the result.
        names: of the coefficients, and of that of agreement, among its params.
    """
    beta = learned.params[names[0]].tolist()
    rank = int(learned.method.to_dict()["metric_rank"])
    of_graph = len(beta) - rank > 2
    starts = {"candidate": BESIDE_GRAPH if of_graph else 0.0, "similarity": 1.0}
    if of_graph:
        starts["given"] = 1.0
    starts |= {f"direction {k}": 0.0 for k in range(rank)}
    found = {name: (start, b) for (name, start), b in zip(starts.items(), beta, strict=False)}
    return {**found, "agreement": (0.0, float(learned.params[names[1]]))}


def _name(member: Network) -> str:
    """Name a kind of member for people."""
    if isinstance(member, PageRank):
        return f"PageRank network, teleport {member.teleport:g}"
    if isinstance(member, SAGE):
        return "SAGE"
    if isinstance(member, DeepSAGE):
        return "deep SAGE"
    if isinstance(member, NodeForest):
        return "forest"
    if isinstance(member, Discriminant):
        return f"discriminant {'with' if member.neighbors else 'without'} neighbours"
    return "PageRank of the labels" if isinstance(member, LabelPageRank) else "GCN"
