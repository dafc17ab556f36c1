"""LDS of the thesis as a scikit-learn classifier, transductive like `LabelPropagation`."""

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from lds.estimators.base import BaseLDSClassifier
from lds.estimators.documentation import documented
from lds.estimators.weights import ClassWeight
from lds.structure.methods.thesis import Thesis


@documented(Thesis)
class ThesisLDSClassifier(BaseLDSClassifier):
    """Learn a free probability for every pair of rows and one network: Algorithm 7 to the letter.

    A labelled row has one of three roles: train rows train the network, validation rows the edges,
    and stopping rows decide when to stop. Rows labelled -1, None or NaN are unlabelled (see
    `lds._labels`): `fit` predicts them, `score` leaves them out, and `LabelledKFold`
    cross-validates with them.

    `fit` predicts its own rows (`transduction_`). `predict` classifies new rows: in each of
    `n_draws` drawn graphs a new row has the edges of its `n_neighbors` nearest rows of `fit`,
    weighted in inverse proportion to their distance, and the trained network classifies it. New
    rows have no edges to each other. A row equal to a row of `fit` gets the answer that `fit` gave,
    one equal to several the mean of their answers; the whole X of `fit` gets its answers row by
    row.

    References:
        Franceschi, Niepert, Pontil and He, 2019, https://arxiv.org/abs/1903.11960;
        Franceschi, 2021, Algorithm 7, §9.4.

    Examples:
        >>> import numpy as np
        >>> from lds import ThesisLDSClassifier
        >>> X = np.repeat(np.eye(2), 10, axis=0) + 0.1 * np.random.default_rng(0).random((20, 2))
        >>> y = np.repeat(["a", "b"], 10).astype(object)
        >>> y[[8, 9, 18, 19]] = None
        >>> clf = ThesisLDSClassifier(n_neighbors=3, max_inner=60, patience=2, random_state=0)
        >>> [str(label) for label in clf.fit(X, y).transduction_[[8, 9, 18, 19]]]
        ['a', 'a', 'b', 'b']
    """

    method = Thesis

    def __init__(
        self,
        n_neighbors: int = 10,
        *,
        metric: str = "cosine",
        hidden_channels: int = 16,
        dropout: float = 0.5,
        weight_decay: float = 0.0005,
        inner_lr: float = 0.01,
        outer_lr: float = 1.0,
        outer_lr_decay: float = 0.95,
        truncation: int = 5,
        n_draws: int = 16,
        inner_tol: float = 0.001,
        inner_patience: int = 20,
        max_inner: int = 400,
        patience: int = 20,
        max_iter: int = 200,
        label_weight: float = 1.0,
        denoising_weight: float = 0.0,
        redraw: bool = False,
        settle: float = 0.0,
        backbone: str = "gcn",
        learn_inner_lr: float = 0.0,
        support: str = "all",
        pairs_per_node: int = 25,
        grow_every: int = 5,
        batch_nodes: int = 0,
        connected: bool = False,
        estimator: str = "straight_through",
        class_weight: ClassWeight = None,
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
        self.backbone = backbone
        self.learn_inner_lr = learn_inner_lr
        self.support = support
        self.pairs_per_node = pairs_per_node
        self.grow_every = grow_every
        self.batch_nodes = batch_nodes
        self.connected = connected
        self.estimator = estimator
        self.class_weight = class_weight
        self.categorical_features = categorical_features
        self.random_state = random_state
        self.checkpoint = checkpoint
        self.resume = resume
        self.device = device
        self.verbose = verbose
