"""λ of LDS: the distribution of edges and the inner step size, and how they move."""

import math
from typing import Any

import torch
from torch import Tensor

from lds.edges.base import EdgeDistribution
from lds.structure.options import RestartOptions


class OuterVariables:
    """θ and the logarithm of the inner step size, with the step sizes of both.

    Attributes:
        edges: θ.
        log_lr: log of the inner step size, 0-dim.
        outer_lr: η, step size of θ.
        lr_of_log_lr: step size of `log_lr`; 0 keeps it.

    Arguments:
        edges: θ at the start; changed in place.
        options: with the step sizes at the start.
        lr_of_log_lr: as above.
    """

    def __init__(
        self, edges: EdgeDistribution, options: RestartOptions, lr_of_log_lr: float = 0.0
    ) -> None:
        self.edges = edges
        like = edges.probs
        log_lr = math.log(options.inner_lr)
        self.log_lr = torch.tensor(log_lr, dtype=like.dtype, device=like.device)
        self.outer_lr, self.lr_of_log_lr = options.outer_lr, lr_of_log_lr

    @property
    def hyper(self) -> dict[str, Any]:
        """λ as the bilevel core takes it."""
        return {"edges": self.edges, "log_lr": self.log_lr}

    def descend(self, to_edges: Any, to_log_lr: Tensor | None, seed: int) -> None:
        """Take one step along a hypergradient (Alg. 7, line 13).

        Arguments:
            to_edges: by θ, of the kind that `edges` makes; None is 0.
            to_log_lr: by the logarithm of the inner step size; None is 0.
            seed: of the search for pairs where a sparse support grows.
        """
        if self.lr_of_log_lr and to_log_lr is not None:
            self.log_lr = self.log_lr - self.lr_of_log_lr * to_log_lr
        if to_edges is not None:
            self.edges.descend(to_edges, self.outer_lr, seed)

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {
            "edges": self.edges.state(),
            "log_lr": self.log_lr.cpu(),
            "outer_lr": self.outer_lr,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a `state`."""
        self.edges.restore(state["edges"])
        self.log_lr, self.outer_lr = state["log_lr"].to(self.log_lr.device), state["outer_lr"]
