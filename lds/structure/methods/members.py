"""Classifiers of scikit-learn beside the PageRank of the labels, weighted by labels left out."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.base import clone
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVC
from torch import Tensor

from lds._types import Features
from lds.nn.whitening import whitened, whitening
from lds.structure.methods.discriminant_member import SemiSupervisedDiscriminant

Probabilities = NDArray[np.float64]

SMALLEST = 1e-3
"""Smallest probability of a member: forests give 0 to classes that no tree has seen."""

TEMPERATURES = tuple(1.1**k for k in range(-12, 18))
"""Temperatures tried for the log-probabilities of a member, 0.3 to 5."""


COLUMNS, RANKS, WHITENED = "columns", "ranks", "whitened columns"
"""Forms of rows that members read: prepared columns, their ranks, and columns in a metric in which
classes are spread like balls (`nn.whitening`)."""

MOST_KERNEL_ROWS = 5000
"""Rows that a kernel machine is fitted to: its time grows with their square, and more."""

FOREST = "extra trees"
"""Name of the member whose leaves and importances are views."""

LINEAR = "linear discriminant"
"""Name of the member that needs more rows than classes."""

Forms = Mapping[str, Features]
"""Rows by form."""


@dataclass(frozen=True)
class Member:
    """A classifier.

    Attributes:
        model: of scikit-learn's kind.
        form: the form of rows that it reads.
    """

    model: Any
    form: str

    def fit(
        self,
        forms: Forms,
        labels: NDArray[np.int64],
        read: NDArray[np.int64],
        weights: NDArray[np.float64] | None = None,
    ) -> "Member":
        """Fit the model to the labels of some rows; one that is transductive sees all rows.

        A kernel machine reads at most `MOST_KERNEL_ROWS` of them, drawn evenly from each class.
        A linear discriminant takes weights of classes alone, as their shares beforehand.
        """
        rows = forms[self.form]
        if isinstance(self.model, SVC) and len(read) > MOST_KERNEL_ROWS:
            order = np.argsort(labels[read], kind="stable")
            read = read[order[np.linspace(0, len(read) - 1, MOST_KERNEL_ROWS).astype(np.int64)]]
        if getattr(self.model, "transductive", False):
            known = np.full(len(labels), -1, dtype=np.int64)
            known[read] = labels[read]
            more = {} if weights is None else {"sample_weight": weights}
            return replace(self, model=self.model.fit(rows, known, **more))
        if weights is None:
            return replace(self, model=self.model.fit(rows[read], labels[read]))
        mine = weights[read] / weights[read].mean()
        if isinstance(self.model, LinearDiscriminantAnalysis):
            shares = np.bincount(labels[read], mine)[np.unique(labels[read])] / len(read)
            model = clone(self.model).set_params(priors=shares / shares.sum())
            return replace(self, model=model.fit(rows[read], labels[read]))
        return replace(self, model=self.model.fit(rows[read], labels[read], sample_weight=mine))

    def predict(self, forms: Forms, n_classes: int) -> Probabilities:
        """Compute class probabilities, `(n_rows, n_classes)`.

        Scores of a kernel machine count as log-odds; temperatures calibrate them. Classes that it
        was not fitted to have probability 0.
        """
        model, rows = self.model, forms[self.form]
        if not rows.shape[0]:
            return np.zeros((0, n_classes))
        if hasattr(model, "predict_proba"):
            known = model.predict_proba(rows)
        else:
            scores = model.decision_function(rows)
            if scores.ndim == 1:
                scores = np.stack([-scores, scores], 1)
            known = softmax(2 * scores, axis=1)
        found = np.zeros((len(known), n_classes))
        found[:, model.classes_] = known
        return found


@dataclass(frozen=True)
class Members:
    """Classifiers fitted to the same labels.

    Attributes:
        each: by name.
        metric: in which columns are whitened; None: there are too few rows for one.
        n_classes: of the problem.
    """

    each: Mapping[str, Member]
    metric: Tensor | None
    n_classes: int

    @classmethod
    def fitted(
        cls,
        forms: Forms,
        labels: NDArray[np.int64],
        read: NDArray[np.int64],
        n_trees: int,
        seed: int,
        n_least: int | None = None,
        weights: NDArray[np.float64] | None = None,
        whitens: bool = True,
        n_classes: int | None = None,
    ) -> "Members":
        """Fit every model to the labels of some rows.

        Arguments:
            forms: all rows, in the forms that do not depend on labels.
            labels: `(n_rows,)`, read at `read`.
            read: row numbers.
            n_trees: of the forest.
            seed: of the forest.
            n_least: rows that the smallest fit of these members reads; None: as many as this one.
                All fits have the same members, so none that so few rows cannot fit.
            weights: `(n_rows,)`, what labelled rows count; None: all alike.
            whitens: whether measurements are whitened where there are rows enough for it.
            n_classes: of the problem; None counts them from the labels.
        """
        whitens = whitens and RANKS in forms
        metric = whitening(forms[COLUMNS], labels, read) if whitens else None
        alike = cls({}, metric, n_classes or int(labels.max()) + 1)
        seen = alike.forms(forms)
        with warnings.catch_warnings():  # of the covariance of a class with one row, which is 0
            warnings.filterwarnings("ignore", "Only one sample available")
            # A fold of many classes with two labels each has half as many classes as rows.
            warnings.filterwarnings("ignore", "The number of unique classes is greater")
            each = {
                name: member.fit(seen, labels, read, weights)
                for name, member in models(seen, n_trees, seed).items()
                if name != LINEAR or (n_least or len(read)) > alike.n_classes
            }
        return replace(alike, each=each)

    def forms(self, rows: Forms) -> Forms:
        """Add whitened columns to the other forms of rows."""
        if self.metric is None:
            return rows
        return {**rows, WHITENED: whitened(rows[COLUMNS], self.metric)}

    def predict(self, rows: Forms) -> dict[str, Probabilities]:
        """Compute class probabilities by every member; rows in the forms of `fitted`."""
        return self.predict_seen(self.forms(rows))

    def predict_seen(self, forms: Forms) -> dict[str, Probabilities]:
        """Compute them of rows that `forms` has been called on."""
        return {name: member.predict(forms, self.n_classes) for name, member in self.each.items()}


def models(forms: Forms, n_trees: int, seed: int) -> dict[str, Member]:
    """Make classifiers by name: a forest, linear ones, and kernel machines for measurements.

    Two strengths of a penalty, columns, ranks and whitened columns, products of columns: which of
    them a table wants is left to the labels that judge.
    """
    found = {
        FOREST: Member(ExtraTreesClassifier(n_trees, random_state=seed % 2**32), COLUMNS),
        "logistic regression": Member(LogisticRegression(max_iter=500), COLUMNS),
        "logistic regression, C = 10": Member(LogisticRegression(C=10.0, max_iter=500), COLUMNS),
    }
    if RANKS in forms:
        shrunk = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
        products = SVC(C=3.0, kernel="poly", degree=2, coef0=1.0)
        found |= {
            LINEAR: Member(shrunk, COLUMNS),
            "kernel machine": Member(SVC(C=10.0), COLUMNS),
            "kernel machine on ranks": Member(SVC(C=10.0), RANKS),
            "products of columns": Member(products, COLUMNS),
        }
    if WHITENED in forms:
        found["kernel machine on whitened columns"] = Member(SVC(C=10.0), WHITENED)
    if WHITENED in forms or RANKS not in forms:  # rows enough for a covariance, or words
        found["semi-supervised discriminant"] = Member(SemiSupervisedDiscriminant(), COLUMNS)
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
        """Compute the weighted mean of the members' calibrated probabilities."""
        parts = [self.weight[n] * tempered(p, self.temperature[n]) for n, p in members.items()]
        return np.asarray(np.sum(parts, axis=0))


def weights_of(
    members: Mapping[str, Probabilities],
    truth: NDArray[np.int64],
    families: Sequence[Sequence[str]],
    counts: NDArray[np.float64] | None = None,
) -> Weights:
    """Calibrate and weigh members by their predictions of n labels that they did not read.

    A temperature τ minimises n · log loss + 2 (log τ)². Families count alike beforehand, however
    many members they have. Within a family, and between the families as wholes, weights are
    proportional to exp(-√n · log loss): with few labels they differ little.

    Arguments:
        members: class probabilities `(n, n_classes)` by name.
        truth: the labels, `(n,)`.
        families: names of the members of each; members of none are left out.
        counts: what each label counts, `(n,)`, with mean 1; None: all alike.
    """
    n = max(1, len(truth))
    members = {name: members[name] for family in families for name in family}
    temperature = {name: _temperature(found, truth, counts) for name, found in members.items()}
    calibrated = {name: tempered(found, temperature[name]) for name, found in members.items()}
    weight: dict[str, float] = {}
    wholes = []
    for family in families:
        shares = _shares(n, [log_loss(calibrated[name], truth, counts) for name in family])
        weight |= dict(zip(family, shares, strict=True))
        parts = [weight[name] * calibrated[name] for name in family]
        wholes.append(log_loss(np.asarray(np.sum(parts, axis=0)), truth, counts))
    for family, share in zip(families, _shares(n, wholes), strict=True):
        weight |= {name: share * weight[name] for name in family}
    return Weights(temperature, {name: weight[name] for name in members})


def _shares(n: int, losses: Sequence[float]) -> list[float]:
    """Compute shares in proportion to exp(-√n · loss)."""
    odds = np.exp(-(n**0.5) * (np.array(losses) - min(losses)))
    shares: list[float] = (odds / odds.sum()).tolist()
    return shares


def _temperature(
    probabilities: Probabilities, truth: NDArray[np.int64], counts: NDArray[np.float64] | None
) -> float:
    n = max(1, len(truth))

    def cost(tau: float) -> float:
        loss = log_loss(tempered(probabilities, tau), truth, counts)
        return n * loss + 2 * float(np.log(tau)) ** 2

    return min(TEMPERATURES, key=cost)


def log_loss(
    probabilities: Probabilities,
    truth: NDArray[np.int64],
    counts: NDArray[np.float64] | None = None,
) -> float:
    """Compute the mean log loss, nats; 0 without labels. `counts` are as of `weights_of`."""
    if not len(truth):
        return 0.0
    each = -np.log(probabilities[np.arange(len(truth)), truth])
    return float((each if counts is None else counts * each).mean())


def tempered(probabilities: Probabilities, temperature: float) -> Probabilities:
    """Divide the logarithms of probabilities by a temperature, and normalise them."""
    found: Probabilities = softmax(np.log(probabilities.clip(SMALLEST)) / temperature, axis=1)
    return found


def stacked(parts: Sequence[Mapping[str, Probabilities]]) -> dict[str, Probabilities]:
    """Stack the predictions of several folds, one below the other, by name."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
