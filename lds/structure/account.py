"""What the parts of a result say: each member of a committee, and each learned coefficient.

Two functions of a method's module say it (`methods.base.Implementation`):

    members_say(learned) -> {name: (weight, class probabilities (n_nodes, n_classes))}
    coefficients(learned) -> {name: (start, learned)}

The weighted mean of the members' probabilities is the prediction, or near it where the prediction
is a mean over drawn graphs.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lds.structure.methods.registry import implementation

if TYPE_CHECKING:
    from lds.structure.result import Learned

MemberPredictions = dict[str, tuple[float, NDArray[np.floating[Any]]]]
Coefficients = dict[str, tuple[float, float]]


@dataclass(frozen=True, eq=False)
class Account:
    """What the parts of a result say; empty where the method has no such parts.

    Attributes:
        members: by name, weight and class probabilities `(n_nodes, n_classes)` of each.
        coefficients: by name, the value before learning and after it.
    """

    members: MemberPredictions = field(default_factory=dict)
    coefficients: Coefficients = field(default_factory=dict)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Store it in arrays without objects; probabilities keep three digits."""
        arrays: dict[str, NDArray[Any]] = {}
        if self.members:
            arrays["members"] = np.array(list(self.members))
            arrays["weights"] = np.array([weight for weight, _ in self.members.values()])
            stacked = np.stack([found for _, found in self.members.values()])
            arrays["probabilities"] = stacked.astype(np.float16)
        if self.coefficients:
            arrays["coefficients"] = np.array(list(self.coefficients))
            arrays["values"] = np.array(list(self.coefficients.values()), dtype=np.float64)
        return arrays

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[Any]]) -> "Account":
        """Make the account that `to_arrays` stored; without arrays an empty one."""
        members: MemberPredictions = {}
        if "members" in arrays:
            names, weights = arrays["members"].tolist(), arrays["weights"].tolist()
            each = arrays["probabilities"].astype(np.float32)
            members = dict(zip(names, zip(weights, each, strict=True), strict=True))
        coefficients: Coefficients = {}
        if "coefficients" in arrays:
            values = (tuple(pair) for pair in arrays["values"].tolist())
            coefficients = dict(zip(arrays["coefficients"].tolist(), values, strict=True))
        return cls(members, coefficients)


def account(learned: "Learned") -> Account:
    """Ask the method of a result what its members say and what it learned."""
    from lds.structure.surroundings import own_settings  # imports torch, which pages do without

    module = implementation(learned.method)
    with own_settings():
        return Account(module.members_say(learned), module.coefficients(learned))
