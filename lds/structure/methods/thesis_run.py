"""How the thesis's method learns: a free probability for every candidate pair, one network."""

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from torch import Tensor

from lds._random import mix
from lds._types import Features
from lds.edges.base import EdgeDistribution
from lds.edges.estimated import estimated_edges
from lds.edges.free import FreeEdges
from lds.edges.memory import check_all_pairs_fit, keeps_all_pairs
from lds.edges.support import growth_for, near_and_given
from lds.graphs.candidates import AllPairs, Candidates, PairList
from lds.graphs.connected import starting_tree
from lds.graphs.knn import check_neighbors, knn_adjacency, neighbor_search
from lds.nn.registry import BACKBONES, build
from lds.structure.account import Coefficients, MemberPredictions
from lds.structure.checks import warn_of_features
from lds.structure.context import RunContext
from lds.structure.denoising import Denoiser
from lds.structure.fingerprint import fingerprint
from lds.structure.inner_run import InnerRun, SequentialInnerRun
from lds.structure.methods.thesis import Thesis
from lds.structure.outer_variables import OuterVariables
from lds.structure.predict import borrowed_edges, predict_proba_new
from lds.structure.problem import Problem
from lds.structure.restarts import Restarts
from lds.structure.result import Learned, learned_from
from lds.structure.seeds import NEW_ROWS
from lds.structure.side_by_side.batch import BatchInnerRun
from lds.structure.task import Task, task_on

NUMBERS_OF_A_MESSAGE = 8
"""Numbers a pair, a hidden channel and a step that a network on edges keeps at least."""


def learn(method: Thesis, problem: Problem, run: RunContext) -> Learned:
    """Learn θ and w by Algorithm 7; see `lds.structure.learn.learn`."""
    more = _numbers_per_pair(method)
    check_all_pairs_fit(method.support, problem.n_nodes, run.dtype, run.device, more)
    start = starting_graph(method, problem)
    warn_of_features(problem.features, run.dtype, centred=False)
    restarts = restarts_of(method, problem, start, run)
    named = fingerprint(problem, start, method, run.seed, restarts.variables.edges)
    reason = restarts.run(run, named)
    return result_of(method, restarts, reason)


def starting_graph(method: Thesis, problem: Problem) -> sp.csr_array:
    """Return the given graph, or the k nearest neighbours of every row (Alg. 7, line 3)."""
    if problem.graph is not None:
        return problem.graph
    features = problem.features
    check_neighbors(
        problem.n_nodes, method.n_neighbors, method.metric, sparse=sp.issparse(features)
    )
    return knn_adjacency(features, method.n_neighbors, method.metric)


def restarts_of(
    method: Thesis,
    problem: Problem,
    start: sp.csr_array,
    run: RunContext,
    *,
    task: Task | None = None,
    all_pairs: bool | None = None,
) -> Restarts:
    """Make the outer loop of a run, before its first iteration.

    Arguments:
        method, problem: of the run.
        start: symmetric CSR of starting probabilities.
        run: its seed, precision and device.
        task: on the same features and labels, where another run has it already; None makes it.
        all_pairs: whether all pairs may become edges; None: as `support` says.
    """
    task = task or thesis_task(method, problem, run)
    edges = starting_distribution(method, problem, start, run, all_pairs)
    variables = OuterVariables(edges, method, method.learn_inner_lr)
    inner_run: InnerRun
    if run.device.type == "cpu" or method.batch_misfits():
        denoiser = Denoiser.of(task.features) if method.denoising_weight else None
        inner_run = SequentialInnerRun(task, variables, method, run.seed, denoiser)
    else:  # a GPU starts the operations of a batch faster
        inner_run = BatchInnerRun(task, variables, method, run.seed)
    # Other estimators keep θ away from 0 and 1.
    first = start if method.estimator == "straight_through" else edges.to_csr()
    return Restarts(problem, task, variables, inner_run, method, run.seed, first)


def result_of(method: Thesis, restarts: Restarts, reason: str) -> Learned:
    """Make the result of the best outer iteration, with its predictions."""
    params, edges = restarts.best.found()
    return learned_from(
        restarts.problem,
        method,
        restarts.seed,
        restarts.task,
        params,
        edges,
        n_draws=method.n_draws,
        history=restarts.history,
        best=restarts.best.iteration,
        reason=reason,
        start=restarts.start,
    )


def thesis_task(method: Thesis, problem: Problem, run: RunContext) -> Task:
    """Make the task of a run: one network on the features as they are."""
    sizes = (problem.features.shape[1], method.hidden_channels, problem.n_classes)
    return task_on(
        problem.features,
        problem.labels,
        build(method.backbone, *sizes, method.dropout),
        weight_decay=method.weight_decay,
        dtype=run.dtype,
        device=run.device,
        batch_nodes=method.batch_nodes,
        weights=problem.weights,
    )


def starting_distribution(
    method: Thesis,
    problem: Problem,
    start: sp.csr_array,
    run: RunContext,
    all_pairs: bool | None = None,
) -> EdgeDistribution:
    """Make θ at the start, on the candidate pairs, for the gradient estimator of the options."""
    dtype, device = run.dtype, run.device
    pairs = _candidates(method, problem, start, run, all_pairs)
    if method.estimator != "straight_through":
        return estimated_edges(method.estimator, start, dtype, device, pairs, method.n_draws)
    tree = starting_tree(problem.features, start, method.metric) if method.connected else None
    edges = FreeEdges(start, dtype, device, pairs, tree)
    if isinstance(pairs, PairList) and BACKBONES[method.backbone].reads_products:
        edges.growth = growth_for(pairs, edges.probs, method.pairs_per_node, method.grow_every)
    return edges


def _candidates(
    method: Thesis,
    problem: Problem,
    start: sp.csr_array,
    run: RunContext,
    all_pairs: bool | None,
) -> Candidates:
    n_nodes = problem.n_nodes
    if all_pairs is None:
        more = _numbers_per_pair(method)
        all_pairs = keeps_all_pairs(method.support, n_nodes, run.dtype, run.device, more)
    if all_pairs:
        return AllPairs(n_nodes)
    # A network that takes edges cannot ask for pairs later: it starts with all it may have.
    grows = BACKBONES[method.backbone].reads_products
    n_near = method.n_neighbors if grows else method.pairs_per_node
    return near_and_given(problem.features, start, n_near, method.metric)


def _numbers_per_pair(method: Thesis) -> int:
    """Count the numbers that the network keeps for each pair while it is differentiated."""
    if BACKBONES[method.backbone].reads_products:
        return 0
    return NUMBERS_OF_A_MESSAGE * method.hidden_channels * (1 + method.truncation)


@dataclass(frozen=True)
class ThesisPreparation:
    """What new rows are predicted with: the neighbour search and the task of the fit."""

    search: Any
    task: Task


def predict_new(learned: Learned, new: Features) -> Tensor:
    """Predict class probabilities `(n_new, n_classes)` of rows that were not in the fit.

    A new row has in a drawn graph the edges of its `n_neighbors` nearest rows of the fit, each with
    a share in inverse proportion to its distance.
    """
    method, edges = cast(Thesis, learned.method), learned.stored_edges
    if learned.preparation is None:
        problem = learned.problem
        n_neighbors = min(method.n_neighbors, problem.n_nodes - 1)  # beside a given graph
        search = neighbor_search(problem.features, n_neighbors, method.metric)
        like = RunContext(learned.seed, edges.probs.device, edges.probs.dtype)
        task = thesis_task(method, problem, like)
        learned.preparation = ThesisPreparation(search, task)
    prepared: ThesisPreparation = learned.preparation
    distances, neighbors = prepared.search.kneighbors(new)
    near = borrowed_edges(neighbors.astype(np.int64), distances, edges.probs)
    seed = mix(learned.seed, NEW_ROWS)
    return predict_proba_new(prepared.task, learned.params, edges, new, near, method.n_draws, seed)


def preparation_arrays(learned: Learned) -> dict[str, NDArray[Any]]:
    """Return {}: the neighbour search is made from the features."""
    return {}


def members_say(learned: Learned) -> MemberPredictions:
    """Return {}: there is one network."""
    return {}


def coefficients(learned: Learned) -> Coefficients:
    """Return {}: every pair has a free probability."""
    return {}
