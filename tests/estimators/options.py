"""The two classifiers by the names of their methods, and options that tests share."""

from typing import Any

from lds import LDSClassifier, ThesisLDSClassifier
from lds.estimators.base import BaseLDSClassifier

CLASSIFIERS: dict[str, type[BaseLDSClassifier]] = {
    "default": LDSClassifier,
    "thesis": ThesisLDSClassifier,
}

SHORT: dict[str, dict[str, Any]] = {"default": {"refit_steps": 4}, "thesis": {}}
"""Options that shorten the refit, by method: most tests ask for something else of it."""

THESIS_ONLY: list[dict[str, Any]] = [
    {"backbone": "GCNConv"},
    {"connected": True},
    {"estimator": "disarm"},
    {"support": "all"},
    {"batch_nodes": 4},
    {"learn_inner_lr": 0.1},
    {"pairs_per_node": 5},
    {"grow_every": 0},
]
"""Options that the default method does not have."""


def classifier(method: str, **parameters: Any) -> BaseLDSClassifier:
    """A classifier of a method, with a short refit."""
    return CLASSIFIERS[method](**SHORT[method] | parameters)
