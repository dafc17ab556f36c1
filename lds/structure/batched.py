"""R inner runs as one: Algorithm 7, lines 6 to 15, on R disjoint copies of the nodes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from lds._types import Split
from lds.bilevel.adaptive import Adam
from lds.bilevel.checks import NonFiniteError
from lds.bilevel.reverse import sweep
from lds.bilevel.step import Step, evaluate, mix
from lds.bilevel.taped import TapedStep
from lds.bilevel.tensors import Tree, tree_map
from lds.nn.joint import JointGCN
from lds.structure.edges import EdgeDistribution
from lds.structure.joint import joint_edges
from lds.structure.learner import Learner, Params, finite


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
        self._dynamics = _OwnSteps(self._inner, lr=lambda hyper: hyper["log_lr"].exp())
        fresh = [slot.fresh() for slot in self.slots]
        stacked = {name: torch.stack([w[name] for w in fresh]) for name in fresh[0]}
        self._state: Tree = self._dynamics.start(stacked, {})
        self._losses = self._log_lr.flatten()  # of each replicate, as an objective last met them
        self._seeds: list[list[int]] = []  # of each replicate, at each step of a window
        self._share(range(len(slots)))
        self._arrange()

    def window(self) -> dict[int, Params]:
        """The steps up to the next hypergradient, and it, for those that come so far.

        Returns:
            The places whose inner run has ended, with its weights, or whose run cannot go on, with
            none. They are for `begin`, `place` or `keep` before the next window.
        """
        n_steps = max(1, self._config.truncation)
        begun = [slot.t for slot in self.slots]
        hyper = {"edges": self._edges, "log_lr": self._log_lr, "steps": self._numbers(begun)}
        inner = [[slot.seed(slot.t + k) for slot in self.slots] for k in range(n_steps)]
        self._seeds = [*inner, [slot.seed(slot.t + n_steps, -4) for slot in self.slots]]
        sweeps = self._config.update_edges and self._config.truncation > 0
        make_step = TapedStep if sweeps else Step
        steps, states, met = [], [self._state], []
        for k in range(n_steps):
            steps.append(make_step(self._dynamics, states[-1], hyper, k, 0))
            states.append(steps[-1].run()[0])
            met.append(self._losses)
        outer = evaluate(self._dynamics, self._outer, states[-1], hyper, n_steps, 0)
        *inner_losses, outer_losses = torch.stack([*met, self._losses]).tolist()
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
            gradient = sweep(reversed(steps), outer)[1] if sweeps else outer.direct
            self._descend(gradient, moving)
        self._state = states[-1]
        done: dict[int, Params] = {}
        for place, slot in enumerate(self.slots):
            if slot.error is not None:
                done[place] = {}
            elif slot.ended:
                w = self._dynamics.params(states[slot.t - begun[place]])
                done[place] = {name: leaf[place].clone() for name, leaf in w.items()}
                self._share([place])
        return done

    def begin(self, place: int) -> None:
        """Fresh weights for the run in a place, which begins an inner run."""
        fresh = self._dynamics.start(self.slots[place].fresh(), {})

        def placed(leaf: Tensor, new: Tensor) -> Tensor:
            leaf = leaf.clone()
            leaf[place] = new
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
        self._decay = torch.tensor(decay, dtype=self._log_lr.dtype, device=self._log_lr.device)
        labels = self._task.labels
        self._train = _Rows([slot.split.train for slot in self.slots], labels, self._decay.dtype)
        self._validation = _Rows(
            [slot.split.validation for slot in self.slots], labels, self._decay.dtype
        )

    def _share(self, places: Sequence[int]) -> None:
        """The learners' θ and learning rates are those of their places."""
        for place in places:
            learner = self.slots[place].learner
            learner.edges.put(self._edges.probs(place))
            learner.log_lr = self._log_lr[place, 0, 0].clone()

    def _inner(self, params: Params, hyper: dict[str, Any], k: int) -> Tensor:
        """Σ_r L_r(w_r, A_r): each replicate's derivative is its own."""
        seeds = self._seeds[k]
        random = [torch.Generator().manual_seed(seed) for seed in seeds]
        graph = hyper["edges"].draw([EdgeDistribution.next_seed(one) for one in random])
        device = self._decay.device
        if device.type != "cpu":  # dropout is drawn there
            random = [torch.Generator(device).manual_seed(seed) for seed in seeds]
        keep = self._network.keep(random, params["W1"].shape[2])
        fit = self._train.mean_loss(self._network(params, graph, keep))
        losses = fit + self._decay * 0.5 * params["W1"].square().sum((1, 2))
        self._losses = losses.detach()
        return losses.sum()

    def _outer(self, params: Params, hyper: dict[str, Any], k: int) -> Tensor:
        """Σ_r E_r(w_r, A_r)."""
        random = [torch.Generator().manual_seed(seed) for seed in self._seeds[k]]
        graph = hyper["edges"].draw([EdgeDistribution.next_seed(one) for one in random])
        losses = self._validation.mean_loss(self._network(params, graph, None))
        self._losses = losses.detach()
        return losses.sum()

    def _descend(self, gradient: list[Any], moving: Sequence[int]) -> None:
        """One projected step on θ and the learning rates of the replicates that are `moving`."""
        to_edges, to_log_lr, _ = gradient
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


class _OwnSteps(Adam):
    """Adam on replicates, the first dimension of every leaf, each at a step of its own.

    hyper["steps"], int64 `(n_members, 1, 1)`, has the step at which a window began for each.
    """

    def _corrections(
        self, beta1: float | Tensor, beta2: float | Tensor, hyper: Tree, t: int
    ) -> tuple[Tensor, Tensor]:
        done, dtype = hyper["steps"].double() + (t + 1), hyper["log_lr"].dtype
        return (1 - beta1**done).to(dtype), (1 - beta2**done).sqrt().to(dtype)


class _Rows:
    """The nodes that an objective of each replicate looks at; shorter lists are filled up.

    Arguments:
        nodes: of each replicate.
        labels: of all nodes, int64 `(n_nodes,)`.
        dtype: of the losses.
    """

    def __init__(
        self, nodes: Sequence[NDArray[np.int64]], labels: Tensor, dtype: torch.dtype
    ) -> None:
        longest = max(map(len, nodes))
        place = np.zeros((len(nodes), longest), dtype=np.int64)
        weight = np.zeros((len(nodes), longest))
        for member, mine in enumerate(nodes):
            place[member, : len(mine)], weight[member, : len(mine)] = mine, 1 / len(mine)
        place_of, device = torch.from_numpy(place), labels.device
        self._target = labels[place_of.to(device)].flatten().clamp(min=0)
        first = torch.arange(len(nodes)).unsqueeze(1) * len(labels)
        self._index = (first + place_of).flatten().to(device)
        self._weight = torch.as_tensor(weight, dtype=dtype, device=device)

    def mean_loss(self, logits: Tensor) -> Tensor:
        """Mean cross-entropy of each replicate's nodes, `(n_members,)`.

        Arguments:
            logits: `(n_members, n_nodes, n_classes)`.
        """
        each = cross_entropy(logits.flatten(0, 1)[self._index], self._target, reduction="none")
        return (each.view_as(self._weight) * self._weight).sum(1)
