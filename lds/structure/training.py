"""Networks trained on graphs of a distribution that stays as it is, with early stopping."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lds._random import mix
from lds.bilevel.adaptive import Adam
from lds.bilevel.step import Start, Step
from lds.edges.base import EdgeDistribution
from lds.edges.recorder import GivenGraph
from lds.structure.predict import WORST, Score, score
from lds.structure.seeds import FRESH_WEIGHTS, START
from lds.structure.task import Params, Task


@dataclass(frozen=True)
class Trained:
    """The best of a training.

    Attributes:
        params: weights of the best early-stopping score; of a whole stack, where the network is one
            of a stack.
        probabilities: class probabilities with them, `(n_nodes, n_classes)`.
        score: of these.
        steps: inner steps taken in all.
    """

    params: Params
    probabilities: Tensor
    score: Score
    steps: int


@dataclass
class _Search:
    """The best of one network so far, and the steps since."""

    best: Trained | None = None
    waited: int = 0

    def see(self, params: Params, probabilities: Tensor, now: Score, t: int, every: int) -> None:
        """Take the score after step t into account."""
        if now.better_than(WORST if self.best is None else self.best.score):
            self.best, self.waited = Trained(params, probabilities, now, t), 0
        else:
            self.waited += every
            self.best = self.best and replace(self.best, steps=t)


def train(
    task: Task,
    edges_at: Callable[[int], EdgeDistribution | GivenGraph],
    rows: Tensor,
    stopping: Tensor,
    lr: float,
    seeds: tuple[int, ...],
    predict: Callable[[Params, int], Tensor],
    *,
    max_steps: int,
    patience: int,
    every: int = 1,
    on_stopped: Callable[[int], None] | None = None,
) -> list[Trained | None]:
    """Train by Adam from fresh weights, each step on a drawn graph, while the score improves.

    Networks of a stack (`nn.stack`) have a score each. They all train until the last of them has
    stopped; what a network does after its own end does not count.

    Arguments:
        task: the network and what it sees.
        edges_at: what a step of that number draws from; not changed.
        rows: that train.
        stopping: rows of the early-stopping score.
        lr: of Adam.
        seeds: all that is random follows from these.
        predict: class probabilities of given weights after so many steps, `(n_networks, n_nodes,
            n_classes)`; n_networks is 1 but for a stack.
        max_steps: most steps.
        patience: steps without a better score that end it.
        every: steps between scores; the last step has one in any case.
        on_stopped: called with the number of networks that have stopped, while others still train.

    Returns:
        For each network; None where no score was finite.
    """
    dynamics = Adam(task.inner(rows), lr=lr)
    fresh = torch.Generator().manual_seed(mix(*seeds, FRESH_WEIGHTS))
    params = task.network.init(fresh, task.features.dtype, task.features.device)
    state = Start(dynamics, params, {"edges": edges_at(0)}, mix(*seeds, START)).run()
    each: list[_Search] = []
    t = n_stopped = 0
    while t < max_steps and (not each or n_stopped < len(each)):
        hyper = {"edges": edges_at(t)}
        state, _ = Step(dynamics, state, hyper, t, mix(*seeds, t)).run()
        t += 1
        if t % every and t < max_steps:
            continue
        w = dynamics.params(state)
        found = predict(w, t)
        each = each or [_Search() for _ in found]
        for one, probabilities in zip(each, found, strict=True):
            if one.waited < patience:
                now = score(probabilities, task.labels, stopping, task.weights)
                one.see(w, probabilities, now, t, every)
        ended = sum(one.waited >= patience for one in each)
        if n_stopped < ended < len(each) and on_stopped is not None:
            on_stopped(ended)
        n_stopped = ended
    return [one.best for one in each]
