"""Objectives over several processes: each has a share of the rows, all have the same derivatives.

Two instances of the idea: the inner loss, of which every process evaluates its own batch; the outer
loss, of which every process evaluates its own part of the validation rows. Weights and
hyperparameters are the same in all processes, so a method of the core needs no change: it gets an
objective whose value and derivatives are means over the processes.
"""

import functools
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from lds.bilevel.buffers import Collected, collect, collecting, split
from lds.bilevel.signatures import with_step
from lds.bilevel.tensors import Tree, leaves, rebuild

Group = Any
"""A `torch.distributed.ProcessGroup`; None is the default group of all processes."""


def data_parallel(
    objective: Callable[..., Tensor],
    rows: float | Callable[[int], float] | None = None,
    group: Group = None,
) -> Callable[[Tree, Tree, int], Tensor]:
    """Make the mean of an objective over the processes of a group, with its derivatives.

    With R processes the result is L(w, λ) = Σ_r c_r L_r(w, λ), where process r evaluates L_r on its
    own rows, and c_r is 1/R, or its share of all rows. Wrap both the inner and the outer objective:

        descent = bilevel.Momentum(bilevel.data_parallel(inner), lr=0.1)
        outer = bilevel.data_parallel(outer)

    Every process then makes the same calls with the same `params`, `hyper` and options, and gets
    the same hypergradient, that of one process with all rows. An ordinary differentiable mean in
    the loss is not enough: each process would differentiate by its own rows alone. Here gradients
    of every order by weights and hyperparameters are averaged, for any method.

    New buffers of a module, such as running statistics, are averaged. Random numbers inside the
    objective are the same in all processes unless `seed` differs; weights stay the same even so.
    What ends a run must be the same in all processes: no `time_limit`.

    Cost: two exchanges of the size of the weights a step of reverse mode, and one of the size of
    the hyperparameters in the objective.

    Arguments:
        objective: objective(params, hyper[, step]) -> scalar tensor, on the rows of this process.
            It must use the same leaves of `params` and `hyper` in all processes.
        rows: number of rows of this process, or a function of the step, where processes have
            different numbers and the objective is a mean over rows; None weighs processes equally.
        group: the processes; None is all of them.

    Returns:
        The mean, as a function of (params, hyper, step).

    Raises:
        RuntimeError: `torch.distributed.init_process_group` has not been called.
        TypeError: in use, a leaf of hyper is no tensor.

    References:
        The pair of conjugate operations is that of Shoeybi et al., 2019, §3 (f and g),
        https://arxiv.org/abs/1909.08053
    """
    if not (dist.is_available() and dist.is_initialized()):
        raise RuntimeError(
            "data_parallel needs a process group; call torch.distributed.init_process_group first "
            "(torchrun --nproc_per_node=1 runs the same program in one process)"
        )
    function = with_step(objective, 2)

    def mean_objective(params: Tree, hyper: Tree, step: int) -> Tensor:
        into = collecting()
        here_params, here_hyper = _shared(params, group), _shared(hyper, group)
        if into is None:
            value = function(here_params, here_hyper, step)
        else:
            with collect(Collected(into)) as mine:
                value = function(here_params, here_hyper, step)
            _average_buffers(into, mine, params, here_params, group)
        if not isinstance(value, Tensor) or value.dim() != 0:
            return value  # type: ignore[no-any-return]  # the caller says what is wrong
        if rows is not None:
            value = value * _share(rows(step) if callable(rows) else rows, value, group)
        return _mean([value], group)[0]

    return mean_objective


def _share(rows: float, like: Tensor, group: Group) -> Tensor:
    """Compute R n_r / Σ n_r, the weight of this process in a plain mean."""
    mine = torch.tensor(float(rows), dtype=torch.float64, device=like.device)
    (mean,) = _averaged([mine], group)
    return (mine / mean).to(like.dtype)


def _shared(tree: Tree, group: Group) -> Tree:
    """Return the same values, by which derivatives are means over the processes."""
    given = leaves(tree)
    if not all(isinstance(leaf, Tensor) for leaf in given):
        raise TypeError("data_parallel must have tensors in params and hyper, got an owner")
    moving = [k for k, leaf in enumerate(given) if _moves(leaf)]
    if not moving:
        return tree
    found = list(given)
    copies = _Shared.apply(group, *[given[k] for k in moving])  # type: ignore[no-untyped-call]
    for k, copy in zip(moving, copies, strict=True):
        found[k] = copy
    return rebuild(tree, found)


def _moves(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and leaf.is_floating_point()


def _mean(values: list[Tensor], group: Group) -> list[Tensor]:
    """Average tensors over the processes; the derivative by each is that of the mean."""
    return list(_Mean.apply(group, *values))  # type: ignore[no-untyped-call]


def _average_buffers(
    into: Collected, mine: Collected, params: Tree, here: Tree, group: Group
) -> None:
    """Report the new buffers of this process to `into`, averaged over the processes."""
    before, inside = split(params)[1], split(here)[1]
    old, entered, new = leaves(before), leaves(inside), leaves(mine.follow(inside))
    changed = [k for k, (a, b) in enumerate(zip(entered, new, strict=True)) if a is not b]
    moving = [k for k in changed if _moves(new[k])]
    averaged = dict(zip(moving, _mean([new[k] for k in moving], group), strict=True))
    for k in changed:
        into.report(old[k], averaged.get(k, new[k]))


def _averaged(tensors: list[Tensor], group: Group) -> list[Tensor]:
    """Average over the processes."""
    size = dist.get_world_size(group)
    key = _key(group)
    return [_sum_operator()(tensor, key) / size for tensor in tensors]


_groups: dict[int, Group] = {}
"""The groups in use, by the number that an operator takes for them."""


def _key(group: Group) -> int:
    key = id(group)
    _groups[key] = group  # kept, so that no other gets its number
    return key


@functools.cache
def _sum_operator() -> Callable[[Tensor, int], Tensor]:
    """Make the operator that sums over processes.

    An operator, because torch can apply an operator to the columns of ``is_grads_batched`` one by
    one, and `torch.distributed.all_reduce` cannot.
    """

    def summed(tensor: Tensor, key: int) -> Tensor:
        found = tensor.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(found, group=_groups[key])
        return found

    return torch.library.custom_op("lds::sum_over_processes", summed, mutates_args=())


class _Pair(torch.autograd.Function):
    """The base of two operations, each of which is the derivative of the other.

    Values that are the same in all processes have the usual inner product; values of a process of
    its own have the mean of the inner products over processes. Under these, handing equal values to
    all processes and averaging over them are adjoint.
    """

    adjoint: type["_Pair"]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.group = inputs[0]
        ctx.set_materialize_grads(False)

    @classmethod
    def vmap(
        cls, info: Any, in_dims: tuple[int | None, ...], group: Group, *tensors: Tensor
    ) -> tuple[Any, Any]:
        """Apply the operator to all columns at a time."""
        return cls.apply(group, *tensors), in_dims[1:]  # type: ignore[no-untyped-call]

    @classmethod
    def back(cls, ctx: Any, grads: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
        """Apply the adjoint to those gradients that there are."""
        there = [grad for grad in grads if grad is not None]
        found = iter(cls.adjoint.apply(ctx.group, *there) if there else ())  # type: ignore[no-untyped-call]
        return None, *[None if grad is None else next(found) for grad in grads]


class _Shared(_Pair):
    """The identity; its derivative is the mean."""

    @staticmethod
    def forward(group: Group, *tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(tensor.view_as(tensor) for tensor in tensors)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        return _Shared.back(ctx, grads)


class _Mean(_Pair):
    """The mean; its derivative is the identity."""

    @staticmethod
    def forward(group: Group, *tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(_averaged(list(tensors), group))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        return _Mean.back(ctx, grads)


_Shared.adjoint, _Mean.adjoint = _Mean, _Shared
