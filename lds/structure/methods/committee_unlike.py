"""Graphs whose edges join unlike nodes and still tell the class of a node.

Hypergradients of the default method are through a PageRank network, which mixes a node with its
neighbours. Where these are of other classes, the network would be better without the edges, so its
hypergradients remove them, although a SAGE can learn from them.
"""

import numpy as np
import torch

from lds._random import mix
from lds.edges.logistic import LogisticEdges
from lds.edges.numbered_draws import NumberedDraws
from lds.graphs.metrics import adjusted_homophily
from lds.nn.ensemble import Ensemble, Network
from lds.nn.pagerank import PageRank
from lds.nn.sage import SAGE
from lds.structure.methods.committee import Committee
from lds.structure.methods.committee_members import Member, groups, train_members
from lds.structure.methods.refit import expected_graph, harms
from lds.structure.predict import softmax
from lds.structure.problem import Problem
from lds.structure.seeds import DRAWS, FIRST_LOOK
from lds.structure.task import Task, rows_tensor

OUTER = 1
"""Place, among the kinds of the committee, of the network that hypergradients are through."""

LIKE = 0.1
"""Adjusted homophily from which on edges join like nodes, at most 1. Between labelled rows,
attacked citation graphs have 0.16 or more and heterophilous ones 0.02 or less
(`experiments.graphs`)."""

BETTER = 1.0
"""Standard errors by which the loss of SAGE must be below that of a network without a graph: the
rule of one standard error (Breiman et al., 1984, "Classification and regression trees", §3.4.3)."""


def informative_unlike(
    problem: Problem,
    task: Task,
    ensemble: Ensemble,
    edges: LogisticEdges,
    method: Committee,
    seed: int,
) -> bool:
    """Decide whether to leave the given edges as they are.

    They stay where the edges between labelled rows join like nodes no more often than by chance
    (`LIKE`), and where SAGE, trained on the distribution before learning, has a smaller loss on the
    early-stopping rows than a network without a graph (by `BETTER`) and than the PageRank network
    (by `refit.HARM` standard errors).

    Arguments:
        problem: of the run.
        task: of a member of the committee.
        ensemble: the committee.
        edges: the distribution before learning; not changed.
        method: the options; where they learn edges from features as well, the answer is no. It is
            that of the run for a run that never updates edges, so that control (c) has its graph
            and its committee.
        seed: of the run.
    """
    if problem.graph is None or method.denoising_weight:
        return False
    known = np.full(problem.n_nodes, -1, dtype=np.int64)
    for some in (problem.labelled, problem.split.stopping):
        known[some] = problem.labels[some]
    if not adjusted_homophily(problem.graph, known) < LIKE:  # also where it is NaN
        return False
    device = task.labels.device
    rows = rows_tensor(problem.labelled, device)
    stopping = rows_tensor(problem.split.stopping, device)
    sage = next(kind for kind in ensemble.kinds if isinstance(kind, SAGE))
    alone = next(kind for kind in ensemble.kinds if isinstance(kind, PageRank) and not kind.n_hops)
    networks: list[Network] = [sage, alone, ensemble.kinds[OUTER]]
    expected, draws = expected_graph(edges), NumberedDraws(edges, mix(seed, DRAWS, FIRST_LOOK))
    where = draws, expected, rows, stopping
    members: list[Member] = []
    for k, group in enumerate(groups(networks, task)):
        members += train_members(task, group, *where, method, mix(seed, k, FIRST_LOOK))
    with torch.no_grad():
        apart, without, through = (
            softmax(m.network(m.params, task.features, expected, training=False)[0])
            for m in members
        )
    return harms(apart, without, task, stopping, BETTER) and harms(apart, through, task, stopping)
