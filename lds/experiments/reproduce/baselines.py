"""The methods beside LDS in Table 9.2, each with its grid; selection on early-stopping rows.

A method returns class scores of all rows for each setting of its grid. The setting with the best
accuracy on the early-stopping rows counts; ties go to the lower loss there, where the method has
probabilities, and then to the first.
"""

import itertools
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.neighbors import kneighbors_graph
from sklearn.semi_supervised import LabelPropagation
from sklearn.svm import SVC

import lds.experiments.reproduce.manifold as manifold
import lds.experiments.reproduce.networks as networks
from lds.datasets.base import NodeDataset
from lds.experiments.labels import only_labels
from lds.graphs.knn import knn_adjacency

Scores = NDArray[np.floating[Any]]
Settings = dict[str, Any]
Fit = Callable[[NodeDataset, NDArray[np.int64], Settings, int], Scores]
"""(data, rows that train, setting, seed) to scores `(n_nodes, n_classes)`; larger is likelier."""

NEIGHBORS = {"tiny": (10,), "cpu": (2, 5, 10, 15, 20), "full": tuple(range(2, 21))}
"""k of comparison methods (§9.4.2: 2, 3, ..., 20), by budget."""

METRICS = {"tiny": ("cosine",), "cpu": ("cosine", "euclidean"), "full": ("cosine", "euclidean")}
RATES = {"tiny": (0.01,), "cpu": (0.01,), "full": (0.005, 0.01, 0.02)}
"""γ of Adam (§9.4.2), by budget."""

DEGREE = 10.0
"""Mean degree of the random graph of Sparse-GCN, which the thesis does not give."""

LARGE = 2000
"""Rows above which ManiReg is linear: a kernel needs a system of as many unknowns as rows."""

MAX_STEPS = {"tiny": 30, "cpu": networks.MAX_STEPS, "full": networks.MAX_STEPS}


@dataclass(frozen=True)
class Baseline:
    """A method and the settings it is tried with.

    Attributes:
        fit: trains it with one setting.
        grid: values of each setting by budget.
        probabilities: whether its scores are class probabilities.
    """

    fit: Fit
    grid: Callable[[str], dict[str, tuple[Any, ...]]]
    probabilities: bool = True


def settings(grid: dict[str, tuple[Any, ...]]) -> Iterator[Settings]:
    """Yield every combination of the values of a grid."""
    for values in itertools.product(*grid.values()):
        yield dict(zip(grid, values, strict=True))


def run_baseline(name: str, data: NodeDataset, seed: int, budget: str) -> dict[str, Any]:
    """Choose a setting and measure it.

    Arguments:
        name: one of `BASELINES`.
        data: with its split.
        seed: of what is random in the method.
        budget: size of the grid.

    Returns:
        `value`: test accuracy with the training labels; `equal_labels`: the same setting trained
        with the validation labels, too, which LDS uses; the setting and its stopping accuracy.
    """
    baseline = BASELINES[name]
    torch.set_num_threads(1)
    best: tuple[float, float] = (-1.0, 0.0)
    chosen: Settings = {}
    scores: Scores | None = None
    split, tried = data.split, 0
    for setting in settings(baseline.grid(budget)):
        tried += 1
        found = fit_quietly(baseline, data, split.train, setting | _steps(budget), seed)
        accuracy, loss = judged(found, data.labels, split.stopping, baseline.probabilities)
        if scores is None or (accuracy, -loss) > best:
            best, chosen, scores = (accuracy, -loss), setting, found
    assert scores is not None
    both = np.concatenate([split.train, split.validation])
    equal = fit_quietly(baseline, data, both, chosen | _steps(budget), seed)
    return {
        "value": accuracy_of(scores, data.labels, split.test),
        "equal_labels": accuracy_of(equal, data.labels, split.test),
        "stopping_accuracy": best[0],
        "stopping_loss": -best[1],
        "chosen": chosen,
        "tried": tried,
    }


def _steps(budget: str) -> Settings:
    return {"max_steps": MAX_STEPS[budget]}


def fit_quietly(
    baseline: Baseline, data: NodeDataset, rows: NDArray[np.int64], setting: Settings, seed: int
) -> Scores:
    """Fit without the warning that an iteration did not converge: it is a setting like others."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", RuntimeWarning)  # rows that no label reaches: 0 / 0
        return baseline.fit(data, rows, setting, seed)


def accuracy_of(scores: Scores, labels: NDArray[np.int64], rows: NDArray[np.int64]) -> float:
    """Share of right answers."""
    return float((scores[rows].argmax(1) == labels[rows]).mean())


def judged(
    scores: Scores, labels: NDArray[np.int64], rows: NDArray[np.int64], probabilities: bool
) -> tuple[float, float]:
    """Accuracy and mean loss in nats on some rows; the loss is 0 without probabilities."""
    loss = 0.0
    if probabilities:
        likelihood = scores[rows, labels[rows]].astype(np.float64)
        loss = float(-np.log(np.maximum(likelihood, 1e-12)).mean())
    return accuracy_of(scores, labels, rows), loss


def _all_classes(scores: Any, seen: Any, n_classes: int) -> Scores:
    """Scores with a column for each class; a class that was never seen has the lowest."""
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim == 1:  # two classes, one score
        values = np.stack([-values, values], axis=1)
    whole = np.full((len(values), n_classes), values.min() if values.size else 0.0)
    whole[:, np.asarray(seen)] = values
    return whole


def _of_classifier(make: Callable[[Settings, int], Any], method: str) -> Fit:
    """A classifier of scikit-learn on the features alone."""

    def fit(data: NodeDataset, rows: NDArray[np.int64], setting: Settings, seed: int) -> Scores:
        x: Any = data.features
        model = make({k: v for k, v in setting.items() if k != "max_steps"}, seed)
        model.fit(x[rows], data.labels[rows])
        found = getattr(model, method)(x)
        return _all_classes(found, model.classes_, len(data.classes))

    return fit


def _propagate(data: NodeDataset, rows: NDArray[np.int64], setting: Settings, seed: int) -> Scores:
    """Label propagation on the k nearest neighbours (Zhu et al., 2003).

    The graph is that of scikit-learn's kernel "knn": directed, each row its own first neighbour.
    That kernel has Euclidean distance alone, and rows at unit length are no way to the cosine: a
    row without a word, of which CiteSeer has 15, would be nearest to all others.
    """
    k, metric = setting["n_neighbors"], setting["metric"]
    graph = kneighbors_graph(data.features, k, metric=metric, include_self=True)
    model = LabelPropagation(kernel=lambda x, y: graph, max_iter=1000)
    model.fit(data.features, only_labels(data.labels, rows))
    found = np.nan_to_num(model.label_distributions_)
    return _all_classes(found, model.classes_, len(data.classes))


def kernel_of(data: NodeDataset, scale: float) -> NDArray[np.floating[Any]]:
    """exp(-scale ‖x - x'‖² / v) with v the mean squared distance of two rows, `(n, n)`."""
    x: Any = data.features
    squares = np.asarray((x * x).sum(axis=1)).ravel()
    centre = np.asarray(x.mean(axis=0)).ravel()
    spread = 2 * float(squares.mean() - (centre**2).sum())
    return np.asarray(rbf_kernel(x, gamma=scale / spread))


def _mani_reg(data: NodeDataset, rows: NDArray[np.int64], setting: Settings, seed: int) -> Scores:
    graph = knn_adjacency(data.features, setting["n_neighbors"], setting["metric"])
    targets = manifold.one_hot(data.labels, rows, len(data.classes))
    weights = setting["ambient"], setting["intrinsic"]
    if data.n_nodes > LARGE:
        x: Any = data.features.astype(np.float64)
        return manifold.lap_rls_linear(x, graph, targets, rows, *weights)
    kernel = kernel_of(data, 1.0).astype(np.float64)
    return manifold.lap_rls_kernel(kernel, graph, targets, rows, *weights)


def _of_network(product: Callable[[NodeDataset, Settings, int], networks.Product]) -> Fit:
    """A two-layer network whose matrix is made from the data and the setting."""

    def fit(data: NodeDataset, rows: NDArray[np.int64], setting: Settings, seed: int) -> Scores:
        return _network(data, rows, setting, seed, product(data, setting, seed))

    return fit


def _network(
    data: NodeDataset,
    rows: NDArray[np.int64],
    setting: Settings,
    seed: int,
    product: networks.Product,
    extra: networks.Extra | None = None,
) -> Scores:
    found = networks.fit_network(
        networks.tensors(data.features),
        product,
        torch.as_tensor(np.maximum(data.labels, 0)),  # rows without a label are in no role
        torch.as_tensor(rows),
        torch.as_tensor(data.split.stopping),
        lr=setting["lr"],
        seed=seed,
        extra=extra,
        max_steps=setting["max_steps"],
    )
    return found.probabilities.numpy()


def _semi_emb(data: NodeDataset, rows: NDArray[np.int64], setting: Settings, seed: int) -> Scores:
    graph = knn_adjacency(data.features, setting["n_neighbors"], setting["metric"])
    extra = networks.embedding_loss(graph, setting["weight"], min(2000, data.n_nodes), seed)
    return _network(data, rows, setting, seed, networks.identity, extra)


def _given(data: NodeDataset, setting: Settings, seed: int) -> networks.Product:
    assert data.adjacency is not None
    return networks.sparse_product(data.adjacency)


def _given_and_random(data: NodeDataset, setting: Settings, seed: int) -> networks.Product:
    assert data.adjacency is not None
    return networks.random_edges_product(data.adjacency, setting["share"], seed)


def _knn(data: NodeDataset, setting: Settings, seed: int) -> networks.Product:
    return networks.sparse_product(
        knn_adjacency(data.features, setting["n_neighbors"], setting["metric"])
    )


def _some(budget: str, **grid: tuple[Any, ...]) -> dict[str, tuple[Any, ...]]:
    """A grid whose tiny form has the middle value of each setting."""
    if budget == "tiny":
        return {name: (values[len(values) // 2],) for name, values in grid.items()}
    return grid


def _neighbors(budget: str) -> dict[str, tuple[Any, ...]]:
    return {"n_neighbors": NEIGHBORS[budget], "metric": METRICS[budget]}


POWERS = (1e-3, 1e-2, 1e-1, 1.0, 1e1, 1e2, 1e3, 1e4)

BASELINES = {
    "LogReg": Baseline(
        _of_classifier(lambda s, seed: LogisticRegression(max_iter=2000, **s), "predict_proba"),
        lambda budget: _some(budget, C=POWERS),
    ),
    "Linear SVM": Baseline(
        _of_classifier(lambda s, seed: SVC(kernel="linear", **s), "decision_function"),
        lambda budget: _some(budget, C=POWERS),
        probabilities=False,
    ),
    "RBF SVM": Baseline(
        _of_classifier(lambda s, seed: SVC(**s), "decision_function"),
        lambda budget: _some(budget, C=POWERS[2:], gamma=("scale", 1e-3, 1e-2, 1e-1, 1.0)),
        probabilities=False,
    ),
    "RF": Baseline(
        _of_classifier(
            lambda s, seed: RandomForestClassifier(random_state=seed, **s), "predict_proba"
        ),
        lambda budget: _some(budget, n_estimators=(50, 200), max_depth=(3, 10, None)),
    ),
    "FFNN": Baseline(
        _of_network(lambda data, s, seed: networks.identity),
        lambda budget: _some(budget, lr=RATES["full"]),
    ),
    "LP": Baseline(_propagate, _neighbors),
    "ManiReg": Baseline(
        _mani_reg,
        lambda budget: (
            _neighbors(budget)
            | _some(budget, ambient=(1e-4, 1e-2, 1.0), intrinsic=(0.01, 1.0, 100.0))
        ),
        probabilities=False,
    ),
    "SemiEmb": Baseline(
        _semi_emb,
        lambda budget: (
            _neighbors(budget) | _some(budget, weight=(0.1, 1.0)) | {"lr": RATES[budget]}
        ),
    ),
    "Sparse-GCN": Baseline(
        _of_network(
            lambda data, s, seed: networks.sparse_product(
                networks.erdos_renyi(data.n_nodes, DEGREE, seed)
            )
        ),
        lambda budget: _some(budget, lr=RATES["full"]),
    ),
    "Dense-GCN": Baseline(
        _of_network(
            lambda data, s, seed: networks.equal_product(data.n_nodes, s["degree"] / data.n_nodes)
        ),
        lambda budget: _some(budget, degree=(0.1, 1.0, 10.0), lr=RATES["full"]),
    ),
    "RBF-GCN": Baseline(
        _of_network(lambda data, s, seed: networks.dense_product(kernel_of(data, s["scale"]))),
        lambda budget: _some(budget, scale=(1.0, 10.0, 100.0)) | {"lr": RATES[budget]},
    ),
    "kNN-GCN": Baseline(
        _of_network(_knn), lambda budget: _neighbors(budget) | {"lr": RATES[budget]}
    ),
    "GCN": Baseline(_of_network(_given), lambda budget: _some(budget, lr=RATES["full"])),
    "GCN-RND": Baseline(
        _of_network(_given_and_random),
        lambda budget: _some(budget, share=(0.1, 0.5, 1.0), lr=RATES["full"]),
    ),
}
"""By the names of Table 9.2 and Figure 9.2. Grids that the thesis lacks are powers of 10."""
