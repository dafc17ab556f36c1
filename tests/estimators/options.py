"""Options that tests of several faces share."""

from typing import Any

THESIS_ONLY: list[dict[str, Any]] = [
    {"backbone": "GCNConv"},
    {"connected": True},
    {"estimator": "disarm"},
    {"support": "all"},
    {"batch_nodes": 4},
    {"learn_inner_lr": 0.1},
]
"""What a committee does not take."""
