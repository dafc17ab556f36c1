"""Rules that end an outer loop.

A rule is a function of the records so far that returns the reason to stop, or None. It depends on
the records alone, so a resumed run stops where an uninterrupted one does.
"""

import math
from collections.abc import Callable, Sequence

from torch import Tensor

from lds._numbers import real
from lds.bilevel.checks import check_count
from lds.bilevel.history import Record
from lds.bilevel.tensors import leaves

Rule = Callable[[Sequence[Record]], str | None]
"""(records so far) to the reason to stop, or None."""


def patience(n: int, min_delta: float = 0.0) -> Rule:
    """Stop after `n` records in a row that do not improve the outer value.

    Arguments:
        n: number of records, at least 1.
        min_delta: least decrease below the lowest value so far that is an improvement, 0 or more.
    """
    n = check_count("patience: n", n, 1)
    if not 0 <= real("patience: min_delta", min_delta) < math.inf:
        raise ValueError(f"patience: min_delta must be 0 or more, got {min_delta}")

    # Look at each record once: a long online run calls the rule at every step.
    seen, best, waited = 0, math.inf, 0
    last: Record | None = None

    def rule(history: Sequence[Record]) -> str | None:
        nonlocal seen, last, best, waited
        if not seen <= len(history) or (seen and history[seen - 1] is not last):  # another run
            seen, best, waited = 0, math.inf, 0
        for record in history[seen:]:
            waited = 0 if record.value < best - min_delta else waited + 1
            best = min(best, record.value)
        seen, last = len(history), history[-1]
        return "patience" if waited >= n else None

    return rule


def tolerance(gradient: float) -> Rule:
    """Stop when the norm of the hypergradient is at most `gradient`, 0 or more."""
    if not 0 <= real("tolerance: gradient", gradient) < math.inf:
        raise ValueError(f"tolerance: gradient must be 0 or more, got {gradient}")
    return lambda history: "tolerance" if history[-1].grad_norm <= gradient else None


def at_zero() -> Rule:
    """Stop when every hyperparameter is 0: with a learning rate of 0 training stops (§8.2.1).

    For up to 1,000 hyperparameters, whose values the history keeps.
    """

    def rule(history: Sequence[Record]) -> str | None:
        values = [leaf for leaf in leaves(history[-1].hyper) if isinstance(leaf, Tensor)]
        return "at zero" if values and not any(bool(leaf.any()) for leaf in values) else None

    return rule
