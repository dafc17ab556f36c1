"""What a structure-learning method is: a record of options, and a module that learns with them."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from lds.structure.options import Options

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from lds._types import Features
    from lds.structure.account import Coefficients, MemberPredictions
    from lds.structure.context import RunContext
    from lds.structure.methods.thesis import Thesis
    from lds.structure.problem import Problem
    from lds.structure.result import Learned


class Method(Options, ABC):
    """An immutable record of the options of a method.

    Three instances: the thesis's (`methods.thesis`), with a free probability for every pair; the
    default (`methods.committee`), with few shared coefficients and a committee of networks; and
    learned views (`methods.views`), to which the default leaves tables.

    Attributes:
        name: for `--method`.
        title: in tables.
        home: the module with the functions of `Implementation`; None: that of the record. A record
            in a module of its own loads without torch, for the shell.
        reads_roles: whether training, validation and early-stopping rows differ to it.
        fixed_length: whether `max_iter` is the usual end of a run; otherwise it is a warning.
    """

    title: ClassVar[str]
    home: ClassVar[str | None] = None
    fixed_length: ClassVar[bool] = False
    reads_roles: ClassVar[bool] = True

    def for_problem(self, problem: "Problem") -> "Method":
        """Return the method that learns from a problem: this one, or another to which it leaves it.

        Arguments:
            problem: as `learn` gets it.
        """
        return self

    @abstractmethod
    def frozen(self) -> "Method":
        """Return the method with a distribution that is never updated: control (c)."""

    @abstractmethod
    def control(self) -> "Thesis":
        """Return the method whose network and starting graph controls (a) and (b) have."""

    def batch_key(self) -> tuple[Any, ...] | None:
        """Return a key: equal ones can run side by side (`learn_many`); None: it runs alone."""
        return None


class Implementation(Protocol):
    """The functions of a method's module."""

    def learn(self, method: Any, problem: "Problem", run: "RunContext") -> "Learned":
        """Learn the distribution of edges and the network."""

    def predict_new(self, learned: "Learned", new: "Features") -> "Tensor":
        """Predict class probabilities `(n_new, n_classes)` of rows that were not in the fit."""

    def preparation_arrays(self, learned: "Learned") -> "dict[str, NDArray[np.generic]]":
        """Return what was fitted on the features, so that a saved run need not fit it again."""

    def members_say(self, learned: "Learned") -> "MemberPredictions":
        """Return what each member predicts; {} where there are none, see `structure.account`."""

    def coefficients(self, learned: "Learned") -> "Coefficients":
        """Return each coefficient before learning and after it; {} where there are none."""
