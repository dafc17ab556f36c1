"""What was learned: weights, distribution of edges, predictions, history; kept in a folder."""

import math
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from lds._random import mix
from lds._run_files import SAVED, check_free, check_replaceable
from lds._types import ROLES, Features, Split
from lds._version import __version__
from lds._words import ending, facts_html
from lds.edges.base import EdgeDistribution
from lds.edges.free import FreeEdges
from lds.graphs.candidates import PairList
from lds.graphs.connected import starting_tree
from lds.run_folder import Run, load_features, load_preparation, load_run, save_run
from lds.structure.account import account
from lds.structure.facts import facts
from lds.structure.iteration import Iteration
from lds.structure.known_rows import Rows, known_answers, rows_like
from lds.structure.left_out import LeftOut
from lds.structure.methods.base import Method
from lds.structure.methods.registry import implementation, method_of_settings
from lds.structure.metrics import Quality, entropy, mutual_information, quality
from lds.structure.predict import hidden_layer, predict_draws
from lds.structure.problem import Problem
from lds.structure.seeds import PREDICTION
from lds.structure.surroundings import own_settings
from lds.structure.task import Params, Task

EDGE_CUTOFF = 1e-4
"""Edge probabilities at or below this are not kept in a folder; their sum is."""


@dataclass(eq=False, repr=False)
class Learned:
    """The weights and the distribution that a method found (Alg. 7, line 17).

    Attributes:
        problem: what was learned from.
        method: the method, with its options.
        seed: of the run.
        params: w, by name.
        edges: θ.
        probabilities: ĥ_w(X), `(n_nodes, n_classes)` float, mean over S graphs (eq. 9.7).
        mutual_information: `(n_nodes,)`, nats: the part of the entropy of `probabilities` that
            comes from not knowing the graph (see `metrics.mutual_information`).
        hidden: `(n_nodes, hidden_channels)`, the activations before the classification layer, mean
            over the same S graphs (Figure 9.5); class probabilities where only a part learned.
        history: one record an outer iteration; the default method adds one for the refit.
        best: index of the best in `history`.
        reason: why the run ended: "patience", "max_iter", "interrupted" or "non-finite: ...".
        start: symmetric CSR `(n_nodes, n_nodes)`: θ before learning.
        preparation: what the method fitted on the features, for `predict_new`; None: it is made
            when it is first needed.
        stored: the same as arrays, in a result that was read from a folder.
        below_cutoff: Σθ of the pairs that the folder did not keep; 0 in a result of `learn`.
        left_out: predictions of labels that were left out in turn; None: the method has
            early-stopping rows instead.
        left_as_given: whether given edges stayed as they are, see `methods.committee_unlike`.
    """

    problem: Problem
    method: Method
    seed: int
    params: Params
    edges: EdgeDistribution
    probabilities: NDArray[np.floating[Any]]
    mutual_information: NDArray[np.floating[Any]]
    hidden: NDArray[np.floating[Any]]
    history: list[Iteration]
    best: int
    reason: str
    start: sp.csr_array
    preparation: Any = None
    stored: dict[str, NDArray[Any]] = field(default_factory=dict)
    below_cutoff: float = 0.0
    left_out: LeftOut | None = None
    left_as_given: bool = False

    @property
    def n_restarts(self) -> int:
        """Outer iterations of Algorithm 7; a refit's record does not count."""
        return sum(not record.refit for record in self.history)

    @property
    def starting_edges(self) -> float:
        """Σθ over undirected pairs before learning."""
        return float(self.start.sum(dtype=np.float64)) / 2

    @property
    def expected_edges(self) -> float:
        """Σθ over undirected pairs as learned."""
        return self.history[self.best].expected_edges

    @cached_property
    def stored_edges(self) -> FreeEdges:
        """θ as a folder keeps it: without pairs of at most `EDGE_CUTOFF`.

        Graphs are drawn from it for new rows and for users, before saving as after loading.
        """
        kept = self.edges.to_csr(EDGE_CUTOFF)
        return _edges_of(kept, self.method, self.problem.features, self.edges.probs.device)

    @property
    def test_quality(self) -> Quality | None:
        """The quality of predictions on the test rows; None where there are none."""
        problem = self.problem
        return quality(self.probabilities, problem.labels, problem.split.test)

    def predict_new(self, new: Rows) -> NDArray[np.floating[Any]]:
        """Predict class probabilities of rows that were not in the fit, `(n_new, n_classes)`.

        A row equal to one of the fit gets the answer it got there; where several rows of the fit
        are equal, see `known_rows.known_answers`.

        Arguments:
            new: `(n_new, n_features)` finite numbers, dense or sparse, in an array, a matrix of
                scipy, a tensor or lists. They are rounded to the precision of the features of the
                problem, and stored as these are.

        Raises:
            TypeError: `new` holds no numbers.
            ValueError: it has another number of columns, or a number that is not finite.
        """
        fitted = self.problem.features
        rows = rows_like(new, fitted)
        known, found = known_answers(rows, fitted, self.probabilities)
        if not known.all():
            run = implementation(self.method)
            with own_settings():
                others = run.predict_new(self, rows[~known])
            found[~known] = others.cpu().numpy()
        return found

    def as_run(
        self,
        *,
        settings: dict[str, Any] | None = None,
        summary: dict[str, Any] | None = None,
        classes: Any = None,
        identifiers: Any = None,
    ) -> Run:
        """Make the record that a run folder holds, for plots, reports and `save`.

        Arguments:
            settings: more of what the run was made of.
            summary: more of what it came to.
            classes: names of the classes; None numbers them.
            identifiers: names of the rows; None: they have none.
        """
        problem, best = self.problem, self.history[self.best]
        edges = self.edges.to_csr(EDGE_CUTOFF)
        kept = float(edges.sum(dtype=np.float64)) / 2
        test = self.test_quality
        names = range(self.probabilities.shape[1]) if classes is None else classes
        return Run(
            settings={
                "method": self.method.name,
                "options": self.method.to_dict(),
                "seed": self.seed,
                "classes": [_plain(name) for name in names],
                "versions": {"lds": __version__, "torch": torch.__version__},
                **(settings or {}),
            },
            metrics=[asdict(record) for record in self.history],
            summary={
                "reason": self.reason,
                "outer_iterations": self.n_restarts,
                "rows": {role: int(getattr(problem.split, role).size) for role in ROLES},
                "best_iteration": self.best,
                "stopping_accuracy": best.stopping_accuracy,
                "test_accuracy": {"lds": test.accuracy if test else None},
                "test_quality": {"lds": test.to_dict() if test else None},
                "starting_edges": self.starting_edges,
                "expected_edges": best.expected_edges,
                "edge_cutoff": EDGE_CUTOFF,
                "expected_edges_below_cutoff": self.below_cutoff
                + max(0.0, self.edges.expected_edges - kept),
                "left_as_given": self.left_as_given,
                **({} if self.left_out is None else {"left_out": self.left_out.counts}),
                **(summary or {}),
            },
            start=self.start,
            edge_probs=edges,
            weights=self.params,
            predictions={
                "probabilities": self.probabilities,
                "entropy": entropy(self.probabilities),
                "mutual_information": self.mutual_information,
                "hidden": self.hidden,
                "labels": problem.labels,
                **({} if problem.weights is None else {"row_weights": problem.weights}),
                **({} if identifiers is None else {"identifiers": np.array(identifiers)}),
                **{f"{role}_rows": getattr(problem.split, role) for role in ROLES},
                **({} if self.left_out is None else self.left_out.to_arrays()),
            },
        )

    def save(
        self,
        folder: str | Path,
        *,
        encoding: dict[str, NDArray[Any]] | None = None,
        overwrite: bool = False,
        **more: Any,
    ) -> Run:
        """Write the folder of the run: what `lds fit` leaves behind, without pickle.

        Edge probabilities of at most 1e-4 are left out; the summary has their sum.

        Arguments:
            folder: made if need be.
            encoding: of a table's columns, as arrays.
            overwrite: True writes over a run that the folder holds.
            more: as for `as_run`.

        Returns:
            The record that was written.

        Raises:
            FileExistsError: the folder holds a run, or files of another origin that would be lost.
        """
        if not overwrite:
            check_free(folder, "give overwrite=True")
        check_replaceable(folder, SAVED)
        run = self.as_run(**more)
        save_run(
            Path(folder),
            run,
            features=self.problem.features,
            encoding=encoding,
            preparation=implementation(self.method).preparation_arrays(self),
            account=account(self).to_arrays(),
        )
        return run

    @classmethod
    def load(cls, folder: str | Path) -> "Learned":
        """Read a run back from the folder that `save` or `lds fit` wrote.

        Raises:
            FileNotFoundError: the folder or one of its files is missing.
            ValueError: a file is damaged, or of another format.
        """
        return cls.from_run(load_run(folder), load_features(folder), load_preparation(folder))

    @classmethod
    def from_run(
        cls, run: Run, features: Features, stored: dict[str, NDArray[Any]] | None = None
    ) -> "Learned":
        """Make the result from a record and the features that it was learned from.

        Arguments:
            run: as read from a folder.
            features: `(n_nodes, n_features)`.
            stored: what the method fitted on them, as arrays; None: it is fitted again.
        """
        settings, found = run.settings, run.predictions
        method = method_of_settings(settings)
        n_classes, named = found["probabilities"].shape[1], len(settings.get("classes", ()))
        if named != n_classes:
            raise ValueError(
                f"the settings of the run are damaged (they name {named} classes of {n_classes})"
            )
        split = Split(*(found[f"{role}_rows"] for role in ROLES))
        return cls(
            problem=Problem(features, found["labels"], split, weights=found.get("row_weights")),
            method=method,
            seed=settings["seed"],
            params=run.weights,
            edges=_edges_of(run.edge_probs, method, features, "cpu"),
            probabilities=found["probabilities"],
            mutual_information=found["mutual_information"],
            hidden=found["hidden"],
            history=[_iteration(record) for record in run.metrics],
            best=run.summary["best_iteration"],
            reason=run.summary["reason"],
            start=run.start,
            stored=stored or {},
            below_cutoff=run.summary["expected_edges_below_cutoff"],
            left_out=LeftOut.from_run(run.summary, found),
            left_as_given=run.summary.get("left_as_given", False),
        )

    def ending(self, seconds: float | None = None) -> str:
        """Say how long the run was and how it ended.

        Arguments:
            seconds: that it took; None: unknown.
        """
        return ending(
            self.reason,
            self.n_restarts,
            self.best,
            refit=self.n_restarts < len(self.history),
            fixed_length=self.method.fixed_length,
            seconds=seconds,
        )

    def facts(self) -> dict[str, str]:
        """List what a person asks first: sizes, edges, how the run ended, accuracies."""
        return facts(self)

    def _repr_html_(self) -> str:
        return facts_html(f"{self.method.title}, seed {self.seed}", self.facts())

    def __repr__(self) -> str:
        best = self.history[self.best]
        problem = self.problem
        return (
            f"Learned(method={self.method.name!r}, seed={self.seed}, {problem.n_nodes:,} nodes, "
            f"{self.probabilities.shape[1]} classes,\n"
            f"  edges: {self.starting_edges:,.0f} -> {self.expected_edges:,.0f} expected,\n"
            f"  {self.ending()},\n"
            f"  {'' if problem.weights is None else 'weighted '}"
            f"{'stopping' if self.left_out is None else 'left-out'} accuracy "
            f"{best.stopping_accuracy:.3f}, loss "
            f"{best.stopping_loss:.3f} nats)"
        )


def learned_from(
    problem: Problem,
    method: Method,
    seed: int,
    task: Task,
    params: Params,
    edges: EdgeDistribution,
    *,
    n_draws: int,
    history: list[Iteration],
    best: int,
    reason: str,
    start: sp.csr_array,
    preparation: Any = None,
    embeds: bool = True,
) -> Learned:
    """Make the result of given weights, predicted on the graphs that judged iteration `best`.

    With embeds=False class probabilities stand for the hidden layer, which may be wide.
    """
    of_graphs = mix(seed, best, PREDICTION)
    draws = predict_draws(task, params, edges, n_draws, of_graphs)
    hidden = hidden_layer(task, params, edges, n_draws, of_graphs) if embeds else draws.mean(0)
    return Learned(
        problem=problem,
        method=method,
        seed=seed,
        # As they are read from a folder: another layout in memory rounds products differently.
        params={name: leaf.contiguous() for name, leaf in params.items()},
        edges=edges,
        probabilities=draws.mean(0).cpu().numpy(),
        mutual_information=mutual_information(draws.cpu().numpy()),
        hidden=hidden.cpu().numpy(),
        history=history,
        best=best,
        reason=reason,
        start=start,
        preparation=preparation,
    )


def _edges_of(
    theta: sp.csr_array, method: Method, features: Features, device: torch.device | str
) -> FreeEdges:
    """Make the distribution of stored probabilities, in their precision.

    Arguments:
        theta: symmetric CSR `(n_nodes, n_nodes)`.
        method, features: of the fit; they say how draws become connected, if they do.
        device: of θ.
    """
    tree = None
    if getattr(method, "connected", False):
        tree = starting_tree(features, theta, method.to_dict()["metric"])
    dtype = torch.from_numpy(theta.data[:0]).dtype
    return FreeEdges(theta, dtype, device, PairList.of(theta), tree)


def _plain(name: Any) -> Any:
    """Return a class name as JSON has it."""
    return name.item() if isinstance(name, np.generic) else name


def _iteration(record: dict[str, Any]) -> Iteration:
    """Make a record of the history; JSON has null for a number that is not finite."""
    found: dict[str, Any] = {k: math.nan if v is None else v for k, v in record.items()}
    try:
        return Iteration(**found)
    except TypeError as error:
        raise ValueError(f"metrics.jsonl of the run is damaged ({error})") from error
