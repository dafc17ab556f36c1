"""Quality and uncertainty of class probabilities: accuracy, calibration, entropy in nats."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

N_BINS = 15
"""Bins of confidence of the expected calibration error (Guo et al., 2017)."""

SMALLEST = 1e-12
"""Lower bound of probabilities in logarithms: a true class of probability 0 costs 27.6 nats."""

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Quality:
    """The quality of predictions on rows whose class is known.

    Attributes:
        accuracy: share of rows whose most likely class is right.
        balanced_accuracy: mean of these shares over the classes that the rows have.
        nll: mean negative log-likelihood, nats.
        ece: expected calibration error, see `expected_calibration_error`.
    """

    accuracy: float
    balanced_accuracy: float
    nll: float
    ece: float

    def to_dict(self) -> dict[str, float]:
        """Return plain values by name, for JSON."""
        return asdict(self)


def quality(
    probabilities: Floats, labels: NDArray[np.int64], rows: NDArray[np.int64]
) -> Quality | None:
    """Compute the quality of class probabilities on the labelled ones of `rows`; None for none.

    Arguments:
        probabilities: `(n_nodes, n_classes)`, rows sum to 1.
        labels: `(n_nodes,)`; read at `rows` only. A class the probabilities have no column for (one
            that was never seen in training) has probability 0.
        rows: which rows count.
    """
    rows = rows[labels[rows] >= 0]
    if rows.size == 0:
        return None
    mine, truth = probabilities[rows].astype(np.float64), labels[rows]
    seen = truth < mine.shape[1]
    likelihood = np.where(seen, mine[np.arange(rows.size), np.where(seen, truth, 0)], 0)
    right = mine.argmax(1) == truth
    _, number = np.unique(truth, return_inverse=True)
    of_classes = np.bincount(number, right) / np.bincount(number)
    return Quality(
        float(right.mean()),
        float(of_classes.mean()),
        float(-np.log(np.maximum(likelihood, SMALLEST)).mean()),
        expected_calibration_error(mine, truth),
    )


def expected_calibration_error(
    probabilities: Floats, labels: NDArray[np.int64], n_bins: int = N_BINS
) -> float:
    """Compute Σ_b n_b/n |accuracy of bin b - mean confidence of bin b|, in [0, 1]; 0 is calibrated.

    Rows are put in bins of equal width ((b-1)/B, b/B] by their confidence, the largest class
    probability.

    References:
        Guo, Pleiss, Sun and Weinberger, 2017, eq. 5, https://arxiv.org/abs/1706.04599

    Arguments:
        probabilities: `(n_rows, n_classes)`, n_rows >= 1.
        labels: `(n_rows,)`.
        n_bins: B >= 1.
    """
    confidence = probabilities.max(1)
    right = probabilities.argmax(1) == labels
    bins = confidence_bins(confidence, n_bins)
    gap = np.bincount(bins, right - confidence, n_bins)  # n_b · (accuracy - confidence)
    return float(np.abs(gap).sum() / len(labels))


def confidence_bins(confidence: Floats, n_bins: int) -> NDArray[np.int64]:
    """Return the bin of each confidence: k where it lies in (k/B, (k+1)/B], 0 for 0."""
    return np.clip(np.ceil(confidence * n_bins).astype(np.int64) - 1, 0, n_bins - 1)


def entropy(probabilities: Floats) -> Floats:
    """Compute -Σ_c p_c log p_c over the last axis, nats; from 0 (certain) to log n_classes."""
    logs = np.log(np.where(probabilities > 0, probabilities, 1))
    found: Floats = -(probabilities * logs).sum(-1) + 0.0  # -0 becomes 0
    return found


def mutual_information(probabilities: Floats) -> Floats:
    """Compute H(mean) - mean of H over draws, the mutual information of drawn graph and class.

    0 where all graphs agree; at most the entropy of the mean. The total uncertainty of a node is
    the entropy of its mean prediction; this is the part that comes from not knowing the graph, and
    the rest is what remains on a known graph.

    References:
        Depeweg et al., 2018, eq. 3, https://arxiv.org/abs/1710.07283

    Arguments:
        probabilities: `(n_draws, n_nodes, n_classes)`, rows sum to 1.

    Returns:
        `(n_nodes,)`, nats, at least 0.
    """
    exact = probabilities.astype(np.float64)
    found: Floats = np.maximum(entropy(exact.mean(0)) - entropy(exact).mean(0), 0)
    return found
