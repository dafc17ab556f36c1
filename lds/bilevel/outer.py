"""The outer step: an optimiser of torch's moves the hyperparameters, a projection follows."""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lds.bilevel.checks import NonFiniteError, check_finite
from lds.bilevel.tensors import Tree, leaves, paths, rebuild, same_structure, tree_map

OptimizerFactory = Callable[..., torch.optim.Optimizer]
default_optimizer: OptimizerFactory = functools.partial(torch.optim.Adam, lr=1e-2)


class OuterStep:
    """Hyperparameters on the move.

    Arguments:
        hyper: where they start; a copy is moved.
        optimizer: optimizer(list of tensors) -> a `torch.optim.Optimizer`.
        projection: hyper -> hyper; or a tree like hyper with a function of a tensor, or None, at
            its leaves.

    Raises:
        TypeError: a leaf is no tensor, or `optimizer` makes no optimiser.
        ValueError: no leaf is floating point, or the projection's tree is not like hyper.
    """

    def __init__(self, hyper: Tree, optimizer: OptimizerFactory, projection: Any) -> None:
        for path, leaf in zip(paths(hyper), leaves(hyper), strict=True):
            if not isinstance(leaf, Tensor):
                raise TypeError(
                    f"solve must have tensors in hyper, got {type(leaf).__name__} at hyper{path}; "
                    "a leaf that owns its gradient has its own outer loop"
                )
        self._tensors: list[Tensor] = [leaf.detach().clone() for leaf in leaves(hyper)]
        self._like = hyper
        moving = [leaf for leaf in self._tensors if leaf.is_floating_point()]
        if not moving:
            raise ValueError("hyper must hold a floating point tensor to be tuned, got none")
        made = optimizer(moving) if callable(optimizer) else optimizer
        if not callable(optimizer) or not isinstance(made, torch.optim.Optimizer):
            raise TypeError(
                "optimizer must make a torch.optim.Optimizer from a list of tensors, such as "
                f"functools.partial(torch.optim.Adam, lr=1e-2); got {type(made).__name__}"
            )
        if isinstance(made, torch.optim.LBFGS):
            raise TypeError(
                "optimizer must take a step on one gradient; LBFGS evaluates its function again "
                "and again: use Adam or SGD"
            )
        self.optimizer = made
        if projection is not None and not callable(projection):
            if not same_structure(projection, hyper):
                raise ValueError(
                    f"projection must be a function or a tree like hyper, {paths(hyper)}, "
                    f"got {paths(projection)}"
                )
            by_leaf = projection
            projection = lambda tree: tree_map(  # noqa: E731
                lambda leaf, project: leaf if project is None else project(leaf), tree, by_leaf
            )
        self._projection = projection

    @property
    def hyper(self) -> Tree:
        """Copies of the current values."""
        return rebuild(self._like, [leaf.clone() for leaf in self._tensors])

    @property
    def description(self) -> str:
        """The optimiser with its options, in words."""
        options = {key: str(value) for key, value in self.optimizer.defaults.items()}
        return f"{type(self.optimizer).__name__} {options}"

    def load(self, hyper: Tree) -> None:
        """Go on from other values."""
        for mine, value in zip(self._tensors, leaves(hyper), strict=True):
            if mine.is_floating_point():
                mine.copy_(value)

    def load_optimizer(self, stored: dict[str, Any]) -> None:
        """Go on from what its `state_dict` was.

        Its own `load_state_dict` would not do: it casts what is kept besides the moments (the
        products of NAdam, the averages of ASGD) to the dtype of the hyperparameters.
        """
        groups = self.optimizer.param_groups
        for group, kept in zip(groups, stored["param_groups"], strict=True):
            group.update({key: value for key, value in kept.items() if key != "params"})
        tensors = [tensor for group in groups for tensor in group["params"]]
        for k, kept in stored["state"].items():
            self.optimizer.state[tensors[k]] = {
                key: value.to(tensors[k].device)
                if isinstance(value, Tensor) and value.dim()
                else value
                for key, value in kept.items()
            }

    def projected(self, hyper: Tree) -> Tree:
        """`hyper` after the projection.

        Raises:
            ValueError: the projection returns another kind of tree.
        """
        if self._projection is None:
            return hyper
        with torch.no_grad():
            found = self._projection(hyper)
        if not same_structure(found, self._like):
            raise ValueError(
                f"projection must return a tree like hyper, {paths(self._like)}, got {paths(found)}"
            )
        for path, mine, leaf in zip(paths(found), self._tensors, leaves(found), strict=True):
            if leaf.shape != mine.shape:
                raise ValueError(
                    f"projection must keep the shape of hyper{path}, {tuple(mine.shape)}, "
                    f"got {tuple(leaf.shape)}"
                )
        return found

    def take(self, grad: Tree) -> None:
        """One step of the optimiser, and the projection.

        Raises:
            ValueError: the projection returns another kind of tree.
            NonFiniteError: a hyperparameter is no longer finite; the values before are put back.
        """
        before = self.hyper
        for mine, g in zip(self._tensors, leaves(grad), strict=True):
            if mine.is_floating_point():
                mine.grad = g
        self.optimizer.step()
        if self._projection is not None:
            self.load(self.projected(self.hyper))
        try:
            check_finite("hyper", self.hyper, "after an outer step")
        except NonFiniteError:
            self.load(before)
            raise
