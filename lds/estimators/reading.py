"""What a classifier reads before it deals roles: features, labels, weights, perhaps a graph."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike, NDArray

from lds._labels import encode_labels
from lds.datasets.encoding import TableEncoding
from lds.estimators.frames import fitted_features
from lds.estimators.weights import weigh_rows
from lds.graphs.interop import as_adjacency, unless_empty


@dataclass(frozen=True)
class Given:
    """The arguments of a fit, read.

    Attributes:
        features: `(n_rows, n_features)`, dense or CSR.
        encoding: of the columns of X; None: they are the features as they are.
        codes: class numbers `(n_rows,)`, -1 where unlabelled.
        classes: class c has the name classes[c].
        weights: `(n_rows,)`, what labelled rows count; None: all alike.
        graph: symmetric CSR `(n_rows, n_rows)`; None: there is none, or it has no edge.
    """

    features: Any
    encoding: TableEncoding | None
    codes: NDArray[np.int64]
    classes: NDArray[Any]
    weights: NDArray[np.float64] | None
    graph: sp.csr_array | None


def read(
    estimator: Any,
    X: ArrayLike,
    y: ArrayLike,
    adjacency: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
) -> Given:
    """Read the arguments of `fit`, which says what they may be.

    Arguments:
        estimator: has `categorical_features` and `class_weight`; gets `n_features_in_` and
            `feature_names_in_`.
        X, y, adjacency, sample_weight: of `fit`.

    Raises:
        TypeError, ValueError: an argument cannot be used.
    """
    features, encoding = fitted_features(estimator, X)
    n_rows = features.shape[0]
    codes, classes, weights = weigh_rows(
        *encode_labels(y, n_rows), sample_weight, estimator.class_weight
    )
    graph = None if adjacency is None else as_adjacency(adjacency, n_rows)
    return Given(features, encoding, codes, classes, weights, unless_empty(graph, "adjacency"))
