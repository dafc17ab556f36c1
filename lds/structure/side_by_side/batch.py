"""R inner runs as one: Algorithm 7, lines 6 to 15, on R disjoint copies of the nodes."""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lds._random import mix
from lds._types import Split
from lds.bilevel.checks import NonFiniteError
from lds.bilevel.tensors import Tree, tree_map
from lds.config import LDSConfig
from lds.edges.free import EdgeDistribution
from lds.graphs.product import FactoredGradient
from lds.nn.registry import GCN_NAME
from lds.structure.learner import Learner, Params, finite
from lds.structure.side_by_side.captured import CapturedWindow, capture_on
from lds.structure.side_by_side.edges import joint_edges
from lds.structure.side_by_side.gcn import JointGCN, Keep
from lds.structure.side_by_side.window import Drawn, Passed, Rows, Window

NEEDED = {
    "backbone": GCN_NAME, "estimator": "straight_through", "connected": False, "batch_nodes": 0,
    "method": "lds", "denoising_weight": 0.0, "redraw": False, "settle": 0.0,
}  # fmt: skip
"""Options of which a batch knows one value."""


def unknown(config: LDSConfig) -> list[str]:
    """Names of the options that have a value which a batch does not know."""
    return [name for name, value in NEEDED.items() if getattr(config, name) != value]


@dataclass
class Slot:
    """A run in its place in a batch, and where its inner run stands.

    Attributes:
        index: which run it is.
        learner: its θ, options and history.
        split: its roles of the nodes.
        t: inner steps taken.
        inner_loss, outer_loss: the last ones met.
        ended: whether its inner run has.
        error: why the run cannot go on; None where it can.
    """

    index: int
    learner: Learner
    split: Split
    t: int = 0
    inner_loss: float = math.nan
    outer_loss: float = math.nan
    ended: bool = False
    error: NonFiniteError | None = None
    _best: float = math.inf
    _waited: int = 0

    @property
    def iteration(self) -> int:
        """Its outer iteration."""
        return len(self.learner.history)

    def fresh(self) -> Params:
        """Begin an inner run; its first weights."""
        self.t, self._best, self._waited, self.ended = 0, math.inf, 0, False
        self.inner_loss = self.outer_loss = math.nan
        generator = torch.Generator().manual_seed(self.seed(-1))
        log_lr = self.learner.log_lr
        return self.learner.task.network.init(generator, log_lr.dtype, log_lr.device)

    def seed(self, *numbers: int) -> int:
        """The seed that `Learner` has for the same."""
        return mix(self.learner.config.seed, self.iteration, *numbers)

    def take(self, losses: Sequence[float]) -> bool:
        """Go on by steps that met these losses, until the inner run ends; whether all were taken.

        Raises:
            NonFiniteError: one of them is no number.
        """
        config = self.learner.config
        for k, loss in enumerate(losses):
            self.inner_loss = finite(loss, "inner loss", self.iteration, self.t)
            progress = self.inner_loss * (1 + config.inner_tol) < self._best
            self._waited = 0 if progress else self._waited + 1
            self._best = min(self._best, self.inner_loss)
            self.t += 1
            if self.t >= config.max_inner or self._waited >= config.inner_patience:
                self.ended = True
                return k + 1 == len(losses)
        return True


class Batch:
    """Runs side by side, each in its own outer iteration and at its own inner step.

    On a GPU a window is captured and replayed, see `side_by_side.captured`.

    Arguments:
        slots: at least one; their tasks share X and the labels, and their options differ in what
            `replicates.ALIKE` does not name.
    """

    def __init__(self, slots: Sequence[Slot]) -> None:
        self.slots = list(slots)
        first = self.slots[0].learner
        self._task, self._config = first.task, first.config
        self._edges = joint_edges([slot.learner.edges for slot in self.slots])
        self._log_lr = torch.stack([slot.learner.log_lr for slot in self.slots]).view(-1, 1, 1)
        self._capture = capture_on(self._log_lr.device)
        self._captured: CapturedWindow | None = None
        self._share(range(len(slots)))
        fresh = [slot.fresh() for slot in self.slots]
        self._shapes = {name: leaf.shape for name, leaf in fresh[0].items()}
        self._arrange()
        self._state: Tree = self._window.start(fresh)

    def window(self) -> dict[int, Params]:
        """The steps up to the next hypergradient, and it, for those that come so far.

        Returns:
            The places whose inner run has ended, with its weights, or whose run cannot go on, with
            none. They are for `begin`, `place` or `keep` before the next window.
        """
        begun = [slot.t for slot in self.slots]
        passed = self._pass(begun)
        *inner_losses, outer_losses = passed.losses.tolist()
        moving = []
        for place, slot in enumerate(self.slots):
            try:
                if slot.take([losses[place] for losses in inner_losses]):
                    loss = outer_losses[place]
                    slot.outer_loss = finite(loss, "outer loss", slot.iteration, slot.t)
                    moving.append(place)
            except NonFiniteError as error:
                slot.error = error
        if self._config.update_edges and moving:
            self._descend(*passed.gradient(), moving)
        self._state = passed.states[-1]
        done: dict[int, Params] = {}
        for place, slot in enumerate(self.slots):
            if slot.error is not None:
                done[place] = {}
            elif slot.ended:
                done[place] = self._window.weights(passed.states[slot.t - begun[place]], place)
                self._share([place])
        return done

    def _pass(self, begun: Sequence[int]) -> Passed:
        """Draw for a window and go through it, every run from the step at which it has begun."""
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
        return self._window(*given[:3], Drawn(one_by_one, keeps))

    def _draws(self) -> tuple[list[list[int]], Keep | None]:
        """Seeds of the graphs of a window, for each of them one a run; dropout at its steps."""
        n_steps, device = self._window.n_steps, self._log_lr.device
        seeds = [[slot.seed(slot.t + k) for slot in self.slots] for k in range(n_steps)]
        seeds.append([slot.seed(slot.t + n_steps, -4) for slot in self.slots])
        random = [[torch.Generator().manual_seed(seed) for seed in one] for one in seeds]
        graphs = [[EdgeDistribution.next_seed(generator) for generator in one] for one in random]
        if device.type != "cpu":  # dropout is drawn there
            random = [[torch.Generator(device).manual_seed(seed) for seed in one] for one in seeds]
        return graphs, self._network.keep(random[:n_steps], self._config.hidden_channels)

    def begin(self, place: int) -> None:
        """Fresh weights for the run in a place, which begins an inner run."""
        fresh = self._window.start([self.slots[place].fresh()])

        def placed(leaf: Tensor, new: Tensor) -> Tensor:
            leaf = leaf.clone()
            leaf[place] = new[0]
            return leaf

        self._state = tree_map(placed, self._state, fresh)

    def place(self, place: int, slot: Slot) -> None:
        """Another run in a place."""
        self.slots[place] = slot
        self._log_lr = self._log_lr.clone()
        self._log_lr[place] = slot.learner.log_lr
        self._edges.put({place: slot.learner.edges})
        self._share([place])
        self._arrange()
        self.begin(place)

    def keep(self, places: Sequence[int]) -> None:
        """Go on with these alone, at least one."""
        self.slots = [self.slots[place] for place in places]
        rows = self._numbers(places).flatten()
        self._state = tree_map(lambda leaf: leaf[rows], self._state)
        self._log_lr = self._log_lr[rows]
        self._edges.keep(places)
        self._share(range(len(places)))
        self._arrange()

    def _arrange(self) -> None:
        """What follows from who is there."""
        learners = [slot.learner for slot in self.slots]
        dropout = [learner.config.dropout for learner in learners]
        decay = [learner.config.weight_decay for learner in learners]
        self._network = JointGCN(self._task.features, dropout)
        labels, dtype = self._task.labels, self._log_lr.dtype
        config = self._config
        self._window = Window(
            self._network,
            self._shapes,
            torch.tensor(decay, dtype=dtype, device=self._log_lr.device),
            Rows([slot.split.train for slot in self.slots], labels, dtype),
            Rows([slot.split.validation for slot in self.slots], labels, dtype),
            config.truncation,
            config.update_edges,
        )
        self._captured = None

    def _share(self, places: Sequence[int]) -> None:
        """The learners' θ and learning rates are those of their places."""
        for place in places:
            learner = self.slots[place].learner
            learner.edges.put(self._edges.probs(place))
            learner.log_lr = self._log_lr[place, 0, 0].clone()

    def _descend(
        self,
        to_edges: FactoredGradient | None,
        to_log_lr: Tensor | None,
        moving: Sequence[int],
    ) -> None:
        """One projected step on θ and the learning rates of the replicates that are `moving`."""
        rates = [0.0] * len(self.slots)
        for place in moving:
            rates[place] = self.slots[place].learner.config.learn_inner_lr
        if any(rates) and to_log_lr is not None:
            rate = self._log_lr.new_tensor(rates).view(-1, 1, 1)
            moved = self._log_lr - rate * to_log_lr
            self._log_lr = torch.where(rate > 0, moved, self._log_lr)
        if to_edges is None:
            return
        lr = [0.0] * len(self.slots)
        grown: dict[int, EdgeDistribution] = {}
        for place in moving:
            slot, learner = self.slots[place], self.slots[place].learner
            if learner.growth is not None and learner.growth.due():
                mine = self._edges.gradient_of(to_edges, place)
                learner.edges.put(self._edges.probs(place))
                learner.growth.grow(learner.edges, mine, learner.outer_lr, slot.seed(slot.t, -6))
                grown[place] = learner.edges
            else:
                lr[place] = learner.outer_lr
        self._edges.descend(to_edges, lr)
        if grown:
            self._edges.put(grown)
        fine: list[bool] = self._edges.finite().tolist()
        for place in moving:
            if not fine[place]:
                slot = self.slots[place]
                try:
                    finite(math.nan, "hypergradient of θ", slot.iteration, slot.t)
                except NonFiniteError as error:
                    slot.error = error

    def _numbers(self, numbers: Sequence[int]) -> Tensor:
        return torch.tensor(numbers, device=self._log_lr.device).view(-1, 1, 1)


class BatchOfOne(Learner):
    """A run whose inner runs go through a batch, as a GPU wants it."""

    _batch: Batch | None = None

    def inner_run(self, iteration: int) -> tuple[Params, float, float, int]:
        """Lines 6 to 15 of Algorithm 7."""
        if self._batch is None:
            self._batch = Batch([Slot(0, self, self.split)])
        else:
            self._batch.begin(0)
        (slot,) = self._batch.slots
        done: dict[int, Params] = {}
        while not done:
            done = self._batch.window()
        if slot.error is not None:
            raise slot.error
        return done[0], slot.inner_loss, slot.outer_loss, slot.t
