"""kNN-LDS (dense) of Table 9.2: Algorithm 7 on a matrix of similarities in place of probabilities.

A is symmetric with entries in [0, 1] and no loops; nothing is drawn. Inner runs train the GCN by
Adam from fresh weights; every τ steps A takes a projected step along the hypergradient of the
validation loss through these τ steps.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

import lds.bilevel as bilevel
from lds._random import mix
from lds.experiments.reproduce.networks import DROPOUT, HIDDEN, tensors, wide
from lds.nn.features import drop
from lds.nn.gcn import glorot
from lds.structure.methods.thesis import Thesis
from lds.structure.predict import WORST, score
from lds.structure.problem import Problem


@dataclass(frozen=True)
class DenseResult:
    """The best outer iteration.

    Attributes:
        probabilities: `(n_nodes, n_classes)`.
        similarities: A, `(n_nodes, n_nodes)`.
        stopping_accuracy, stopping_loss: its score.
        iterations: outer iterations in all.
    """

    probabilities: NDArray[np.floating[Any]]
    similarities: NDArray[np.floating[Any]]
    stopping_accuracy: float
    stopping_loss: float
    iterations: int


def symmetric_unit(a: Tensor) -> Tensor:
    """Project onto symmetric matrices with entries in [0, 1] and a diagonal of 0."""
    return ((a + a.T) / 2).clamp(0, 1).fill_diagonal_(0)


def product(a: Tensor) -> Callable[[Tensor], Tensor]:
    """Make H -> Â H, with Â = D̃^-½ (A + I) D̃^-½ (eq. 9.2), differentiable in A and H.

    Â is not formed: a pass over n² numbers costs as much as a product with 16 columns.
    """
    scale = (a.sum(1, keepdim=True) + 1).rsqrt()

    def along(h: Tensor) -> Tensor:
        scaled = scale * wide(h)
        return (scale * (a @ scaled + scaled))[:, : h.shape[1]]

    return along


def learn_dense(problem: Problem, start: sp.csr_array, method: Thesis, seed: int) -> DenseResult:
    """Learn similarities and network.

    Arguments:
        problem: features, labels and roles.
        start: the first A.
        method: step sizes, τ, patience and numbers of steps are taken from it.
        seed: of weights and dropout.
    """
    features, labels = tensors(problem.features), torch.as_tensor(problem.labels)
    rows = {
        role: torch.as_tensor(getattr(problem.split, role))
        for role in ("train", "validation", "stopping")
    }
    a, n_classes = torch.tensor(start.toarray(), dtype=torch.float32), problem.n_classes
    tau = max(1, method.truncation)

    def logits(w: Any, a: Tensor, dropout: float) -> Tensor:
        along = product(a)
        hidden = along(features.matmul(w["W1"], dropout)).relu()
        return along(drop(hidden, dropout) @ w["W2"])

    def inner(w: Any, a: Tensor) -> Tensor:
        fit = cross_entropy(logits(w, a, DROPOUT)[rows["train"]], labels[rows["train"]])
        penalty: Tensor = 0.5 * method.weight_decay * w["W1"].square().sum()
        return fit + penalty

    def outer(w: Any, a: Tensor) -> Tensor:
        return cross_entropy(logits(w, a, 0.0)[rows["validation"]], labels[rows["validation"]])

    dynamics = bilevel.Adam(inner, lr=method.inner_lr)
    best, found, waited, k = WORST, None, 0, 0
    while k < method.max_iter and waited < method.patience:
        generator = torch.Generator().manual_seed(mix(seed, k))
        w = {
            "W1": glorot(features.shape[1], HIDDEN, generator),
            "W2": glorot(HIDDEN, n_classes, generator),
        }
        stall = _Stall(method.inner_tol, max(1, method.inner_patience // tau))
        solution = bilevel.solve(
            dynamics,
            outer,
            w,
            a,
            tau,
            method=bilevel.Reverse(tape=True),  # steps are taken once, and refer to one A
            n_outer=max(1, method.max_inner // tau),
            optimizer=functools.partial(
                torch.optim.SGD, lr=method.outer_lr * method.outer_lr_decay**k
            ),
            projection=symmetric_unit,
            warm_start="state",
            keep="last",
            callback=stall,
            seed=mix(seed, k, 1),
        )
        a = solution.last.hyper
        with torch.no_grad():
            probabilities = logits(solution.last.params, a, 0.0).softmax(1)
        now = score(probabilities, labels, rows["stopping"])
        k, waited = k + 1, waited + 1
        if now.better_than(best):
            best, found, waited = now, (probabilities, a), 0
    if found is None:
        raise ArithmeticError("no loss was finite; a smaller outer_lr may help")
    return DenseResult(found[0].numpy(), found[1].numpy(), best.accuracy, best.loss, k)


class _Stall:
    """End an inner run once its validation loss no longer falls.

    The thesis stops on the training loss; the loop shows its callback the outer loss of each
    hyperstep, and with fresh weights both stall together.
    """

    def __init__(self, tol: float, patience: int) -> None:
        self.tol, self.patience = tol, patience
        self.best, self.waited = float("inf"), 0

    def __call__(self, record: bilevel.Record) -> bool:
        """Whether to end."""
        self.waited += 1
        if record.value * (1 + self.tol) < self.best:
            self.best, self.waited = record.value, 0
        return self.waited >= self.patience
