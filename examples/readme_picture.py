"""Draw README's picture: accuracy of the default and the controls, and learned probabilities.

    python examples/readme_picture.py --out examples/lds.png

Left: the runs in examples/benchmarks/results/compare.jsonl. Right: the edges learned on digits,
pairs of one class against pairs of two.
"""

import argparse
import json
from collections import defaultdict
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes

from lds.datasets.registry import load
from lds.experiments.fit import problem_of
from lds.structure.learn import learn

matplotlib.use("Agg")
import matplotlib.pyplot as plt

RESULTS = Path(__file__).parent / "benchmarks" / "results" / "compare.jsonl"
COLUMNS = {
    "LabelSpreading": ("LabelSpreading", "#e8e8e8"),
    "LogisticRegression": ("logistic regression", "#cccccc"),
    "RBF SVM": ("RBF SVM", "#aaaaaa"),
    "(b) GCN": ("(b) GCN", "#666666"),
    "(c) frozen": ("(c) default, edges frozen", "#8fb9d9"),
    "lds": ("lds, default", "#c23b22"),
}


def accuracies(path: Path) -> dict[str, dict[str, float]]:
    """Mean test accuracy in percent by data set and method, over the seeds in the file."""
    records = [json.loads(line) for line in path.read_text().splitlines()]
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        share = "" if record["retain"] is None else f"\n{record['retain']:.0%}"
        name = record["data"].replace("_", "\n") + share
        found[name][record["method"]].append(100 * record["accuracy"])
    return {
        name: {method: float(np.mean(values)) for method, values in row.items()}
        for name, row in found.items()
    }


def dots(axes: Axes, rows: dict[str, dict[str, float]]) -> None:
    """One column a data set, one dot a method (bars would have to start at 0)."""
    for k, (column, (label, colour)) in enumerate(COLUMNS.items()):
        heights = [row.get(column, np.nan) for row in rows.values()]
        place = np.arange(len(rows)) + 0.1 * (k - 2.5)
        axes.scatter(
            place, heights, 32, label=label, color=colour, edgecolor="black", linewidth=0.5
        )
    axes.set_xticks(np.arange(len(rows)), rows, fontsize=6)
    axes.set_ylabel("test accuracy, %")
    axes.grid(axis="y", alpha=0.3)
    axes.legend(fontsize=7, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, frameon=False)


def histogram(axes: Axes) -> None:
    """θ of pairs, by whether the classes of their nodes agree."""
    data = load("digits")
    result = learn(problem_of(data))
    theta = result.edges.to_csr().tocoo()
    above = theta.row < theta.col
    same = data.labels[theta.row] == data.labels[theta.col]
    bins = np.linspace(0, 1, 21)
    for keep, label, colour in ((same, "one class", "#c23b22"), (~same, "two classes", "#888888")):
        counts, _ = np.histogram(theta.data[above & keep], bins)
        axes.stairs(counts, bins, label=label, color=colour, linewidth=1.5)
    axes.set_xlabel("learned probability of an edge")
    axes.set_ylabel("pairs of near neighbours")
    axes.set_title("digits", fontsize=8)
    axes.legend(fontsize=8)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("lds.png"))
    arguments = parser.parse_args()
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.6), width_ratios=[3, 2])
    dots(left, accuracies(RESULTS))
    histogram(right)
    figure.tight_layout()
    figure.savefig(arguments.out, dpi=110)
    print(f"wrote {arguments.out}")


if __name__ == "__main__":
    main()
