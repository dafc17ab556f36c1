"""What a structure-learning method is: options, and how it learns and predicts."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from lds.structure.options import Options

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from lds._types import Features
    from lds.structure.context import RunContext
    from lds.structure.methods.thesis import Thesis
    from lds.structure.problem import Problem
    from lds.structure.result import Learned


class Method(Options, ABC):
    """An immutable record of options that knows how to learn with them.

    Two instances: the thesis's (`methods.thesis`), with a free probability for every pair, and the
    default (`methods.committee`), with few shared coefficients and a committee of networks.

    Attributes:
        name: for `--method`.
        title: in tables.
        fixed_length: whether `max_iter` is the usual end of a run; otherwise it is a warning.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    fixed_length: ClassVar[bool] = False

    @abstractmethod
    def learn(self, problem: "Problem", run: "RunContext") -> "Learned":
        """Learn the distribution of edges and the network."""

    @abstractmethod
    def predict_new(self, learned: "Learned", new: "Features") -> "Tensor":
        """Class probabilities `(n_new, n_classes)` of rows that were not in the fit."""

    @abstractmethod
    def frozen(self) -> "Method":
        """The method with a distribution that is never updated: control (c)."""

    @abstractmethod
    def control(self) -> "Thesis":
        """The method whose network and starting graph controls (a) and (b) have."""

    def preparation_arrays(self, learned: "Learned") -> "dict[str, NDArray[np.generic]]":
        """What was fitted on the features, as arrays, so that a saved run need not fit it again."""
        return {}

    def batch_key(self) -> tuple[Any, ...] | None:
        """Runs with equal keys can go side by side (`learn_many`); None: this one runs alone."""
        return None
