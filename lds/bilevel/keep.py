"""Select the hyperparameters and weights to return: the best, the last, or an average."""

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from lds._random import EVALUATE, mix, replayed
from lds.bilevel.checks import check_count, check_finite, unchanged
from lds.bilevel.history import Record
from lds.bilevel.tensors import Tree, detach, devices, tree_map

Keep = Literal["best", "last", "averaged"]
"""What an outer loop returns."""

Evaluate = Callable[[Tree, Tree], Tensor | float]
"""(params, hyper) to a number, lower is better."""

NOISE = 1e-4
"""Relative difference of two values of E at one state above which E is noisy. Differences by
rounding, also on a GPU, are smaller."""

DECAY = 3
"""η of the average; weights grow as the η-th power of the iteration (Shamir and Zhang, 2013)."""


class Keeper:
    """The hyperparameters and weights to return, from the outer iterations so far.

    Arguments:
        keep: "best" keeps the iteration with the lowest value, "last" the last one, "averaged" the
            mean x̄_k = (1 - a_k) x̄_{k-1} + a_k x_k with a_k = (η+1) / (k+η), which weighs later
            iterations more (Shamir and Zhang, 2013, eq. 4, https://arxiv.org/abs/1212.1824).
        evaluate: the value to compare iterations by; None is E.
        every: outer iterations from one evaluation to the next, for "best".
        seed: seed of the randomness inside `evaluate`, the same at every evaluation.

    Raises:
        TypeError, ValueError: an argument does not fit.
    """

    def __init__(self, keep: Keep, evaluate: Evaluate | None, every: int, seed: int) -> None:
        if keep not in get_args(Keep):
            raise ValueError(f"keep must be 'best', 'last' or 'averaged', got {keep!r}")
        if evaluate is not None and not callable(evaluate):
            raise TypeError(
                "evaluate must be a function of (params, hyper) that returns a number, or None, "
                f"got {type(evaluate).__name__}"
            )
        every = check_count("evaluate_every", every, 1)
        if every > 1 and (evaluate is None or keep != "best"):
            raise ValueError(
                f"evaluate_every={every} needs evaluate= and keep='best': 'last' and 'averaged' "
                "evaluate once, in the end"
            )
        self.keep, self.evaluate = keep, evaluate
        self.value = float("nan")
        self.hyper: Any = None
        self.params: Any = None
        self.n = 0
        self._every, self._seed, self._compared = every, seed, False

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that a resumed run must share, by name."""
        return {"keep": self.keep, "evaluate": self._every if self.evaluate is not None else 0}

    def take(self, record: Record, params: Tree, *, count: int) -> Record:
        """Take an outer iteration into account; return its record with the value of `evaluate`.

        Arguments:
            record: the record of the iteration.
            params: the weights of the iteration.
            count: number of the iteration, from 1.

        Raises:
            NonFiniteError: `evaluate` returned a number that is not finite.
        """
        if self.keep == "best" and self.evaluate is not None:
            if count % self._every:
                return record
            value = self.judge(params, record.hyper)
            record = replace(record, info=record.info | {"evaluate": value})
        else:
            value = record.value
        self.n += 1
        if self.keep == "best" and self.hyper is not None and not value < self.value:
            return record
        if self.keep == "averaged" and self.hyper is not None:
            weight = (DECAY + 1) / (self.n + DECAY)
            self.hyper = _between(self.hyper, record.hyper, weight)
            self.params = _between(self.params, params, weight)
        else:
            self.hyper, self.params = record.hyper, params
        self.value = value
        return record

    def judge(self, params: Tree, hyper: Tree) -> float:
        """Call `evaluate` and check its value.

        Raises:
            TypeError: the value is no number.
            NonFiniteError: the value is not finite.
            RuntimeError: it changed its arguments in place.
        """
        assert self.evaluate is not None
        with (
            replayed(mix(self._seed, EVALUATE), devices(params, hyper)),
            torch.enable_grad(),
            unchanged("evaluate", params=params, hyper=hyper),
        ):
            value = self.evaluate(detach(params), detach(hyper))
        try:
            number = number_of(value)
        except (TypeError, ValueError, RuntimeError) as error:
            got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise TypeError(f"evaluate must return one number, got {got}") from error
        check_finite("evaluate", torch.tensor(number, dtype=torch.float64), "where a value is due")
        return number

    def compare(self, value: float, again: Callable[[], Tensor | float]) -> None:
        """Warn, at the first call, if E is noisy and keep="best" compares values of E.

        Arguments:
            value: E at a state.
            again: computes E at the same state with the draws of another outer iteration.
        """
        if self._compared or self.keep != "best" or self.evaluate is not None:
            return
        self._compared = True
        other = number_of(again())
        if abs(value - other) > NOISE * max(abs(value), abs(other)):
            warnings.warn(
                f"the outer objective is noisy: at one state it is {other:.4g} as one outer "
                f"iteration evaluates it and {value:.4g} as the next does, so keep='best' returns "
                "the luckiest iteration; give evaluate=, a function of (params, hyper) on fixed "
                "data (all validation rows), or take keep='last' or keep='averaged'",
                UserWarning,
                stacklevel=2,
            )


def number_of(value: Any) -> float:
    """Convert what an objective returned to a number, without its history."""
    return float(value.detach() if isinstance(value, Tensor) else value)


def _between(old: Tree, new: Tree, weight: float) -> Tree:
    """Compute (1 - weight) old + weight new; integer leaves are those of `new`.

    So are leaves of another shape, such as the weights of another number of tasks.
    """

    def between(a: Tensor, b: Tensor) -> Tensor:
        alike = b.is_floating_point() and a.shape == b.shape
        return torch.lerp(a, b, weight) if alike else b

    return tree_map(between, old, new)
