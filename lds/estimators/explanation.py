"""Why a row got its class: its neighbours, their votes, and how they differ from it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from lds._types import Features
from lds._words import facts_html
from lds.run_folder import Run


class Neighbour(NamedTuple):
    """A neighbour of a row.

    Arguments:
        row: its number.
        start, learned: probability of the edge before and after learning.
        label: its class; None: unknown.
        prediction: the class that the fit gave it.
    """

    row: int
    start: float
    learned: float
    label: Any
    prediction: Any


class FeatureDifference(NamedTuple):
    """A feature in which a row differs from its neighbours.

    Arguments:
        name: of the feature.
        value: of the row.
        mean: of the neighbours, weighted by edge probability.
        deviations: difference of both, in standard deviations over all rows.
    """

    name: str
    value: float
    mean: float
    deviations: float


@dataclass(frozen=True, repr=False)
class Explanation:
    """Why a row got its class.

    Attributes:
        row: its number.
        label: its class; None: unknown.
        prediction: the class that the fit gave it.
        probabilities: by class.
        votes: by class, the share of the edge probability of the row that leads to neighbours of
            the class: of their labels, or predictions where the label is unknown.
        starting_votes: the same on the graph before learning.
        neighbours: the most probable first.
        differences: the features in which the row and its neighbours differ most.
    """

    row: int
    label: Any
    prediction: Any
    probabilities: dict[Any, float]
    votes: dict[Any, float]
    starting_votes: dict[Any, float]
    neighbours: list[Neighbour]
    differences: list[FeatureDifference]

    def _facts(self) -> dict[str, str]:
        known = "unknown" if self.label is None else f"{self.label}"
        found = {
            "label": known,
            "prediction": f"{self.prediction}, {100 * self.probabilities[self.prediction]:.0f} %",
            "votes of its edges, start -> learned": ", ".join(
                f"{name} {100 * self.starting_votes[name]:.0f} -> {100 * vote:.0f} %"
                for name, vote in self.votes.items()
            ),
        }
        for each in self.neighbours:
            label = "" if each.label is None else f", label {each.label}"
            found[f"neighbour {each.row}"] = (
                f"edge {each.start:.2f} -> {each.learned:.2f}{label}, predicted {each.prediction}"
            )
        for one in self.differences:
            found[f"feature {one.name}"] = (
                f"{one.value:.3g}, its neighbours {one.mean:.3g} ({one.deviations:+.1f} "
                "standard deviations)"
            )
        return found

    def __repr__(self) -> str:
        return "\n".join([f"row {self.row}", *(f"  {k}: {v}" for k, v in self._facts().items())])

    def _repr_html_(self) -> str:
        return facts_html(f"row {self.row}", self._facts())


def explain(
    run: Run,
    features: Features,
    row: int,
    *,
    n_neighbors: int = 10,
    n_features: int = 5,
    names: Sequence[str] | None = None,
) -> Explanation:
    """Collect why a row got its class.

    Arguments:
        run: the record of the fit.
        features: `(n_rows, n_features)`.
        row: number of the row.
        n_neighbors: most neighbours listed; votes and means count all of them.
        n_features: most features listed.
        names: of the features; None numbers them.

    Raises:
        ValueError: there is no such row.
    """
    n_rows = run.edge_probs.shape[0]
    if not 0 <= row < n_rows:
        raise ValueError(f"row must be from 0 to {n_rows - 1}, got {row}")
    classes, labels = run.settings["classes"], run.predictions["labels"]
    probabilities = run.predictions["probabilities"]
    predicted = probabilities.argmax(1)
    learned, start = (graph[[row]].toarray()[0] for graph in (run.edge_probs, run.start))
    order = np.lexsort((np.arange(n_rows), -learned))[:n_neighbors]
    shown = np.where(labels >= 0, labels, predicted)
    return Explanation(
        row,
        _name(classes, labels[row]),
        classes[predicted[row]],
        {name: float(p) for name, p in zip(classes, probabilities[row], strict=True)},
        _votes(learned, shown, classes),
        _votes(start, shown, classes),
        [
            Neighbour(
                int(j),
                float(start[j]),
                float(learned[j]),
                _name(classes, labels[j]),
                classes[predicted[j]],
            )
            for j in order
            if learned[j] > 0
        ],
        _differences(features, row, learned, n_features, names),
    )


def _name(classes: Sequence[Any], label: int) -> Any:
    return None if label < 0 else classes[label]


def _votes(theta: Any, shown: Any, classes: Sequence[Any]) -> dict[Any, float]:
    weights = np.bincount(shown, theta, len(classes)) / max(float(theta.sum()), 1e-12)
    return {name: float(weight) for name, weight in zip(classes, weights, strict=True)}


def _differences(
    features: Features, row: int, theta: Any, n_features: int, names: Sequence[str] | None
) -> list[FeatureDifference]:
    """Find the features in which a row differs most from the weighted mean of its neighbours."""
    if not theta.any():
        return []
    weights = theta / theta.sum()
    value = features[[row]]
    value = np.asarray(value.toarray() if sp.issparse(value) else value, dtype=np.float64)[0]
    mean = np.asarray(weights @ features, dtype=np.float64).ravel()
    if sp.issparse(features):
        second = np.asarray(features.multiply(features).mean(axis=0)).ravel()
        centre = np.asarray(features.mean(axis=0)).ravel()
        spread = np.sqrt(np.maximum(second - centre**2, 0))
    else:
        spread = np.asarray(features, dtype=np.float64).std(0)
    scaled = np.divide(value - mean, spread, out=np.zeros_like(mean), where=spread > 0)
    order = np.argsort(-np.abs(scaled), kind="stable")[:n_features]
    return [
        FeatureDifference(
            str(k) if names is None else str(names[k]),
            float(value[k]),
            float(mean[k]),
            float(scaled[k]),
        )
        for k in order
    ]
