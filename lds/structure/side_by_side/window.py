"""A window of R inner runs: its steps, E after them, and the reverse sweep, on given draws.

Nothing here draws, reads a number from the device, or makes a tensor whose size depends on values.
So a GPU can record all of it once, see `side_by_side.captured`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from lds.bilevel.adaptive import Adam
from lds.bilevel.reverse import sweep
from lds.bilevel.step import Step, evaluate
from lds.bilevel.taped import TapedStep
from lds.bilevel.tensors import Tree
from lds.edges.recorder import GraphRecorder
from lds.graphs.batch import GraphBatch
from lds.graphs.product import FactoredGradient
from lds.structure.side_by_side.gcn import BatchedGCN, Keep

Params = dict[str, Tensor]


@dataclass(frozen=True)
class WindowDraws:
    """The draws of a window of n steps; they stand for θ among the hyperparameters.

    Attributes:
        graphs: at each step, then for E: n + 1, on R · N nodes.
        keeps: dropout at each step, see `BatchedGCN.keep`.
    """

    graphs: Sequence[GraphBatch]
    keeps: Keep | None

    def record(self) -> "_Recorder":
        """Return the stand-in for this leaf during one application of a step or of E."""
        return _Recorder(self)

    def graph(self, k: int) -> GraphBatch:
        """Return the graph of a step."""
        return self.graphs[k]

    def keep(self, k: int) -> Keep | None:
        """Return the dropout of a step."""
        return None if self.keeps is None else (self.keeps[0][k], self.keeps[1][k])


class _Recorder(GraphRecorder):
    """Returns the same graphs, and records the products made with them."""

    def __init__(self, drawn: WindowDraws) -> None:
        super().__init__()
        self._given, self.keep = drawn.graphs, drawn.keep

    def graph(self, k: int) -> GraphBatch:
        return self.recorded(self._given[k])


@dataclass(frozen=True)
class WindowResult:
    """The result of a window.

    Attributes:
        states: before its first step, and after each.
        losses: of each run at each step, then E: `(n_steps + 1, n_runs)`.
        gradient: makes ∂ΣE/∂(θ, log η); each run has a part of its own.
    """

    states: list[Tree]
    losses: Tensor
    gradient: Callable[[], tuple[FactoredGradient | None, Tensor | None]]


class Window:
    """The steps of R runs and the hypergradient through them.

    All weights of a run are one row, so that Adam takes few operations.

    Arguments:
        network: of all runs.
        shapes: of its weights, by name.
        decay: ρ of each, `(n_runs,)`.
        train, validation: the nodes of the inner and the outer objective of each.
        truncation: τ, the number of steps; 0 is one step, and a hypergradient that does not go
            back through it.
        wanted: whether the hypergradient is needed.
    """

    def __init__(
        self,
        network: BatchedGCN,
        shapes: dict[str, torch.Size],
        decay: Tensor,
        train: "WindowRows",
        validation: "WindowRows",
        truncation: int,
        wanted: bool,
    ) -> None:
        self._dynamics = _AdamAtOwnSteps(self._inner, lr=lambda hyper: hyper["log_lr"].exp())
        self._shapes = shapes
        self.n_steps, self.wanted = max(1, truncation), wanted
        self._network, self._decay = network, decay
        self._train, self._validation = train, validation
        self._sweeps = wanted and truncation > 0
        self._losses = decay  # of each run, at the last call of an objective

    def start(self, fresh: Sequence[Params]) -> Tree:
        """Make the state of runs with these weights, one row a run."""
        rows = [torch.cat([w[name].flatten() for name in self._shapes]) for w in fresh]
        return self._dynamics.start(torch.stack(rows).unsqueeze(1), {})

    def weights(self, state: Tree, member: int) -> Params:
        """Copy the weights of one run."""
        row = self._dynamics.params(state)[member : member + 1]
        return {name: leaf[0].clone() for name, leaf in self._by_name(row).items()}

    def _by_name(self, rows: Tensor) -> Params:
        """Split rows of weights into tensors of their shapes, `(n_runs, ...)` each."""
        parts = rows.squeeze(1).split([shape.numel() for shape in self._shapes.values()], 1)
        shapes = self._shapes.items()
        return {
            name: part.unflatten(1, shape)
            for (name, shape), part in zip(shapes, parts, strict=True)
        }

    def __call__(
        self, state: Tree, log_lr: Tensor, begun: Tensor, drawn: WindowDraws
    ) -> WindowResult:
        """Take the steps and evaluate E.

        Arguments:
            state: of the dynamics, one row of weights a run.
            log_lr: log η of each, `(n_runs, 1, 1)`.
            begun: the step of each run at the start, int64 `(n_runs, 1, 1)`.
            drawn: graphs and dropout.
        """
        hyper = {"drawn": drawn, "log_lr": log_lr, "steps": begun}
        make_step = TapedStep if self._sweeps else Step
        steps, states, met = [], [state], []
        for k in range(self.n_steps):
            steps.append(make_step(self._dynamics, states[-1], hyper, k, None))
            states.append(steps[-1].run()[0])
            met.append(self._losses)
        outer = evaluate(self._dynamics, self._outer, states[-1], hyper, self.n_steps, None)

        def gradient() -> tuple[FactoredGradient | None, Tensor | None]:
            found = sweep(reversed(steps), outer)[1] if self._sweeps else outer.direct
            return found[0], found[1]

        return WindowResult(states, torch.stack([*met, self._losses]), gradient)

    def _inner(self, rows: Tensor, hyper: dict[str, Any], k: int) -> Tensor:
        """Compute Σ_r L_r(w_r, A_r): the derivative by w_r is that of run r."""
        drawn, params = hyper["drawn"], self._by_name(rows)
        fit = self._train.mean_loss(self._network(params, drawn.graph(k), drawn.keep(k)))
        losses = fit + self._decay * 0.5 * params["W1"].square().sum((1, 2))
        self._losses = losses.detach()
        return losses.sum()

    def _outer(self, rows: Tensor, hyper: dict[str, Any], k: int) -> Tensor:
        """Compute Σ_r E_r(w_r, A_r)."""
        drawn, params = hyper["drawn"], self._by_name(rows)
        losses = self._validation.mean_loss(self._network(params, drawn.graph(k), None))
        self._losses = losses.detach()
        return losses.sum()


class _AdamAtOwnSteps(Adam):
    """Adam on several runs, the first dimension of every leaf, each at a step of its own.

    hyper["steps"], int64 `(n_runs, 1, 1)`, has the step of each run at the start of the window.
    """

    def _corrections(
        self, beta1: float | Tensor, beta2: float | Tensor, hyper: Tree, t: int
    ) -> tuple[Tensor, Tensor]:
        done, dtype = hyper["steps"].double() + (t + 1), hyper["log_lr"].dtype
        return (1 - beta1**done).to(dtype), (1 - beta2**done).sqrt().to(dtype)


class WindowRows:
    """The labelled nodes of an objective of each run; shorter lists are padded.

    Arguments:
        nodes: of each run.
        labels: of all nodes, int64 `(n_nodes,)`.
        weights: of all nodes, `(n_nodes,)`; None: all count alike.
        dtype: of the losses.
    """

    def __init__(
        self,
        nodes: Sequence[NDArray[np.int64]],
        labels: Tensor,
        weights: Tensor | None,
        dtype: torch.dtype,
    ) -> None:
        longest = max(map(len, nodes))
        place = np.zeros((len(nodes), longest), dtype=np.int64)
        weight = np.zeros((len(nodes), longest))
        for member, mine in enumerate(nodes):
            counts = np.ones(len(mine)) if weights is None else weights[mine].double().cpu().numpy()
            place[member, : len(mine)], weight[member, : len(mine)] = mine, counts / counts.sum()
        place_of, device = torch.from_numpy(place), labels.device
        self._target = labels[place_of.to(device)].flatten().clamp(min=0)
        first = torch.arange(len(nodes)).unsqueeze(1) * len(labels)
        self._index = (first + place_of).flatten().to(device)
        self._weight = torch.as_tensor(weight, dtype=dtype, device=device)

    def mean_loss(self, logits: Tensor) -> Tensor:
        """Compute the mean cross-entropy of the nodes of each run, `(n_runs,)`.

        Arguments:
            logits: `(n_runs, n_nodes, n_classes)`.
        """
        mine = logits.flatten(0, 1).index_select(0, self._index)
        each = cross_entropy(mine, self._target, reduction="none")
        return (each.view_as(self._weight) * self._weight).sum(1)
