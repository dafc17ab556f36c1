"""R inner runs as one batch: Algorithm 7, lines 6 to 15, on R disjoint copies of the nodes."""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lds._random import mix
from lds.bilevel.checks import NonFiniteError
from lds.bilevel.tensors import Tree, tree_map
from lds.edges.free import FreeEdges
from lds.edges.sampler import next_seed
from lds.graphs.product import FactoredGradient
from lds.structure.inner_run import InnerResult, finite
from lds.structure.methods.thesis import Thesis
from lds.structure.outer_variables import OuterVariables
from lds.structure.seeds import FRESH_WEIGHTS, GROWTH, OUTER_OBJECTIVE
from lds.structure.side_by_side.captured import CapturedWindow, capture_on
from lds.structure.side_by_side.edges import batched_edges
from lds.structure.side_by_side.gcn import BatchedGCN, Keep
from lds.structure.side_by_side.window import Window, WindowDraws, WindowResult, WindowRows
from lds.structure.task import Params, Task


@dataclass
class BatchedRun:
    """A run in a batch, and where its inner run stands.

    Attributes:
        index: number of the run.
        task: network and data.
        variables: λ; the batch changes it.
        method: options.
        run_seed: seed of the run.
        train, validation: rows of the inner and the outer objective.
        iteration: its outer iteration.
        t: inner steps taken.
        inner_loss, outer_loss: the last ones.
        ended: whether its inner run has.
        error: why the run cannot go on; None where it can.
    """

    index: int
    task: Task
    variables: OuterVariables
    method: Thesis
    run_seed: int
    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    iteration: int = 0
    t: int = 0
    inner_loss: float = math.nan
    outer_loss: float = math.nan
    ended: bool = False
    error: NonFiniteError | None = None
    _best: float = math.inf
    _waited: int = 0

    @property
    def edges(self) -> FreeEdges:
        """θ of the run: a batch knows free probabilities alone."""
        return cast(FreeEdges, self.variables.edges)

    @property
    def result(self) -> InnerResult:
        """The inner run as far as it has come, without its weights."""
        return InnerResult({}, self.inner_loss, self.outer_loss, self.t)

    def fresh_weights(self) -> Params:
        """Begin an inner run, and return its first weights."""
        self.t, self._best, self._waited, self.ended = 0, math.inf, 0, False
        self.inner_loss = self.outer_loss = math.nan
        generator = torch.Generator().manual_seed(self.seed(FRESH_WEIGHTS))
        log_lr = self.variables.log_lr
        return self.task.network.init(generator, log_lr.dtype, log_lr.device)

    def seed(self, *numbers: int) -> int:
        """Return the seed that a run by itself has for the same."""
        return mix(self.run_seed, self.iteration, *numbers)

    def take(self, losses: Sequence[float]) -> bool:
        """Count steps with these losses until the inner run ends; return whether all were counted.

        Raises:
            NonFiniteError: a loss is not finite.
        """
        method = self.method
        for k, loss in enumerate(losses):
            self.inner_loss = finite(loss, "inner loss", self.iteration, self.t)
            progress = self.inner_loss * (1 + method.inner_tol) < self._best
            self._waited = 0 if progress else self._waited + 1
            self._best = min(self._best, self.inner_loss)
            self.t += 1
            stalls = self._waited >= method.inner_patience and self.t >= method.truncation
            if stalls or self.t >= method.max_inner:
                self.ended = True
                return k + 1 == len(losses)
        return True


class Batch:
    """Runs side by side, each in its own outer iteration and at its own inner step.

    On a GPU a window is captured and replayed, see `side_by_side.captured`.

    Arguments:
        runs: at least one. Their tasks share X and the labels, and their options agree in what
            `thesis.BATCH_ALIKE` names.
    """

    def __init__(self, runs: Sequence[BatchedRun]) -> None:
        self.runs = list(runs)
        self._task, self._method = self.runs[0].task, self.runs[0].method
        self._edges = batched_edges([run.edges for run in self.runs])
        self._log_lr = torch.stack([run.variables.log_lr for run in self.runs]).view(-1, 1, 1)
        self._capture = capture_on(self._log_lr.device)
        self._captured: CapturedWindow | None = None
        self._share(range(len(runs)))
        fresh = [run.fresh_weights() for run in self.runs]
        self._shapes = {name: leaf.shape for name, leaf in fresh[0].items()}
        self._arrange()
        self._state: Tree = self._window.start(fresh)

    def window(self) -> dict[int, Params]:
        """Take the steps up to the next hypergradient, and a step along it.

        Returns:
            The places whose inner run has ended, with its weights, and those whose run cannot go
            on, with none. Before the next window each goes to `begin`, `replace` or `keep`.
        """
        begun = [run.t for run in self.runs]
        found = self._go_through(begun)
        *inner_losses, outer_losses = found.losses.tolist()
        moving = []
        for place, run in enumerate(self.runs):
            try:
                if run.take([losses[place] for losses in inner_losses]):
                    loss = outer_losses[place]
                    run.outer_loss = finite(loss, "outer loss", run.iteration, run.t)
                    moving.append(place)
            except NonFiniteError as error:
                run.error = error
        if self._method.update_edges and moving:
            self._descend(*found.gradient(), moving)
        self._state = found.states[-1]
        done: dict[int, Params] = {}
        for place, run in enumerate(self.runs):
            if run.error is not None:
                done[place] = {}
            elif run.ended:
                done[place] = self._window.weights(found.states[run.t - begun[place]], place)
                self._share([place])
        return done

    def _go_through(self, begun: Sequence[int]) -> WindowResult:
        """Draw what a window needs and go through it, each run from its own step."""
        seeds, keeps = self._draws()
        given = (self._state, self._log_lr, self._numbers(begun), keeps)
        if self._capture is not None:
            graphs = self._edges.draw(seeds)
            if self._captured is None or not self._captured.fits(graphs):
                self._captured = None  # its memory is free before the next is made
                try:
                    self._captured = CapturedWindow(self._window, given, graphs, self._capture)
                except RuntimeError as error:
                    reason = str(error).splitlines()[0]
                    warnings.warn(
                        f"a window could not be captured as a CUDA graph ({reason}); its "
                        "operations are started one by one, which takes longer",
                        RuntimeWarning,
                        stacklevel=2,
                    )
                    self._capture = None
            if self._captured is not None:
                return self._captured(given, graphs)
        one_by_one = [self._edges.draw([one]) for one in seeds]
        return self._window(*given[:3], WindowDraws(one_by_one, keeps))

    def _draws(self) -> tuple[list[list[int]], Keep | None]:
        """Draw the seeds of a window's graphs, one a run and graph, and dropout at its steps."""
        n_steps, device = self._window.n_steps, self._log_lr.device
        seeds = [[run.seed(run.t + k) for run in self.runs] for k in range(n_steps)]
        seeds.append([run.seed(run.t + n_steps, OUTER_OBJECTIVE) for run in self.runs])
        random = [[torch.Generator().manual_seed(seed) for seed in one] for one in seeds]
        graphs = [[next_seed(generator) for generator in one] for one in random]
        if device.type != "cpu":  # dropout is drawn there
            random = [[torch.Generator(device).manual_seed(seed) for seed in one] for one in seeds]
        return graphs, self._network.keep(random[:n_steps], self._method.hidden_channels)

    def begin(self, place: int) -> None:
        """Begin an inner run in a place, from fresh weights."""
        fresh = self._window.start([self.runs[place].fresh_weights()])

        def placed(leaf: Tensor, new: Tensor) -> Tensor:
            leaf = leaf.clone()
            leaf[place] = new[0]
            return leaf

        self._state = tree_map(placed, self._state, fresh)

    def replace(self, place: int, run: BatchedRun) -> None:
        """Put another run into a place, and begin its inner run."""
        self.runs[place] = run
        self._log_lr = self._log_lr.clone()
        self._log_lr[place] = run.variables.log_lr
        self._edges.put({place: run.edges})
        self._share([place])
        self._arrange()
        self.begin(place)

    def keep(self, places: Sequence[int]) -> None:
        """Keep these places alone, at least one."""
        self.runs = [self.runs[place] for place in places]
        rows = self._numbers(places).flatten()
        self._state = tree_map(lambda leaf: leaf[rows], self._state)
        self._log_lr = self._log_lr[rows]
        self._edges.keep(places)
        self._share(range(len(places)))
        self._arrange()

    def _arrange(self) -> None:
        """Rebuild what depends on which runs are in the batch."""
        dropout = [run.method.dropout for run in self.runs]
        decay = [run.method.weight_decay for run in self.runs]
        self._network = BatchedGCN(self._task.features, dropout)
        known, dtype = (self._task.labels, self._task.weights), self._log_lr.dtype
        method = self._method
        self._window = Window(
            self._network,
            self._shapes,
            torch.tensor(decay, dtype=dtype, device=self._log_lr.device),
            WindowRows([run.train for run in self.runs], *known, dtype),
            WindowRows([run.validation for run in self.runs], *known, dtype),
            method.truncation,
            method.update_edges,
        )
        self._captured = None

    def _share(self, places: Sequence[int]) -> None:
        """Write θ and the inner step size of these places back to their runs."""
        for place in places:
            run = self.runs[place]
            run.edges.put(self._edges.probs(place))
            run.variables.log_lr = self._log_lr[place, 0, 0].clone()

    def _descend(
        self,
        to_edges: FactoredGradient | None,
        to_log_lr: Tensor | None,
        moving: Sequence[int],
    ) -> None:
        """Take a projected step on θ and inner step sizes of the runs that are `moving`."""
        rates = [0.0] * len(self.runs)
        for place in moving:
            rates[place] = self.runs[place].variables.lr_of_log_lr
        if any(rates) and to_log_lr is not None:
            rate = self._log_lr.new_tensor(rates).view(-1, 1, 1)
            moved = self._log_lr - rate * to_log_lr
            self._log_lr = torch.where(rate > 0, moved, self._log_lr)
        if to_edges is None:
            return
        lr = [0.0] * len(self.runs)
        grown: dict[int, FreeEdges] = {}
        for place in moving:
            run = self.runs[place]
            edges, growth, step = run.edges, run.edges.growth, run.variables.outer_lr
            if growth is not None and growth.due():
                mine = self._edges.gradient_of(to_edges, place)
                edges.put(self._edges.probs(place))
                growth.grow(edges, mine, step, run.seed(run.t, GROWTH))
                grown[place] = edges
            else:
                lr[place] = step
        self._edges.descend(to_edges, lr)
        if grown:
            self._edges.put(grown)
        fine: list[bool] = self._edges.finite().tolist()
        for place in moving:
            if not fine[place]:
                run = self.runs[place]
                try:
                    finite(math.nan, "hypergradient of θ", run.iteration, run.t)
                except NonFiniteError as error:
                    run.error = error

    def _numbers(self, numbers: Sequence[int]) -> Tensor:
        return torch.tensor(numbers, device=self._log_lr.device).view(-1, 1, 1)


class BatchInnerRun:
    """An inner run that goes through a batch of one, for a GPU.

    The rows of the two objectives are those of the first call.

    Arguments:
        task, variables, method, seed: of the run.
    """

    def __init__(self, task: Task, variables: OuterVariables, method: Thesis, seed: int) -> None:
        self._of_run = (task, variables, method, seed)
        self._batch: Batch | None = None

    def __call__(
        self, iteration: int, train: NDArray[np.int64], validation: NDArray[np.int64]
    ) -> InnerResult:
        """Run once; see `inner_run.InnerRun`."""
        if self._batch is None:
            self._batch = Batch([BatchedRun(0, *self._of_run, train, validation, iteration)])
        else:
            self._batch.runs[0].iteration = iteration
            self._batch.begin(0)
        (run,) = self._batch.runs
        done: dict[int, Params] = {}
        while not done:
            done = self._batch.window()
        if run.error is not None:
            raise run.error
        return replace(run.result, params=done[0])
