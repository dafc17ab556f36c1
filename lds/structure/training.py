"""One network trained on graphs of a distribution that stays as it is, with early stopping."""

from collections.abc import Callable
from dataclasses import dataclass

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
        params: weights of the best early-stopping score.
        probabilities: class probabilities with them, `(n_nodes, n_classes)`.
        score: of these.
        steps: inner steps taken in all.
    """

    params: Params
    probabilities: Tensor
    score: Score
    steps: int


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
) -> Trained | None:
    """Adam from fresh weights, a graph drawn at every step, until the score stops improving.

    Arguments:
        task: the network and what it sees.
        edges_at: what a step of that number draws from; not changed.
        rows: that train.
        stopping: rows of the early-stopping score.
        lr: of Adam.
        seeds: all that is random follows from these.
        predict: class probabilities of given weights after so many steps.
        max_steps: most steps.
        patience: steps without a better score that end it.
        every: steps between scores; the last step has one in any case.

    Returns:
        None where no score was finite.
    """
    dynamics = Adam(task.inner(rows), lr=lr)
    fresh = torch.Generator().manual_seed(mix(*seeds, FRESH_WEIGHTS))
    params = task.network.init(fresh, task.features.dtype, task.features.device)
    state = Start(dynamics, params, {"edges": edges_at(0)}, mix(*seeds, START)).run()
    best, found, waited, t = WORST, None, 0, 0
    while t < max_steps and waited < patience:
        hyper = {"edges": edges_at(t)}
        state, _ = Step(dynamics, state, hyper, t, mix(*seeds, t)).run()
        t += 1
        if t % every and t < max_steps:
            continue
        waited += every
        w = dynamics.params(state)
        probabilities = predict(w, t)
        now = score(probabilities, task.labels, stopping, task.weights)
        if now.better_than(best):
            best, found, waited = now, (w, probabilities), 0
    return None if found is None else Trained(*found, best, t)
