"""The two classifiers by the names of their methods, and options that tests share."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from sklearn.utils.estimator_checks import check_class_weight_classifiers

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


MOST_ITERATIONS = 4


def run_check(
    estimator: BaseLDSClassifier, check: partial[None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of scikit-learn's common checks; the one that asks for 1,000 iterations gets few."""
    if check.func is check_class_weight_classifiers:
        kind = type(estimator)
        monkeypatch.setattr(kind, "set_params", with_few_iterations(kind.set_params))
    check(estimator)


def with_few_iterations(
    set_params: Callable[..., BaseLDSClassifier],
) -> Callable[..., BaseLDSClassifier]:
    """`set_params` of a class, which takes no more than `MOST_ITERATIONS` outer iterations."""

    def changed(self: BaseLDSClassifier, **parameters: Any) -> BaseLDSClassifier:
        if "max_iter" in parameters:
            parameters["max_iter"] = min(parameters["max_iter"], MOST_ITERATIONS)
        return set_params(self, **parameters)

    return changed
