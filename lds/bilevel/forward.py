"""Forward mode: compute the tangent Z_t = ds_t/dλ with every step (Algorithm 3)."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from lds._memory import available_bytes, gigabytes
from lds._numbers import integer
from lds._random import DIRECTIONS, mix
from lds.bilevel.explain import explained
from lds.bilevel.linear import random_like
from lds.bilevel.method import AbstractHypergradient, Memory
from lds.bilevel.replay import tolerance
from lds.bilevel.step import Outer, Start, Step
from lds.bilevel.tensors import Columns, Tree, add, leaves, norm, paths
from lds.bilevel.trajectory import bytes_of

SMALL = 1 << 14
"""Numbers of a state times columns up to which a batch of columns is faster than a loop, on a CPU;
measured."""


@dataclass
class Carried(Memory):
    """Z_t by groups of columns, with the direction of each column in hyper.

    The tensors of a group of one column have the shapes of the leaves; those of a larger group have
    columns in front.

    Attributes:
        start: Φ_0, for Z_0.
        tangents: Z_t, for each group one tensor a leaf of the state; None stands for zero. Empty
            before the first step.
        directions: the columns of the identity, for each group one tensor a leaf of hyper; None
            stands for zero.
        sizes: number of columns of each group.
    """

    start: Start | None = None
    tangents: list[Columns] = field(default_factory=list)
    directions: list[Columns] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Forward(AbstractHypergradient):
    """Forward-HG: Z_0 = B_0, Z_t = A_t Z_{t-1} + B_t, ∇f = ∂E/∂λ + ∂E/∂s Z_T (Algorithm 3).

    Exact. For few hyperparameters: time is about 1 + 1.5 m applications of ∇L a step for the m
    numbers in hyper; memory is m states, whatever T is. Products from the right are computed by
    reverse differentiation, since the second derivatives of L are symmetric. All columns share the
    random draws of Φ. Torch computes several columns at once by vmap, which is wrong for a few
    operations (group normalisation): columns at once are compared with one alone, once in an outer
    loop, and computed one by one where they differ.

    References:
        Franceschi, 2021, §5.4.2 Algorithm 3.

    Arguments:
        chunk: columns of Z in one call of vmap; 1 uses no vmap, None chooses by the size of the
            state.

    Raises:
        TypeError: `chunk` is no integer.
        ValueError: `chunk` below 1.
    """

    chunk: int | None = None

    def __post_init__(self) -> None:
        if self.chunk is None:
            return
        object.__setattr__(self, "chunk", integer("Forward(chunk)", self.chunk))
        if self.chunk < 1:
            raise ValueError(f"Forward(chunk) must be None or at least 1, got {self.chunk}")

    def start(self, start: Start | None, n_steps: int | None = None) -> Carried:
        """Make a memory; the first step forms Z_0."""
        return Carried(start=start)

    def observe(self, memory: Carried, step: Step) -> tuple[Tree, Tensor | None]:
        """Compute Z_t = A_t Z_{t-1} + B_t."""
        return self.carry(memory, step, 1.0)

    def carry(self, memory: Carried, step: Step, discount: float) -> tuple[Tree, Tensor | None]:
        """Compute Z_t = μ A_t Z_{t-1} + B_t (eq. 8.14); return s_t and the inner loss."""
        self.begin(memory, step.hyper, step.state)
        tangents = step.tangents()
        n = len(leaves(step.state))
        with explained(f"step {step.t} of the dynamics"):
            _try_batch(
                memory,
                [*leaves(step.state), *leaves(step.hyper)],
                lambda x, batched: tangents.push(x[:n], x[n:], batched),
            )
        for k, (z, e, size) in enumerate(
            zip(memory.tangents, memory.directions, memory.sizes, strict=True)
        ):
            if discount == 0:  # HD: without the past, no second derivative of L by the weights
                z = [None] * len(z)
            elif discount != 1:
                z = [None if part is None else discount * part for part in z]
            with explained(f"step {step.t} of the dynamics"):
                memory.tangents[k] = tangents.push(z, e, size > 1)
        return tangents.state, tangents.loss

    def gradient(self, memory: Carried, outer: Outer) -> list[Any]:
        """Compute ∂E/∂λ + ∂E/∂s Z_T, leaf by leaf."""
        self.begin(memory, outer.step.hyper, outer.step.state)
        like = next(leaf for leaf in leaves(outer.step.state) if leaf.is_floating_point())
        found = []
        for z, size in zip(memory.tangents, memory.sizes, strict=True):
            total = like.new_zeros(size)
            for a, part in zip(outer.adjoint, z, strict=True):
                if a is not None and part is not None:
                    total = total + part.reshape(size, -1) @ a.reshape(-1)
            found.append(total)
        rest = torch.cat(found)
        parts: Columns = []
        for leaf in leaves(outer.step.hyper):
            if not leaf.is_floating_point():
                parts.append(None)
                continue
            parts.append(rest[: leaf.numel()].view(leaf.shape).to(leaf))
            rest = rest[leaf.numel() :]
        return add(outer.direct, parts)

    def begin(self, memory: Carried, hyper: Tree, state: Tree) -> None:
        """Form the identity and Z_0 = B_0, if they are not there yet.

        Raises:
            TypeError: a leaf of hyper is no tensor and has no columns.
            ValueError: no leaf of hyper is floating point.
            MemoryError: m states do not fit.
        """
        if memory.directions:
            return
        if not memory.sizes:  # else those of the run that is resumed
            m = _count(hyper, state)
            chunk = min(m, self.chunk or _chunk(state))
            if memory.notes.get("batch") is False:  # found before
                chunk = 1
            memory.sizes = [min(chunk, m - first) for first in range(0, m, chunk)]
        ends = itertools.accumulate(memory.sizes)
        memory.directions = [
            _identity(hyper, end - size, size) for end, size in zip(ends, memory.sizes, strict=True)
        ]
        if memory.tangents:
            return  # a resumed run
        memory.tangents = [[None] * len(leaves(state)) for _ in memory.sizes]
        if memory.start is not None:
            _, push = memory.start.pushforward()
            _try_batch(memory, leaves(hyper), push, last=False)
            memory.tangents = [
                push(e, size > 1) for e, size in zip(memory.directions, memory.sizes, strict=True)
            ]


def _try_batch(
    memory: Carried,
    like: list[Tensor],
    push: Callable[[Columns, bool], Columns],
    *,
    last: bool = True,
) -> None:
    """Compute random columns at once and their sum alone; take columns one by one if these differ.

    Torch has wrong rules for the columns of some operations, and none for others.

    Arguments:
        memory: its groups are divided into columns where vmap is wrong.
        like: leaves of the shapes of one column.
        push: push(columns, batched) -> products.
        last: whether there is nothing more to compare: `push` is that of a step.
    """
    size = max(memory.sizes)
    if size == 1 or "batch" in memory.notes:
        return
    size = min(size, max(3, SMALL // sum(leaf.numel() for leaf in like)))
    wide = [leaf.detach().expand(size, *leaf.shape) for leaf in like]
    drawn = random_like(wide, torch.Generator().manual_seed(mix(DIRECTIONS)))
    alone = push([None if part is None else part.sum(0) for part in drawn], False)
    try:
        agrees = all(map(_is_sum, alone, push(drawn, True)))
    except RuntimeError:  # no rule, or one for other shapes
        agrees = False
    if last or not agrees:
        memory.notes["batch"] = agrees
    if not agrees:
        memory.tangents = _single(memory.tangents, memory.sizes)
        memory.directions = _single(memory.directions, memory.sizes)
        memory.sizes = [1] * sum(memory.sizes)


def _is_sum(one: Tensor | None, columns: Tensor | None) -> bool:
    """Return whether `one` is the sum of columns, to rounding; also where that is not finite."""
    if one is None or columns is None:
        return one is columns
    off = norm([columns.sum(0) - one])
    return not off > tolerance(one.dtype) * norm([columns])


def _single(groups: list[Columns], sizes: list[int]) -> list[Columns]:
    """Divide groups of columns into single ones."""
    return [
        [None if part is None else part[k] if size > 1 else part for part in group]
        for group, size in zip(groups, sizes, strict=True)
        for k in range(size)
    ]


def _chunk(state: Tree) -> int:
    tensors: list[Tensor] = leaves(state)
    size = max(1, sum(leaf.numel() for leaf in tensors))
    if tensors and tensors[0].device.type == "cpu":
        return max(1, SMALL // size)
    free = available_bytes(tensors[0].device) if tensors else None
    return 64 if free is None else max(1, free // (16 * bytes_of(state)))


def _count(hyper: Tree, state: Tree) -> int:
    """Count the columns; refuse hyper without any, or with too many for the memory."""
    given = leaves(hyper)
    for path, leaf in zip(paths(hyper), given, strict=True):
        if not isinstance(leaf, Tensor):
            raise TypeError(
                f"Forward must have tensors in hyper, got {type(leaf).__name__} at hyper{path}; "
                "use Reverse"
            )
    m: int = sum(leaf.numel() for leaf in given if leaf.is_floating_point())
    if m == 0:
        raise ValueError("hyper must hold a floating point tensor to differentiate by, got none")
    needed, free = m * bytes_of(state), available_bytes(given[0].device)
    if free is not None and needed > free:
        raise MemoryError(
            f"Forward needs {gigabytes(needed)} for the tangents of {m} hyperparameters, and "
            f"{gigabytes(free)} are free; use Reverse, whose cost does not grow with their number"
        )
    return m


def _identity(hyper: Tree, first: int, size: int) -> Columns:
    """Columns `first` to `first + size` of the identity, leaf by leaf."""
    columns: Columns = []
    place = 0
    for leaf in leaves(hyper):
        mine = range(max(first, place), min(first + size, place + leaf.numel()))
        if not leaf.is_floating_point():
            columns.append(None)
            continue
        if not mine:
            columns.append(None)
        else:
            e = leaf.new_zeros((size, leaf.numel()))
            for column in mine:
                e[column - first, column - place] = 1
            columns.append(e.view(leaf.shape if size == 1 else (size, *leaf.shape)))
        place += leaf.numel()
    return columns
