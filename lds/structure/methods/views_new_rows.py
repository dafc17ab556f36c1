"""How learned views predict rows that they were not learned on."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lds._jobs import one_thread_each
from lds._types import Features
from lds.structure.methods.members import Members, Probabilities, Weights, stacked
from lds.structure.methods.views_pairs import Seen, distinct
from lds.structure.methods.views_preparation import LABELS, ViewsPreparation, shares
from lds.structure.methods.views_rows import FormMaker, checked_once

BLOCK = 4096
"""Rows predicted at once: their pairs, 140 a row, take about 100 MB."""

BLOCKS = 8
"""Blocks that one process predicts after it has made the indexes of the neighbour searches."""


@dataclass(frozen=True)
class NewRows:
    """What predicts new rows: views, members, and what was learned.

    A row has edges to its nearest rows of the fit in every view, by the learned coefficients, and
    one step of the PageRank along them. Its answer does not depend on the rows beside it.

    Attributes:
        rows: makes the forms that views and members read.
        seen: the views, and the means and deviations of their similarities.
        members: classifiers fitted to all labels.
        n_neighbors: nearest rows in each view.
        coefficients: of the views.
        mass: F of the rows of the fit, before the last step, `(n_fit, n_classes)`.
    """

    rows: FormMaker
    seen: Seen
    members: Members
    n_neighbors: int
    coefficients: Tensor
    mass: Tensor

    @classmethod
    def of(
        cls, prepared: ViewsPreparation, params: Mapping[str, Tensor], n_neighbors: int
    ) -> "NewRows":
        """Take what new rows need from a preparation; no pairs of the fit.

        Arguments:
            prepared: of the fit.
            params: what was learned, by name.
            n_neighbors: nearest rows in each view.
        """
        seen, members = prepared.seen.without_pairs(), prepared.members
        learned = params["coefficients"], params["mass"]
        return cls(prepared.rows, seen, members, n_neighbors, *learned)

    def pairs(
        self, new: Features
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], dict[str, Probabilities]]:
        """Pair new rows with their nearest rows of the fit in any view, with features of the pairs.

        Returns:
            Rows, columns, features, and what the members predict for the new rows.
        """
        forms = self.members.forms(self.rows.of(new))
        with checked_once():
            says = self.members.predict_seen(forms)
        later, n = self.rows.of_later(new, forms, says, self.members), self.seen.n_nodes
        views = [view.of_later(later[name]) for name, view in self.seen.views.items()]
        near = np.concatenate([view.near(min(self.n_neighbors, n)) for view in views], 1)
        key = distinct((np.arange(len(near))[:, None] * n + near)[near >= 0])
        row, col = key // n, key % n
        features = self.seen.standardised([view.of_pairs(row, col) for view in views])
        return row, col, features, says

    def step(self, new: Features) -> tuple[Tensor, dict[str, Probabilities]]:
        """Compute F of new rows, by one step along their edges, and what the members predict."""
        mass = self.mass
        row, col, features, says = self.pairs(new)
        logits = torch.as_tensor(features, dtype=mass.dtype, device=mass.device)
        weight = (logits @ self.coefficients).sigmoid().unsqueeze(1)
        index = torch.as_tensor(row, device=mass.device)
        near = mass[torch.as_tensor(col, device=mass.device)]
        sums = mass.new_zeros(new.shape[0], mass.shape[1]).index_add_(0, index, weight * near)
        degree = mass.new_zeros(new.shape[0], 1).index_add_(0, index, weight)
        return sums / degree.clamp_min(1e-12), says

    def along_edges(self, mass: Tensor) -> Tensor:
        """Compute class probabilities of new rows from their F."""
        return shares(mass, self.mass.mean())

    def predict(self, new: Features, weighing: Weights) -> tuple[Tensor, Tensor]:
        """Predict class probabilities of new rows, the weighted mean of all members', and their F.

        Arguments:
            new: `(n_new, n_features)`.
            weighing: of all members.
        """
        found = [self._block(new[at : at + BLOCK], weighing) for at in blocks(new.shape[0])]
        if not found:
            return self.mass[:0], self.mass[:0]
        probabilities, mass = zip(*found, strict=True)
        return torch.cat(probabilities), torch.cat(mass)

    def _block(self, new: Features, weighing: Weights) -> tuple[Tensor, Tensor]:
        mass, says = self.step(new)
        of_labels = self.along_edges(mass).double().cpu().numpy()
        mean = weighing.mean({LABELS: of_labels, **says})
        return torch.as_tensor(mean, dtype=mass.dtype, device=mass.device), mass

    def predict_side_by_side(
        self, features: Features, outside: NDArray[np.int64], weighing: Weights, n_jobs: int | None
    ) -> tuple[Tensor, Tensor]:
        """Predict some rows of a table over processes; their number changes no bit.

        Arguments:
            features: of the table.
            outside: row numbers.
            weighing: of all members.
            n_jobs: processes, as of joblib.
        """
        size = BLOCK * BLOCKS
        parts = [features[outside[at : at + size]] for at in range(0, len(outside), size)]
        found = one_thread_each(_predicted, [(self, each, weighing) for each in parts], n_jobs)
        probabilities, mass = zip(*found, strict=True)
        return torch.cat(probabilities), torch.cat(mass)

    def members_say(self, new: Features) -> dict[str, Probabilities]:
        """Predict class probabilities of new rows by every member without a graph, by name."""
        starts = blocks(new.shape[0])
        return stacked([self.members.predict(self.rows.of(new[k : k + BLOCK])) for k in starts])


def blocks(n_rows: int) -> range:
    """List the first rows of the blocks of a table."""
    return range(0, n_rows, BLOCK)


def _predicted(new_rows: NewRows, new: Features, weighing: Weights) -> tuple[Tensor, Tensor]:
    return new_rows.predict(new, weighing)
