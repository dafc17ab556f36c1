"""Classifiers of scikit-learn beside the PageRank of the labels, weighted by labels left out."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVC

from lds._types import Features

Probabilities = NDArray[np.float64]

SMALLEST = 1e-3
"""Smallest probability of a member: forests give 0 to classes that no tree has seen."""

TEMPERATURES = tuple(1.1**k for k in range(-12, 18))
"""Temperatures tried for the log-probabilities of a member, 0.3 to 5."""


def models(columns: Features) -> dict[str, Any]:
    """Unfitted classifiers by name: linear ones, and a kernel machine for measurements."""
    found: dict[str, Any] = {"logistic regression": LogisticRegression(max_iter=500)}
    if not sp.issparse(columns):
        shrunk = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
        found |= {"linear discriminant": shrunk, "kernel machine": SVC(C=3.0)}
    return found


def predicted(model: Any, rows: Features, n_classes: int) -> Probabilities:
    """Class probabilities of a fitted classifier, `(n_rows, n_classes)`.

    Scores of a kernel machine count as log-odds; temperatures calibrate them. Classes that it was
    not fitted to have probability 0.
    """
    if hasattr(model, "predict_proba"):
        known = model.predict_proba(rows)
    else:
        scores = model.decision_function(rows)
        if scores.ndim == 1:
            scores = np.stack([-scores, scores], 1)
        known = _softmax(2 * scores)
    found = np.zeros((len(known), n_classes))
    found[:, model.classes_] = known
    return found


@dataclass(frozen=True)
class Weights:
    """Temperatures and weights of members.

    Attributes:
        temperature: of each, by name.
        weight: of each, by name; they sum to 1.
    """

    temperature: dict[str, float]
    weight: dict[str, float]

    def mean(self, members: Mapping[str, Probabilities]) -> Probabilities:
        """The weighted mean of the members' calibrated probabilities."""
        parts = [self.weight[n] * tempered(p, self.temperature[n]) for n, p in members.items()]
        return np.asarray(np.sum(parts, axis=0))


def weights_of(
    members: Mapping[str, Probabilities],
    truth: NDArray[np.int64],
    families: Sequence[Sequence[str]],
) -> Weights:
    """Calibrate and weigh members by their predictions of n labels that they did not read.

    A temperature τ minimises n · log loss + 2 (log τ)². Families count alike beforehand, however
    many members they have. Within a family, and between the families as wholes, weights are
    proportional to exp(-√n · log loss): with few labels they differ little.

    Arguments:
        members: class probabilities `(n, n_classes)` by name.
        truth: the labels, `(n,)`.
        families: names of the members of each.
    """
    n = max(1, len(truth))
    temperature = {name: _temperature(found, truth) for name, found in members.items()}
    calibrated = {name: tempered(found, temperature[name]) for name, found in members.items()}
    weight: dict[str, float] = {}
    wholes = []
    for family in families:
        shares = _shares(n, [log_loss(calibrated[name], truth) for name in family])
        weight |= dict(zip(family, shares, strict=True))
        parts = [weight[name] * calibrated[name] for name in family]
        wholes.append(log_loss(np.asarray(np.sum(parts, axis=0)), truth))
    for family, share in zip(families, _shares(n, wholes), strict=True):
        weight |= {name: share * weight[name] for name in family}
    return Weights(temperature, {name: weight[name] for name in members})


def _shares(n: int, losses: Sequence[float]) -> list[float]:
    """Shares in proportion to exp(-√n · loss)."""
    odds = np.exp(-(n**0.5) * (np.array(losses) - min(losses)))
    shares: list[float] = (odds / odds.sum()).tolist()
    return shares


def _temperature(probabilities: Probabilities, truth: NDArray[np.int64]) -> float:
    n = max(1, len(truth))

    def cost(tau: float) -> float:
        return n * log_loss(tempered(probabilities, tau), truth) + 2 * float(np.log(tau)) ** 2

    return min(TEMPERATURES, key=cost)


def log_loss(probabilities: Probabilities, truth: NDArray[np.int64]) -> float:
    """Mean log loss, nats; 0 without labels."""
    if not len(truth):
        return 0.0
    return float(-np.log(probabilities[np.arange(len(truth)), truth]).mean())


def tempered(probabilities: Probabilities, temperature: float) -> Probabilities:
    """Probabilities whose logarithms are divided by a temperature."""
    return _softmax(np.log(probabilities.clip(SMALLEST)) / temperature)


def fit_members(
    columns: Features, labels: NDArray[np.int64], read: NDArray[np.int64]
) -> dict[str, Any]:
    """Fit every model to some rows, by name."""
    with warnings.catch_warnings():  # of the covariance of a class with one row, which is 0
        warnings.filterwarnings("ignore", "Only one sample available")
        return {
            name: model.fit(columns[read], labels[read]) for name, model in models(columns).items()
        }


def stacked(parts: Sequence[Mapping[str, Probabilities]]) -> dict[str, Probabilities]:
    """Predictions of several folds, one below the other, by name."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _softmax(scores: Probabilities) -> Probabilities:
    shares = np.exp(scores - scores.max(1, keepdims=True))
    return np.asarray(shares / shares.sum(1, keepdims=True))
