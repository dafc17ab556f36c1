"""Choose settings by the accuracy on the early-stopping rows, over seeds and in many processes."""

import json
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import BrokenExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import ParameterGrid, ParameterSampler
from sklearn.utils.validation import check_is_fitted

from lds._numbers import integer
from lds._progress import seconds_left
from lds.estimators.base import BaseLDSClassifier
from lds.estimators.classifier import LDSClassifier
from lds.estimators.thesis_classifier import ThesisLDSClassifier
from lds.estimators.trial_keys import OF_DATA, digest, key_of, of_space, plain
from lds.estimators.trials import ALONE, Data, Job, Trial, run_batch, run_trial, store
from lds.estimators.views_classifier import ViewsLDSClassifier
from lds.structure.options import check_jobs, check_seed

LOST_WORKERS = {"KilledWorker", "WorkerCrashedError", "NodeDiedError", "OutOfMemoryError"}
"""Names of the errors of Dask and Ray for a lost worker; that of loky is a `BrokenExecutor`."""

NOT_TRIED = {
    "random_state": "seeds= has the seeds",
    "n_jobs": "it changes no result",
    "class_weight": "it weighs the rows of the score, so scores would not compare",
    "tables": "scores of the committee and of views do not compare; ViewsLDSClassifier searches "
    "views",
    **dict.fromkeys(ALONE, "it is the search's own, and changes no result"),
}
"""Parameters of the classifier that a search does not try, and why."""

OnTrial = Callable[[Trial | None, int, int], None]
"""Called after each trial with the trial, the number of finished ones and the number of all; before
the first with None in place of a trial."""


class Means(NamedTuple):
    """What the trials of one setting came to, over the seeds.

    Attributes:
        setting: parameters that differ from those of the estimator.
        accuracy, loss: means of those of its trials; -1 and infinite if one failed.
        error: why a trial failed; None if none did.
    """

    setting: dict[str, Any]
    accuracy: float
    loss: float
    error: str | None


class LDSSearch(ClassifierMixin, BaseEstimator):
    """Choose the settings of a classifier by trials (§9.4.2).

    A trial is one setting with one seed. The score of a setting is its mean accuracy on the
    early-stopping rows over the seeds; the mean loss there decides ties. Test labels are not read.
    Trials run on `joblib`: `joblib.parallel_config(backend="loky" | "dask" | "ray")` around `fit`
    chooses where. Results are the same on every backend. Trials in threads of one process run one
    after the other.

    With a `folder`, the process that ran a trial writes it to a file there, in one step. A trial
    found there is not run again, in this search or in another on the same data. The trials of a
    killed worker start again.

    References:
        Franceschi, 2021, §9.4.2.

    Arguments:
        param_space: values to try, by parameter of the classifier, but for those of `NOT_TRIED`;
            with `n_iter` also scipy distributions.
        estimator: a classifier of this package with the other parameters; None is
            `LDSClassifier()`. Every trial of an `LDSClassifier` trains the committee, as with
            `tables="committee"`, so that scores compare; `ViewsLDSClassifier` searches views.
        n_iter: number of settings drawn at random; None tries the whole grid.
        seeds: each setting has one trial for each seed.
        folder: for finished trials, made if need be; None keeps none.
        n_jobs: as of joblib; None follows `joblib.parallel_config`, and is 1 without it.
        batch: number of trials that a process runs side by side in one batch, for small data on a
            GPU; results differ from those of single trials by rounding only. Settings that differ
            in `hidden_channels`, `truncation` or `support` go to different batches. Settings that a
            batch does not support, and those of the default method, run alone (see
            `lds.structure.methods.thesis.BATCH_NEEDS`).
        max_retries: number of times that lost workers are replaced before the search fails.
        refit: True fits the best setting with the first seed on all of X and y.
        random_state: of the settings drawn.
        verbose: True prints a line after each trial, with the time left; a function is called
            instead, see `OnTrial`.

    Attributes:
        trials_: all trials, setting by setting, seed by seed.
        means_: the mean accuracy and loss of each setting over the seeds, see `Means`.
        best_params_: the best setting.
        best_score_: its mean early-stopping accuracy.
        best_estimator_: fitted with the best setting, if `refit`; `predict` and `predict_proba`
            use it.
        classes_: `(n_classes,)`.
        n_features_in_, feature_names_in_: of `best_estimator_`.

    Examples:
        >>> import numpy as np
        >>> from lds import LDSClassifier, LDSSearch
        >>> X = np.repeat(np.eye(2), 10, axis=0) + 0.1 * np.random.default_rng(0).random((20, 2))
        >>> y = np.repeat([0, 1], 10)
        >>> quick = LDSClassifier(max_iter=1, refits=1, refit_steps=20)
        >>> search = LDSSearch({"n_neighbors": [3, 4]}, quick, seeds=(0,)).fit(X, y)
        >>> len(search.trials_), sorted(search.best_params_)
        (2, ['n_neighbors'])
    """

    def __init__(
        self,
        param_space: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        estimator: BaseLDSClassifier | None = None,
        *,
        n_iter: int | None = None,
        seeds: Sequence[int] = (0, 1, 2),
        folder: str | Path | None = None,
        n_jobs: int | None = None,
        batch: int = 1,
        max_retries: int = 3,
        refit: bool = True,
        random_state: int | np.random.RandomState | None = 0,
        verbose: bool | OnTrial = False,
    ) -> None:
        self.param_space = param_space
        self.estimator = estimator
        self.n_iter = n_iter
        self.seeds = seeds
        self.folder = folder
        self.n_jobs = n_jobs
        self.batch = batch
        self.max_retries = max_retries
        self.refit = refit
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: ArrayLike, y: ArrayLike, **fit_params: Any) -> "LDSSearch":
        """Run the trials that are not finished yet, and fit the best setting.

        Arguments:
            X, y: as for `LDSClassifier.fit`.
            fit_params: `adjacency`, `validation`, `stopping` and `sample_weight` of
                `LDSClassifier.fit`; without roles each seed divides the labelled rows.

        Raises:
            TypeError, ValueError: a parameter or the data cannot be used. No trial has run.
            RuntimeError: workers were lost more than `max_retries` times, or every trial failed.
        """
        estimator = _of_one_method(LDSClassifier() if self.estimator is None else self.estimator)
        settings = self._settings(estimator)
        content = digest(estimator, X, y, fit_params)
        seeds = [int(seed) for seed in self.seeds]
        jobs = [
            Job(key_of(content, estimator, setting, seed), setting, seed)
            for setting in settings
            for seed in seeds
        ]
        folder = None if self.folder is None else Path(self.folder)
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        found = self._run(jobs, folder, estimator, Data(X, y, fit_params))
        self.trials_ = [found[job.key] for job in jobs]
        self.means_ = _means(settings, self.trials_, len(seeds))
        best = max(self.means_, key=lambda mean: (mean.accuracy, -mean.loss))
        if best.error is not None:
            raise RuntimeError(f"every trial failed, the first with: {self.trials_[0].error}")
        self.best_params_, self.best_score_ = best.setting, best.accuracy
        if self.refit:
            chosen = clone(estimator).set_params(**self.best_params_)
            chosen.set_params(random_state=seeds[0]).fit(X, y, **fit_params)
            self.best_estimator_ = chosen
            self.classes_ = chosen.classes_
        return self

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Predict with the best setting, see `LDSClassifier.predict`."""
        classes: NDArray[Any] = self._refitted("predict").predict(X)
        return classes

    def score(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Compute the accuracy of the best setting, see `LDSClassifier.score`."""
        found: float = self._refitted("score").score(X, y, sample_weight)
        return found

    def predict_proba(self, X: ArrayLike) -> NDArray[np.floating[Any]]:
        """Compute probabilities with the best setting, see `LDSClassifier.predict_proba`."""
        found: NDArray[np.floating[Any]] = self._refitted("predict_proba").predict_proba(X)
        return found

    @property
    def n_features_in_(self) -> int:
        """Number of columns of X, if `refit`."""
        found: int = self.best_estimator_.n_features_in_
        return found

    @property
    def feature_names_in_(self) -> NDArray[Any]:
        """Names of the columns of X, if `refit` and all of them are text."""
        found: NDArray[Any] = self.best_estimator_.feature_names_in_
        return found

    def _refitted(self, call: str) -> BaseLDSClassifier:
        check_is_fitted(self, "best_params_")
        if not hasattr(self, "best_estimator_"):
            raise NotFittedError(
                f"refit must be True for {call}, got False; LDSSearch(..., refit=True) fits the "
                "best setting"
            )
        best: BaseLDSClassifier = self.best_estimator_
        return best

    def _settings(self, estimator: BaseLDSClassifier) -> list[dict[str, Any]]:
        """List the settings to try, each once; check all of them before a trial runs."""
        if self.n_iter is not None and integer("n_iter", self.n_iter) < 1:
            raise ValueError(f"n_iter must be at least 1 setting, got {self.n_iter}")
        check_jobs(self.n_jobs)
        if self.n_iter is None:
            points = ParameterGrid(self.param_space)
        else:
            points = ParameterSampler(self.param_space, self.n_iter, random_state=self.random_state)
        if self.batch < 1:
            raise ValueError(f"batch must be at least 1 trial, got {self.batch}")
        if isinstance(self.seeds, str) or not isinstance(self.seeds, Iterable):
            raise TypeError(f"seeds must be a list of integers, got {self.seeds!r}")
        if not len(self.seeds):
            raise ValueError("seeds must have at least one seed, got none")
        for seed in self.seeds:
            check_seed(seed, "seeds")
        settings: dict[str, dict[str, Any]] = {}
        for point in points:
            setting = {name: plain(of_space(name), point[name]) for name in sorted(point)}
            for name in setting.keys() & NOT_TRIED.keys():
                raise ValueError(f"param_space must not hold {name}; {NOT_TRIED[name]}")
            clone(estimator).set_params(**setting)._method()  # checks the options
            settings[json.dumps(setting)] = setting
        if not settings:
            raise ValueError("param_space must hold at least one setting, got none")
        return list(settings.values())

    def _run(
        self, jobs: list[Job], folder: Path | None, estimator: BaseLDSClassifier, data: Data
    ) -> dict[str, Trial]:
        """Run all jobs that are not finished; run jobs again if their worker was lost."""
        keyed = {job.key: job for job in jobs}  # equal seeds are one job
        finished = _stored(folder, keyed.keys())
        report: OnTrial = _printer() if self.verbose else _ignore_trial
        if callable(self.verbose):
            report = self.verbose
        report(None, len(finished), len(keyed))
        losses = 0
        while True:
            missing = [job for key, job in keyed.items() if key not in finished]
            if not missing:
                return finished
            pool = Parallel(n_jobs=self.n_jobs, return_as="generator_unordered")
            groups = _groups(missing, estimator, self.batch)
            calls = (_call(group, estimator, data, folder) for group in groups)
            try:
                for outcome in pool(calls):
                    for key, trial in outcome if isinstance(outcome, list) else [outcome]:
                        finished[key] = trial
                        if folder is not None:  # a worker elsewhere may not see the folder
                            store(folder, key, trial)
                        report(trial, len(finished), len(keyed))
            except Exception as error:
                if not _lost_a_worker(error):
                    raise
                finished |= _stored(folder, keyed.keys() - finished.keys())
                losses += 1
                if losses > self.max_retries:
                    kept = "" if folder is None else f"; what is finished is kept in {folder}"
                    raise RuntimeError(
                        f"workers were lost {losses} times (max_retries={self.max_retries}) with "
                        f"{len(finished)} of {len(keyed)} trials finished{kept}"
                    ) from error

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def _of_one_method(estimator: BaseLDSClassifier) -> BaseLDSClassifier:
    """Make all settings of a classifier train by one method, or their scores do not compare."""
    if "tables" not in estimator.get_params():
        return estimator
    alike: BaseLDSClassifier = clone(estimator).set_params(tables="committee")
    return alike


def classifier_of(method: str) -> type[BaseLDSClassifier]:
    """Find the class of the classifier of a method."""
    return {c.method.name: c for c in (LDSClassifier, ThesisLDSClassifier, ViewsLDSClassifier)}[
        method
    ]


def _printer() -> OnTrial:
    """Make a function that prints a trial on a line, with an estimate of the time left."""
    begun, n_before = time.monotonic(), 0

    def show(trial: Trial | None, n_done: int, n_trials: int) -> None:
        nonlocal n_before
        if trial is None:
            n_before = n_done
            print(f"{n_done} of {n_trials}: finished before", flush=True)
            return
        spent = time.monotonic() - begun
        seconds = seconds_left(spent, n_done - n_before, n_trials - n_before)
        left = f", about {seconds:.0f} s left" if n_done < n_trials else ""
        print(f"{n_done} of {n_trials}: {trial}{left}", flush=True)

    return show


def _ignore_trial(trial: Trial | None, n_done: int, n_trials: int) -> None:
    """Print nothing."""


def _groups(jobs: list[Job], estimator: BaseLDSClassifier, batch: int) -> list[list[Job]]:
    """Group the jobs that run side by side, at most `batch` in a group."""
    kinds: dict[Any, list[Job]] = {}
    for job in jobs:
        shared = clone(estimator).set_params(**job.setting)._method().batch_key()
        read = tuple(job.setting.get(name) for name in OF_DATA)  # a batch has one table
        kinds.setdefault(job.key if shared is None else (shared, read), []).append(job)
    return [
        alike[first : first + batch]
        for alike in kinds.values()
        for first in range(0, len(alike), batch)
    ]


def _call(jobs: list[Job], estimator: BaseLDSClassifier, *arguments: Any) -> Any:
    """Make the call for joblib: one trial, or several side by side."""
    if len(jobs) > 1:
        return delayed(run_batch)(estimator, jobs, *arguments)
    return delayed(run_trial)(estimator, jobs[0], *arguments)


def _means(settings: list[dict[str, Any]], trials: list[Trial], n_seeds: int) -> list[Means]:
    """Compute the means of each setting; one failed seed fails a setting."""
    means = []
    for k, setting in enumerate(settings):
        group = trials[k * n_seeds : (k + 1) * n_seeds]
        error = next((trial.error for trial in group if trial.error), None)
        accuracy, loss = -1.0, math.inf
        if error is None:
            accuracy = float(np.mean([trial.accuracy for trial in group]))
            loss = float(np.mean([trial.loss for trial in group]))
        means.append(Means(setting, accuracy, loss, error))
    return means


def _lost_a_worker(error: Exception) -> bool:
    return isinstance(error, BrokenExecutor) or type(error).__name__ in LOST_WORKERS


def _stored(folder: Path | None, keys: Iterable[str]) -> dict[str, Trial]:
    """Read the finished trials among `keys`; delete files that are damaged."""
    found = {}
    for key in keys if folder is not None else ():
        path = folder / f"{key}.json"  # type: ignore[operator]
        try:
            trial = Trial(**json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            continue
        except (ValueError, TypeError):
            path.unlink()
            continue
        # JSON has no infinity: the loss of a failed trial is null there.
        found[key] = trial if trial.error is None else Trial(**asdict(trial) | {"loss": math.inf})
    return found
