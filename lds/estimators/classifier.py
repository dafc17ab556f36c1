"""The default method as a scikit-learn classifier, transductive like `LabelPropagation`."""

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from lds.estimators.base import BaseLDSClassifier
from lds.estimators.documentation import documented
from lds.structure.methods.committee import Committee


@documented(Committee)
class LDSClassifier(BaseLDSClassifier):
    """Learn a graph of the rows and classify them on it.

    Hypergradients learn a few coefficients, shared by all edges, and a committee of networks trains
    on graphs drawn from them (see `lds.structure.methods.committee`). `ThesisLDSClassifier` is LDS
    to the letter.

    Labelled rows take three roles: train (the network's weights), validation (the edges) and
    stopping. Rows labelled -1, None or NaN are unlabelled (see `lds._labels`): `fit` predicts them,
    `score` leaves them out, `LabelledKFold` cross-validates with them.

    `fit` predicts the rows it saw (`transduction_`). `predict` takes further rows, a related but
    different question: a new row has edges to its `n_neighbors` nearest rows of `fit`, by the
    learned coefficients, and the trained networks classify it, on `n_draws` drawn graphs. New rows
    do not see each other. A row equal to a row of `fit` gets the answer `fit` gave.

    References:
        Franceschi, Niepert, Pontil and He, 2019, https://arxiv.org/abs/1903.11960;
        Franceschi, 2021, chapter 9.

    Arguments:
        categorical_features: columns of categories, as in `HistGradientBoostingClassifier`: their
            names, their places, or a mask; "from_dtype" are those of pandas' dtype category.
        random_state: None, an int or a RandomState; an int makes fits repeatable bit for bit.
        checkpoint: folder that keeps the state of a fit after every outer iteration; None keeps
            none. One folder is for one fit: one that holds an earlier fit is refused, unless that
            is resumed.
        resume: True goes on from what is kept there, on a CPU to bitwise the same result as without
            the interruption; where nothing is, `fit` begins. Data, options and an int
            `random_state` must be the same, but for max_iter and patience.
        device: "cpu", "cuda", ...
        verbose: True prints a line after each outer iteration, and before each member of
            the committee is trained.

    Attributes:
        classes_: `(n_classes,)`.
        transduction_: `(n_rows,)`, the predicted class of every row of `fit`.
        label_distributions_: `(n_rows, n_classes)`, rows sum to 1: the mean over drawn graphs.
        entropy_: `(n_rows,)`, nats, of `label_distributions_`: how unsure a prediction is in all.
        mutual_information_: `(n_rows,)`, nats: the part of it that comes from not knowing the
            graph (see `lds.structure.metrics.mutual_information`).
        edge_probabilities_: symmetric CSR `(n_rows, n_rows)`; entries <= 1e-4 are dropped.
        dropped_probability_: the sum of what was dropped, in expected undirected edges.
        learned_: the whole result, see `lds.structure.result.Learned`.
        split_: the roles of the labelled rows.
        history_: one record an outer iteration, and one more for the refit.
        n_iter_: records in `history_`.
        n_features_in_: columns of X; `feature_names_in_`: their names, where X has names.

    Examples:
        >>> import numpy as np
        >>> from lds import LDSClassifier
        >>> X = np.repeat(np.eye(2), 10, axis=0) + 0.1 * np.random.default_rng(0).random((20, 2))
        >>> y = np.repeat(["a", "b"], 10).astype(object)
        >>> y[[8, 9, 18, 19]] = None
        >>> clf = LDSClassifier(n_neighbors=3, max_inner=60, max_iter=2, random_state=0).fit(X, y)
        >>> [str(label) for label in clf.transduction_[[8, 9, 18, 19]]]
        ['a', 'a', 'b', 'b']
    """

    method = Committee

    def __init__(
        self,
        n_neighbors: int = 30,
        *,
        metric: str = "auto",
        hidden_channels: int = 64,
        dropout: float = 0.5,
        weight_decay: float = 0.002,
        inner_lr: float = 0.01,
        outer_lr: float = 0.1,
        outer_lr_decay: float = 0.95,
        truncation: int = 5,
        n_draws: int = 16,
        inner_tol: float = 0.001,
        inner_patience: int = 100,
        max_inner: int = 100,
        patience: int = 5,
        max_iter: int = 5,
        label_weight: float = 1.0,
        denoising_weight: float = 0.0,
        redraw: bool = True,
        settle: float = 0.05,
        agreement: float = 1.0,
        metric_rank: int = 0,
        refit_steps: int = 300,
        categorical_features: ArrayLike | Literal["from_dtype"] | None = "from_dtype",
        random_state: int | np.random.RandomState | None = None,
        checkpoint: str | Path | None = None,
        resume: bool = False,
        device: str = "cpu",
        verbose: bool = False,
    ) -> None:
        self.n_neighbors = n_neighbors
        self.metric = metric
        self.hidden_channels = hidden_channels
        self.dropout = dropout
        self.weight_decay = weight_decay
        self.inner_lr = inner_lr
        self.outer_lr = outer_lr
        self.outer_lr_decay = outer_lr_decay
        self.truncation = truncation
        self.n_draws = n_draws
        self.inner_tol = inner_tol
        self.inner_patience = inner_patience
        self.max_inner = max_inner
        self.patience = patience
        self.max_iter = max_iter
        self.label_weight = label_weight
        self.denoising_weight = denoising_weight
        self.redraw = redraw
        self.settle = settle
        self.agreement = agreement
        self.metric_rank = metric_rank
        self.refit_steps = refit_steps
        self.categorical_features = categorical_features
        self.random_state = random_state
        self.checkpoint = checkpoint
        self.resume = resume
        self.device = device
        self.verbose = verbose
