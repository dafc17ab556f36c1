"""Keep the states of a run for the sweep back.

Two instances of the idea: every state, in one buffer; a few states, from which the others are
computed again, segment by segment.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from lds.bilevel.step import Step
from lds.bilevel.tensors import Tree, leaves, rebuild


class Buffer:
    """States in one preallocated tensor, leaf by leaf.

    Separate tensors would fragment the heap between the freed tensors of the steps, at several
    times the memory of the states themselves.

    Arguments:
        like: a state.
        n_rows: largest number of states.
    """

    def __init__(self, like: Tree, n_rows: int) -> None:
        parts: list[Tensor] = leaves(like)
        # Buffers of a module are not copied: they are small, and unchanged ones are shared.
        apart = leaves(like["buffers"]) if isinstance(like, dict) and "buffers" in like else []
        shared = {id(part) for part in apart}
        self._copied: list[int] = []
        areas: list[tuple[Tensor, ...]] = []
        for kind in dict.fromkeys((part.dtype, part.device) for part in parts):
            mine = [
                k
                for k, part in enumerate(parts)
                if (part.dtype, part.device) == kind and id(part) not in shared
            ]
            if not mine:
                continue
            sizes = [n_rows * parts[k].numel() for k in mine]
            with torch.no_grad():  # all views at once: faster than one by one
                whole = parts[mine[0]].new_empty(sum(sizes))
                for k, area in zip(mine, whole.split(sizes), strict=True):
                    areas.append(area.view(n_rows, *parts[k].shape).unbind(0))
            self._copied += mine
        self._rows = list(zip(*areas, strict=True))

    def keep(self, row: int, state: Tree) -> Tree:
        """Copy `state` into a row; return it as views of that row."""
        parts: list[Tensor] = leaves(state)
        if not self._copied:
            return state
        for k, view in zip(self._copied, self._rows[row], strict=True):
            parts[k] = view.copy_(parts[k])
        return rebuild(state, parts)


def bytes_of(state: Tree) -> int:
    """Count the bytes of the tensors of a state."""
    return sum(leaf.numel() * leaf.element_size() for leaf in leaves(state))


class Trajectory:
    """The last `window` steps of a run, with every `stride`-th state.

    Arguments:
        window: number of last steps to keep; None keeps all.
        n_steps: number of steps of the run; None if it is not known, which keeps every state of
            the window, uncopied.
        stride: steps from one kept state to the next.
        taken: steps of the run before the first one that `observe` adds.
    """

    def __init__(
        self, window: int | None, n_steps: int | None, stride: int = 1, taken: int = 0
    ) -> None:
        self.n_steps = taken
        self._first = 0 if window is None or n_steps is None else max(0, n_steps - window)
        self._size = None if n_steps is None else n_steps - self._first
        self._window, self._stride = window, stride
        self._steps: list[Step] = []  # those of the window; None for a state that is not kept
        self._buffer: Buffer | None = None

    def observe(self, step: Step) -> None:
        """Add the next step."""
        self.n_steps += 1
        if self._size is None:
            self._steps.append(step)
            if self._window is not None and len(self._steps) > self._window:
                del self._steps[0]
            return
        k = self.n_steps - 1 - self._first
        if k < 0:
            return
        if self._buffer is None:
            self._buffer = Buffer(step.state, -(-self._size // self._stride))
        row, rest = divmod(k, self._stride)
        kept = self._buffer.keep(row, step.state) if rest == 0 else None
        self._steps.append(step.at(kept))

    def __len__(self) -> int:
        """Count the steps kept."""
        return len(self._steps)

    @property
    def last(self) -> Step:
        """The last step."""
        return self._steps[-1]

    def backwards(self) -> Iterator[Step]:
        """Yield the steps of the window, last first; compute the states that are not kept."""
        if self._stride == 1:
            yield from reversed(self._steps)
            return
        segment: Buffer | None = None
        for first in reversed(range(0, len(self._steps), self._stride)):
            steps = self._steps[first : first + self._stride]
            segment = segment or Buffer(steps[0].state, self._stride)
            state, met = steps[0].state, [steps[0]]
            for row, step in enumerate(steps[1:]):
                state = segment.keep(row, met[-1].run()[0])
                met.append(step.at(state))
            yield from reversed(met)
