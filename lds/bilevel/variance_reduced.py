"""SABA: a single-loop method whose three directions have no variance at the solution."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from lds.bilevel.checks import check_count
from lds.bilevel.single_loop import SOBA, LastStep
from lds.bilevel.step import Outer, Start, Step
from lds.bilevel.tensors import Columns, Tree, axpy, detach, leaves, paths, rebuild


class Table:
    """The last value of some directions on each batch, and their sum (SAGA).

    Arguments:
        stored: `tensors` of an earlier table, which is written over; None for an empty table.
        size: number of leaves of the directions.
        n: number of batches.

    Attributes:
        tensors: the values of each leaf, `(n, *shape)`; their sums; which batches have a value,
            `(n,)`. None stands for a leaf that has been zero so far.
    """

    def __init__(self, stored: Columns | None, size: int, n: int) -> None:
        if stored is None:
            stored = [None] * (2 * size)
            stored.append(torch.zeros(n, dtype=torch.bool))
        seen = stored[-1]
        assert seen is not None
        self.tensors, self._size, self._seen = stored, size, seen

    def corrected(self, i: int, new: Columns, first: int = 0) -> Columns:
        """Compute φ_i - (stored φ_i) + the mean of what is stored; φ_i if none is stored for i.

        Arguments:
            i: the batch.
            new: φ_i, of leaves `first` and following.
            first: number of leaves before these.
        """
        if not self._seen[i]:
            return new
        n = int(self._seen.sum())
        found: Columns = []
        for k, part in enumerate(new, first):
            values, total = self.tensors[k], self.tensors[self._size + k]
            if values is not None and total is not None:
                rest = total / n - values[i]
                part = rest if part is None else part + rest
            found.append(part)
        return found

    def store(self, i: int, new: Columns) -> None:
        """Replace the value of batch i."""
        self._seen[i] = True
        for k, part in enumerate(new):
            values, total = self.tensors[k], self.tensors[self._size + k]
            if values is None or total is None:
                if part is None:
                    continue
                values, total = part.new_zeros((len(self._seen), *part.shape)), part.clone()
                values[i] = part
                self.tensors[k], self.tensors[self._size + k] = values, total
                continue
            total -= values[i]
            if part is None:
                values[i] = 0.0
            else:
                values[i] = part
                total += part
            if i == 0:  # once a pass, so that rounding does not add up
                torch.sum(values, 0, out=total)


@dataclass
class Stored(LastStep):
    """The last step, and the tables.

    Attributes:
        q: solution of the linear system; None before the first iteration.
        inner: table of ∇_w L, q ∂²L/∂w² and q ∂²L/∂w∂λ.
        outer: table of ∂E/∂w and ∂E/∂λ.
        batch: number of the batch of the last step.
    """

    q: Columns | None = None
    inner: Table | None = None
    outer: Table | None = None
    batch: int = 0


@dataclass(frozen=True)
class SABA(SOBA):
    """SOBA with SAGA directions: φ_i - (last φ_i of this batch) + mean of the last of every batch.

    This corrects each of the five terms of SOBA's three directions: ∇_w L, q ∂²L/∂w², ∂E/∂w,
    q ∂²L/∂w∂λ and ∂E/∂λ. The first visit of a batch uses φ_i alone. At the solution the directions
    have no variance, so constant step sizes converge; those of SOBA keep moving by the noise of a
    batch times the step size.

    For ``solve(..., n_steps=1, warm_start="state")`` and batches that stay the same: L at step t
    must use batch ``t % n_batches``, E at step t batch ``t % n_outer_batches``, with the same rows
    in every pass, as `Batches` of a list has them. A loader that shuffles makes other batches.

    Time: SOBA's, and a few operations on vectors. Memory: an entry a batch: `n_batches` times
    (twice the weights + λ), `n_outer_batches` times (the weights, and λ if E depends on it
    directly). The entries are written in place, so only the latest result can be `previous`.

    References:
        Dagréou et al., 2022, Algorithm 2 (SABA), https://arxiv.org/abs/2201.13409; Defazio et al.,
        2014 (SAGA), https://arxiv.org/abs/1407.0202

    Arguments:
        lr: ρ, as for `SOBA`.
        n_batches: number of batches of L.
        n_outer_batches: number of batches of E; 1 for an E on all rows.

    Raises:
        ValueError: as for `SOBA`; `n_batches` or `n_outer_batches` is below 1; in use, n_steps is
            not 1, or `previous` is not the latest result.
        TypeError: as for `SOBA`; in use, a leaf of hyper is no tensor.
    """

    n_batches: int = field(kw_only=True)
    n_outer_batches: int = field(default=1, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("n_batches", "n_outer_batches"):
            count = check_count(f"SABA({name})", getattr(self, name), 1)
            object.__setattr__(self, name, count)

    def start(self, start: Start | None, n_steps: int | None = None) -> Stored:
        """Make a memory for q, the last step and the tables."""
        return Stored()

    def observe(self, memory: LastStep, step: Step) -> tuple[Tree, Tensor | None]:
        """Take a step along the corrected ∇_w L, and keep the graph of the plain one."""
        assert isinstance(memory, Stored)
        if memory.grads is not None:
            raise ValueError("SABA must have n_steps=1, a batch an iteration, got more")
        self._differentiate(memory, step)
        self._unpack(memory, step)
        assert memory.inner is not None
        assert memory.grads is not None
        memory.batch = step.t % self.n_batches
        found = memory.inner.corrected(memory.batch, detach(memory.grads))
        return self._move(step, [part for part in found if part is not None]), None

    def gradient(self, memory: LastStep, outer: Outer) -> list[Any]:
        """Compute the corrected ∂E/∂λ - q ∂²L/∂w∂λ, take a step of q, and store the new values."""
        assert isinstance(memory, Stored)
        w = self._weights(memory)
        assert memory.inner is not None
        assert memory.outer is not None
        assert memory.grads is not None
        q = self._first(w, outer) if memory.q is None else memory.q
        b = leaves(outer.step.dynamics.params(rebuild(outer.step.state, outer.adjoint)))
        slope = detach(memory.grads)
        by_w, mixed = self._products(memory, w, q)
        i, j = memory.batch, outer.step.t % self.n_outer_batches
        inner = memory.inner.corrected(i, [*by_w, *mixed], len(w))
        outside = memory.outer.corrected(j, [*b, *outer.direct])
        memory.inner.store(i, [*slope, *by_w, *mixed])
        memory.outer.store(j, [*b, *outer.direct])
        residual = axpy(-1.0, outside[: len(w)], inner[: len(w)])
        self._pack(memory, axpy(-self.lr, residual, q))
        return axpy(-1.0, inner[len(w) :], outside[len(w) :])

    def _unpack(self, memory: Stored, step: Step) -> None:
        """Take q and the tables out of the solution of the last iteration."""
        assert memory.grads is not None
        n_w, n_h = len(memory.grads), len(leaves(step.hyper))
        for path, leaf in zip(paths(step.hyper), leaves(step.hyper), strict=True):
            if not isinstance(leaf, Tensor):
                raise TypeError(
                    f"SABA must have tensors in hyper, got {type(leaf).__name__} at hyper{path}; "
                    "use SOBA"
                )
        sizes = (2 * n_w + n_h, n_w + n_h)
        lengths = (n_w, 2 * sizes[0] + 1, 2 * sizes[1] + 1, 2)
        stored: list[Columns | None] = [None, None, None]
        if memory.solution is not None:
            self._check(memory.solution, lengths)
            ends = [sum(lengths[: k + 1]) for k in range(3)]
            stored = [memory.solution[end - n : end] for n, end in zip(lengths, ends, strict=False)]
        memory.q = stored[0]
        memory.inner = Table(stored[1], sizes[0], self.n_batches)
        memory.outer = Table(stored[2], sizes[1], self.n_outer_batches)

    def _check(self, solution: Columns, lengths: tuple[int, ...]) -> None:
        """Refuse the solution of another method or number of batches, or one written over."""
        n = lengths[0]
        seen = [solution[sum(lengths[: k + 1]) - 1] for k in (1, 2)] if n < len(solution) else []
        fits = len(solution) == sum(lengths) and [None if s is None else len(s) for s in seen] == [
            self.n_batches,
            self.n_outer_batches,
        ]
        if not fits:
            raise ValueError(
                "previous must be a result of SABA with the same numbers of batches, for weights "
                "and hyper of the same structure"
            )
        count, live = solution[-2:]
        assert count is not None
        assert live is not None
        if int(count) != int(live):
            raise ValueError(
                "previous must be the latest result: SABA writes its tables in place, and those of "
                f"iteration {int(count)} hold values of iteration {int(live)}"
            )

    @staticmethod
    def _pack(memory: Stored, q: Columns) -> None:
        """Put q, the tables, and the number of the iteration twice into the solution.

        The last number is shared by all results of a run, the one before it is of this result.
        """
        assert memory.inner is not None
        assert memory.outer is not None
        live = memory.solution[-1] if memory.solution is not None else None
        live = torch.zeros((), dtype=torch.int64) if live is None else live
        live += 1
        tables = [*memory.inner.tensors, *memory.outer.tensors]
        memory.solution = [*q, *tables, live.clone(), live]
