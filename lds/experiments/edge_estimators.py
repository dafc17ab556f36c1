"""Test accuracy and time of LDS with each gradient estimator, on the same pairs and graphs.

    python -m lds.experiments.edge_estimators wine digits cora --root DATA

So that only the estimator differs, all of them get the same candidate pairs (all on tables of a few
hundred rows, else the starting edges and near neighbours, never grown), the same seeds and the same
number of outer iterations. "frozen" never updates θ.
"""

import argparse
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from lds.datasets.registry import load
from lds.experiments.arguments import count, data_set, existing_folder
from lds.experiments.fit import problem_of, quality_on_test
from lds.structure.learn import learn
from lds.structure.methods.thesis import ESTIMATORS, Thesis

ALL_PAIRS = 600
"""Rows up to which all pairs may become edges."""

CITATION = ("cora", "citeseer", "pubmed")


def measure(
    name: str, estimator: str, seed: int, root: str | None, options: dict[str, Any]
) -> tuple[float, float, int]:
    """Test accuracy in percent, seconds of one core, and outer iterations."""
    data = load(name, seed=seed, root=root, retain=0.0 if name in CITATION else None)
    support: Any = "all" if data.n_nodes <= ALL_PAIRS else "sparse"
    method = Thesis(estimator=estimator, support=support, grow_every=0, **options)
    started = time.process_time()
    result = learn(problem_of(data), method, seed=seed)
    found = quality_on_test(result.probabilities, data)
    assert found is not None  # every data set here has test rows
    return 100 * found.accuracy, time.process_time() - started, len(result.history)


def table(names: list[str], seeds: int, root: str | None, options: dict[str, Any]) -> Iterator[str]:
    """Markdown lines, one a data set and estimator, as they are ready."""
    yield "| data | estimator | test accuracy, % | seconds an outer iteration |"
    yield "|---|---|---|---|"
    for name in names:
        runs: list[tuple[str, str, dict[str, Any]]] = [
            ("frozen", "straight_through", {"update_edges": False})
        ]
        runs += [(estimator, estimator, {}) for estimator in ESTIMATORS]
        for label, estimator, more in runs:
            found = [measure(name, estimator, seed, root, options | more) for seed in range(seeds)]
            scores = [score for score, _, _ in found]
            each = sum(seconds for _, seconds, _ in found) / sum(n for _, _, n in found)
            yield (
                f"| {name} | `{label}` | {np.mean(scores):.1f} ± {np.std(scores):.1f} "
                f"| {each:.2f} |"
            )


def main() -> None:
    """The command line."""
    default = Thesis(max_iter=5, max_inner=100).to_dict()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="+", type=data_set)
    parser.add_argument("--seeds", type=count, default=3)
    parser.add_argument("--root", type=existing_folder, help="folder with the data sets")
    for option in ("max_iter", "max_inner", "outer_lr"):
        kind = type(default[option])
        flag = "--" + option.replace("_", "-")
        parser.add_argument(flag, type=kind, default=default[option])
    arguments = vars(parser.parse_args())
    torch.set_num_threads(1)
    names, seeds, root = (arguments.pop(key) for key in ("names", "seeds", "root"))
    for line in table(names, seeds, None if root is None else str(root), arguments):
        print(line, flush=True)


if __name__ == "__main__":
    main()
