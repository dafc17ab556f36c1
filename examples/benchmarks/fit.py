"""Whole fits: the default beside classifiers of scikit-learn, on the same few labels.

    python examples/benchmarks/fit.py
    python examples/benchmarks/fit.py --data rows --rows 20000 --labels 480
    python examples/benchmarks/fit.py --data graph --rows 169343 --method lds GCN

The made graph has 40 classes, 128 features and degree 14; 54 % of its nodes train, 18 % stop, as in
ogbn-arxiv. GCN is a two-layer one, on all training nodes at once.

Each fit has a process of its own, one thread, and all rows; accuracy is that of the unlabelled
ones. CPU seconds are those of fit and prediction, without imports; peak memory is that of the
process above what imports and data take. Options are scikit-learn's defaults on standardised
columns. One JSON line a fit.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

DATA = ("wine", "digits", "rows", "graph")
METHODS = ("lds", "LabelSpreading", "SelfTraining", "SVC", "ExtraTrees")
ON_GRAPHS = ("lds", "GCN")

Classes, Mask = NDArray[np.int64], NDArray[np.bool_]
Case = tuple[Classes, Mask, Mask, Callable[[], Classes]]


def main() -> None:
    """Start a process for each fit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", choices=DATA, default=["wine", "digits"])
    every = list(dict.fromkeys([*METHODS, *ON_GRAPHS]))
    parser.add_argument("--method", nargs="+", choices=every, default=every)
    parser.add_argument("--rows", type=int, default=20_000, help="of the made table or graph")
    parser.add_argument("--labels", type=int, help="default: 10 a class, 60 a class of made rows")
    parser.add_argument("--n-jobs", type=int, default=1, help="of the default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.here:
        print(json.dumps(measured(arguments)), flush=True)
        return
    given = ["--rows", str(arguments.rows), "--n-jobs", str(arguments.n_jobs)]
    given += ["--seed", str(arguments.seed), "--here"]
    if arguments.labels is not None:
        given += ["--labels", str(arguments.labels)]
    for data in arguments.data:
        fitting = ON_GRAPHS if data == "graph" else METHODS
        for method in (each for each in arguments.method if each in fitting):
            command = [sys.executable, __file__, "--data", data, "--method", method, *given]
            one = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
            subprocess.run(command, check=True, env={**os.environ, **one})


def measured(arguments: argparse.Namespace) -> dict[str, Any]:
    """One fit in this process."""
    (data,), (method,) = arguments.data, arguments.method
    make = graph_case if data == "graph" else table_case
    truth, known, scored, fit = make(arguments)
    warnings.simplefilter("ignore")
    before, memory, started = cpu_seconds(), peak_mb(), time.perf_counter()
    found = fit()
    wall = time.perf_counter() - started
    return {
        "data": data,
        "rows": len(truth),
        "labels": int(known.sum()),
        "method": method,
        "cpu_seconds": round(cpu_seconds() - before, 2),
        "seconds": round(wall, 2),
        "extra_mb": round(peak_mb() - memory),
        "accuracy": round(float((found == truth)[scored].mean()), 4),
    }


def table_case(arguments: argparse.Namespace) -> Case:
    """Classes, rows with a label, rows without one, and a function that predicts all rows."""
    (data,), (method,) = arguments.data, arguments.method
    x, truth = table(data, arguments.rows)
    n_classes = len(np.unique(truth))
    each = (arguments.labels or n_classes * (60 if data == "rows" else 10)) // n_classes
    y = few(truth, each, arguments.seed)
    fit = fitter(method, arguments.n_jobs, arguments.seed)
    return truth, y >= 0, y < 0, lambda: fit(x, y)


def graph_case(arguments: argparse.Namespace) -> Case:
    """The same of a made graph: classes, training nodes, test nodes, and the function."""
    import torch
    from torch_geometric.data import Data

    from lds import learn_structure
    from lds.datasets.graph_arrays import symmetric
    from lds.experiments import graphs_rivals
    from lds.experiments.graphs_cases import GraphCase

    x, truth, ends = graph(arguments.rows)
    part = np.random.default_rng(1).random(len(x))
    train, stop, test = part < 0.54, (part >= 0.54) & (part < 0.72), part >= 0.72
    if arguments.method == ["lds"]:
        parts = {"x": x, "y": truth, "edge_index": ends, "train_mask": train, "val_mask": stop}
        data = Data(**{name: torch.from_numpy(each) for name, each in parts.items()})
        run = {"seed": arguments.seed, "n_jobs": arguments.n_jobs}
        return truth, train, test, lambda: learn_structure(data, **run).predictions.numpy()
    rows = (np.flatnonzero(mask) for mask in (train, stop, test))
    case = GraphCase(x, truth, symmetric(*ends, len(x)), *rows)
    gcn = graphs_rivals.KIPF, arguments.seed
    return truth, train, test, lambda: graphs_rivals.train(case, "gcn", *gcn)[1].argmax(1)


def graph(n_nodes: int) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
    """Features, classes, and both directions of edges, three in ten of which join one class."""
    n_classes, n_edges, rng = 40, 7 * n_nodes, np.random.default_rng(0)
    truth = rng.integers(n_classes, size=n_nodes)
    centres = 0.15 * rng.normal(size=(n_classes, 128))
    x = (centres[truth] + rng.normal(size=(n_nodes, 128))).astype(np.float32)
    by_class = np.argsort(truth, kind="stable")
    first = np.searchsorted(truth[by_class], np.arange(n_classes + 1))
    a, b = rng.integers(n_nodes, size=(2, n_edges))
    inside = rng.random(n_edges) < 0.3
    low, high = first[truth[a[inside]]], first[truth[a[inside]] + 1]
    b[inside] = by_class[(low + rng.random(len(low)) * (high - low)).astype(np.int64)]
    a, b = a[a != b], b[a != b]
    return x, truth, np.stack([np.concatenate([a, b]), np.concatenate([b, a])])


def table(data: str, n_rows: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Rows and their classes."""
    from sklearn import datasets

    if data == "rows":
        made = datasets.make_classification(
            n_rows,
            24,
            n_informative=12,
            n_redundant=6,
            n_classes=8,
            n_clusters_per_class=3,
            class_sep=1.5,
            random_state=0,
        )
        return made[0], made[1]
    x, truth = getattr(datasets, f"load_{data}")(return_X_y=True)
    return x, truth


def few(truth: NDArray[np.int64], each: int, seed: int) -> NDArray[np.int64]:
    """Labels of some rows of each class; the others are -1."""
    rng = np.random.default_rng(seed)
    y = np.full(len(truth), -1)
    for label in np.unique(truth):
        y[rng.permutation(np.flatnonzero(truth == label))[:each]] = label
    return y


def fitter(method: str, n_jobs: int, seed: int) -> Callable[[Any, Any], NDArray[np.int64]]:
    """A function that fits rows with few labels and returns a class for every row."""
    if method == "lds":
        from lds import LDSClassifier

        model = LDSClassifier(random_state=seed, n_jobs=n_jobs)
        return lambda x, y: model.fit(x, y).transduction_
    from sklearn.ensemble import ExtraTreesClassifier
    from sklearn.preprocessing import StandardScaler
    from sklearn.semi_supervised import LabelSpreading, SelfTrainingClassifier
    from sklearn.svm import SVC

    semi = {
        "LabelSpreading": LabelSpreading(kernel="knn", n_neighbors=20),
        "SelfTraining": SelfTrainingClassifier(ExtraTreesClassifier(random_state=seed)),
    }
    labelled = {"SVC": SVC(C=10.0), "ExtraTrees": ExtraTreesClassifier(random_state=seed)}

    def fit(x: Any, y: Any) -> NDArray[np.int64]:
        scaled = StandardScaler().fit_transform(x)
        if method in semi:
            found: NDArray[np.int64] = semi[method].fit(scaled, y).predict(scaled)
            return found
        found = labelled[method].fit(scaled[y >= 0], y[y >= 0]).predict(scaled)
        return found

    return fit


def cpu_seconds() -> float:
    """CPU seconds of this process and of those that it has waited for."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def peak_mb() -> float:
    """Largest resident memory of this process so far, MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


if __name__ == "__main__":
    main()
