"""The semi-supervised discriminant as a classifier of scikit-learn's kind."""

from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from lds._types import Features
from lds.graphs.batch import weighted_graph
from lds.nn.discriminant import Discriminant, fit_discriminant
from lds.nn.features import node_features


class SemiSupervisedDiscriminant:
    """Linear discriminant analysis whose classes are fitted to all rows (see `nn.discriminant`).

    Attributes:
        classes_: the class numbers of `fit`, all from 0 on.
    """

    transductive = True
    """`fit` takes rows without a label too, labelled -1."""

    def fit(
        self,
        x: Features,
        labels: NDArray[np.int64],
        sample_weight: NDArray[np.float64] | None = None,
    ) -> Self:
        """Fit the classes by expectation-maximisation, in float64.

        Arguments:
            x: `(n_rows, n_features)`, an array or a scipy sparse matrix.
            labels: `(n_rows,)`, -1 where unknown.
            sample_weight: `(n_rows,)`, read where a label is known; None: all count alike.
        """
        none = torch.zeros(0, dtype=torch.int64)
        no_edges = weighted_graph(none, none, torch.zeros(0, dtype=torch.float64), x.shape[0])
        n_classes = int(labels.max()) + 1
        self.classes_ = np.arange(n_classes)
        found = fit_discriminant(
            Discriminant(x.shape[1], n_classes, neighbors=False),
            node_features(x, torch.float64),
            torch.as_tensor(labels),
            torch.as_tensor(np.flatnonzero(labels >= 0)),
            no_edges,
            None if sample_weight is None else torch.as_tensor(sample_weight),
        )
        self._weight, self._bias = found["W"].numpy(), found["b"].numpy()
        return self

    def predict_proba(self, x: Features) -> NDArray[np.float64]:
        """Compute class probabilities, `(n_rows, n_classes)`."""
        scores = x.astype(np.float64, copy=False) @ self._weight + self._bias
        odds = np.exp(scores - scores.max(1, keepdims=True))
        found: NDArray[np.float64] = odds / odds.sum(1, keepdims=True)
        return found
