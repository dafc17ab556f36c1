"""The default beside its controls on made-up tables of known shape.

    python examples/benchmarks/shapes.py --seeds 5 --out shapes.jsonl

500 rows, 60 of them labelled (20 train, 20 judge the edges, 20 stop). Two moons, two rings, nested
shells of a Gaussian cloud in 4 dimensions, clusters in 20 of which 8 say something, and Gaussian
classes with a coloured column. Controls and table as in `lds.experiments.compare`.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import (
    make_circles,
    make_classification,
    make_gaussian_quantiles,
    make_moons,
)  # fmt: skip

from lds._types import Split
from lds.datasets.base import NodeDataset
from lds.experiments.compare import methods, table
from lds.experiments.fit import quality_on_test

N, ROLE = 500, 20


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


def dataset(name: str, seed: int) -> NodeDataset:
    """A shape, standardised, with its roles dealt at random."""
    x, y = SHAPES[name](seed)
    x = ((x - x.mean(0)) / x.std(0)).astype(np.float32)
    rows = np.random.default_rng(seed).permutation(N)
    roles = [np.sort(rows[k * ROLE : (k + 1) * ROLE]) for k in range(3)]
    split = Split(*roles, np.sort(rows[3 * ROLE :]))
    return NodeDataset(name, x, y.astype(np.int64), tuple(map(str, range(y.max() + 1))), split)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, required=True, help="file of records, JSON lines")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found = []
    for name in SHAPES:
        for seed in range(arguments.seeds):
            data = dataset(name, seed)
            for method, run in methods(parts=False).items():
                started = time.process_time()
                quality = quality_on_test(run(data, seed), data)
                assert quality is not None
                found.append({
                    "data": name, "retain": None, "seed": seed, "method": method,
                    **quality.to_dict(), "seconds": time.process_time() - started,
                })  # fmt: skip
                print(json.dumps(found[-1]), flush=True)
    arguments.out.write_text("".join(json.dumps(line) + "\n" for line in found))
    print("\n".join(table(found)))


if __name__ == "__main__":
    main()
