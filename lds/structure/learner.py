"""LDS, Algorithm 7: learn the distribution of a graph together with the network that uses it."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor

from lds._checkpoint import Checkpoint
from lds._random import mix, replayed
from lds._types import Features, Split
from lds.bilevel.adaptive import Adam
from lds.bilevel.checks import NonFiniteError
from lds.bilevel.reverse import Reverse
from lds.bilevel.step import Start, Step, evaluate
from lds.bilevel.taped import TapedStep
from lds.config import LDSConfig
from lds.edges.base import EdgeDistribution
from lds.edges.estimated import GivenGraph, estimated_edges
from lds.edges.free import FreeEdges
from lds.edges.groups import PairGroups
from lds.edges.support import growth_for, near_and_given
from lds.graphs.candidates import AllPairs, Candidates, PairList
from lds.graphs.connected import starting_tree
from lds.nn.base import GCN_NAME
from lds.structure.checks import check_device, check_problem, keeps_all_pairs
from lds.structure.denoising import Denoiser
from lds.structure.fingerprint import fingerprint
from lds.structure.metrics import mutual_information
from lds.structure.predict import WORST, Score, hidden_layer, predict_draws, predict_proba, score
from lds.structure.roles import redrawn
from lds.structure.task import Task, nodes_tensor, task_on, total

Params = dict[str, Tensor]


@dataclass(frozen=True)
class Iteration:
    """What one outer iteration (an inner run with its hypergradients) came to.

    `group_probs` is the mean of θ by group of pairs, see `lds.edges.groups`.
    """

    iteration: int
    inner_steps: int
    inner_loss: float
    outer_loss: float
    stopping_accuracy: float
    stopping_loss: float
    expected_edges: float
    inner_lr: float
    outer_lr: float
    group_probs: dict[str, float]
    improved: bool


@dataclass(frozen=True)
class LDSResult:
    """The best weights and distribution found (Alg. 7, line 17).

    Attributes:
        params: w, at the end of the best outer iteration.
        edges: θ of the same moment.
        probabilities: ĥ_w(X), `(n_nodes, n_classes)` float, mean over S graphs (eq. 9.7).
        mutual_information: `(n_nodes,)`, nats: what not knowing the graph adds to the entropy of
            `probabilities` (see `metrics.mutual_information`), over the same S graphs.
        hidden: `(n_nodes, hidden_channels)`, the activations before the classification layer, mean
            over the same S graphs (Figure 9.5).
        history: one record an outer iteration.
        best: index of the best in `history`.
        reason: why the run ended: "patience", "max_iter", "interrupted" or "non-finite: ...".
        config: the options it ran with.
        start: symmetric CSR `(n_nodes, n_nodes)`: θ before learning.
    """

    params: Params
    edges: EdgeDistribution
    probabilities: NDArray[np.floating[Any]]
    mutual_information: NDArray[np.floating[Any]]
    hidden: NDArray[np.floating[Any]]
    history: list[Iteration]
    best: int
    reason: str
    config: LDSConfig
    start: sp.csr_array


@dataclass
class Best:
    """The best outer iteration so far, and what it is judged by."""

    score: Score = WORST
    iteration: int = -1
    params: Params = field(default_factory=dict)
    edges: EdgeDistribution | None = None
    probabilities: Tensor | None = None


def learn(
    features: Features,
    labels: NDArray[np.int64],
    split: Split,
    start: sp.csr_array | None,
    config: LDSConfig,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    on_iteration: Callable[[Iteration], None] | None = None,
    on_member: Callable[[int, int], None] | None = None,
    held_out: sp.csr_array | None = None,
    checkpoint: str | Path | None = None,
    resume: bool = False,
) -> LDSResult:
    """Learn θ and w by Algorithm 7, as `config.method` does.

    Arguments:
        features: X, `(n_nodes, n_features)`.
        labels: `(n_nodes,)`, classes from 0; read at train, validation and stopping rows only.
        split: train (inner objective), validation (A, outer objective), stopping (B).
        start: symmetric CSR of starting probabilities in [0, 1]; None, for a committee, where no
            graph is given.
        config: the options.
        device, dtype: where and in what precision.
        on_iteration: called after each outer iteration, before its checkpoint is written.
        on_member: called in the refit of a committee before each of its members is trained, and
            after the last, with how many are and how many there will be.
        held_out: symmetric CSR of edges taken from the graph before, to be told of in the history;
            None where there are none.
        checkpoint: folder in which the state is kept after every outer iteration; None keeps none.
            One that holds an earlier run's is refused, unless that is resumed.
        resume: True goes on from there, on a CPU to bitwise the same result as without the
            interruption; without a checkpoint there yet, it begins. max_iter and patience may
            differ from those it was begun with.

    Returns:
        The best weights and distribution by accuracy on the stopping rows, ties by their loss.

    Raises:
        ValueError: an input cannot be learned from (see `checks.check_problem`), a checkpoint
            is in the way, or it and the one before it are damaged or of another run.
        NonFiniteError: a loss is not finite before the first outer iteration ended.
    """
    if resume and checkpoint is None:
        raise ValueError("resume=True needs checkpoint=, the folder to go on from")
    device = check_device(device)
    start = check_problem(features, labels, split, start, config, dtype, device)
    make = _learner(config, device)
    learner = make(features, labels, split, start, config, device, dtype, held_out)
    learner.on_member = on_member
    kept = None
    if checkpoint is not None:
        named = fingerprint(features, labels, split, start, config, learner.edges)
        kept = Checkpoint(checkpoint, named)
        if (state := kept.begin(resume)) is not None:
            learner.restore(state)
    reason = learner.ended()
    try:
        while reason is None:
            record = learner.iterate(len(learner.history))
            if on_iteration is not None:
                on_iteration(record)
            if kept is not None:
                kept.save(learner.state())
            reason = learner.ended()
    except (KeyboardInterrupt, NonFiniteError) as stop:
        if not learner.history:  # there is no model yet to go on with
            raise
        reason = "interrupted" if isinstance(stop, KeyboardInterrupt) else f"non-finite: {stop}"
    return learner.result(reason)


def _learner(config: LDSConfig, device: torch.device) -> "Callable[..., Learner]":
    """The class that runs a method; a GPU starts the operations of a batch faster."""
    from lds.structure.committee import CommitteeLearner
    from lds.structure.side_by_side.batch import BatchOfOne, unknown  # which build on this module

    if config.method == "committee":
        return CommitteeLearner
    return Learner if device.type == "cpu" or unknown(config) else BatchOfOne


class Learner:
    """The state of a run between outer iterations."""

    def __init__(
        self,
        features: Features,
        labels: NDArray[np.int64],
        split: Split,
        start: sp.csr_array,
        config: LDSConfig,
        device: torch.device,
        dtype: torch.dtype,
        held_out: sp.csr_array | None = None,
        task: Task | None = None,
        edges: EdgeDistribution | None = None,
    ) -> None:
        self.config, self.start = config, start
        self.task = task or task_on(features, labels, config, dtype, device)
        if edges is None:
            edges = self._starting_edges(features, start, dtype, device)
        self.edges = edges
        self.log_lr = torch.tensor(math.log(config.inner_lr), dtype=dtype, device=device)
        self.outer_lr = config.outer_lr
        self.stopping = nodes_tensor(split.stopping, device)
        self.denoiser = Denoiser.of(self.task.features) if config.denoising_weight else None
        self.split, self.labels = split, labels
        self.assign(split.train, split.validation)
        self.groups = PairGroups(labels, split, held_out)
        self.history: list[Iteration] = []
        self.best = Best()
        self.on_member: Callable[[int, int], None] | None = None

    def _starting_edges(
        self, features: Features, start: sp.csr_array, dtype: torch.dtype, device: torch.device
    ) -> EdgeDistribution:
        """θ before learning."""
        config, gcn = self.config, self.config.backbone == GCN_NAME
        pairs: Candidates
        if keeps_all_pairs(start.shape[0], config, dtype, device):
            pairs = AllPairs(start.shape[0])
        else:
            # Networks other than the GCN cannot ask for pairs later.
            n_near = config.n_neighbors if gcn else config.pairs_per_node
            pairs = near_and_given(features, start, n_near, config.metric)
        if config.estimator != "straight_through":
            return estimated_edges(config.estimator, start, dtype, device, pairs, config.n_draws)
        tree = starting_tree(features, start, config.metric) if config.connected else None
        edges = FreeEdges(start, dtype, device, pairs, tree)
        if gcn and isinstance(pairs, PairList):
            every = config.grow_every
            edges.growth = growth_for(pairs, edges.probs, config.pairs_per_node, every)
        return edges

    def assign(self, train: NDArray[np.int64], validation: NDArray[np.int64]) -> None:
        """Rows whose labels the inner and the outer objective read from now on."""
        config, device = self.config, self.log_lr.device
        self.outer = self.task.outer(nodes_tensor(validation, device))
        inner = self.task.inner(nodes_tensor(train, device))
        if self.denoiser is not None:  # its variables are its own: weights would change nothing
            inner = total([(1, inner), (1, self.denoiser.loss)])
            weights = (config.label_weight, config.denoising_weight)
            self.outer = total(list(zip(weights, (self.outer, self.denoiser.loss), strict=True)))
        self.dynamics = Adam(inner, lr=lambda hyper: hyper["log_lr"].exp())

    @property
    def hyper(self) -> dict[str, Any]:
        """λ: θ, and the logarithm of the inner learning rate."""
        return {"edges": self.edges, "log_lr": self.log_lr}

    def iterate(self, iteration: int) -> Iteration:
        """One inner run from fresh weights, with its hypergradients, then the stopping score."""
        if self.config.redraw:
            self.assign(*redrawn(self.split, self.labels, mix(self.config.seed, iteration, -7)))
        return self.judge(iteration, *self.inner_run(iteration))

    def judge(
        self, iteration: int, params: Params, inner_loss: float, outer_loss: float, n_steps: int
    ) -> Iteration:
        """The record of an inner run that ended with `params`; the best so far is kept."""
        config = self.config
        seed = mix(config.seed, iteration, -3)
        probs = predict_proba(self.task, params, self.edges, config.n_draws, seed)
        now = score(probs, self.task.labels, self.stopping)
        finite(now.loss, "loss on the stopping rows", iteration, n_steps)
        improved = now.better_than(self.best.score)
        if improved:
            self.best = Best(now, iteration, params, self.edges.copy(), probs)
        record = Iteration(
            iteration, n_steps, inner_loss, outer_loss, now.accuracy, now.loss,
            self.edges.expected_edges, float(self.log_lr.exp()), self.outer_lr,
            self.groups.means(self.edges), improved,
        )  # fmt: skip
        self.history.append(record)
        self.outer_lr *= config.outer_lr_decay
        return record

    def ended(self) -> str | None:
        """Why the run ends here: "patience" or "max_iter"; None where it goes on."""
        n_done = len(self.history)
        if n_done and n_done - 1 - self.best.iteration >= self.config.patience:
            return "patience"
        return "max_iter" if n_done >= self.config.max_iter else None

    def inner_run(self, iteration: int) -> tuple[Params, float, float, int]:
        """Lines 6 to 15 of Algorithm 7."""
        config = self.config
        method = Reverse(truncation=max(1, config.truncation))
        fresh = torch.Generator().manual_seed(mix(config.seed, iteration, -1))
        where = (self.log_lr.dtype, self.log_lr.device)
        params = self.task.network.init(fresh, *where)
        if self.denoiser is not None:
            params |= self.denoiser.init(fresh, *where)
        start = Start(self.dynamics, params, self.hyper, mix(config.seed, iteration, -2))
        state, memory = start.run(), method.start(None)
        # A window is short: its tape costs less than a second application of every step.
        make_step = TapedStep if config.update_edges and config.truncation else Step
        best, waited, t = math.inf, 0, 0
        before, settled = math.inf, config.settle == 0
        inner_loss = outer_loss = math.nan
        while t < config.max_inner and waited < config.inner_patience:
            seed = mix(config.seed, iteration, t)
            step = make_step(self.dynamics, state, self.hyper, t, seed)
            method.observe(memory, step)
            state, loss = step.run()
            inner_loss = finite(loss, "inner loss", iteration, t)
            waited = 0 if inner_loss * (1 + config.inner_tol) < best else waited + 1
            best = min(best, inner_loss)
            t += 1
            if config.truncation == 0 or t % config.truncation == 0:
                settled = settled or best > before * (1 - config.settle)
                before = best
                if settled:
                    outer_loss = self._outer_step(method, memory, state, iteration, t)
                memory = method.start(None)  # the next window begins in mid-run
        return self.dynamics.params(state), inner_loss, outer_loss, t

    def _outer_step(
        self, method: Reverse, memory: Any, state: Any, iteration: int, t: int
    ) -> float:
        """Lines 12 and 13: one hypergradient and one projected step on θ."""
        seed = mix(self.config.seed, iteration, t, -4)
        outer = evaluate(
            self.dynamics, lambda w, hyper, t: self.outer(w, hyper), state, self.hyper, t, seed
        )
        outer_loss = finite(outer.value, "outer loss", iteration, t)
        if self.config.update_edges:
            to_edges: Any = None
            to_lr: Tensor | None = None
            if self.edges.needs_values:
                to_edges = self._black_box(memory, state, iteration, t)
            elif self.config.truncation == 0:
                to_edges, to_lr = outer.direct
            else:
                to_edges, to_lr = method.gradient(memory, outer)
            if self.config.learn_inner_lr and to_lr is not None:
                self.log_lr = self.log_lr - self.config.learn_inner_lr * to_lr
            if to_edges is not None:
                seed = mix(self.config.seed, iteration, t, -6)
                self.edges.descend(to_edges, self.outer_lr, seed)
                finite(self.edges.expected_edges, "hypergradient of θ", iteration, t)
        return outer_loss

    def _black_box(self, memory: Any, state: Any, iteration: int, t: int) -> Any:
        """The gradient from values of E after the window's steps, taken again on drawn graphs."""
        steps = list(memory.trajectory.backwards())[::-1] if self.config.truncation else []
        first = steps[0].state if steps else state
        seed = mix(self.config.seed, iteration, t, -4)

        @torch.no_grad()
        def loss(graph: GivenGraph) -> float:
            hyper, state = {**self.hyper, "edges": graph}, first
            for step in steps:
                state, _ = Step(step.dynamics, state, hyper, step.t, step.seed).run()
            with replayed(seed):
                return float(self.outer(self.dynamics.params(state), hyper))

        return self.edges.estimate(loss, self.config.n_draws, mix(seed, 1))

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds, after an outer iteration.

        It is all there is: inner runs start from fresh weights, and whatever is random follows
        from the seed, the outer iteration and the step.
        """
        best = self.best
        assert best.edges is not None
        assert best.probabilities is not None
        edges = self.edges.state()
        fresh = best.iteration == self.history[-1].iteration  # then the best θ is θ, stored once
        return {
            "edges": edges,
            "log_lr": self.log_lr.cpu(),
            "outer_lr": self.outer_lr,
            "history": [asdict(record) for record in self.history],
            "best": {
                "score": asdict(best.score),
                "iteration": best.iteration,
                "params": {name: leaf.cpu() for name, leaf in best.params.items()},
                "edges": edges if fresh else best.edges.state(),
                "probabilities": best.probabilities.cpu(),
            },
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Back to where the `state` of a learner of the same problem was taken."""
        device, best = self.log_lr.device, state["best"]
        self.edges.restore(state["edges"])
        self.log_lr, self.outer_lr = state["log_lr"].to(device), state["outer_lr"]
        self.history = [Iteration(**record) for record in state["history"]]
        params = {name: leaf.to(device) for name, leaf in best["params"].items()}
        edges = self.edges.copy()
        edges.restore(best["edges"])
        probabilities = best["probabilities"].to(device)
        self.best = Best(Score(**best["score"]), best["iteration"], params, edges, probabilities)

    def result(self, reason: str) -> LDSResult:
        """The best found; at least one outer iteration must have ended."""
        best = self.best
        assert best.edges is not None
        # The graphs of the best score once more.
        return self.outcome(self.task, best.params, best.edges, best.iteration, reason)

    def outcome(
        self, task: Task, params: Params, edges: EdgeDistribution, best: int, reason: str
    ) -> LDSResult:
        """What given weights say on the graphs by which outer iteration `best` is judged."""
        config, seed = self.config, mix(self.config.seed, best, -3)
        draws = predict_draws(task, params, edges, config.n_draws, seed)
        hidden = hidden_layer(task, params, edges, config.n_draws, seed)
        return LDSResult(
            params, edges, draws.mean(0).cpu().numpy(), mutual_information(draws.cpu().numpy()),
            hidden.cpu().numpy(), self.history, best, reason, config, self.start,
        )  # fmt: skip


def finite(value: Tensor | float | None, name: str, iteration: int, t: int) -> float:
    """`value` as a number.

    Raises:
        NonFiniteError: it is none.
    """
    value = math.nan if value is None else float(value)
    if not math.isfinite(value):
        raise NonFiniteError(
            f"{name} is {value} at outer iteration {iteration}, inner step {t}; "
            "a smaller inner_lr or outer_lr may help"
        )
    return value
