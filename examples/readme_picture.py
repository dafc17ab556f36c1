"""Draw README's picture: where learning the edges matters, and why.

    LDS_DATA=DATA python examples/readme_picture.py --out examples/lds.png

Left: test accuracy on an attacked graph, of the run of examples/gallery/attacked_graph.py, and on
incomplete ones, of the runs in examples/benchmarks/results/compare.jsonl. Right: what the attacked
run learned about true edges and about the attacker's.
"""

import argparse
import json
import runpy
from collections import defaultdict
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

HERE = Path(__file__).parent
RESULTS = HERE / "benchmarks" / "results" / "compare.jsonl"
METHODS = {
    "LogisticRegression": ("logistic regression", "#c9c9c9"),
    "(b) GCN": ("GCN", "#777777"),
    "lds": ("lds, default", "#c23b22"),
}
CASES = {
    ("cora", 0.25): "Cora,\n25 % of\nits edges",
    ("citeseer", 0.5): "CiteSeer,\n50 % of\nits edges",
    ("cora", 0.0): "Cora,\nno graph",
    ("digits", None): "digits,\na table",
}


def accuracies(path: Path) -> dict[str, dict[str, float]]:
    """Mean test accuracy in percent by case and method, over the seeds in the file."""
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for line in path.read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        case = CASES.get((record["data"], record["retain"]))
        if case is not None:
            found[case][record["method"]].append(100 * record["accuracy"])
    return {
        case: {method: float(np.mean(values)) for method, values in found[case].items()}
        for case in CASES.values()
        if case in found
    }


def dots(axes: Axes, rows: dict[str, dict[str, float]]) -> None:
    """One column a case, one dot a method (bars would have to start at 0)."""
    place = np.arange(len(rows))
    for method, (label, colour) in METHODS.items():
        heights = [row.get(method, np.nan) for row in rows.values()]
        axes.scatter(place, heights, 60, label=label, color=colour, zorder=3)
        if method == "lds":
            for x, y in zip(place, heights, strict=True):
                axes.annotate(f"{y:.0f}", (x, y), (0, 7), textcoords="offset points", ha="center")
    axes.set_xticks(place, list(rows), fontsize=8)
    axes.set(ylabel="test accuracy, %", ylim=(35, 104), xlim=(-0.5, len(rows) - 0.5))
    axes.grid(axis="y", alpha=0.3)
    axes.legend(fontsize=8, loc="lower right", frameon=False)


def histogram(axes: Axes, run: dict[str, Any]) -> None:
    """Shares of the edges of the attacked graph by learned probability."""
    probability, true = run["probability"], run["true"]
    bins = np.linspace(0, 1, 21)
    kinds = ((true, "true edges", "#4477aa"), (~true, "the attacker's edges", "#c23b22"))
    for kind, label, colour in kinds:
        share = np.full(int(kind.sum()), 100 / kind.sum())
        axes.hist(
            probability[kind],
            bins,
            weights=share,
            histtype="step",
            label=label,
            color=colour,
            linewidth=2,
        )
    axes.set(xlabel="learned probability of an edge", ylabel="share of the edges, %")
    axes.legend(fontsize=8, loc="upper left", frameon=False)


def draw(run: dict[str, Any], out: Path) -> None:
    """Draw the picture.

    Arguments:
        run: the names that examples/gallery/attacked_graph.py leaves.
        out: the file.
    """
    attacked = {"(b) GCN": 100 * float(run["plain"]), "lds": 100 * float(run["learned"])}
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), width_ratios=[3, 2])
    dots(left, {"Cora,\n1 edge in 5\nan attacker's": attacked, **accuracies(RESULTS)})
    histogram(right, run)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(out, dpi=110)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("lds.png"))
    arguments = parser.parse_args()
    draw(runpy.run_path(str(HERE / "gallery" / "attacked_graph.py")), arguments.out)
    print(f"wrote {arguments.out}")


if __name__ == "__main__":
    main()
