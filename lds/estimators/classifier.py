"""The default method as a scikit-learn classifier, transductive like `LabelPropagation`."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from lds.estimators.base import BaseLDSClassifier
from lds.estimators.documentation import documented
from lds.estimators.weights import ClassWeight
from lds.structure.methods.committee import Committee
from lds.structure.methods.views import Views


@documented(Committee)
class LDSClassifier(BaseLDSClassifier):
    """Learn a graph of the rows and classify them on it.

    Two methods learn, each where it is better; `learned_.method` says which one did.

    - With a graph, or with `validation` and `stopping` rows, or with any option set: hypergradients
      learn a few coefficients, shared by all edges, and a committee of networks trains on graphs
      drawn from them (see `lds.structure.methods.committee`). A labelled row has one of three
      roles: train rows train the networks, validation rows the edges, and stopping rows decide when
      to stop.
    - A table with all options as they are: labels travel along a graph whose coefficients say what
      each view of likeness is worth, with plain classifiers beside it (see
      `lds.structure.methods.views`). Every labelled row trains, and is left out in turn to judge.
      `ViewsLDSClassifier` has its options; `tables="committee"` takes the committee instead.

    `ThesisLDSClassifier` follows the thesis to the letter.

    Rows labelled -1, None or NaN are unlabelled (see `lds._labels`): `fit` predicts them, `score`
    leaves them out, and `LabelledKFold` cross-validates with them.

    `fit` predicts its own rows (`transduction_`). `predict` classifies new rows: the learned
    coefficients give the edges of a new row to its nearest rows of `fit`. New rows have no edges to
    each other. A row equal to a row of `fit` gets the answer that `fit` gave. Equal rows of `fit`
    may have different answers, for example by their edges of a graph: a row equal to several gets
    their mean, and the whole X of `fit` gets its answers row by row.

    References:
        Franceschi, Niepert, Pontil and He, 2019, https://arxiv.org/abs/1903.11960;
        Franceschi, 2021, chapter 9.

    Arguments:
        n_jobs: processes that fit the folds of a table, or train the networks of a committee, side
            by side and with one thread each, as of joblib: -1 is one a core; None follows
            `joblib.parallel_config`. Fits do not depend on the number. With None and no
            configuration this process works, and a committee uses torch's threads.
        verbose: True prints a line after each outer iteration, and before each member of
            the committee is trained.

    Attributes:
        history_: one record for each outer iteration, and one for the refit.

    Examples:
        >>> import numpy as np
        >>> from lds import LDSClassifier
        >>> X = np.repeat(np.eye(2), 10, axis=0) + 0.1 * np.random.default_rng(0).random((20, 2))
        >>> y = np.repeat(["a", "b"], 10).astype(object)
        >>> y[[8, 9, 18, 19]] = None
        >>> clf = LDSClassifier(n_neighbors=3, max_iter=1, refits=1, random_state=0).fit(X, y)
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
        distillation: float = 1.0,
        metric_rank: int = 0,
        refits: int = 3,
        refit_steps: int = 300,
        max_nodes: int = 25_000,
        tables: str = "views",
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
        self.distillation = distillation
        self.metric_rank = metric_rank
        self.refits = refits
        self.refit_steps = refit_steps
        self.max_nodes = max_nodes
        self.tables = tables
        self.class_weight = class_weight
        self.categorical_features = categorical_features
        self.random_state = random_state
        self.checkpoint = checkpoint
        self.resume = resume
        self.n_jobs = n_jobs
        self.device = device
        self.verbose = verbose

    @classmethod
    def _options_of(cls, method: str, options: dict[str, Any]) -> dict[str, Any] | None:
        """Find the parameters of a fit; one of learned views has all as they are."""
        if method == Views.name and Views(**options) == Views():
            return {}
        return super()._options_of(method, options)
