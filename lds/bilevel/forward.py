"""Forward mode: the tangent Z_t = ds_t/dλ is carried along (Algorithm 3)."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from lds._memory import available_bytes, gigabytes
from lds.bilevel.method import AbstractHypergradient, Memory
from lds.bilevel.step import Outer, Start, Step
from lds.bilevel.tensors import Columns, Tree, add, leaves, paths
from lds.bilevel.trajectory import bytes_of

SMALL = 1 << 14
"""Numbers of a state times columns below which a batch of columns beats a loop over them, on a
CPU."""


@dataclass
class Carried(Memory):
    """Z_t, with the columns' directions in hyper.

    Attributes:
        start: Φ_0, until the first step.
        tangent: Z_t, one tensor `(m, *leaf.shape)` a leaf of the state; None is a zero.
        directions: the identity, one tensor `(m, *leaf.shape)` a leaf of hyper; None where a leaf
            is no floating point tensor.
    """

    start: Start | None = None
    tangent: Columns | None = None
    directions: Columns = field(default_factory=list)

    def restore(self, hyper: Tree, state: Tree, tangent: Columns) -> None:
        """Go on from a tangent that was kept."""
        self.directions, self.tangent = _identity(hyper, state), tangent


@dataclass(frozen=True)
class Forward(AbstractHypergradient):
    """Forward-HG: Z_0 = B_0, Z_t = A_t Z_{t-1} + B_t, ∇f = ∂E/∂λ + ∂E/∂s Z_T (Algorithm 3).

    Exact. For few hyperparameters: time is about two applications of ∇L a step for each of the m
    numbers in hyper, memory m states, both whatever T is. Products from the right come from
    reverse differentiation (the second derivatives of L are symmetric); randomness inside Φ is
    drawn once for all columns.

    References:
        Franceschi, 2021, §5.4.2 Algorithm 3.

    Arguments:
        chunk: columns of Z advanced at once (by vmap); 1 advances them one by one without vmap,
            None takes as many as pay off.

    Raises:
        ValueError: `chunk` below 1.
    """

    chunk: int | None = None

    def __post_init__(self) -> None:
        if self.chunk is not None and self.chunk < 1:
            raise ValueError(f"Forward(chunk) must be None or at least 1, got {self.chunk}")

    def start(self, start: Start | None, n_steps: int | None = None) -> Carried:
        """Z_0 is formed with the first step."""
        return Carried(start=start)

    def observe(self, memory: Carried, step: Step) -> tuple[Tree, Tensor | None]:
        """Z_t = A_t Z_{t-1} + B_t."""
        return self.carry(memory, step, 1.0)

    def carry(self, memory: Carried, step: Step, discount: float) -> tuple[Tree, Tensor | None]:
        """Z_t = μ A_t Z_{t-1} + B_t (eq. 8.14), with s_t and the inner loss on the way."""
        z = self._tangent(memory, step.hyper, step.state)
        if discount != 1:
            z = [None if part is None else discount * part for part in z]
        tangents = step.tangents()
        memory.tangent = self._by_chunks(
            lambda z, e, batched: tangents.push(z, e, batched), z, memory.directions, step.state
        )
        return tangents.state, tangents.loss

    def gradient(self, memory: Carried, outer: Outer) -> list[Any]:
        """∂E/∂λ + ∂E/∂s Z_T, leaf by leaf."""
        z = self._tangent(memory, outer.step.hyper, outer.step.state)
        m = _columns(memory.directions)
        total: Tensor | None = None
        for a, part in zip(outer.adjoint, z, strict=True):
            if a is not None and part is not None:
                term = part.reshape(m, -1) @ a.reshape(-1)
                total = term if total is None else total + term
        if total is None:
            return outer.direct
        parts: Columns = []
        rest = total
        for leaf, e in zip(leaves(outer.step.hyper), memory.directions, strict=True):
            if e is None:
                parts.append(None)
                continue
            parts.append(rest[: leaf.numel()].view(leaf.shape).to(leaf.dtype))
            rest = rest[leaf.numel() :]
        return add(outer.direct, parts)

    def _tangent(self, memory: Carried, hyper: Tree, state: Tree) -> Columns:
        if memory.tangent is None:
            memory.directions = _identity(hyper, state)
            memory.tangent = [None] * len(leaves(state))
            if memory.start is not None:
                _, push = memory.start.pushforward()
                memory.tangent = self._by_chunks(
                    lambda z, e, batched: push(e, batched),
                    memory.tangent, memory.directions, state,
                )  # fmt: skip
        return memory.tangent

    def _by_chunks(self, push: Any, z: Columns, e: Columns, state: Tree) -> Columns:
        """Apply `push` to all columns, some at a time."""
        m = _columns(e)
        chunk = min(m, self.chunk or _chunk(state))
        done: list[Columns] = []
        for first in range(0, m, chunk):
            at: Any = first if chunk == 1 else slice(first, first + chunk)
            z_at = [None if part is None else part[at] for part in z]
            e_at = [None if part is None else part[at] for part in e]
            done.append(push(z_at, e_at, chunk > 1))
        join = torch.stack if chunk == 1 else torch.cat
        joined: Columns = []
        for parts in zip(*done, strict=True):
            like = next((part for part in parts if part is not None), None)
            if like is None:
                joined.append(None)
            else:
                full = [torch.zeros_like(like) if part is None else part for part in parts]
                joined.append(join(full))
        return joined


def _columns(directions: Columns) -> int:
    return next(e.shape[0] for e in directions if e is not None)


def _chunk(state: Tree) -> int:
    tensors: list[Tensor] = leaves(state)
    size = max(1, sum(leaf.numel() for leaf in tensors))
    if tensors and tensors[0].device.type == "cpu":
        return max(1, SMALL // size)
    free = available_bytes(tensors[0].device) if tensors else None
    return 64 if free is None else max(1, free // (16 * bytes_of(state)))


def _identity(hyper: Tree, state: Tree) -> Columns:
    """One direction for each number in hyper.

    Raises:
        TypeError: a leaf owns its gradient and has no columns.
        MemoryError: m states do not fit.
    """
    given = leaves(hyper)
    for path, leaf in zip(paths(hyper), given, strict=True):
        if not isinstance(leaf, Tensor):
            raise TypeError(
                f"Forward must have tensors in hyper, got {type(leaf).__name__} at hyper{path}; "
                "use Reverse"
            )
    floats = [leaf.is_floating_point() for leaf in given]
    m = sum(leaf.numel() for leaf, is_float in zip(given, floats, strict=True) if is_float)
    if m == 0:
        raise ValueError("hyper must hold a floating point tensor to differentiate by, got none")
    device = given[0].device
    needed, free = m * bytes_of(state), available_bytes(device)
    if free is not None and needed > free:
        raise MemoryError(
            f"Forward needs {gigabytes(needed)} for the tangents of {m} hyperparameters, and "
            f"{gigabytes(free)} are free; use Reverse, whose cost does not grow with their number"
        )
    columns: Columns = []
    first = 0
    for leaf, is_float in zip(given, floats, strict=True):
        if not is_float:
            columns.append(None)
            continue
        eye = leaf.new_zeros((m, leaf.numel()))
        eye[first : first + leaf.numel()].fill_diagonal_(1)
        first += leaf.numel()
        columns.append(eye.view(m, *leaf.shape))
    return columns
