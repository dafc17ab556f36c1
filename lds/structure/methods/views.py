"""Learned views: which likeness of rows their classes follow. Imports nothing heavy.

The smallest form of the thesis's idea, for tables with few labels. The inner problem is the
PageRank of the labels on a weighted graph, with no weights to train. The hyperparameters are one
coefficient for each view of likeness (columns, ranks, forests), and the outer objective is the log
loss of labels that the PageRank did not read, over folds: every labelled row has both roles.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

from lds.structure.methods.base import Method
from lds.structure.methods.thesis import Thesis
from lds.structure.options import AT_LEAST_1, FACTOR, POSITIVE, Range, option


@dataclass(frozen=True)
class Views(Method):
    """Learned views: its options.

    References:
        Zhou, Bousquet, Lal, Weston and Schölkopf, 2003 (label propagation); Franceschi, 2021,
        Appendix B (stochastic cross-validation).

    Examples:
        >>> Views(n_folds=3).n_hops
        15
    """

    home: ClassVar[str | None] = "lds.structure.methods.views_run"
    name: ClassVar[str] = "views"
    title: ClassVar[str] = "learned views"
    fixed_length: ClassVar[bool] = True
    reads_roles: ClassVar[bool] = False

    n_neighbors: int = option(20, "nearest neighbours of each view that may be joined", AT_LEAST_1)
    n_folds: int = option(
        5, "folds of the labelled rows, at least 2", Range("at least 2", lambda v: v >= 2)
    )
    n_hops: int = option(15, "steps of the PageRank of the labels", AT_LEAST_1)
    teleport: float = option(
        0.15, "share of a row's own label in each step of the PageRank", FACTOR
    )
    n_trees: int = option(100, "trees of each forest", AT_LEAST_1)
    outer_lr: float = option(0.2, "step size of Adam on the coefficients", POSITIVE)
    max_iter: int = option(20, "hypergradients", AT_LEAST_1)
    deviation: float = option(
        1.0, "standard deviation of the prior on a coefficient around its start", POSITIVE
    )
    max_rows: int = option(
        20_000,
        "rows on which views are learned, all labelled ones and a random sample of the others; the "
        "rest have no edges and are predicted like new rows",
        AT_LEAST_1,
        source="about 60 s and 0.9 GB; on made rows twice as many add 1 to 2 points",
    )
    update_edges: bool = option(
        True, "False never updates the coefficients: the frozen-graph control", user=False
    )

    def frozen(self) -> "Views":
        """Return the method with coefficients that are never updated: control (c)."""
        return replace(self, update_edges=False, max_iter=1)

    def control(self) -> Thesis:
        """Return the thesis's GCN on the thesis's starting graph: controls (a) and (b)."""
        return Thesis(support="auto")
