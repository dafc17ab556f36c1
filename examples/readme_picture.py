"""Draw README's picture: accuracy beside the controls, and what the learned probabilities say.

    python examples/readme_picture.py --out examples/lds.png

Left: the runs in examples/benchmarks/results/table.jsonl. Right: θ learned on digits, pairs of one
class against pairs of two (Figure 9.4 of the thesis).
"""

import argparse
import json
from collections import defaultdict
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes

from lds.config import LDSConfig
from lds.datasets import load
from lds.graphs.knn import knn_adjacency
from lds.structure.learner import learn

matplotlib.use("Agg")
import matplotlib.pyplot as plt

RESULTS = Path(__file__).parent / "benchmarks" / "results" / "table.jsonl"
ORDER = ["wine", "breast_cancer", "digits", "cora", "citeseer"]
COLUMNS = {
    "gcn_train": ("(a) GCN, train labels", "#bbbbbb"),
    "gcn_train_validation": ("(b) GCN, train + validation labels", "#888888"),
    "frozen": ("(c) LDS's schedule, graph frozen", "#8fb9d9"),
    "lds": ("LDS", "#c23b22"),
}


def accuracies(path: Path) -> dict[str, dict[str, float]]:
    """Mean test accuracy in percent by data set and column, of the controls' setting."""
    records = [json.loads(line) for line in path.read_text().splitlines()]
    chosen = {}
    for record in records:
        if record["what"] == "controls":
            chosen[record["data"], record["retain"]] = record["setting"]
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for record in sorted(records, key=lambda r: (ORDER.index(r["data"]), r["retain"])):
        key = (record["data"], record["retain"])
        if chosen.get(key) == record["setting"]:
            share = (
                f"\n{record['retain']:.0%} edges" if record["data"] in ("cora", "citeseer") else ""
            )
            for column, value in record["test"].items():
                found[record["data"].replace("_", "\n") + share][column].append(100 * value)
    return {
        name: {column: float(np.mean(values)) for column, values in row.items()}
        for name, row in found.items()
    }


def dots(axes: Axes, rows: dict[str, dict[str, float]]) -> None:
    """One column a data set, one dot a method (bars would have to start at 0)."""
    for k, (column, (label, colour)) in enumerate(COLUMNS.items()):
        heights = [row.get(column, np.nan) for row in rows.values()]
        place = np.arange(len(rows)) + 0.12 * (k - 1.5)
        axes.scatter(
            place, heights, 45, label=label, color=colour, edgecolor="black", linewidth=0.5
        )
    axes.set_xticks(np.arange(len(rows)), rows, fontsize=7)
    axes.set_ylabel("test accuracy, %")
    axes.grid(axis="y", alpha=0.3)
    axes.legend(fontsize=7, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False)


def histogram(axes: Axes, max_iter: int) -> None:
    """log10 θ of pairs that did not start as edges, by whether the classes agree."""
    data = load("digits")
    config = LDSConfig(max_iter=max_iter)
    start = knn_adjacency(data.features, config.n_neighbors, config.metric)
    result = learn(data.features, data.labels, data.split, start, config)
    theta = (result.edges.to_csr() - start).tocoo()
    keep = (theta.row < theta.col) & (theta.data > 0)
    row, col, value = theta.row[keep], theta.col[keep], theta.data[keep]
    same = data.labels[row] == data.labels[col]
    bins = np.arange(-8, 0.5, 0.5)
    for mask, label, colour in ((same, "one class", "#c23b22"), (~same, "two classes", "#888888")):
        counts, _ = np.histogram(np.log10(value[mask]), bins)
        axes.step(bins[:-1], counts / counts.sum(), where="post", label=label, color=colour)
    axes.set_xlabel("log10 of the learned edge probability")
    axes.set_ylabel("share of pairs")
    axes.set_title("digits, pairs outside the kNN graph", fontsize=8)
    axes.legend(fontsize=8)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("lds.png"))
    parser.add_argument("--max-iter", type=int, default=10)
    arguments = parser.parse_args()
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.6), width_ratios=[3, 2])
    dots(left, accuracies(RESULTS))
    histogram(right, arguments.max_iter)
    figure.tight_layout()
    figure.savefig(arguments.out, dpi=110)
    print(f"wrote {arguments.out}")


if __name__ == "__main__":
    main()
