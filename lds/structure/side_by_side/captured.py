"""Record a window of steps as a CUDA graph and replay it.

A step on a small graph is hundreds of operations of a few microseconds each. A program starts them
more slowly than a GPU executes them; a CUDA graph starts all of them at once. It reads and writes
the same memory at every replay: inputs are copied to fixed addresses, and drawn graphs, whose
number of edges varies, to padded buffers.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

from lds.bilevel.tensors import Tree, leaves, tree_map
from lds.graphs.batch import GraphBatch
from lds.structure.side_by_side.gcn import Keep
from lds.structure.side_by_side.padded import PaddedGraphs, entries_of_each
from lds.structure.side_by_side.window import Window, WindowDraws, WindowResult

T = TypeVar("T")
Capture = Callable[[Callable[[], T]], tuple[Callable[[], None], T]]
"""Records a function of tensors at fixed addresses. Returns a function that replays it, and the
results that each replay overwrites."""

Given = tuple[Tree, Tensor, Tensor, Keep | None]
"""State, log η, steps and dropout of a window, see `Window`."""

ROOM = 1.25
"""Entries of a padded buffer, as a multiple of those of the largest graph seen."""

WARM_UP = 2
"""Runs before a capture, in which libraries allocate what they keep."""


def capture_on(device: torch.device) -> Capture[Any] | None:
    """Return what captures functions on a device; None where the device cannot."""
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
            except RuntimeError:  # another stream would stay the current one
                torch.cuda.set_stream(here)
                torch.cuda.synchronize()
                raise
        return graph.replay, results

    return capture


class CapturedWindow:
    """A captured window.

    Arguments:
        window: the window.
        given: its inputs at the first run.
        graphs: its graphs at the first run, a batch of n_steps + 1.
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
        self._padded = PaddedGraphs(graphs.n_draws, graphs.n_nodes, room, scale.dtype, scale.device)
        self._given = tree_map(lambda x: x.clone() if isinstance(x, Tensor) else x, given)
        self._padded.load(graphs)
        state, log_lr, begun, keeps = self._given
        drawn = WindowDraws(self._padded.graphs, keeps)

        def whole() -> WindowResult:
            found = window(state, log_lr, begun, drawn)
            gradient = found.gradient() if window.wanted else (None, None)
            return WindowResult(found.states, found.losses, lambda: gradient)

        self._replay: Callable[[], None]
        self._found: WindowResult
        self._replay, self._found = capture(whole)

    def fits(self, graphs: GraphBatch) -> bool:
        """Say whether the padded buffers have room for these graphs."""
        return max(entries_of_each(graphs)) <= self._padded.room

    def __call__(self, given: Given, graphs: GraphBatch) -> WindowResult:
        """Replay the window; the next replay overwrites the result."""
        for fixed, new in zip(leaves(self._given), leaves(given), strict=True):
            if isinstance(new, Tensor):
                fixed.copy_(new)
        self._padded.load(graphs)
        self._replay()
        return self._found
