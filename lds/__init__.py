"""lds: learn the graph a graph neural network should have had."""

from typing import TYPE_CHECKING, Any

from lds._version import __version__

if TYPE_CHECKING:
    from lds.estimators.classifier import LDSClassifier
    from lds.estimators.folds import LabelledKFold
    from lds.estimators.pyg import LearnedStructure, LearnStructure, learn_structure
    from lds.estimators.search import LDSSearch
    from lds.estimators.thesis_classifier import ThesisLDSClassifier
    from lds.estimators.views_classifier import ViewsLDSClassifier

__all__ = [
    "LDSClassifier",
    "LDSSearch",
    "LabelledKFold",
    "LearnStructure",
    "LearnedStructure",
    "ThesisLDSClassifier",
    "ViewsLDSClassifier",
    "__version__",
    "learn_structure",
]

_HOME = {
    "LDSClassifier": "lds.estimators.classifier",
    "LDSSearch": "lds.estimators.search",
    "LabelledKFold": "lds.estimators.folds",
    "LearnStructure": "lds.estimators.pyg",
    "LearnedStructure": "lds.estimators.pyg",
    "ThesisLDSClassifier": "lds.estimators.thesis_classifier",
    "ViewsLDSClassifier": "lds.estimators.views_classifier",
    "learn_structure": "lds.estimators.pyg",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is asked for: torch_geometric alone takes seconds."""
    if name not in _HOME:
        raise AttributeError(f"module 'lds' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    """The public names, for help and completion, without importing them."""
    return sorted(__all__)
