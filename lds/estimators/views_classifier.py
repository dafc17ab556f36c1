"""Learned views as a scikit-learn classifier, transductive like `LabelPropagation`."""

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from lds.estimators.base import BaseLDSClassifier
from lds.estimators.documentation import documented
from lds.estimators.weights import ClassWeight
from lds.structure.methods.views import Views
from lds.structure.methods.views_run import preparation_of


@documented(Views)
class ViewsLDSClassifier(BaseLDSClassifier):
    """Learn which likeness of rows their classes follow, and classify by labels along it.

    Labels travel along a weighted graph (PageRank). A pair of rows counts by its similarity in
    several views: the columns, their ranks, whitened columns, a forest that reads no labels, a
    forest that does, ranks weighted by that forest's importances, and what plain classifiers say;
    for words, the cosine of their weights, a forest and the classifiers; the edges of a given
    graph, if there is one. Hypergradients learn one coefficient a view from labels that were left
    out, over folds, so every labelled row is both read and judged: `validation` and `stopping` rows
    of `fit` are labelled rows like all others. The classifiers count beside the labels, by the same
    labels left out. `LDSClassifier` does this with a table by itself; this class has the options.

    Of more than `max_rows` rows a sample learns, with every labelled row in it; the others have no
    edges and are predicted like new rows, and a warning says how many they are.

    Rows labelled -1, None or NaN are unlabelled (see `lds._labels`): `fit` predicts them. `predict`
    classifies new rows by one step along their edges to the rows of `fit`. A row equal to a row of
    `fit` gets the answer that `fit` gave, one equal to several the mean of their answers; the whole
    X of `fit` gets its answers row by row.

    References:
        Zhou, Bousquet, Lal, Weston and Schölkopf, 2003, "Learning with local and global
        consistency"; Franceschi, 2021, chapter 5 and Appendix B.

    Arguments:
        resume: True continues from the state in the folder; without one, `fit` begins. On a CPU the
            result is equal, bit for bit, to that of a fit without interruption.
        n_jobs: processes that fit folds side by side, as of joblib: -1 is one a core; None follows
            `joblib.parallel_config`, and is 1 without it. Fits do not depend on it.

    Attributes:
        label_distributions_: `(n_rows, n_classes)`, rows sum to 1.
        mutual_information_: zeros: no graph is drawn.
        view_coefficients_: the learned coefficient of each view, by name.
        split_: the roles of the labelled rows, which this method does not tell apart.
        history_: one record a hypergradient; its scores are of labels that were left out.

    Examples:
        >>> import numpy as np
        >>> from lds import ViewsLDSClassifier
        >>> X = np.repeat(np.eye(2), 10, axis=0) + 0.1 * np.random.default_rng(0).random((20, 2))
        >>> y = np.repeat(["a", "b"], 10).astype(object)
        >>> y[[8, 9, 18, 19]] = None
        >>> clf = ViewsLDSClassifier(n_neighbors=5, n_trees=10, random_state=0).fit(X, y)
        >>> [str(label) for label in clf.transduction_[[8, 9, 18, 19]]]
        ['a', 'a', 'b', 'b']
        >>> list(clf.view_coefficients_)[:4]
        ['any pair', 'columns', 'ranks', 'forest']
    """

    method = Views

    def __init__(
        self,
        n_neighbors: int = 20,
        *,
        n_folds: int = 5,
        n_hops: int = 15,
        teleport: float = 0.15,
        n_trees: int = 100,
        outer_lr: float = 0.2,
        max_iter: int = 20,
        deviation: float = 1.0,
        max_rows: int = 20_000,
        class_weight: ClassWeight = None,
        categorical_features: ArrayLike | Literal["from_dtype"] | None = "from_dtype",
        random_state: int | np.random.RandomState | None = None,
        checkpoint: str | Path | None = None,
        resume: bool = False,
        n_jobs: int | None = None,
        device: str = "cpu",
        verbose: bool = False,
    ) -> None:
        self.n_neighbors = n_neighbors
        self.n_folds = n_folds
        self.n_hops = n_hops
        self.teleport = teleport
        self.n_trees = n_trees
        self.outer_lr = outer_lr
        self.max_iter = max_iter
        self.deviation = deviation
        self.max_rows = max_rows
        self.class_weight = class_weight
        self.categorical_features = categorical_features
        self.random_state = random_state
        self.checkpoint = checkpoint
        self.resume = resume
        self.n_jobs = n_jobs
        self.device = device
        self.verbose = verbose

    @property
    def view_coefficients_(self) -> dict[str, float]:
        """See the class."""
        names = preparation_of(self.learned_).names
        return dict(zip(names, self.learned_.params["coefficients"].tolist(), strict=True))
