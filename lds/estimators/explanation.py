"""Why a row got its class: its neighbours, their votes, and how they differ from it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from lds._numbers import integer
from lds._types import Features
from lds._words import facts_html
from lds.estimators.cells import row_cells, units
from lds.estimators.evidence import Evidence
from lds.run_folder import Run

MOST_CELLS = 30
"""Cells that the text of an explanation shows."""

MOST_FEATURES = 5
"""Features that an explanation lists."""


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


class MemberVote(NamedTuple):
    """What a member of the method's committee predicts for a row.

    Arguments:
        name: of the member.
        weight: its share of the prediction; the weights sum to 1.
        prediction: the class that it gives the row.
        probability: of that class.
    """

    name: str
    weight: float
    prediction: Any
    probability: float


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
        members: what each member of the committee predicts, the heaviest first; empty where the
            method has no members.
        identifier: name of the row; None: it has none.
        cells: by column, the cells of the row, read back from its features: numbers have six
            digits, and columns of long text are not among them. Of sparse features those that
            are not 0.
    """

    row: int
    label: Any
    prediction: Any
    probabilities: dict[Any, float]
    votes: dict[Any, float]
    starting_votes: dict[Any, float]
    neighbours: list[Neighbour]
    differences: list[FeatureDifference]
    members: list[MemberVote] = field(default_factory=list)
    identifier: str | None = None
    cells: dict[str, Any] = field(default_factory=dict)

    @property
    def _title(self) -> str:
        return f"row {self.row}" + ("" if self.identifier is None else f" ({self.identifier})")

    def _facts(self) -> dict[str, str]:
        known = "unknown" if self.label is None else f"{self.label}"
        found = {
            "label": known,
            "prediction": f"{self.prediction}, {100 * self.probabilities[self.prediction]:.0f} %",
            "votes of its edges, start -> learned": ", ".join(
                f"class {name}: {100 * self.starting_votes[name]:.0f} -> {100 * vote:.0f} %"
                for name, vote in self.votes.items()
            ),
        }
        for each in self.neighbours:
            label = "" if each.label is None else f", label {each.label}"
            found[f"neighbour {each.row}"] = (
                f"edge {each.start:.2f} -> {each.learned:.2f}{label}, predicted {each.prediction}"
            )
        for vote in self.members:
            found[f"member {vote.name}"] = (
                f"{vote.prediction}, {100 * vote.probability:.0f} %, weight "
                f"{100 * vote.weight:.0f} %"
            )
        for one in self.differences:
            found[f"feature {one.name}"] = (
                f"{one.value:.3g}, its neighbours {one.mean:.3g} ({one.deviations:+.1f} "
                "standard deviations)"
            )
        shown = list(self.cells.items())[:MOST_CELLS]
        found |= {f"cell {name}": "missing" if v is None else f"{v}" for name, v in shown}
        if len(self.cells) > MOST_CELLS:
            found["further cells"] = f"{len(self.cells) - MOST_CELLS:,}, in the attribute `cells`"
        return found

    def __repr__(self) -> str:
        return "\n".join([self._title, *(f"  {k}: {v}" for k, v in self._facts().items())])

    def _repr_html_(self) -> str:
        return facts_html(self._title, self._facts())


def explain(
    run: Run,
    evidence: Evidence,
    row: int,
    *,
    most: int = 10,
) -> Explanation:
    """Collect why a row got its class.

    Arguments:
        run: the record of the fit.
        evidence: features, their encoding and the members.
        row: number of the row.
        most: neighbours listed, at least 0; votes and means count all of them.

    Raises:
        TypeError: `most` is no integer.
        ValueError: there is no such row, or it is no number; or `most` is negative.
    """
    n_rows = run.edge_probs.shape[0]
    if isinstance(row, bool) or not isinstance(row, Integral) or not 0 <= row < n_rows:
        raise ValueError(f"row must be a number from 0 to {n_rows - 1}, got {row!r}")
    most = integer("most", most)
    if most < 0:
        raise ValueError(f"most must be 0 or more, got {most}")
    classes, labels = run.settings["classes"], run.predictions["labels"]
    probabilities = run.predictions["probabilities"]
    predicted = probabilities.argmax(1)
    learned, start = (graph[[row]].toarray()[0] for graph in (run.edge_probs, run.start))
    order = np.lexsort((np.arange(n_rows), -learned))[:most]
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
        _differences(evidence, row, learned),
        _members(evidence, row, classes),
        str(run.predictions["identifiers"][row]) if "identifiers" in run.predictions else None,
        {} if evidence.features is None else row_cells(evidence.features, row, evidence.encoding),
    )


def _name(classes: Sequence[Any], label: int) -> Any:
    return None if label < 0 else classes[label]


def _votes(theta: Any, shown: Any, classes: Sequence[Any]) -> dict[Any, float]:
    weights = np.bincount(shown, theta, len(classes)) / max(float(theta.sum()), 1e-12)
    return {name: float(weight) for name, weight in zip(classes, weights, strict=True)}


def _members(evidence: Evidence, row: int, classes: Sequence[Any]) -> list[MemberVote]:
    found = []
    for name, (weight, each) in evidence.account.members.items():
        best = int(each[row].argmax())
        found.append(MemberVote(name, float(weight), classes[best], float(each[row, best])))
    return sorted(found, key=lambda vote: -vote.weight)


def spreads(features: Features) -> NDArray[np.float64]:
    """Standard deviation of each feature over all rows, `(n_features,)`; 0 where all are equal."""
    if not sp.issparse(features):
        dense = np.asarray(features, dtype=np.float64)
        return np.where(np.ptp(dense, axis=0) > 0, dense.std(axis=0), 0)
    n_rows, n_features = features.shape
    entries: Any = sp.coo_array(features)
    values = entries.data.astype(np.float64)
    stored = np.bincount(entries.col, minlength=n_features)
    centre = np.bincount(entries.col, values, n_features) / n_rows
    # Not the mean of squares less the squared mean, which rounds to nothing in a year or a price.
    squares = np.bincount(entries.col, (values - centre[entries.col]) ** 2, n_features)
    variance = (squares + (n_rows - stored) * centre**2) / n_rows
    low, high = (each.toarray().ravel() for each in (features.min(axis=0), features.max(axis=0)))
    return np.where(high > low, np.sqrt(variance), 0)


def _differences(evidence: Evidence, row: int, theta: Any) -> list[FeatureDifference]:
    """Find the features in which a row differs most from the weighted mean of its neighbours.

    Numbers of a table are in the units of their columns.
    """
    features = evidence.features
    if features is None or not theta.any():
        return []
    weights = theta.astype(np.float64)
    weights /= weights.sum()
    value = features[[row]]
    value = np.asarray(value.toarray() if sp.issparse(value) else value, dtype=np.float64)[0]
    mean = np.asarray(weights @ features, dtype=np.float64).ravel()
    spread = spreads(features)
    scaled = np.divide(value - mean, spread, out=np.zeros_like(mean), where=spread > 0)
    order = np.argsort(-np.abs(scaled), kind="stable")[:MOST_FEATURES]
    names: Sequence[Any] = range(len(mean))
    if evidence.encoding is not None:
        scale, centre = units(evidence.encoding)
        value, mean = value * scale + centre, mean * scale + centre
        names = evidence.encoding.feature_names
    return [
        FeatureDifference(
            str(names[k]),
            float(value[k]),
            float(mean[k]),
            float(scaled[k]),
        )
        for k in order
    ]
