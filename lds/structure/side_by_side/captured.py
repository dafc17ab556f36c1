"""A window told to a GPU once and gone through again without being told: a CUDA graph.

A step of a small graph is hundreds of operations of a few microseconds each, which a program starts
more slowly than a GPU does them. A CUDA graph starts them all at once. It reads and writes the same
memory each time, so what goes in is copied to fixed places, and drawn graphs, whose number of edges
varies, go into frames with room to spare.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

from lds.bilevel.tensors import Tree, leaves, tree_map
from lds.graphs.batch import GraphBatch
from lds.structure.side_by_side.gcn import Keep
from lds.structure.side_by_side.padded import Frames, entries_of_each
from lds.structure.side_by_side.window import Window, WindowDraws, WindowResult

T = TypeVar("T")
Capture = Callable[[Callable[[], T]], tuple[Callable[[], None], T]]
"""Takes a function of tensors that stay where they are; hands back what does it again, and the
results that this fills in."""

Given = tuple[Tree, Tensor, Tensor, Keep | None]
"""State, log η, steps and dropout of a window, see `Window`."""

ROOM = 1.25
"""Times the entries of the largest graph seen that a frame has room for."""

WARM_UP = 2
"""Runs before a capture, in which libraries make what they keep."""


def capture_on(device: torch.device) -> Capture[Any] | None:
    """How functions are captured on a device; None where they are not."""
    if device.type != "cuda":
        return None

    def capture(function: Callable[[], T]) -> tuple[Callable[[], None], T]:
        with torch.cuda.device(device):
            here, apart = torch.cuda.current_stream(), torch.cuda.Stream()
            apart.wait_stream(here)
            with torch.cuda.stream(apart):
                for _ in range(WARM_UP):
                    function()
            here.wait_stream(apart)
            graph = torch.cuda.CUDAGraph()
            try:
                with torch.cuda.graph(graph):
                    results = function()
            except RuntimeError:  # which leaves another stream the current one
                torch.cuda.set_stream(here)
                torch.cuda.synchronize()
                raise
        return graph.replay, results

    return capture


class CapturedWindow:
    """A window as a function of what was drawn, captured.

    Arguments:
        window: what is captured.
        given: what is given to it the first time.
        graphs: drawn for it, a batch of n_steps + 1.
        capture: see `Capture`.
    """

    def __init__(
        self,
        window: Window,
        given: Given,
        graphs: GraphBatch,
        capture: Capture[Any],
    ) -> None:
        room, scale = int(ROOM * max(entries_of_each(graphs))), graphs.scale
        self._frames = Frames(graphs.n_draws, graphs.n_nodes, room, scale.dtype, scale.device)
        self._given = tree_map(lambda x: x.clone() if isinstance(x, Tensor) else x, given)
        self._frames.load(graphs)
        state, log_lr, begun, keeps = self._given
        drawn = WindowDraws(self._frames.graphs, keeps)

        def whole() -> WindowResult:
            passed = window(state, log_lr, begun, drawn)
            gradient = passed.gradient() if window.wanted else (None, None)
            return WindowResult(passed.states, passed.losses, lambda: gradient)

        self._replay: Callable[[], None]
        self._passed: WindowResult
        self._replay, self._passed = capture(whole)

    def fits(self, graphs: GraphBatch) -> bool:
        """Whether the frames have room for these graphs."""
        return max(entries_of_each(graphs)) <= self._frames.room

    def __call__(self, given: Given, graphs: GraphBatch) -> WindowResult:
        """Go through it again; what it came to is overwritten by the next time."""
        for fixed, new in zip(leaves(self._given), leaves(given), strict=True):
            if isinstance(new, Tensor):
                fixed.copy_(new)
        self._frames.load(graphs)
        self._replay()
        return self._passed
