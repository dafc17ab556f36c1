"""Run trials of a search: one alone, or several side by side in one batch."""

import math
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import scipy.sparse as sp
from numpy.typing import ArrayLike
from sklearn.base import clone

from lds._files import write_json
from lds._jobs import one_torch_thread
from lds.bilevel.checks import NonFiniteError
from lds.estimators.base import BaseLDSClassifier
from lds.estimators.labels import split_roles
from lds.estimators.reading import read
from lds.graphs.knn import knn_adjacency
from lds.structure.iteration import Iteration
from lds.structure.learn_many import Run, learn_many
from lds.structure.methods.thesis import Thesis
from lds.structure.problem import Problem

ALONE = {"verbose": False, "checkpoint": None, "resume": False}
"""Parameters of the estimator that trials replace, because several run at a time."""

_one_at_a_time = threading.Lock()  # the number of threads and the filters are of the process


@dataclass(frozen=True)
class Job:
    """A trial to run.

    Attributes:
        key: of the trial, see `trial_keys.key_of`.
        setting: parameters that differ from those of the estimator.
        seed: random_state of the fit.
    """

    key: str
    setting: dict[str, Any]
    seed: int


@dataclass(frozen=True)
class Data:
    """The arguments of `fit`, the same for all trials."""

    X: ArrayLike
    y: ArrayLike
    fit_params: dict[str, Any]


@dataclass(frozen=True)
class Trial:
    """One setting fitted with one seed.

    Attributes:
        setting: parameters that differ from those of the estimator.
        seed: random_state of the fit.
        accuracy: of the best outer iteration on the early-stopping rows; -1 if the fit failed.
        loss: there, nats; infinite if the fit failed.
        n_iter: records in the history.
        seconds: duration of the fit.
        error: why the fit failed; None if it did not.
    """

    setting: dict[str, Any]
    seed: int
    accuracy: float
    loss: float
    n_iter: int
    seconds: float
    error: str | None = None

    def __str__(self) -> str:
        options = ", ".join(f"{name}={value}" for name, value in self.setting.items())
        outcome = (
            f"stopping {100 * self.accuracy:.1f} %, loss {self.loss:.3f}"
            if self.error is None
            else f"failed, {self.error}"
        )
        return f"{options}, seed {self.seed}: {outcome} ({self.seconds:.1f} s)"


def run_trial(
    estimator: BaseLDSClassifier, job: Job, data: Data, folder: Path | None
) -> tuple[str, Trial]:
    """Fit one setting with one seed, and write the trial to the folder.

    The fit has one thread on every machine, because the order of sums changes their rounding.
    """
    with _one_thread():
        started = time.perf_counter()
        try:
            clf = _prepared(estimator, job).fit(data.X, data.y, **data.fit_params)
        except (ValueError, ArithmeticError) as error:
            trial = _failed(job, time.perf_counter() - started, error)
        else:
            trial = _finished(job, time.perf_counter() - started, clf.history_)
    if folder is not None and folder.is_dir():
        store(folder, job.key, trial)
    return job.key, trial


def run_batch(
    estimator: BaseLDSClassifier, jobs: Sequence[Job], data: Data, folder: Path | None
) -> list[tuple[str, Trial]]:
    """Fit several settings and seeds side by side (see `learn_many`), and write the trials.

    The seconds of a trial are those of the batch divided by its size. If the batch needs too much
    memory, or one trial cannot run at all, each trial runs alone.
    """
    started = time.perf_counter()
    try:
        with _one_thread():
            runs = _runs(estimator, jobs, data.X, data.y, **data.fit_params)
            results = learn_many(runs, device=estimator.device)
    except (ValueError, ArithmeticError):
        return [run_trial(estimator, job, data, folder) for job in jobs]
    seconds = (time.perf_counter() - started) / len(jobs)
    found = []
    for job, result in zip(jobs, results, strict=True):
        if isinstance(result, NonFiniteError):
            trial = _failed(job, seconds, result)
        else:
            trial = _finished(job, seconds, result.history)
        if folder is not None and folder.is_dir():
            store(folder, job.key, trial)
        found.append((job.key, trial))
    return found


def _runs(
    estimator: BaseLDSClassifier,
    jobs: Sequence[Job],
    X: ArrayLike,
    y: ArrayLike,
    adjacency: ArrayLike | None = None,
    validation: ArrayLike | None = None,
    stopping: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
) -> list[Run]:
    """Make the run of each job as `fit` would; equal neighbour graphs are made once.

    All jobs read the data alike (`trial_keys.OF_DATA`).
    """
    like = clone(estimator).set_params(**jobs[0].setting)
    given = read(like, X, y, adjacency, sample_weight)
    x = given.features
    near: dict[tuple[int, str], sp.csr_array] = {}
    runs = []
    for job in jobs:
        method = _prepared(estimator, job)._method()
        if not isinstance(method, Thesis):
            raise ValueError(f"runs of the method {method.name!r} cannot go side by side")
        start, search = given.graph, (method.n_neighbors, method.metric)
        if start is None:
            if search not in near:
                near[search] = knn_adjacency(x, *search)
            start = near[search]
        split = split_roles(given.codes, given.classes, validation, stopping, job.seed)
        problem = Problem(x, given.codes, split, start, weights=given.weights)
        runs.append(Run(problem, method, job.seed))
    return runs


@contextmanager
def _one_thread() -> Iterator[None]:
    """Run a block with one thread, without warnings, and with no other trial in this process."""
    with _one_at_a_time, warnings.catch_warnings(), one_torch_thread():
        warnings.simplefilter("ignore")
        yield


def _prepared(estimator: BaseLDSClassifier, job: Job) -> BaseLDSClassifier:
    """Make the estimator of a job."""
    found: BaseLDSClassifier = clone(estimator).set_params(
        **job.setting, random_state=job.seed, **ALONE
    )
    return found


def _finished(job: Job, seconds: float, history: Sequence[Iteration]) -> Trial:
    best = [record for record in history if record.improved][-1]
    outcome = (best.stopping_accuracy, best.stopping_loss, len(history))
    return Trial(job.setting, job.seed, *outcome, seconds)


def _failed(job: Job, seconds: float, error: Exception) -> Trial:
    return Trial(job.setting, job.seed, -1.0, math.inf, 0, seconds, str(error))


def store(folder: Path, key: str, trial: Trial) -> None:
    """Write a finished trial to its file, in one step, unless the file exists."""
    path = folder / f"{key}.json"
    if not path.exists():
        write_json(path, asdict(trial))
