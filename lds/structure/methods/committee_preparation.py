"""What the default method fits on the features, once, for the fit and for new rows."""

from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lds._types import Features
from lds.graphs.directions import Directions
from lds.graphs.knn import allowed_neighbors
from lds.graphs.neighbourhood import neighbourhood_columns
from lds.graphs.similarity import AUTO, Similarity
from lds.nn.ensemble import Ensemble, MoreMembers, default_ensemble
from lds.nn.preparation import FeaturePreparation
from lds.nn.whitening import whitened, whitening
from lds.structure.context import RunContext
from lds.structure.methods.committee import Committee
from lds.structure.problem import Problem
from lds.structure.result import Learned
from lds.structure.task import Task, task_on

WHITENING = "whitening"
"""Name of the transform of measurements among the params of a result, see `nn.whitening`."""


@dataclass(frozen=True)
class CommitteePreparation:
    """What the method fits on the features, once, for the fit and for new rows.

    Attributes:
        features: fitted preparation of the features.
        whitening: transform after it, `(n_features, n_features)`; None: there is none.
        similar: similarities and the neighbour search.
        directions: principal directions of the features; None: the options have none.
        task: features as networks see them, with the committee.
        ensemble: the committee.
    """

    features: FeaturePreparation
    whitening: Tensor | None
    similar: Similarity
    directions: Directions | None
    task: Task
    ensemble: Ensemble

    def of(self, rows: Features) -> Features:
        """Transform further rows to what networks see."""
        return whitened(self.features.transform(rows), self.whitening)

    def for_all_nodes(
        self, method: Committee, problem: Problem, run: RunContext
    ) -> "CommitteePreparation":
        """Return the same for all nodes of a problem, of which it was fitted on a part."""
        inputs = self.of(problem.features)
        similar = Similarity(inputs, method.metric, self.similar.n_neighbors)
        task = _task(self.ensemble, method, problem, self.features, inputs, run)
        return replace(self, similar=similar, task=task)

    def with_deep(self, method: Committee, problem: Problem) -> "CommitteePreparation":
        """Add a deep SAGE to the committee, for given edges that join unlike nodes."""
        more = MoreMembers(sage=True, forest=True, deep=True)
        ensemble = _ensemble(method, self.task.features.shape[1], problem.n_classes, more)
        return replace(self, ensemble=ensemble, task=replace(self.task, network=ensemble))


def prepare(method: Committee, problem: Problem, run: RunContext) -> CommitteePreparation:
    """Fit the preparation on the rows of a problem.

    Raises:
        ValueError: more neighbours or a higher rank than the rows and features allow.
    """
    rank, shape = method.metric_rank, problem.features.shape
    if rank >= min(shape):
        raise ValueError(
            f"metric_rank must be below the numbers of rows and of features, {shape}, got {rank}"
        )
    features = FeaturePreparation(problem.features)
    transform = None
    if features.measured and method.metric == AUTO:  # any other metric is the user's choice
        inputs = features.transform(problem.features)
        transform = whitening(inputs, problem.labels, problem.labelled)
    given = problem.graph is not None
    more = MoreMembers(sage=given, forest=given or features.measured)
    return _prepared(method, problem, features, transform, more, run, {})


def preparation_of(learned: Learned) -> CommitteePreparation:
    """Return the preparation of a result; of one read from a folder, make it when first needed."""
    if learned.preparation is None:
        problem, stored, like = learned.problem, learned.stored, learned.edges.probs
        features = (
            FeaturePreparation.from_arrays(_part(stored, "features"))
            if stored
            else FeaturePreparation(problem.features)
        )
        learned.preparation = _prepared(
            cast(Committee, learned.method),
            problem,
            features,
            learned.params.get(WHITENING),
            MoreMembers.among(learned.params),  # a record has no graph that was given
            RunContext(learned.seed, like.device, like.dtype),
            stored,
        )
    found: CommitteePreparation = learned.preparation
    return found


def _prepared(
    method: Committee,
    problem: Problem,
    features: FeaturePreparation,
    transform: Tensor | None,
    more: MoreMembers,
    run: RunContext,
    stored: dict[str, NDArray[Any]],
) -> CommitteePreparation:
    """Make a preparation from prepared features; parts that are `stored` are not fitted again."""
    inputs = whitened(features.transform(problem.features), transform)
    ensemble = _ensemble(method, inputs.shape[1], problem.n_classes, more)
    task = _task(ensemble, method, problem, features, inputs, run)
    directions = None
    if stored:
        similar = Similarity.from_arrays(_part(stored, "similar"), inputs)
        if of_directions := _part(stored, "directions"):
            directions = Directions.from_arrays(of_directions)
    else:
        k = allowed_neighbors(method.n_neighbors, Committee().n_neighbors, problem.n_nodes)
        similar = Similarity(inputs, method.metric, k)
        directions = Directions(inputs, method.metric_rank) if method.metric_rank else None
    return CommitteePreparation(features, transform, similar, directions, task, ensemble)


def _part(stored: dict[str, NDArray[Any]], part: str) -> dict[str, NDArray[Any]]:
    prefix = f"{part}/"
    return {k.removeprefix(prefix): v for k, v in stored.items() if k.startswith(prefix)}


def _task(
    ensemble: Ensemble,
    method: Committee,
    problem: Problem,
    features: FeaturePreparation,
    inputs: Features,
    run: RunContext,
) -> Task:
    return task_on(
        inputs,
        problem.labels,
        ensemble,
        weight_decay=method.weight_decay,
        dtype=run.dtype,
        device=run.device,
        weights=problem.weights,
        columns=_columns(features, problem),
    )


def _columns(features: FeaturePreparation, problem: Problem) -> NDArray[np.float32] | None:
    """Return what a forest reads; its trees split at single columns, so they are not whitened."""
    columns = features.transform(problem.features)
    if problem.graph is not None:
        return neighbourhood_columns(columns, problem.graph)
    return np.asarray(columns, dtype=np.float32) if features.measured else None


def _ensemble(method: Committee, n_features: int, n_classes: int, more: MoreMembers) -> Ensemble:
    """Make the committee of a number of refits."""
    sizes = (n_features, method.hidden_channels, n_classes)
    return default_ensemble(*sizes, method.dropout, method.refits, more)
