"""Features in the forms that members and views of likeness read, for the fit and for later rows."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn import config_context
from sklearn.ensemble import ExtraTreesClassifier, RandomTreesEmbedding

from lds._types import Features
from lds.graphs.leaf_view import LeafView
from lds.graphs.views import KernelView, View, WordView
from lds.nn.preparation import FeaturePreparation, as_array
from lds.nn.whitening import enough_rows
from lds.structure.methods.members import (
    COLUMNS,
    FOREST,
    RANKS,
    WHITENED,
    Forms,
    Members,
    Probabilities,
    tempered,
)

DEPTH = 6
"""Depth of the trees that do not read labels."""

MEMBERS_AGREE = "members agree"
"""Name of the view in which rows are alike to which the members give like class probabilities."""

GIVEN = "given graph"
"""Name of the view in which rows are alike that have an edge of the given graph."""


def checked_once() -> AbstractContextManager[None]:
    """Keep scikit-learn from checking rows and options again, for each tree, within a block."""
    found: AbstractContextManager[None] = config_context(
        assume_finite=True, skip_parameter_validation=True
    )
    return found


class FormMaker:
    """Features in the forms that members and views read.

    Arguments:
        features: of the fit, `(n_nodes, n_features)`.
        n_trees: of the forest that reads no labels.
        seed: of that forest.
    """

    def __init__(self, features: Features, n_trees: int, seed: int) -> None:
        self._prepared = FeaturePreparation(features)
        self._features, self._measured = features, self._prepared.measured
        if self._measured:
            self._ascending = np.sort(np.asarray(as_array(features), dtype=np.float64), axis=0)
        self.forms = self.of(features)
        if self._measured:
            self._trees = RandomTreesEmbedding(
                n_trees, max_depth=DEPTH, random_state=seed % 2**32
            ).fit(self.forms[RANKS])

    def of(self, rows: Features) -> dict[str, Features]:
        """Return rows in all forms, by name: prepared columns and, of measurements, ranks.

        A rank is the share of the rows of the fit below a value, in [0, 1]; ties count by half.
        """
        columns = self._prepared.transform(rows)
        if not self._measured:
            return {COLUMNS: columns}
        x = np.asarray(as_array(rows), dtype=np.float64)
        ranks = np.empty(x.shape)
        for j, (column, known) in enumerate(zip(x.T, self._ascending.T, strict=True)):
            below = np.searchsorted(known, column) + np.searchsorted(known, column, "right")
            ranks[:, j] = below / (2 * len(known))
        return {COLUMNS: as_array(columns), RANKS: ranks}

    def part(self, numbers: NDArray[np.int64]) -> Forms:
        """Return some rows in all forms; all of them are not copied."""
        return {name: _part(form, numbers) for name, form in self.forms.items()}

    def can_whiten(self, numbers: NDArray[np.int64]) -> bool:
        """Say whether a metric can be learned of some rows, see `nn.whitening`."""
        columns = self.forms[COLUMNS]
        if not (self._measured and enough_rows(len(numbers), int(columns.shape[1]))):
            return False
        some = as_array(_part(columns, numbers))
        return bool((some != some[0]).any())

    def views(self, numbers: NDArray[np.int64], n_neighbors: int) -> dict[str, View]:
        """Make the views that read no labels, of some rows, each with `n_neighbors` near rows."""
        if not self._measured:
            return {"words": WordView(_part(self._features, numbers))}
        forms = self.part(numbers)
        return {
            "columns": KernelView(as_array(forms[COLUMNS]), n_neighbors),
            "ranks": KernelView(as_array(forms[RANKS]), n_neighbors),
            "forest": LeafView(self._trees.apply(forms[RANKS])),
        }

    def of_later(
        self, given: Features, forms: Forms, says: Mapping[str, Probabilities], members: Members
    ) -> dict[str, Any]:
        """Return later rows as each view takes them, by its name; the edge view counts them.

        Arguments:
            given: `(n_later, n_features)`.
            forms: these rows in the forms of `Members.forms`.
            says: what the members predict for them.
            members: the members.
        """
        seen = {GIVEN: given, **by_members(forms, members, says)}
        if not self._measured:
            return {"words": given, **seen}
        ranks = forms[RANKS]
        return {
            "columns": forms[COLUMNS],
            "ranks": ranks,
            "forest": self._trees.apply(ranks),
            **seen,
        }


def _part(rows: Features, numbers: NDArray[np.int64]) -> Features:
    return rows if len(numbers) == rows.shape[0] else rows[numbers]


def label_views(
    seen: Forms, members: Members, says: Mapping[str, Probabilities], n_neighbors: int
) -> dict[str, View]:
    """Make the views of members that were fitted to labels.

    Arguments:
        seen: all rows, in the forms of `Members.forms`.
        members: the members.
        says: what they predict for these rows.
        n_neighbors: near rows that will be asked for.
    """
    found = by_members(seen, members, says)
    return {
        name: LeafView(rows) if rows.dtype.kind in "iu" else KernelView(rows, n_neighbors)
        for name, rows in found.items()
    }


def by_members(
    forms: Forms, members: Members, says: Mapping[str, Probabilities]
) -> dict[str, NDArray[Any]]:
    """Return rows as views of members take them: leaves, or coordinates."""
    forest = members.each[FOREST].model
    found = {"label forest": forest.apply(forms[COLUMNS])}
    if RANKS in forms:
        found["important ranks"] = forms[RANKS] * _importance(forest)
    if WHITENED in forms:
        found[WHITENED] = as_array(forms[WHITENED])
    # Distances of roots of probabilities are Hellinger's.
    found[MEMBERS_AGREE] = np.sqrt(np.mean([tempered(each, 1.0) for each in says.values()], axis=0))
    return found


def _importance(forest: ExtraTreesClassifier) -> NDArray[np.float64]:
    """Compute the roots of a forest's importances of columns, the largest 1.

    Where no split of any tree tells classes apart there are none, and all columns count alike. The
    importance of a column that tells nothing may be rounded to a number below 0.
    """
    with np.errstate(invalid="ignore"):
        found: NDArray[np.float64] = forest.feature_importances_
    if not found.max() > 0:  # also where it is NaN
        return np.ones_like(found)
    roots: NDArray[np.float64] = np.sqrt(np.maximum(found, 0) / found.max())
    return roots
