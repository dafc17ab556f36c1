"""Compare the default with its controls on made-up tables and graphs of known shape.

    python examples/benchmarks/shapes.py --seeds 5 --out shapes.jsonl
    python examples/benchmarks/shapes.py like unlike hubs --seeds 3 --out shapes.jsonl

Tables: 500 rows, 60 of them labelled (20 train, 20 validation, 20 early stopping). Two moons, two
rings, nested shells of a Gaussian cloud in 4 dimensions, clusters in 20 of which 8 are informative,
and Gaussian classes with a coloured column.

Graphs: 1,000 nodes of four Gaussian classes in 20 dimensions, 180 of them labelled (60 a role).
Edges join like nodes (8 in 10), the same with hubs, or unlike nodes (class 0 with 1, 2 with 3), or
regardless of class (anybody); or they join like nodes whose features are noise.

A run found in the file is not run again. Controls and table as in `lds.experiments.compare`.
"""

import argparse
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from sklearn.datasets import (
    make_circles,
    make_classification,
    make_gaussian_quantiles,
    make_moons,
)

from lds._types import Split
from lds.datasets.base import NodeDataset
from lds.experiments.compare import collect, table

N, ROLE = 500, 20
N_NODES, N_CLASSES, GRAPH_ROLE = 1000, 4, 60
LIKE = np.full((N_CLASSES, N_CLASSES), 0.2 / 3) + (0.8 - 0.2 / 3) * np.eye(N_CLASSES)
UNLIKE = 0.03 + 0.9 * np.kron(np.eye(2), [[0, 1], [1, 0]])
EVEN = np.ones((N_CLASSES, N_CLASSES))


def coloured(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Three classes in five dimensions, and a colour that is the class's own in 8 of 10 rows."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, N)
    colour = np.where(rng.random(N) < 0.7, y, rng.integers(0, 3, N))
    return np.hstack([rng.normal(size=(N, 5)) + 2 * np.eye(3, 5)[y], np.eye(3)[colour]]), y


SHAPES = {
    "moons": lambda seed: make_moons(N, noise=0.2, random_state=seed),
    "rings": lambda seed: make_circles(N, noise=0.1, factor=0.5, random_state=seed),
    "shells": lambda seed: make_gaussian_quantiles(
        n_samples=N, n_features=4, n_classes=3, random_state=seed
    ),
    "clusters": lambda seed: make_classification(
        N, 20, n_informative=8, n_classes=3, n_clusters_per_class=2, random_state=seed
    ),
    "coloured": coloured,
}


class Made(NamedTuple):
    """How a made-up graph is drawn.

    `affinity` has the share of edges by class of both ends, `(n_classes, n_classes)`, up to a
    factor; `spread` the distance of class means from the origin, in deviations within a class.
    """

    affinity: NDArray[np.float64]
    degree: float
    spread: float
    hubs: bool = False


GRAPHS = {
    "like": Made(LIKE, 5, 1.5),
    "hubs": Made(LIKE, 5, 1.5, hubs=True),
    "unlike": Made(UNLIKE, 8, 1.5),
    "anybody": Made(EVEN, 6, 2.5),
    "no features": Made(LIKE, 8, 0),
}


def graph(made: Made, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64], sp.csr_array]:
    """Features, classes and edges of a stochastic block model; hubs by Pareto weights."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, N_CLASSES, N_NODES)
    means = rng.normal(size=(N_CLASSES, 20))
    means *= made.spread / np.linalg.norm(means, axis=1, keepdims=True)
    x = means[y] + rng.normal(size=(N_NODES, 20))
    weight = 1 + rng.pareto(2, N_NODES) * made.hubs
    chance = made.affinity[y][:, y] * np.outer(weight, weight)
    np.fill_diagonal(chance, 0)
    chance *= made.degree * N_NODES / chance.sum()
    upper = np.triu(rng.random(chance.shape) < chance, 1)
    return x.astype(np.float32), y, sp.csr_array((upper | upper.T).astype(np.float32))


def dataset(name: str, seed: int) -> NodeDataset:
    """A shape, a table's columns standardised, with its roles dealt at random."""
    if name in GRAPHS:
        (x, y, edges), role = graph(GRAPHS[name], seed), GRAPH_ROLE
    else:
        (x, y), edges, role = SHAPES[name](seed), None, ROLE
        x = ((x - x.mean(0)) / x.std(0)).astype(np.float32)
    rows = np.random.default_rng(seed).permutation(len(y))
    roles = [np.sort(rows[k * role : (k + 1) * role]) for k in range(3)]
    split = Split(*roles, np.sort(rows[3 * role :]))
    classes = tuple(map(str, range(y.max() + 1)))
    return NodeDataset(name, x, y.astype(np.int64), classes, split, adjacency=edges)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    shapes = [*SHAPES, *GRAPHS]
    parser.add_argument("shapes", nargs="*", help=f"of {', '.join(shapes)}; none is all of them")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, required=True, help="file of records, JSON lines")
    arguments = parser.parse_args()
    if unknown := set(arguments.shapes) - set(shapes):
        parser.error(f"{', '.join(sorted(unknown))} is none of {', '.join(shapes)}")
    torch.set_num_threads(1)
    cases = (
        (name, None, seed, partial(dataset, name, seed))
        for name in arguments.shapes or shapes
        for seed in range(arguments.seeds)
    )
    found = collect(arguments.out, cases, parts=False)
    print("\n".join(table(found)))


if __name__ == "__main__":
    main()
