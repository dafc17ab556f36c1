"""Predict nodes that were not in the graph of a `LearnedStructure`."""

import torch
from torch import Tensor

from lds.structure.result import Learned


def refuse_made(made_features: bool) -> None:
    """Refuse to predict where the features of the fit are of the graph.

    Raises:
        ValueError: they are.
    """
    if made_features:
        raise ValueError(
            "the run learned from features made from its graph, which new nodes do not have; a "
            "run on nodes with features of their own predicts new ones"
        )


class NewNodes:
    """What classifies new nodes, of a result for a PyG data object."""

    classes: Tensor
    probabilities: Tensor
    learned: Learned
    made_features: bool

    def predict_proba(self, x: Tensor) -> Tensor:
        """Compute class probabilities of nodes that were not in the graph, from their features.

        Each has edges to nodes of the graph that are near by features, and none to other new nodes.
        One with the features of a node of the graph gets its answer, or the mean of several such
        answers; with the whole `data.x` each node gets its own.

        Arguments:
            x: `(n_new, n_features)`, finite, columns as of `data.x`.

        Returns:
            `(n_new, n_classes)`, columns as in `classes`, on the device of `data.x`.

        Raises:
            TypeError, ValueError: x cannot be used; or the run learned from features made from the
                graph, which new nodes do not have.
        """
        refuse_made(self.made_features)
        return torch.from_numpy(self.learned.predict_new(x)).to(self.probabilities.device)

    def predict(self, x: Tensor) -> Tensor:
        """Predict the most likely class of new nodes, `(n_new,)`, as `predict_proba` does."""
        return self.classes[self.predict_proba(x).argmax(1)]
