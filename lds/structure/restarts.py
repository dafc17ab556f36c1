"""The outer loop of a run, and that of Algorithm 7: restarts of the inner run, each scored."""

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, field
from typing import Any

import scipy.sparse as sp
from torch import Tensor

from lds._checkpoint import Checkpoint
from lds._random import mix
from lds.bilevel.checks import NonFiniteError
from lds.edges.base import EdgeDistribution
from lds.edges.groups import PairGroups
from lds.structure.context import RunContext
from lds.structure.inner_run import InnerResult, InnerRun, finite
from lds.structure.iteration import Iteration
from lds.structure.options import RestartOptions
from lds.structure.outer_variables import OuterVariables
from lds.structure.predict import WORST, Score, predict_proba, score
from lds.structure.problem import Problem
from lds.structure.roles import redrawn
from lds.structure.seeds import PREDICTION, ROLE_DEAL
from lds.structure.task import Params, Task, rows_tensor


@dataclass
class Best:
    """The best outer iteration so far, and its score."""

    score: Score = WORST
    iteration: int = -1
    params: Params = field(default_factory=dict)
    edges: EdgeDistribution | None = None
    probabilities: Tensor | None = None

    def found(self) -> tuple[Params, EdgeDistribution]:
        """Return its weights and distribution.

        Raises:
            RuntimeError: no outer iteration has ended.
        """
        if self.edges is None:
            raise RuntimeError("no outer iteration has ended: there is no best one")
        return self.params, self.edges


class OuterLoop(ABC):
    """The state of a run between its outer iterations.

    Attributes:
        history: one record an outer iteration.
    """

    history: list[Iteration]

    @abstractmethod
    def iterate(self) -> Iteration:
        """Do one outer iteration and add its record to the history."""

    @abstractmethod
    def ended(self) -> str | None:
        """Say why the run ends here; None where it goes on."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Return what a checkpoint holds after an outer iteration."""

    @abstractmethod
    def restore(self, state: dict[str, Any]) -> None:
        """Go back to where the `state` of a run of the same problem was taken."""

    def run(self, context: RunContext, fingerprint: dict[str, Any]) -> str:
        """Iterate until the run ends.

        Arguments:
            context: callbacks, and the checkpoint to keep and to go on from.
            fingerprint: what must be the same to go on.

        Returns:
            Why it ended: as `ended` says, "interrupted" or "non-finite: ...".

        Raises:
            KeyboardInterrupt, NonFiniteError: before the first outer iteration ended.
        """
        kept = None
        if context.checkpoint is not None:
            kept = Checkpoint(context.checkpoint, fingerprint)
            if (state := kept.begin(context.resume)) is not None:
                self.restore(state)
        reason = self.ended()
        try:
            while reason is None:
                record = self.iterate()
                if context.on_iteration is not None:
                    context.on_iteration(record)
                if kept is not None:
                    kept.save(self.state())
                reason = self.ended()
        except (KeyboardInterrupt, NonFiniteError) as stop:
            if not self.history:
                raise
            reason = "interrupted" if isinstance(stop, KeyboardInterrupt) else f"non-finite: {stop}"
        return reason


class Restarts(OuterLoop):
    """The state of a run between its outer iterations.

    Arguments:
        problem: what is learned from.
        task: the network that is trained in inner runs.
        variables: λ; changed in place.
        inner_run: trains once and moves λ.
        options: of the run.
        seed: of the run.
        start: symmetric CSR `(n_nodes, n_nodes)`: θ before learning.

    Attributes:
        history: one record an outer iteration.
        best: the best outer iteration by accuracy on the stopping rows, ties by their loss.
    """

    def __init__(
        self,
        problem: Problem,
        task: Task,
        variables: OuterVariables,
        inner_run: InnerRun,
        options: RestartOptions,
        seed: int,
        start: sp.csr_array,
    ) -> None:
        self.start = start
        self.problem, self.task, self.variables = problem, task, variables
        self.options, self.seed = options, seed
        self._inner_run = inner_run
        self._stopping = rows_tensor(problem.split.stopping, variables.log_lr.device)
        self._groups = PairGroups(problem.labels, problem.split, problem.held_out)
        self.history: list[Iteration] = []
        self.best = Best()

    def iterate(self) -> Iteration:
        """Do an inner run from fresh weights, then score it."""
        split, iteration = self.problem.split, len(self.history)
        train, validation = split.train, split.validation
        if self.options.redraw:
            seed = mix(self.seed, iteration, ROLE_DEAL)
            train, validation = redrawn(split, self.problem.labels, seed)
        return self.judge(self._inner_run(iteration, train, validation))

    def judge(self, result: InnerResult) -> Iteration:
        """Score an inner run, add it to the history and keep it if it is the best."""
        iteration, options = len(self.history), self.options
        variables, edges = self.variables, self.variables.edges
        seed = mix(self.seed, iteration, PREDICTION)
        probabilities = predict_proba(self.task, result.params, edges, options.n_draws, seed)
        now = score(probabilities, self.task.labels, self._stopping, self.task.weights)
        finite(now.loss, "loss on the stopping rows", iteration, result.n_steps)
        improved = now.better_than(self.best.score)
        if improved:
            self.best = Best(now, iteration, result.params, edges.copy(), probabilities)
        record = Iteration(
            iteration=iteration,
            inner_steps=result.n_steps,
            inner_loss=result.inner_loss,
            outer_loss=result.outer_loss,
            stopping_accuracy=now.accuracy,
            stopping_loss=now.loss,
            expected_edges=edges.expected_edges,
            inner_lr=float(variables.log_lr.exp()),
            outer_lr=variables.outer_lr,
            group_probs=self.group_probs(edges),
            improved=improved,
        )
        self.history.append(record)
        variables.outer_lr *= options.outer_lr_decay
        return record

    def group_probs(self, edges: EdgeDistribution) -> dict[str, float]:
        """Compute mean θ by group of pairs, see `lds.edges.groups`."""
        return self._groups.means(edges)

    def ended(self) -> str | None:
        """Say why the run ends here, "patience" or "max_iter"; None where it goes on."""
        n_done = len(self.history)
        if n_done and n_done - 1 - self.best.iteration >= self.options.patience:
            return "patience"
        return "max_iter" if n_done >= self.options.max_iter else None

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint holds after an outer iteration.

        Nothing else is needed: inner runs start from fresh weights, and all randomness follows from
        the seed, the outer iteration and the step.
        """
        best = self.best
        params, best_edges = best.found()
        variables = self.variables.state()
        latest = best.iteration == self.history[-1].iteration  # then the best θ is stored once
        return {
            **variables,
            "history": [asdict(record) for record in self.history],
            "best": {
                "score": asdict(best.score),
                "iteration": best.iteration,
                "params": {name: leaf.cpu() for name, leaf in params.items()},
                "edges": variables["edges"] if latest else best_edges.state(),
                "probabilities": None if best.probabilities is None else best.probabilities.cpu(),
            },
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to where the `state` of a run of the same problem was taken."""
        device, best = self.variables.log_lr.device, state["best"]
        self.variables.restore(state)
        self.history = [Iteration(**record) for record in state["history"]]
        params = {name: leaf.to(device) for name, leaf in best["params"].items()}
        edges = self.variables.edges.copy()
        edges.restore(best["edges"])
        probabilities = best["probabilities"].to(device)
        self.best = Best(Score(**best["score"]), best["iteration"], params, edges, probabilities)
