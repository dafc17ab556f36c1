"""How the default method learns: coefficients of edges by hypergradients, then a committee."""

from dataclasses import replace
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lds._random import mix
from lds._types import Features
from lds.edges.groups import PairGroups
from lds.edges.logistic import LogisticEdges, new_edges, starting_edges
from lds.nn.ensemble import MoreMembers
from lds.nn.new_nodes import NewEdges
from lds.structure.account import Coefficients, MemberPredictions
from lds.structure.checks import warn_of_copies, warn_of_features
from lds.structure.context import RunContext
from lds.structure.denoising import Denoiser
from lds.structure.fingerprint import fingerprint
from lds.structure.inner_run import SequentialInnerRun
from lds.structure.methods.committee import Committee
from lds.structure.methods.committee_forests import forests_say, without_forests
from lds.structure.methods.committee_large import (
    for_all_nodes,
    learning_parts,
    with_coefficients,
)
from lds.structure.methods.committee_preparation import (
    WHITENING,
    CommitteePreparation,
    preparation_of,
    prepare,
)
from lds.structure.methods.committee_says import coefficients_of, members_of
from lds.structure.methods.committee_unlike import OUTER, informative_unlike
from lds.structure.methods.refit import Refit, Refitted
from lds.structure.outer_variables import OuterVariables
from lds.structure.predict import predict_proba_new, score
from lds.structure.problem import Problem
from lds.structure.restarts import Restarts
from lds.structure.result import Learned, learned_from
from lds.structure.seeds import NEW_ROWS
from lds.structure.task import rows_tensor

COEFFICIENTS = "edge_coefficients"
"""Name of β among the params of a result: the edges of new nodes follow from it."""

AGREEMENT = "edge_agreement"
"""Name of the coefficient of agreement among them, 0 where it was refused."""


def learn(method: Committee, problem: Problem, run: RunContext) -> Learned:
    """Learn coefficients, then refit; see `lds.structure.learn.learn`.

    Beyond `max_nodes` both are done on parts of the graph (`committee_large`).
    """
    if problem.graph is None:
        warn_of_features(problem.features, run.dtype, centred=True)
    if problem.split.dealt:
        warn_of_copies(problem)
    few, trains = learning_parts(method, problem, run.seed)
    prepared = prepare(method, few, run)
    edges = starting_distribution(few, prepared)
    named = fingerprint(problem, problem.graph, method, run.seed, edges)
    options = method
    unlike = informative_unlike(few, prepared.task, prepared.ensemble, edges, method, run.seed)
    if unlike:  # the given edges stay as they are
        edges = starting_distribution(few, prepared, alone=True)
        prepared = prepared.with_deep(method, few)
        options = replace(method, update_edges=False, max_iter=1)
    restarts = restarts_on(edges, options, few, prepared, run.seed)
    reason = restarts.run(run, named)
    if trains is not few:
        prepared = prepare(method, trains, run)
        prepared = prepared.with_deep(method, trains) if unlike else prepared
        edges = with_coefficients(starting_distribution(trains, prepared, alone=unlike), edges)
    found = committee_on(edges, method, prepared, trains, run, agreement=not unlike)
    if trains is not problem:
        prepared = prepared.for_all_nodes(method, problem, run)
        whole = starting_distribution(problem, prepared, alone=unlike)
        edges, restarts.start = with_coefficients(whole, edges), whole.to_csr()
        found = for_all_nodes(found, prepared.ensemble, edges, prepared.task, problem, run.seed)
    return result_of(found, edges, method, prepared, problem, restarts, reason)


def starting_distribution(
    problem: Problem, prepared: CommitteePreparation, *, alone: bool = False
) -> LogisticEdges:
    """Make the distribution before learning, of similarities and a given graph, or that alone."""
    x, directions = prepared.task.features, prepared.directions
    n_judges = problem.split.validation.size
    return starting_edges(
        prepared.similar, problem.graph, n_judges, x.dtype, x.device, directions, alone=alone
    )


def restarts_on(
    edges: LogisticEdges,
    method: Committee,
    problem: Problem,
    prepared: CommitteePreparation,
    seed: int,
) -> Restarts:
    """Make the outer loop of a run, before its first iteration; it changes `edges` in place."""
    one = replace(prepared.task, network=prepared.ensemble.kinds[OUTER])
    variables = OuterVariables(edges, method)
    denoiser = Denoiser.of(one.features) if method.denoising_weight else None
    inner_run = SequentialInnerRun(one, variables, method, seed, denoiser)
    return Restarts(problem, one, variables, inner_run, method, seed, edges.to_csr())


def committee_on(
    edges: LogisticEdges,
    method: Committee,
    prepared: CommitteePreparation,
    problem: Problem,
    run: RunContext,
    *,
    agreement: bool = True,
) -> Refitted:
    """Train the committee on the last distribution: a noisy score is no reason for an earlier one.

    With agreement=False, predicted classes are no feature of pairs in further refits.
    """
    task, ensemble = prepared.task, prepared.ensemble
    device = task.labels.device
    stopping = rows_tensor(problem.split.stopping, device)
    rows = rows_tensor(problem.labelled, device)
    refit = method if agreement else replace(method, agreement=0.0)
    turns = Refit(task, ensemble, rows, stopping, refit, run.seed, run.on_member, run.n_jobs)
    return turns(edges)


def result_of(
    found: Refitted,
    edges: LogisticEdges,
    method: Committee,
    prepared: CommitteePreparation,
    problem: Problem,
    restarts: Restarts,
    reason: str,
) -> Learned:
    """Make the result of a committee, with a record of the refit after those of the outer loop.

    Arguments:
        found: the committee, on its last distribution.
        edges: that distribution without agreement.
        method, prepared, problem: what it was learned with and from.
        restarts: the outer loop.
        reason: why that ended.
    """
    task = prepared.task
    params = prepared.ensemble.join([m.params for m in found.members], found.log_weights)
    params[COEFFICIENTS] = edges.coefficients
    params[AGREEMENT] = edges.coefficients.new_tensor(found.agreement)
    if prepared.whitening is not None:
        params[WHITENING] = prepared.whitening
    n_done = len(restarts.history)
    result = learned_from(
        problem,
        method,
        restarts.seed,
        task,
        params,
        found.edges,
        n_draws=method.n_draws,
        history=restarts.history,
        best=n_done,
        reason=reason,
        start=restarts.start,
        preparation=prepared,
        embeds=problem is restarts.problem,
    )
    probabilities = torch.from_numpy(result.probabilities).to(task.labels.device)
    stopping = rows_tensor(problem.split.stopping, task.labels.device)
    now = score(probabilities, task.labels, stopping, task.weights)
    groups = PairGroups(problem.labels, problem.split, problem.held_out)
    record = replace(
        restarts.history[-1],
        iteration=n_done,
        inner_steps=sum(member.steps for member in found.members),
        stopping_accuracy=now.accuracy,
        stopping_loss=now.loss,
        expected_edges=found.edges.expected_edges,
        group_probs=groups.means(found.edges),
        improved=True,
        refit=True,
    )
    return replace(
        result,
        history=[*restarts.history, record],
        left_as_given=MoreMembers.among(params).deep,
    )


def predict_new(learned: Learned, new: Features) -> Tensor:
    """Predict class probabilities `(n_new, n_classes)` of rows that were not in the fit.

    Their edges follow from the learned coefficients, as those of the rows of the fit do.
    """
    params, edges = learned.params, learned.stored_edges
    n_draws = cast(Committee, learned.method).n_draws
    dtype, device = edges.probs.dtype, edges.probs.device
    prepared = preparation_of(learned)
    inputs, of_forests = prepared.of(new), None
    task, weights = prepared.task, params
    more = MoreMembers.among(params)
    if more.forest and not more.sage:  # beside a given graph a forest reads that too
        columns = np.asarray(prepared.features.transform(new), dtype=np.float32)
        rows = rows_tensor(learned.problem.labelled, device)
        of_forests = forests_say(task, prepared.ensemble, params, rows, columns)
        task, weights = without_forests(task, prepared.ensemble, params)
    known = torch.as_tensor(learned.probabilities, dtype=dtype, device=device)
    seed = mix(learned.seed, NEW_ROWS)

    def classify(attached: NewEdges) -> Tensor:
        found = predict_proba_new(task, weights, edges, inputs, attached, n_draws, seed)
        if of_forests is not None:
            found = of_forests + (1 - of_forests.sum(1, keepdim=True)) * found
        return found

    beta = params[COEFFICIENTS].to(device)
    agreement = float(params[AGREEMENT])
    attached = new_edges(
        prepared.similar, inputs, beta, known, classify, agreement, prepared.directions
    )
    return classify(attached)


def members_say(learned: Learned) -> MemberPredictions:
    """Return what each kind of member predicts, see `structure.account`."""
    prepared = preparation_of(learned)
    return members_of(learned, prepared.ensemble, prepared.task)


def coefficients(learned: Learned) -> Coefficients:
    """Return the coefficients of edges before and after learning, see `structure.account`."""
    return coefficients_of(learned, (COEFFICIENTS, AGREEMENT))


def preparation_arrays(learned: Learned) -> dict[str, NDArray[Any]]:
    """Return the fitted preparation as arrays by name, "part/name"."""
    prepared: CommitteePreparation | None = learned.preparation
    if prepared is None:
        return learned.stored
    parts: dict[str, Any] = {"features": prepared.features, "similar": prepared.similar}
    if prepared.directions is not None:
        parts["directions"] = prepared.directions
    return {
        f"{part}/{name}": array
        for part, fitted in parts.items()
        for name, array in fitted.to_arrays().items()
    }
