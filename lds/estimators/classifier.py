"""LDS as a scikit-learn classifier, transductive like `LabelPropagation`."""

import warnings
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal

import networkx as nx
import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from lds._labels import encode_labels
from lds._random import mix
from lds.config import Estimator, LDSConfig, Method
from lds.edges.marginals import EdgeMarginals, edge_marginals
from lds.estimators.frames import check_index, fitted_features, later_features
from lds.estimators.labels import accuracy, split_roles
from lds.estimators.new_rows import predict_new_rows
from lds.estimators.verbose import print_iteration, print_member
from lds.graphs.export import node_attributes, save_graph
from lds.graphs.interop import as_adjacency, select_edges, to_networkx
from lds.graphs.knn import check_neighbors, knn_adjacency
from lds.graphs.similarity import AUTO
from lds.structure.checks import check_memory
from lds.structure.learner import learn
from lds.structure.metrics import entropy

EDGE_CUTOFF = 1e-4
"""Probabilities at or below this are left out of `edge_probabilities_`."""


class LDSClassifier(ClassifierMixin, BaseEstimator):
    """Learn a graph of the rows and classify them on it.

    By default few hyperparameters, shared by all edges, are learned, and several networks train on
    graphs drawn from them (see `lds.structure.committee`). `LDSClassifier.thesis(...)` is LDS to
    the letter (Algorithm 7): a free probability for every pair of rows, and one network. An option
    that is None has the method's own default (see `LDSConfig.of`).

    Labelled rows take three roles: train (the network's weights), validation (the edges) and
    stopping. Rows labelled -1, None or NaN are unlabelled (see `lds._labels`): `fit` predicts them,
    `score` leaves them out, `LabelledKFold` cross-validates with them.

    `fit` predicts the rows it saw (`transduction_`); `predict` takes further rows, a related but
    different question. A new row has edges to its `n_neighbors` nearest rows of `fit`, by the
    learned hyperparameters; or, by the thesis's method, the edges that these rows have in a drawn
    graph, each of them with a share in inverse proportion to its distance. The trained networks
    classify it; `n_draws` drawn graphs are averaged. New rows do not see each other. A row equal to
    a row of `fit` gets the answer `fit` gave.

    References:
        Franceschi, Niepert, Pontil and He, 2019, https://arxiv.org/abs/1903.11960;
        Franceschi, 2021, chapter 9.

    Arguments:
        n_neighbors: k of the nearest rows that may be joined (by the thesis's method: that are,
            where no graph is given), and of `predict`.
        metric: of the neighbour search; "cosine", "euclidean", or another of scikit-learn's. The
            default's is "auto": cosine of tf-idf for sparse rows without negative entries, else
            Euclidean in a metric learned from all rows (`lds.nn.whitening`).
        backbone: "gcn", or a PyG convolution, one of `lds.nn.registry.BACKBONES`.
        hidden_channels: width of the hidden layer.
        dropout: in [0, 1).
        weight_decay: L2 on the first layer.
        inner_lr: step size of the inner Adam.
        learn_inner_lr: step with which log inner_lr follows its own hypergradient; 0 keeps it.
        outer_lr: first step size on the edge probabilities.
        outer_lr_decay: factor on it after each outer iteration, in (0, 1].
        truncation: τ, inner steps a hypergradient sweeps over; 0 is alternating minimisation.
        n_draws: S, graphs averaged for a prediction.
        inner_patience: p, inner steps without progress that end an inner run.
        inner_tol: ε, the relative progress asked of them.
        max_inner: most steps of one inner run.
        patience: outer iterations without a better early-stopping score that end the fit.
        max_iter: most outer iterations.
        support: "all" pairs may become edges, a "sparse" choice that follows the hypergradient, or
            "auto", by the memory there is.
        pairs_per_node: pairs that a sparse support keeps at most, times the number of rows.
        grow_every: hypersteps between growths of a sparse support; 0 never changes it.
        batch_nodes: labelled rows that one loss looks at, with a sparse support; 0 is all.
        connected: True completes every drawn graph to a connected one, by the most probable pairs
            that join its parts.
        estimator: how gradients pass through drawn graphs: "straight_through", "reinmax",
            "gumbel_softmax", "score_function" or "disarm" (see `lds.config.LDSConfig`).
        label_weight, denoising_weight: of the validation loss and of denoising in what judges the
            edges.
        redraw: True deals the train and validation rows anew before every inner run.
        settle: hypergradients are taken once the inner loss falls by less than this share within
            `truncation` steps.
        agreement: how much edges follow what their rows were taken for, in further refits, unless
            early-stopping rows refuse it; 0 has none.
        metric_rank: of a metric on pairs of rows, learned with the edges; 0 has none.
        method: "committee", or "lds", the thesis's, which alone takes backbone, connected,
            estimator, batch_nodes, learn_inner_lr and support="all".
        categorical_features: columns of categories, as in `HistGradientBoostingClassifier`: their
            names, their places, or a mask; "from_dtype" are those of pandas' dtype category.
        random_state: None, an int or a RandomState; an int makes fits repeatable bit for bit.
        checkpoint: folder in which the state of a fit is kept after every outer iteration; None
            keeps none. One folder is for one fit: one that holds an earlier fit is refused, unless
            that is resumed.
        resume: True goes on from what is kept there, on a CPU to bitwise the same result as without
            the interruption; where nothing is, `fit` begins. Data, options and an int
            `random_state` must be the same, but for max_iter and patience.
        device: "cpu", "cuda", ...
        verbose: True prints a line each outer iteration, and each member of the refit.

    Attributes:
        classes_: `(n_classes,)`.
        transduction_: `(n_rows,)`, the predicted class of every row of `fit`.
        label_distributions_: `(n_rows, n_classes)`, rows sum to 1: the mean over drawn graphs.
        entropy_: `(n_rows,)`, nats, of `label_distributions_`: how unsure a prediction is in all.
        mutual_information_: `(n_rows,)`, nats: the part of it that comes from not knowing the
            graph (see `lds.structure.metrics.mutual_information`).
        edge_probabilities_: symmetric CSR `(n_rows, n_rows)`; entries <= 1e-4 are dropped.
        dropped_probability_: the sum of what was dropped, in expected undirected edges.
        split_: the roles of the labelled rows.
        history_: one record an outer iteration; by default one more, of the committee at the end.
        n_iter_: records in `history_`.
        n_features_in_: columns of X; `feature_names_in_`: their names, where X has names.

    Examples:
        >>> import numpy as np
        >>> from lds import LDSClassifier
        >>> X = np.repeat(np.eye(2), 10, axis=0) + 0.1 * np.random.default_rng(0).random((20, 2))
        >>> y = np.repeat(["a", "b"], 10).astype(object)
        >>> y[[8, 9, 18, 19]] = None
        >>> clf = LDSClassifier(n_neighbors=3, max_inner=60, patience=2, random_state=0).fit(X, y)
        >>> [str(label) for label in clf.transduction_[[8, 9, 18, 19]]]
        ['a', 'a', 'b', 'b']
    """

    def __init__(
        self,
        n_neighbors: int | None = None,
        *,
        metric: str | None = None,
        backbone: str | None = None,
        hidden_channels: int | None = None,
        dropout: float | None = None,
        weight_decay: float | None = None,
        inner_lr: float | None = None,
        learn_inner_lr: float | None = None,
        outer_lr: float | None = None,
        outer_lr_decay: float | None = None,
        truncation: int | None = None,
        n_draws: int | None = None,
        inner_patience: int | None = None,
        inner_tol: float | None = None,
        max_inner: int | None = None,
        patience: int | None = None,
        max_iter: int | None = None,
        support: Literal["all", "sparse", "auto"] | None = None,
        pairs_per_node: int | None = None,
        grow_every: int | None = None,
        batch_nodes: int | None = None,
        connected: bool | None = None,
        estimator: Estimator | None = None,
        label_weight: float | None = None,
        denoising_weight: float | None = None,
        redraw: bool | None = None,
        settle: float | None = None,
        agreement: float | None = None,
        metric_rank: int | None = None,
        method: Method = "committee",
        categorical_features: ArrayLike | Literal["from_dtype"] | None = "from_dtype",
        random_state: int | np.random.RandomState | None = None,
        checkpoint: str | Path | None = None,
        resume: bool = False,
        device: str = "cpu",
        verbose: bool = False,
    ) -> None:
        self.n_neighbors = n_neighbors
        self.metric = metric
        self.backbone = backbone
        self.hidden_channels = hidden_channels
        self.dropout = dropout
        self.weight_decay = weight_decay
        self.inner_lr = inner_lr
        self.learn_inner_lr = learn_inner_lr
        self.outer_lr = outer_lr
        self.outer_lr_decay = outer_lr_decay
        self.truncation = truncation
        self.n_draws = n_draws
        self.inner_patience = inner_patience
        self.inner_tol = inner_tol
        self.max_inner = max_inner
        self.patience = patience
        self.max_iter = max_iter
        self.support = support
        self.pairs_per_node = pairs_per_node
        self.grow_every = grow_every
        self.batch_nodes = batch_nodes
        self.connected = connected
        self.estimator = estimator
        self.label_weight = label_weight
        self.denoising_weight = denoising_weight
        self.redraw = redraw
        self.settle = settle
        self.agreement = agreement
        self.metric_rank = metric_rank
        self.method = method
        self.categorical_features = categorical_features
        self.random_state = random_state
        self.checkpoint = checkpoint
        self.resume = resume
        self.device = device
        self.verbose = verbose

    @classmethod
    def thesis(cls, **parameters: Any) -> "LDSClassifier":
        """LDS to the letter (Algorithm 7, §9.4), with its own defaults (see `LDSConfig`).

        A free probability for every pair of rows, one GCN of 16 hidden channels, roles dealt once.

        Arguments:
            parameters: of the constructor.
        """
        return cls(**parameters, method="lds")

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        adjacency: ArrayLike | None = None,
        validation: ArrayLike | None = None,
        stopping: ArrayLike | None = None,
    ) -> "LDSClassifier":
        """Learn the graph and classify every row.

        Arguments:
            X: `(n_rows, n_features)` numbers, dense with NaN where missing, or sparse; or a data
                frame of pandas or polars, with numbers, categories, text, dates, booleans and
                missing values in its columns (see `lds.datasets.encoding`). Dense numbers that are
                all there are used as they are.
            y: `(n_rows,)` strings, integers or booleans; -1, None, NaN and NA are unlabelled.
                At least 4 rows, of two classes or more, are labelled.
            adjacency: a graph of the rows, whose weights are starting probabilities of edges:
                `(n_rows, n_rows)`, dense or sparse, of NumPy, scipy or torch; integers
                `(2, n_edges)`; or a networkx graph of the row numbers. Edges in one direction and
                weights above 1, which are divided by the largest, are said in a warning.
                As metadata it passes through a `Pipeline` (`ldsclassifier__adjacency=`), not
                through cross-validation, which would take its rows and leave its columns.
            validation, stopping: labelled rows (numbers or a mask) that judge the edges and that
                decide when to stop; the other labelled rows train. Given together; None deals the
                labelled rows to the three roles at random, class by class.

        Raises:
            TypeError: an argument is of a kind that cannot be used.
            ValueError: X holds infinite numbers, y is of another length, holds text that means no
                label or shows too few labels or classes, a graph or a role does not fit, an option
                is out of range, or what is to be resumed is damaged or of another fit.
        """
        check_index(X, y)
        x, encoding = fitted_features(self, X)
        n_rows = x.shape[0]
        codes, classes = encode_labels(y, n_rows)
        config = self._config()
        if config.method == "lds" or self.n_neighbors is not None or self.metric is not None:
            metric = "euclidean" if config.metric == AUTO else config.metric
            check_neighbors(n_rows, config.n_neighbors, metric, sparse=sp.issparse(x))
        check_memory(n_rows, config, device=self.device)
        start = None if adjacency is None else as_adjacency(adjacency, n_rows)
        split = split_roles(codes, classes, validation, stopping, config.seed)
        if start is None and config.method == "lds":
            start = knn_adjacency(x, config.n_neighbors, config.metric)
        shown: dict[str, Any] = {}
        if self.verbose:
            shown = {"on_iteration": print_iteration, "on_member": print_member}
        result = learn(
            x, codes, split, start, config, device=self.device, checkpoint=self.checkpoint,
            resume=self.resume, **shown,
        )  # fmt: skip
        planned = config.method == "committee"  # whose outer iterations are so many
        if result.reason == "max_iter" and not planned:
            warnings.warn(
                f"max_iter={config.max_iter} outer iterations were not enough for early stopping "
                f"(patience={config.patience}); the best graph so far is kept",
                ConvergenceWarning,
                stacklevel=2,
            )
        elif result.reason not in ("patience", "max_iter"):
            warnings.warn(f"the fit ended early: {result.reason}", UserWarning, stacklevel=2)
        self._result, self._x, self._codes, self._encoding = result, x, codes, encoding
        self.split_ = split
        self.classes_ = classes
        self.label_distributions_ = result.probabilities
        self.transduction_ = self.classes_[result.probabilities.argmax(1)]
        self.entropy_ = entropy(result.probabilities)
        self.mutual_information_ = result.mutual_information
        self.edge_probabilities_ = result.edges.to_csr(EDGE_CUTOFF)
        kept = float(self.edge_probabilities_.sum()) / 2
        self.dropped_probability_ = max(0.0, result.edges.expected_edges - kept)
        self.history_ = result.history
        self.n_iter_ = len(result.history)
        return self

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """The most likely class of rows not seen in `fit`, `(n_new,)`; see the class."""
        probabilities = self.predict_proba(X)
        classes: NDArray[Any] = self.classes_[probabilities.argmax(1)]
        return classes

    def predict_proba(self, X: ArrayLike) -> NDArray[np.floating[Any]]:
        """Class probabilities of rows not seen in `fit`, `(n_new, n_classes)`; see the class."""
        check_is_fitted(self)
        x = later_features(self, X, self._encoding, self._x)
        if sp.issparse(x) != sp.issparse(self._x):
            x = sp.csr_array(x) if sp.issparse(self._x) else x.toarray()
        result = self._result
        return predict_new_rows(
            x, self._x, self._codes, result.config, result.params, result.edges,
            self.label_distributions_,
        )  # fmt: skip

    def score(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Accuracy of `predict` on the labelled rows; rows without a label do not count.

        Arguments:
            X: as for `predict`.
            y: `(n_rows,)`, as for `fit`, but one labelled row will do.
            sample_weight: `(n_rows,)`, at least 0; None counts rows alike.

        Raises:
            TypeError, ValueError: y or the weights cannot be used, or no row is labelled.
        """
        return accuracy(self.predict(X), y, sample_weight)

    def edge_marginals(self, n_draws: int = 1000) -> EdgeMarginals:
        """How many of `n_draws` drawn graphs have each edge, and the number of draws."""
        check_is_fitted(self)
        return edge_marginals(self._result.edges, n_draws, mix(self._result.config.seed, -6))

    def to_networkx(
        self,
        threshold: float | None = None,
        *,
        top_k: int | None = None,
        n_edges: int | None = None,
    ) -> nx.Graph:
        """The learned graph, for a look.

        Arguments:
            threshold: in (0, 1]: edges at least as probable; 0.5 where no other rule is given.
            top_k: edges among the k most probable of either of their rows.
            n_edges: so many edges, the most probable.

        Returns:
            All rows as nodes with the attributes "label" (where known), "prediction", "confidence",
            "split", "entropy" and "mutual_information"; edges with "probability".
        """
        nodes = self._nodes()
        if top_k is None and n_edges is None and threshold is None:
            threshold = 0.5
        return to_networkx(select_edges(self.edge_probabilities_, threshold, top_k, n_edges), nodes)

    def save_graph(
        self,
        path: str | Path,
        *,
        threshold: float | None = None,
        top_k: int | None = None,
        n_edges: int | None = None,
    ) -> None:
        """Write the learned graph as .graphml, .gexf (Gephi), .csv or .npz, by the suffix.

        Arguments:
            path: of the file.
            threshold, top_k, n_edges: as for `to_networkx`; all edges of `edge_probabilities_`
                without a rule.
        """
        save_graph(
            path, self.edge_probabilities_, self._nodes(),
            threshold=threshold, top_k=top_k, n_edges=n_edges,
        )  # fmt: skip

    def _nodes(self) -> dict[str, Any]:
        check_is_fitted(self)
        return node_attributes(
            self._codes, self.label_distributions_, self.split_, self.classes_,
            entropy=self.entropy_, mutual_information=self.mutual_information_,
        )  # fmt: skip

    def _config(self) -> LDSConfig:
        options = {
            f.name: getattr(self, f.name) for f in fields(LDSConfig) if hasattr(self, f.name)
        }
        if isinstance(self.random_state, int | np.integer):
            return LDSConfig.of(**options, seed=int(self.random_state))
        random = check_random_state(self.random_state)
        return LDSConfig.of(**options, seed=int(random.randint(2**31 - 1)))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.allow_nan = True
        return tags
