"""Graphs too large to learn on whole: a part of them learns, and all nodes are predicted.

Coefficients of edges and weights of networks belong to no node. They are learned on a part of the
graph, and the expected graph of all nodes has the same coefficients, so that the networks predict
every node in its whole neighbourhood. What is fitted in closed form is fitted to all nodes.
"""

import copy
import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from lds._random import mix
from lds.edges.logistic import LogisticEdges, with_agreement
from lds.graphs.knn import allowed_neighbors
from lds.nn.ensemble import Ensemble
from lds.structure.methods.committee import Committee
from lds.structure.methods.committee_members import CLOSED_FORM, fit_member
from lds.structure.methods.refit import Refitted, expected_graph, weigh
from lds.structure.problem import Problem
from lds.structure.seeds import SAMPLE
from lds.structure.task import Task, rows_tensor

COEFFICIENT_NODES = 5_000
"""Nodes of the part on which coefficients of edges are learned: three numbers need no more."""

Rows = NDArray[np.int64]


def learning_parts(method: Committee, problem: Problem, seed: int) -> tuple[Problem, Problem]:
    """Choose the part that coefficients are learned on, and the part that networks train on.

    Both are the whole problem where it has at most `max_nodes` nodes, or where the options have a
    metric on pairs, whose directions are of all nodes. Else a warning says how many nodes learn.

    Raises:
        ValueError: more neighbours are asked for than nodes learn.
    """
    n = problem.n_nodes
    if n <= method.max_nodes or method.metric_rank:
        return problem, problem
    trains = problem.part(learning_nodes(problem, method.max_nodes, seed))
    few = trains
    if method.max_nodes > COEFFICIENT_NODES:
        few = problem.part(learning_nodes(problem, COEFFICIENT_NODES, seed))
    k = allowed_neighbors(method.n_neighbors, Committee().n_neighbors, few.n_nodes)
    if k >= few.n_nodes:
        raise ValueError(
            f"n_neighbors must be below the number of nodes that learn, {few.n_nodes:,} of {n:,}, "
            f"got {k}; a larger max_nodes lets more learn"
        )
    warnings.warn(
        f"networks are trained on {trains.n_nodes:,} of {n:,} nodes, labelled ones and their "
        f"neighbours first, and edges on {few.n_nodes:,}; all nodes are predicted "
        f"(max_nodes={method.max_nodes})",
        UserWarning,
        stacklevel=4,
    )
    return few, trains


def learning_nodes(problem: Problem, max_nodes: int, seed: int) -> Rows:
    """Choose the nodes of a part: labelled ones with their neighbours, then nodes farther away.

    Labelled nodes come in random order, each with all its neighbours, so that a node of the part
    has most of its neighbourhood. Where that leaves room, neighbours of neighbours follow, then
    any nodes. At least one node of each class in each role is chosen, whatever `max_nodes` is.

    Arguments:
        problem: the whole; without a graph, labelled rows come first and then any.
        max_nodes: most nodes.
        seed: of the choice.

    Returns:
        Node numbers, ascending; all nodes if there are at most `max_nodes`.
    """
    n = problem.n_nodes
    if n <= max_nodes:
        return np.arange(n)
    rng = np.random.default_rng(mix(seed, SAMPLE))
    needed = np.array([*_one_of_each(problem, rng)])
    order = np.concatenate([needed, rng.permutation(problem.split.learning)])
    chosen = np.zeros(n, dtype=bool)
    chosen[needed] = True
    room = max_nodes - len(np.unique(needed))
    for nodes in _nearest_first(problem.graph, order, rng.permutation(n)):
        if room <= 0:
            break
        new = np.array([k for k in dict.fromkeys(nodes.tolist()) if not chosen[k]][:room], int)
        chosen[new] = True
        room -= len(new)
    return np.flatnonzero(chosen)


def _one_of_each(problem: Problem, rng: np.random.Generator) -> Iterator[int]:
    """Choose a node of each class in each role that learns."""
    split = problem.split
    for rows in (split.train, split.validation, split.stopping):
        shuffled = rng.permutation(rows)
        yield from shuffled[np.unique(problem.labels[shuffled], return_index=True)[1]].tolist()


def _nearest_first(graph: sp.csr_array | None, order: Rows, others: Rows) -> Iterator[Rows]:
    """List nodes in the order in which they are chosen, some more than once."""
    if graph is not None:
        seen = np.zeros(graph.shape[0], dtype=bool)
        queue: NDArray[Any] = order
        while len(queue):
            seen[queue] = True
            found = []
            for node in queue.tolist():
                near = graph.indices[graph.indptr[node] : graph.indptr[node + 1]]
                yield np.append(node, near)
                found.append(near)
            ring = np.concatenate(found)
            first = np.sort(np.unique(ring, return_index=True)[1])  # in the order of discovery
            queue = ring[first][~seen[ring[first]]]
    yield order
    yield others


def with_coefficients(edges: LogisticEdges, learned: LogisticEdges) -> LogisticEdges:
    """Join the pairs of one distribution with the coefficients of another."""
    return LogisticEdges(edges.pairs, edges.names, edges.features, learned.coefficients)


def for_all_nodes(
    found: Refitted,
    ensemble: Ensemble,
    edges: LogisticEdges,
    task: Task,
    problem: Problem,
    seed: int,
) -> Refitted:
    """Take a committee to all nodes of its graph, and weigh its members there.

    Arguments:
        found: trained on a part.
        ensemble: the committee.
        edges: distribution over all nodes, with the learned coefficients and without agreement.
        task: of all nodes.
        problem: the whole.
        seed: of the run.
    """
    device = task.labels.device
    rows, stopping = (rows_tensor(r, device) for r in (problem.labelled, problem.split.stopping))
    expected = expected_graph(edges)
    fitted = {
        k: fit_member(replace(task, network=kind), kind, expected, rows, stopping, mix(seed, k))
        for k, kind in enumerate(ensemble.kinds)
        if isinstance(kind, CLOSED_FORM)
    }
    # Copies, for params that share memory cannot be saved.
    members = [
        copy.deepcopy(fitted.get(k % len(ensemble.kinds), m)) for k, m in enumerate(found.members)
    ]
    log_weights, says = weigh(task, members, expected, stopping)
    if found.agreement:
        edges = with_agreement(edges, says, found.agreement)
        log_weights, _ = weigh(task, members, expected_graph(edges), stopping)
    return Refitted(members, log_weights, edges, found.agreement)
