"""Settings of LDS that are tried on each data set. Imports nothing heavy."""

from typing import Any

from lds.structure.methods.thesis import Thesis

Settings = dict[str, Any]

GRIDS: dict[str, list[Settings]] = {
    "tabular": [
        {"n_neighbors": 10, "metric": "cosine", "truncation": 5, "outer_lr": 1.0},
        {"n_neighbors": 20, "metric": "cosine", "truncation": 10, "outer_lr": 1.0},
        {"n_neighbors": 10, "metric": "euclidean", "truncation": 10, "outer_lr": 0.3},
        {"n_neighbors": 20, "metric": "euclidean", "truncation": 5, "outer_lr": 0.3},
    ],
    "cora": [{}, {"weight_decay": 5e-5}],
}
"""What is tuned: k, metric, τ and η on tables, each at two values, in the half of the factorial
design that four runs can cover; ρ on Cora without its graph; nothing elsewhere."""

CITATION = ("cora", "citeseer", "pubmed")


def grid(name: str, retain: float) -> list[Settings]:
    """The settings tried on a data set; each says only what it changes of the default."""
    default = Thesis().to_dict()
    points = (
        GRIDS["tabular"] if name not in CITATION else GRIDS.get(name if not retain else "", [{}])
    )
    return [{k: v for k, v in point.items() if default[k] != v} for point in points]
