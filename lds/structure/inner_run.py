"""One inner run of Algorithm 7, lines 6 to 15: training from fresh weights, with hypergradients."""

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lds._random import mix, replayed
from lds.bilevel.adaptive import Adam
from lds.bilevel.checks import NonFiniteError
from lds.bilevel.reverse import Reverse
from lds.bilevel.step import Start, Step, evaluate
from lds.bilevel.taped import TapedStep
from lds.edges.recorder import GivenGraph
from lds.graphs.edge_weights import PairGradient
from lds.structure.denoising import Denoiser
from lds.structure.options import RestartOptions
from lds.structure.outer_variables import OuterVariables
from lds.structure.seeds import FRESH_WEIGHTS, GROWTH, OUTER_OBJECTIVE, START
from lds.structure.task import Objective, Params, Task, rows_tensor, total


@dataclass(frozen=True)
class InnerResult:
    """What an inner run came to.

    Attributes:
        params: w after the last step.
        inner_loss, outer_loss: the last ones; NaN where there was none.
        n_steps: inner steps taken.
    """

    params: Params
    inner_loss: float
    outer_loss: float
    n_steps: int


class InnerRun(Protocol):
    """Trains from fresh weights and moves λ on the way."""

    def __call__(
        self, iteration: int, train: NDArray[np.int64], validation: NDArray[np.int64]
    ) -> InnerResult:
        """Run once.

        Arguments:
            iteration: number of the outer iteration; randomness follows from it and the seed.
            train, validation: rows of the inner and the outer objective.

        Raises:
            NonFiniteError: a loss or a hypergradient is not finite.
        """


@dataclass(frozen=True)
class SequentialInnerRun:
    """Inner steps one by one, on any device.

    Arguments:
        task: the network and what it is trained on.
        variables: λ; changed in place.
        options: of the run.
        seed: of the run.
        denoiser: of the features, where the objectives have it as a part.
    """

    task: Task
    variables: OuterVariables
    options: RestartOptions
    seed: int
    denoiser: Denoiser | None = None

    def __call__(
        self, iteration: int, train: NDArray[np.int64], validation: NDArray[np.int64]
    ) -> InnerResult:
        """Run once; see `InnerRun`."""
        options, variables = self.options, self.variables
        inner, outer = self._objectives(train, validation)
        dynamics = Adam(inner, lr=lambda hyper: hyper["log_lr"].exp())
        method = Reverse(truncation=max(1, options.truncation))
        params = self._fresh_weights(iteration)
        start = Start(dynamics, params, variables.hyper, mix(self.seed, iteration, START))
        state, memory = start.run(), method.start(None)
        best, waited, t = math.inf, 0, 0
        before, settled = math.inf, options.settle == 0
        differentiates = options.update_edges and options.truncation > 0
        inner_loss = outer_loss = math.nan
        # Patience does not end a run before its first hypergradient, or the edges would stay.
        while t < options.max_inner and (waited < options.inner_patience or math.isnan(outer_loss)):
            # A window is short: its tape costs less than a second application of every step.
            make_step = TapedStep if settled and differentiates else Step
            step = make_step(dynamics, state, variables.hyper, t, mix(self.seed, iteration, t))
            method.observe(memory, step)
            state, loss = step.run()
            inner_loss = finite(loss, "inner loss", iteration, t)
            waited = 0 if inner_loss * (1 + options.inner_tol) < best else waited + 1
            best = min(best, inner_loss)
            t += 1
            if options.truncation == 0 or t % options.truncation == 0:
                # The last window has a hypergradient in any case, or the edges would stay.
                last = t + options.truncation > options.max_inner
                settled = settled or last or best > before * (1 - options.settle)
                before = best
                if settled:
                    outer_loss = self._hyperstep(
                        dynamics, outer, method, memory, state, iteration, t
                    )
                memory = method.start(None)  # the next window starts here
        return InnerResult(dynamics.params(state), inner_loss, outer_loss, t)

    def _objectives(
        self, train: NDArray[np.int64], validation: NDArray[np.int64]
    ) -> tuple[Objective, Objective]:
        device = self.variables.log_lr.device
        outer = self.task.outer(rows_tensor(validation, device))
        inner = self.task.inner(rows_tensor(train, device))
        if self.denoiser is not None:  # it has weights of its own: a factor would change nothing
            inner = total([(1, inner), (1, self.denoiser.loss)])
            weights = (self.options.label_weight, self.options.denoising_weight)
            outer = total(list(zip(weights, (outer, self.denoiser.loss), strict=True)))
        return inner, outer

    def _fresh_weights(self, iteration: int) -> Params:
        log_lr = self.variables.log_lr
        generator = torch.Generator().manual_seed(mix(self.seed, iteration, FRESH_WEIGHTS))
        params = self.task.network.init(generator, log_lr.dtype, log_lr.device)
        if self.denoiser is not None:
            params |= self.denoiser.init(generator, log_lr.dtype, log_lr.device)
        return params

    def _hyperstep(
        self,
        dynamics: Adam,
        objective: Objective,
        method: Reverse,
        memory: Any,
        state: Any,
        iteration: int,
        t: int,
    ) -> float:
        """Step along a hypergradient (Alg. 7, lines 12 and 13); return the outer loss."""
        variables = self.variables
        seed = mix(self.seed, iteration, t, OUTER_OBJECTIVE)
        outer = evaluate(
            dynamics, lambda w, hyper, t: objective(w, hyper), state, variables.hyper, t, seed
        )
        outer_loss = finite(outer.value, "outer loss", iteration, t)
        if not self.options.update_edges:
            return outer_loss
        to_edges: Any = None
        to_log_lr: Tensor | None = None
        if variables.edges.needs_values:
            to_edges = self._from_values(dynamics, objective, memory, state, seed)
        elif self.options.truncation == 0:
            to_edges, to_log_lr = outer.direct
        else:
            to_edges, to_log_lr = method.gradient(memory, outer)
        variables.descend(to_edges, to_log_lr, mix(self.seed, iteration, t, GROWTH))
        if to_edges is not None:
            finite(variables.edges.expected_edges, "hypergradient of θ", iteration, t)
        return outer_loss

    def _from_values(
        self, dynamics: Adam, objective: Objective, memory: Any, state: Any, seed: int
    ) -> PairGradient:
        """Estimate the gradient by θ from E after the window's steps on each drawn graph."""
        hyper = self.variables.hyper
        steps = list(memory.trajectory.backwards())[::-1] if self.options.truncation else []
        first = steps[0].state if steps else state

        @torch.no_grad()
        def value(graph: GivenGraph) -> float:
            on_graph, state = {**hyper, "edges": graph}, first
            for step in steps:
                state, _ = Step(step.dynamics, state, on_graph, step.t, step.seed).run()
            with replayed(seed):
                return float(objective(dynamics.params(state), on_graph))

        return self.variables.edges.estimate(value, self.options.n_draws, mix(seed, 1))


def finite(value: Tensor | float | None, name: str, iteration: int, t: int) -> float:
    """Return `value` as a number.

    Raises:
        NonFiniteError: it is not finite.
    """
    value = math.nan if value is None else float(value)
    if not math.isfinite(value):
        raise NonFiniteError(
            f"{name} is {value} at outer iteration {iteration}, inner step {t}; "
            "a smaller inner_lr or outer_lr may help"
        )
    return value
