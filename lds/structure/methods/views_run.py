"""How learned views are found: label PageRank inside, one coefficient a view outside."""

import math
import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lds._arrays import matrix_of, parts_of
from lds._types import Features
from lds.bilevel.dynamics import Dynamics
from lds.bilevel.implicit import FixedPoint
from lds.bilevel.method import Hypergradient
from lds.bilevel.unroll import hypergradient
from lds.edges.groups import PairGroups
from lds.edges.logistic import LogisticEdges
from lds.structure.account import Coefficients, MemberPredictions
from lds.structure.checks import warn_of_copies, warn_of_features
from lds.structure.context import RunContext
from lds.structure.fingerprint import fingerprint
from lds.structure.iteration import Iteration
from lds.structure.left_out import LeftOut
from lds.structure.methods.few_numbers_adam import Adam
from lds.structure.methods.members import (
    Probabilities,
    Weights,
    log_loss,
    stacked,
    tempered,
    weights_of,
)
from lds.structure.methods.views import Views
from lds.structure.methods.views_new_rows import NewRows
from lds.structure.methods.views_preparation import LABELS, ViewsPreparation, prepare, shares
from lds.structure.methods.views_sample import warn_of_sample
from lds.structure.problem import Problem
from lds.structure.restarts import OuterLoop
from lds.structure.result import Learned


def learn(method: Views, problem: Problem, run: RunContext) -> Learned:
    """Learn the coefficients of the views, then weigh members; see `lds.structure.learn.learn`."""
    warn_of_features(problem.features, run.dtype, centred=True)
    warn_of_copies(problem)
    _warn_of_single_rows(problem)
    prepared = prepare(method, problem, run)
    warn_of_sample(problem.n_nodes, len(prepared.learns), method.max_rows)
    loop = _Coefficients(method, problem, prepared, run)
    named = fingerprint(problem, problem.graph, method, run.seed, loop.edges)
    reason = loop.run(run, named)
    edges = loop.edges
    judged, classes = loop.out_of_fold()
    truth, plain = classes.cpu().numpy(), stacked(prepared.judged)
    counts = counts_of(prepared)
    out_of_fold = {LABELS: judged.double().cpu().numpy(), **plain}
    families = [(LABELS,), tuple(plain)]  # along the edges, and without them
    weighing, without = (
        weights_of(out_of_fold, truth, each, counts) for each in (families, families[1:])
    )
    before, mass = prepared.whole.masses(edges.coefficients, method)
    of_labels = shares(mass).double().cpu().numpy()
    found = weighing.mean({LABELS: of_labels, **prepared.says})
    says = weighing.mean(out_of_fold)
    history = [*loop.history, loop.last_record(says, truth)]
    right, other = says.argmax(1) == truth, without.mean(plain).argmax(1) == truth
    like: dict[str, Any] = {"dtype": run.dtype, "device": run.device}
    params = {
        "coefficients": edges.coefficients,
        "mass": before,
        "weights": torch.tensor(list(weighing.weight.values()), **like),
        "temperatures": torch.tensor(list(weighing.temperature.values()), **like),
    }
    hidden = mass.cpu().numpy()
    if len(prepared.outside):
        others = NewRows.of(prepared, params, method.n_neighbors).predict_side_by_side(
            problem.features, prepared.outside, _weighing(prepared, params), run.n_jobs
        )
        found, hidden = (
            prepared.of_all_rows(mine, theirs.cpu().numpy())
            for mine, theirs in zip((found, hidden), others, strict=True)
        )
    return Learned(
        problem=problem,
        method=method,
        seed=run.seed,
        params=params,
        edges=edges,
        probabilities=found,
        mutual_information=np.zeros(problem.n_nodes),
        hidden=hidden,
        history=history,
        best=len(history) - 1,
        reason=reason,
        start=prepared.edges(prepared.start).to_csr(),
        preparation=prepared,
        left_out=LeftOut(
            prepared.judges,
            says,
            int((right & ~other).sum()),
            int((other & ~right).sum()),
        ),
    )


def counts_of(prepared: ViewsPreparation) -> NDArray[np.float64] | None:
    """Return what each judged row counts; None: all alike."""
    counts = prepared.folds.counts
    return None if counts is None else counts.double().cpu().numpy()


def _warn_of_single_rows(problem: Problem) -> None:
    """Warn of classes whose one label trains and can never be left out to judge."""
    split = problem.split
    rows = split.learning
    single = int((np.bincount(problem.labels[rows]) == 1).sum())
    if single:
        warnings.warn(
            f"{single} of {problem.n_classes} classes have a single labelled row: these rows "
            "train the model, but no row is left to test how well their class is predicted; label "
            "a second row of each",
            UserWarning,
            stacklevel=5,
        )


def without_graph(learned: Learned) -> NDArray[np.floating[Any]]:
    """Compute what the members that read no graph say, weighted without the one that does.

    Arguments:
        learned: of learned views.

    Returns:
        Class probabilities of the rows of the fit, `(n_nodes, n_classes)`.
    """
    prepared = preparation_of(learned)
    plain = stacked(prepared.judged)
    truth = prepared.folds.truth.cpu().numpy()
    weighing = weights_of(plain, truth, [tuple(plain)], counts_of(prepared))
    return weighing.mean(_plain_members_say(learned))


def predict_new(learned: Learned, new: Features) -> Tensor:
    """Predict class probabilities `(n_new, n_classes)`, the weighted mean of the members'."""
    weighing = _weighing(preparation_of(learned), learned.params)
    return new_rows_of(learned).predict(new, weighing)[0]


def preparation_of(learned: Learned) -> ViewsPreparation:
    """Return the preparation of a result; of one read from a folder, make it when first needed."""
    if learned.preparation is None:
        like, problem = learned.params["mass"], learned.problem
        context = RunContext(learned.seed, like.device, like.dtype)
        if learned.stored:
            problem = replace(problem, graph=matrix_of(learned.stored))
        learned.preparation = prepare(cast(Views, learned.method), problem, context)
    found: ViewsPreparation = learned.preparation
    return found


def new_rows_of(learned: Learned) -> NewRows:
    """Return what predicts new rows, of a result of learned views."""
    method = cast(Views, learned.method)
    return NewRows.of(preparation_of(learned), learned.params, method.n_neighbors)


def members_say(learned: Learned) -> MemberPredictions:
    """Return what each member predicts, see `structure.account`."""
    prepared, new_rows = preparation_of(learned), new_rows_of(learned)
    weighing = _weighing(prepared, learned.params)
    mass = torch.from_numpy(np.asarray(learned.hidden))
    of_labels = shares(mass[prepared.learns]).double().numpy()
    others = new_rows.along_edges(mass[prepared.outside].to(new_rows.mass)).double().cpu().numpy()
    along_edges = prepared.of_all_rows(of_labels, others)
    found = {LABELS: along_edges, **_plain_members_say(learned)}
    return {
        name: (weighing.weight[name], tempered(each, weighing.temperature[name]))
        for name, each in found.items()
    }


def _plain_members_say(learned: Learned) -> Mapping[str, Probabilities]:
    """Return what the members that read no graph predict for all rows of the table."""
    prepared = preparation_of(learned)
    if not len(prepared.outside):
        return prepared.says
    others = new_rows_of(learned).members_say(learned.problem.features[prepared.outside])
    return {n: prepared.of_all_rows(each, others[n]) for n, each in prepared.says.items()}


def coefficients(learned: Learned) -> Coefficients:
    """Return the coefficients of the views before and after learning, see `structure.account`."""
    prepared = preparation_of(learned)
    values = zip(prepared.start.tolist(), learned.params["coefficients"].tolist(), strict=True)
    return dict(zip(prepared.names, values, strict=True))


def _weighing(prepared: ViewsPreparation, params: Mapping[str, Tensor]) -> Weights:
    """Return the weights and temperatures of the members of a result."""
    names = (LABELS, *prepared.members.each)
    return Weights(
        dict(zip(names, params["temperatures"].tolist(), strict=True)),
        dict(zip(names, params["weights"].tolist(), strict=True)),
    )


def preparation_arrays(learned: Learned) -> dict[str, NDArray[Any]]:
    """Return the given graph; views follow from the rows, the labels and the seed beside it."""
    graph = learned.problem.graph
    return learned.stored if graph is None else parts_of(graph)


def _share(right: NDArray[np.bool_], counts: NDArray[np.float64] | None) -> float:
    """Compute the share of rows that are right by what they count; NaN without rows."""
    return float(np.average(right, weights=counts)) if len(right) else math.nan


class _Coefficients(OuterLoop):
    """The coefficients of the views, moved by hypergradients of the folds' log loss.

    Attributes:
        edges: the distribution with all labels, on the coefficients as they are.
        history: one record a hypergradient.
    """

    def __init__(
        self, method: Views, problem: Problem, prepared: ViewsPreparation, run: RunContext
    ) -> None:
        self._method, self._prepared = method, prepared
        self._seed = run.seed
        self._beta = prepared.start.clone().requires_grad_()
        self._sharpness = torch.zeros_like(self._beta[0]).requires_grad_()
        self._optimizer = Adam([self._beta, self._sharpness], method.outer_lr)
        self._groups = PairGroups(problem.labels, problem.split, problem.held_out)
        folds, teleport = prepared.folds, method.teleport
        self._by_column: Tensor | None = None
        self._dynamics = Dynamics(
            start=lambda mass, hyper: mass,
            step=lambda mass, hyper, t: folds.step(mass, hyper["graph"], teleport, self._by_column),
            params=lambda mass: mass,
        )
        self.history: list[Iteration] = []

    @property
    def edges(self) -> LogisticEdges:
        """See the class."""
        return self._prepared.edges(self._beta.detach().clone())

    def ended(self) -> str | None:
        """Say why the run ends here, "max_iter"; None where it goes on."""
        return "max_iter" if len(self.history) >= self._method.max_iter else None

    def objective(self, mass: Tensor, hyper: dict[str, Tensor]) -> Tensor:
        """Compute the weighted mean log loss of judged rows, nats.

        Probabilities are raised to the power exp(sharpness) before: how sure the PageRank is, is
        not what the coefficients are for.
        """
        folds = self._prepared.folds
        odds = shares(mass)[folds.judged].log() * hyper["sharpness"].exp()
        if folds.counts is None:
            return torch.nn.functional.cross_entropy(odds, folds.truth)
        each = torch.nn.functional.cross_entropy(odds, folds.truth, reduction="none")
        return (folds.counts * each).mean()

    def prior(self) -> Tensor:
        """Compute the negative log-density of coefficients and sharpness, a row that judges."""
        away = (self._beta - self._prepared.start).square().sum() + self._sharpness.square()
        n = max(1, len(self._prepared.folds.truth))
        return away / (2 * n * self._method.deviation**2)

    def last_record(
        self, probabilities: NDArray[np.float64], truth: NDArray[np.int64]
    ) -> Iteration:
        """Make the record of the members' weighted mean on the rows that judge."""
        right, counts = probabilities.argmax(1) == truth, counts_of(self._prepared)
        return replace(
            self.history[-1],
            iteration=len(self.history),
            stopping_accuracy=_share(right, counts),
            stopping_loss=log_loss(probabilities, truth, counts),
            improved=True,
            refit=True,
        )

    @torch.no_grad()
    def out_of_fold(self) -> tuple[Tensor, Tensor]:
        """Compute class probabilities of the judged rows of all folds; their classes too."""
        folds = self._prepared.folds
        if not len(folds.truth):
            return folds.labels[folds.judged], folds.truth
        return shares(folds.masses(self._beta, self._method)[1])[folds.judged], folds.truth

    def differentiate(self) -> Hypergradient:
        """Set the gradients of coefficients and sharpness: hypergradient and prior.

        The PageRank is taken as its fixed point (§5.4.3): nothing of its steps is kept.

        Returns:
            The hypergradient by the entries of S and the sharpness, with F and the loss.
        """
        graph, n_hops = self._prepared.folds.graph(self._beta), self._method.n_hops
        self._by_column = graph.detach().index_select(0, self._prepared.folds.pattern.order)
        result = hypergradient(
            self._dynamics,
            self.objective,
            self._prepared.folds.labels,
            {"graph": graph.detach(), "sharpness": self._sharpness.detach()},
            n_steps=n_hops,
            method=FixedPoint(n_hops),
            seed=self._seed,
        )
        self._optimizer.zero_grad()
        # Chain rule: from the entries of the graph to the coefficients behind them.
        ((graph * result.grad["graph"]).sum() + self.prior()).backward()
        assert self._sharpness.grad is not None  # by the prior
        self._sharpness.grad += result.grad["sharpness"]
        return result

    def iterate(self) -> Iteration:
        """Take one hypergradient and score the coefficients before it."""
        method, folds = self._method, self._prepared.folds
        probabilities, truth = folds.labels[folds.judged], folds.truth
        if method.update_edges and len(truth):
            result = self.differentiate()
            self._optimizer.step()
            with torch.no_grad():
                probabilities, mean = shares(result.state)[folds.judged], float(result.value)
        else:
            probabilities, truth = self.out_of_fold()
            found, counts = probabilities.double().cpu().numpy(), counts_of(self._prepared)
            mean = log_loss(found, truth.cpu().numpy(), counts) if len(truth) else math.nan
        right = (probabilities.argmax(1) == truth).cpu().numpy()
        edges = self.edges
        best = min((r.stopping_loss for r in self.history), default=math.inf)
        record = Iteration(
            iteration=len(self.history),
            inner_steps=method.n_hops,
            inner_loss=math.nan,
            outer_loss=mean,
            stopping_accuracy=_share(right, counts_of(self._prepared)),
            stopping_loss=mean,
            expected_edges=edges.expected_edges,
            inner_lr=math.nan,
            outer_lr=method.outer_lr,
            group_probs=self._groups.means(edges),
            improved=mean < best,
        )
        self.history.append(record)
        return record

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint holds after a hypergradient."""
        return {
            "beta": self._beta.detach().cpu(),
            "sharpness": self._sharpness.detach().cpu(),
            "optimizer": self._optimizer.state(),
            "history": [vars(record) for record in self.history],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to where the `state` of a run of the same problem was taken."""
        with torch.no_grad():
            self._beta.copy_(state["beta"])
            self._sharpness.copy_(state["sharpness"])
        self._optimizer.restore(state["optimizer"])
        self.history = [Iteration(**record) for record in state["history"]]
