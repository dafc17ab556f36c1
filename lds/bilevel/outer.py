"""The outer step: an optimiser of `torch.optim` moves λ, a projection and a scheduler follow."""

from collections.abc import Callable
from numbers import Number
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from torch.utils import _pytree as pytree

from lds.bilevel.checks import (
    NonFiniteError,
    all_finite,
    check_finite,
    check_tuned,
    is_maker,
    kind_of,
)
from lds.bilevel.ordering import like
from lds.bilevel.tensors import Tree, leaves, paths, rebuild, same_structure, tree_map

OptimizerFactory = Callable[..., torch.optim.Optimizer]
"""(list of tensors) to an optimiser."""

SchedulerFactory = Callable[[torch.optim.Optimizer], LRScheduler]
"""(optimiser) to a scheduler of its learning rate."""

LARGE = 1_000_000
"""Number of hyperparameters from which Adam's fused step is taken by default: it makes no temporary
tensors of their size, of which the other step makes two."""


EPOCHS = (1, 2, 3, 10, 100)
"""Outer iterations at which the functions of a scheduler are compared with those of a run that is
resumed: its first ones, and some later ones."""


def default_optimizer(tensors: list[Tensor]) -> torch.optim.Optimizer:
    """Make the optimiser where none is given: Adam, for hyperparameters of the size of 1."""
    n = sum(tensor.numel() for tensor in tensors)
    return torch.optim.Adam(tensors, lr=1e-2, fused=True if n >= LARGE else None)


class OuterStep:
    """The hyperparameters, with the optimiser that moves them.

    Every step moves them to new memory, so that values handed out before stay as they are.

    Arguments:
        hyper: first values, which are copied and projected.
        optimizer: optimizer(list of tensors) -> a `torch.optim.Optimizer`.
        projection: hyper -> hyper; or a tree like hyper with a function of a tensor, or None, at
            its leaves.
        scheduler: scheduler(optimizer) -> a scheduler of `torch.optim.lr_scheduler`, which steps
            after every step of the optimiser; None for a constant learning rate.

    Raises:
        TypeError: a leaf is no tensor or complex, `optimizer` makes no optimiser, or one of another
            kind of gradient, or `scheduler` no scheduler.
        ValueError: no leaf is floating point, `optimizer` maximises, or holds other tensors than
            those it is given, or the projection's tree, or what it returns, is not like hyper.
    """

    def __init__(
        self,
        hyper: Tree,
        optimizer: OptimizerFactory,
        projection: Any,
        scheduler: SchedulerFactory | None = None,
    ) -> None:
        for path, leaf in zip(paths(hyper), leaves(hyper), strict=True):
            if not isinstance(leaf, Tensor):
                raise TypeError(
                    f"solve must have tensors in hyper, got {type(leaf).__name__} at hyper{path}; "
                    "torch.tensor(1.0) is one"
                )
        check_tuned(hyper)
        self._tensors: list[Tensor] = [leaf.detach().clone() for leaf in leaves(hyper)]
        self._like = hyper
        moving = [leaf for leaf in self._tensors if leaf.is_floating_point()]
        self._moving = moving
        made = optimizer(moving) if callable(optimizer) else optimizer
        if not callable(optimizer) or not isinstance(made, torch.optim.Optimizer):
            raise TypeError(
                "optimizer must make a torch.optim.Optimizer from a list of tensors, such as "
                f"functools.partial(torch.optim.Adam, lr=1e-2); got {type(made).__name__}"
            )
        _check_optimizer(made, moving)
        given = {id(tensor) for tensor in moving}
        held = {id(tensor) for group in made.param_groups for tensor in group["params"]}
        if held != given:
            raise ValueError(
                "optimizer must hold the tensors that it is called with, all of them and no "
                f"others, or hyper would not move; got {len(held & given)} of {len(given)} and "
                f"{len(held - given)} others"
            )
        self.optimizer = made
        self._groups = _of_groups(made, moving)
        self._scheduler = None if scheduler is None else _scheduler(scheduler, made)
        self._configured = "" if self._scheduler is None else f", {_described(self._scheduler)}"
        if projection is not None and not callable(projection):
            projection = like(projection, hyper)
            if not same_structure(projection, hyper):
                raise ValueError(
                    f"projection must be a function or a tree like hyper, {paths(hyper)}, "
                    f"got {paths(projection)}"
                )
            by_leaf = projection
            for path, function in zip(paths(hyper), leaves(by_leaf), strict=True):
                if function is not None:
                    _check_projection(f"projection{path}", function)
            projection = lambda tree: tree_map(  # noqa: E731
                lambda leaf, project: leaf if project is None else project(leaf), tree, by_leaf
            )
        elif projection is not None:
            _check_projection("projection", projection)
        self._projection = projection
        if projection is not None:
            self.load(self.projected(self.hyper))

    @property
    def hyper(self) -> Tree:
        """The current values, which later steps leave as they are."""
        return rebuild(self._like, [leaf.detach() for leaf in self._tensors])

    @property
    def description(self) -> str:
        """The optimiser and the scheduler with their options at the start, as text."""
        options = {key: str(value) for key, value in self.optimizer.defaults.items()}
        return f"{type(self.optimizer).__name__} {options}{self._groups}{self._configured}"

    def load(self, hyper: Tree) -> None:
        """Replace the current values."""
        values = [value.clone() for value in leaves(hyper)]  # a projection may swap its leaves
        for mine, value in zip(self._tensors, values, strict=True):
            if mine.is_floating_point():
                mine.copy_(value)

    def state(self) -> dict[str, Any]:
        """Return the state of the optimiser and of the scheduler, for `load_state`.

        Numbers of NumPy, such as a rate of a grid, become plain ones: torch reads no others safely.
        """
        scheduler = None if self._scheduler is None else self._scheduler.state_dict()
        found: dict[str, Any] = pytree.tree_map(
            lambda leaf: (
                leaf.item() if isinstance(leaf, Number) and hasattr(leaf, "item") else leaf
            ),
            {"optimizer": self.optimizer.state_dict(), "scheduler": scheduler},
        )
        return found

    def load_state(self, stored: dict[str, Any]) -> None:
        """Restore the state of the optimiser and of the scheduler.

        `torch.optim.Optimizer.load_state_dict` is not used: it casts tensors other than the moments
        (the products of NAdam, the averages of ASGD) to the dtype of the hyperparameters.
        """
        groups = self.optimizer.param_groups
        for group, kept in zip(groups, stored["optimizer"]["param_groups"], strict=True):
            group.update({key: value for key, value in kept.items() if key != "params"})
        if self._scheduler is not None:
            self._scheduler.load_state_dict(stored["scheduler"])
        tensors = [tensor for group in groups for tensor in group["params"]]
        for k, kept in stored["optimizer"]["state"].items():
            self.optimizer.state[tensors[k]] = {
                key: value.to(tensors[k].device)
                if isinstance(value, Tensor) and value.dim()
                else value
                for key, value in kept.items()
            }

    def projected(self, hyper: Tree) -> Tree:
        """Project `hyper`; its integer leaves, and its dtypes, stay as they are.

        Raises:
            TypeError, ValueError: the projection returns another kind of tree.
            NonFiniteError: it returns a number that is not finite, for finite ones.
        """
        if self._projection is None:
            return hyper
        with torch.no_grad():
            found = self._projection(hyper)
        if not same_structure(found, self._like):
            found = like(found, self._like)
        if not same_structure(found, self._like):
            raise ValueError(
                f"projection must return a tree like hyper, {paths(self._like)}, got {paths(found)}"
            )
        for k, (mine, leaf) in enumerate(zip(self._tensors, leaves(found), strict=True)):
            if not isinstance(leaf, Tensor):
                raise TypeError(
                    f"projection must return a tensor for hyper{paths(found)[k]}, got "
                    f"{kind_of(leaf)}"
                )
            if leaf.shape != mine.shape:
                raise ValueError(
                    f"projection must keep the shape of hyper{paths(found)[k]}, "
                    f"{tuple(mine.shape)}, got {tuple(leaf.shape)}"
                )
        pairs = zip(leaves(found), leaves(hyper), strict=True)
        found = rebuild(hyper, [b.to(a) if a.is_floating_point() else a for b, a in pairs])
        moved = [leaf for leaf in leaves(found) if leaf.is_floating_point()]
        if not all_finite(moved) and all_finite(
            [x for x in leaves(hyper) if x.is_floating_point()]
        ):
            check_finite("what projection returns for hyper", found, "where hyper is finite")
        return found

    def take(self, grad: Tree, value: float) -> None:
        """Take a step of the optimiser, project, and take a step of the scheduler.

        Arguments:
            grad: the hypergradient.
            value: E at the hyperparameters before the step, which `ReduceLROnPlateau` monitors.

        Raises:
            ValueError: the projection returns another kind of tree.
            NonFiniteError: a hyperparameter is no longer finite; the values before the step are
                restored.
        """
        before = [mine.detach() for mine in self._tensors]
        for mine, g in zip(self._tensors, leaves(grad), strict=True):
            if mine.is_floating_point():
                mine.data = mine.detach().clone()
                mine.grad = g
        self.optimizer.step()
        for mine in self._tensors:
            mine.grad = None
        try:
            if self._projection is not None:
                self.load(self.projected(self.hyper))
            if not all_finite(self._moving):
                check_finite("hyper", rebuild(self._like, self._tensors), "after an outer step")
        except NonFiniteError:
            for mine, old in zip(self._tensors, before, strict=True):
                mine.data = old
            raise
        if isinstance(self._scheduler, ReduceLROnPlateau):
            self._scheduler.step(value)
        elif self._scheduler is not None:
            self._scheduler.step()


def _check_optimizer(optimizer: torch.optim.Optimizer, tensors: list[Tensor]) -> None:
    """Check that an optimiser minimises, along a dense gradient, by single steps.

    Raises:
        TypeError: it takes another kind of gradient or step.
        ValueError: an option does not fit.
    """
    name = type(optimizer).__name__
    if isinstance(optimizer, torch.optim.LBFGS):
        raise TypeError(
            "optimizer must take a step on one gradient; LBFGS evaluates its function again "
            "and again: use Adam or SGD"
        )
    if isinstance(optimizer, torch.optim.SparseAdam):
        raise TypeError(
            "optimizer must take dense gradients, as hypergradients are, got SparseAdam; use Adam"
        )
    if any(group.get("maximize") for group in optimizer.param_groups):
        raise ValueError(
            "optimizer must minimise, as keep='best' and the stopping rules look for the lowest "
            f"value, got {name} with maximize=True; return the negative value instead"
        )
    on_cpu = any(tensor.device.type == "cpu" for tensor in tensors)
    if on_cpu and any(group.get("capturable") for group in optimizer.param_groups):
        raise ValueError(
            f"optimizer must have capturable=False for tensors of hyper on the CPU, got {name} "
            "with capturable=True, which torch allows on accelerators alone"
        )


def _check_projection(name: str, projection: Any) -> None:
    """Check that a projection is a function, and not one that makes projections."""
    maker = is_maker(projection, "projections")
    if maker or not callable(projection):
        raise TypeError(
            f"{name} must be a function such as projections.box(0, 1) returns, got "
            f"{kind_of(projection)}" + ("; did you mean to call it?" if maker else "")
        )


def _scheduler(factory: SchedulerFactory, optimizer: torch.optim.Optimizer) -> LRScheduler:
    """Make the scheduler.

    Raises:
        TypeError: it is none.
    """
    made = factory(optimizer) if callable(factory) else factory
    if not callable(factory) or not isinstance(made, LRScheduler):
        raise TypeError(
            "scheduler must make a scheduler of torch.optim.lr_scheduler from an optimiser, such "
            "as functools.partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=100); got "
            f"{type(made).__name__}"
        )
    if made.optimizer is not optimizer:
        raise TypeError(
            "scheduler must schedule the optimiser it is called with, got a scheduler of another"
        )
    return made


def _of_groups(optimizer: torch.optim.Optimizer, tensors: list[Tensor]) -> str:
    """Describe what the groups of an optimiser have other than its defaults."""
    place = {id(tensor): k for k, tensor in enumerate(tensors)}
    several, found = len(optimizer.param_groups) > 1, []
    for group in optimizer.param_groups:
        other = {
            key: str(value)
            for key, value in group.items()
            if key != "params" and str(value) != str(optimizer.defaults.get(key))
        }
        if several:
            other["tensors"] = str([place[id(tensor)] for tensor in group["params"]])
        found.append(other)
    return f", groups {found}" if any(found) else ""


def _described(scheduler: LRScheduler) -> str:
    """Describe the scheduler with its options before its first step."""
    options = {key: str(value) for key, value in scheduler.state_dict().items()}
    factors = [_factors(part) for part in (scheduler, *getattr(scheduler, "_schedulers", ()))]
    shown = f", factors {factors}" if any(factors) else ""
    return f"{type(scheduler).__name__} {options}{shown}"


def _factors(scheduler: LRScheduler) -> list[str]:
    """Write the factors of the functions of a LambdaLR or MultiplicativeLR at `EPOCHS`."""
    found = []
    for function in getattr(scheduler, "lr_lambdas", ()):
        for epoch in EPOCHS:
            try:
                found.append(f"{float(function(epoch)):.6g}")
            except Exception:  # the user's; perhaps a table that ends before
                found.append("none")
    return found
