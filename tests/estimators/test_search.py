"""LDSSearch: the choice itself, and that nothing is lost or done twice, whoever runs the trials."""

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import psutil
import pytest
from scipy.stats import uniform
from sklearn.base import clone

from lds import LDSClassifier, LDSSearch, ThesisLDSClassifier
from lds.estimators import search as module

QUICK = ThesisLDSClassifier(n_neighbors=4, max_inner=10, max_iter=2, n_draws=4)
SPACE = {"n_neighbors": [3, 5], "outer_lr": [0.3, 1.0]}
ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def blobs(n=60):
    rng = np.random.default_rng(0)
    truth = np.arange(n) % 3
    x = rng.standard_normal((n, 4)) + 2 * np.eye(4)[truth]
    return x, np.where(np.arange(n) < 36, truth, -1)


def outcomes(search):
    return [(t.setting, t.seed, t.accuracy, t.loss, t.n_iter, t.error) for t in search.trials_]


@pytest.fixture(scope="module")
def alone():
    return LDSSearch(SPACE, QUICK, seeds=(0, 1), n_jobs=1).fit(*blobs())


@pytest.mark.ci
def test_the_best_setting_has_the_best_mean_stopping_accuracy_ties_by_the_loss(alone):
    x, y = blobs()
    assert len(alone.trials_) == 8
    means = {}
    for point in [{"n_neighbors": k, "outer_lr": lr} for k in (3, 5) for lr in (0.3, 1.0)]:
        records = []
        for seed in (0, 1):
            clf = clone(QUICK).set_params(**point, random_state=seed).fit(x, y)
            records.append(max((r.stopping_accuracy, -r.stopping_loss) for r in clf.history_))
        means[tuple(point.items())] = tuple(np.mean(records, axis=0))
    best = max(means, key=means.get)
    assert alone.best_params_ == dict(best)
    assert alone.best_score_ == pytest.approx(means[best][0], rel=1e-12)
    said = [(mean.accuracy, -mean.loss) for mean in alone.means_]
    assert np.array(said) == pytest.approx(np.array(list(means.values())), rel=1e-12)
    assert len(set(means.values())) > 1, "the settings must differ"


def test_the_best_setting_is_fitted_and_predicts(alone):
    x, y = blobs()
    expected = clone(QUICK).set_params(**alone.best_params_, random_state=0).fit(x, y)
    assert np.array_equal(alone.best_estimator_.transduction_, expected.transduction_)
    assert np.array_equal(alone.predict(x), expected.transduction_)
    assert alone.predict_proba(x[:2] + 0.1).shape == (2, 3)
    assert alone.score(x[36:], np.arange(60)[36:] % 3) > 0.5
    assert "best_params_" not in vars(clone(alone))
    assert alone.n_features_in_ == 4
    assert not hasattr(alone, "feature_names_in_")


def test_random_settings_are_drawn_by_the_seed_from_distributions():
    def drawn(seed):
        space = {"outer_lr": uniform(0.1, 1), "metric": ["cosine", "euclidean"]}
        search = LDSSearch(space, QUICK, n_iter=3, seeds=(0,), refit=False, random_state=seed)
        return [trial.setting for trial in search.fit(*blobs()).trials_]

    first = drawn(0)
    assert len(first) == 3
    assert all(0.1 <= setting["outer_lr"] <= 1.1 for setting in first)
    assert first == drawn(0) != drawn(1)


@pytest.mark.ci
def test_finished_trials_are_read_not_run(tmp_path, monkeypatch, alone):
    x, y = blobs()
    first = LDSSearch({**SPACE, "outer_lr": [0.3]}, QUICK, seeds=(0, 1), folder=tmp_path / "new")
    first.fit(x, y)
    assert len(list((tmp_path / "new").glob("*.json"))) == 4
    ran = []

    def noted(estimator, job, *rest):
        ran.append((job.setting["outer_lr"], job.seed))
        return run_trial(estimator, job, *rest)

    run_trial = module.run_trial
    monkeypatch.setattr(module, "run_trial", noted)
    wider = LDSSearch(SPACE, QUICK, seeds=(0, 1), folder=tmp_path / "new").fit(x, y)
    assert sorted(ran) == [(1.0, 0), (1.0, 0), (1.0, 1), (1.0, 1)], "the new setting alone"
    assert outcomes(wider) == outcomes(alone)
    ran.clear()
    again = LDSSearch(SPACE, QUICK, seeds=(0, 1), folder=tmp_path / "new").fit(x.tolist(), y)
    assert ran == []
    assert again.trials_ == wider.trials_
    LDSSearch(SPACE, QUICK, seeds=(0,), folder=tmp_path / "new", refit=False).fit(x + 1, y)
    assert len(ran) == 4, "other data"
    ran.clear()
    other = clone(QUICK).set_params(dropout=0.1)
    LDSSearch(SPACE, other, seeds=(0,), folder=tmp_path / "new", refit=False).fit(x, y)
    assert len(ran) == 4, "another parameter"


def test_a_search_tells_of_each_trial_and_of_those_finished_before(tmp_path, capsys):
    space, told = {"inner_lr": [0.01, 1e30]}, []
    for verbose in (True, lambda *args: told.append(args), False):
        search = LDSSearch(
            space, QUICK, seeds=(0, 1), folder=tmp_path, refit=False, verbose=verbose
        ).fit(*blobs())
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "0 of 4: finished before"
    assert [line.split(" of ")[0] for line in lines] == ["0", "1", "2", "3", "4"]
    assert all(re.search(r", about \d+ s left$", line) for line in lines[1:4])
    first, last = search.trials_[0], search.trials_[-1]
    assert lines[1].startswith(
        f"1 of 4: inner_lr=0.01, seed 0: stopping {100 * first.accuracy:.1f} %, loss "
    )
    assert lines[-1].startswith(f"4 of 4: inner_lr=1e+30, seed 1: failed, {last.error} (")
    assert told == [(None, 4, 4)], "nothing runs again"
    one = LDSSearch(
        space, QUICK, seeds=(2,), refit=False, verbose=lambda *args: told.append(args)
    ).fit(*blobs())
    assert told[1:] == [(None, 0, 2), (one.trials_[0], 1, 2), (one.trials_[1], 2, 2)]


def test_a_damaged_file_is_no_finished_trial(tmp_path, alone):
    one = {"n_neighbors": [3], "outer_lr": [0.3]}
    for text in ("", '{"setting": 1', '{"other": 2}'):
        search = LDSSearch(one, QUICK, seeds=(0,), folder=tmp_path, refit=False)
        search.fit(*blobs())
        assert outcomes(search) == outcomes(alone)[:1]
        (path,) = tmp_path.glob("*.json")
        path.write_text(text)


def test_a_setting_that_fails_loses_and_is_not_tried_again(tmp_path):
    space = {"inner_lr": [0.01, 1e30]}
    for _ in range(2):
        search = LDSSearch(space, QUICK, seeds=(0,), folder=tmp_path, refit=False).fit(*blobs())
        assert search.best_params_ == {"inner_lr": 0.01}
        assert "at outer iteration 0" in search.trials_[1].error
        assert search.trials_[1].loss == float("inf")
    with pytest.raises(RuntimeError, match=r"every trial failed, the first with: .* is nan"):
        LDSSearch({"inner_lr": [1e30]}, QUICK, seeds=(0,)).fit(*blobs())


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"param_space": {"dropout": [0.5, 1.5]}}, ValueError, r"dropout must be in \[0, 1\)"),
        ({"param_space": {"depth": [1]}}, ValueError, "Invalid parameter 'depth'"),
        ({"param_space": {"random_state": [1]}}, ValueError, "seeds= has the seeds"),
        ({"param_space": {"n_neighbors": [[1]]}}, TypeError, "must hold numbers or strings"),
        ({"seeds": ()}, ValueError, "seeds must have at least one seed"),
        ({"batch": 0}, ValueError, "batch must be at least 1 trial, got 0"),
        ({"n_iter": 0}, ValueError, "n_iter must be at least 1 setting, got 0"),
        ({"n_iter": 2.5}, TypeError, "n_iter must be an integer, got 2.5"),
        ({"n_jobs": 0}, ValueError, "n_jobs must be at least 1, or -1 for one a core"),
    ],
)
def test_a_bad_search_is_refused_before_a_trial_runs(options, error, message, monkeypatch):
    monkeypatch.setattr(module, "run_trial", None)
    with pytest.raises(error, match=message):
        LDSSearch(**{"param_space": SPACE, "estimator": QUICK, **options}).fit(*blobs())


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"y": [0]}, ValueError, "one label a row"),
        ({"adjacency": np.ones((2, 2))}, ValueError, "adjacency must have shape"),
        ({"validation": [0]}, ValueError, "must be given together"),
        (
            {"weights": [0]},
            TypeError,
            "fit takes adjacency, validation, stopping, sample_weight, got",
        ),
    ],
)
def test_bad_data_are_refused_before_a_trial_runs(change, error, message, monkeypatch):
    monkeypatch.setattr(module, "run_trial", None)
    x, y = blobs()
    with pytest.raises(error, match=message):
        LDSSearch(SPACE, QUICK).fit(**{"X": x, "y": y, **change})


@pytest.mark.ci
def test_threads_come_to_the_same_though_they_share_a_random_state(alone):
    with joblib.parallel_config(backend="threading", n_jobs=2):
        search = LDSSearch(SPACE, QUICK, seeds=(0, 1), refit=False).fit(*blobs())
    assert outcomes(search) == outcomes(alone)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Dask's own
def test_a_cluster_of_two_dask_workers_comes_to_the_same(alone, tmp_path, dask_client):
    assert len(dask_client.scheduler_info(n_workers=-1)["workers"]) == 2
    with joblib.parallel_config(backend="dask"):
        search = LDSSearch(SPACE, QUICK, seeds=(0, 1), refit=False, folder=tmp_path / "trials").fit(
            *blobs()
        )
    assert outcomes(search) == outcomes(alone)
    assert len(list((tmp_path / "trials").glob("*.json"))) == 8


SCRIPT = """
import json, sys, warnings
sys.path.insert(0, {root!r})
from tests.estimators.test_search import LONGER, SPACE, blobs, outcomes
from lds import LDSSearch

if __name__ == "__main__":
    warnings.simplefilter("ignore")
    search = LDSSearch(SPACE, LONGER, seeds=(0,), folder={folder!r}, n_jobs=2, refit=False)
    print(json.dumps(outcomes(search.fit(*blobs()))))
"""
LONGER = clone(QUICK).set_params(max_inner=70, inner_patience=70)


@pytest.mark.slow
def test_a_killed_worker_loses_no_finished_trial_and_its_own_starts_again(tmp_path, monkeypatch):
    """Two loky processes, one of them shot; they come to what one process comes to."""
    trials = tmp_path / "trials"
    script = tmp_path / "search.py"
    script.write_text(SCRIPT.format(root=str(ROOT), folder=str(trials)))
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen([sys.executable, str(script)], cwd=ROOT, **pipes)
    deadline = time.monotonic() + 300
    while len(list(trials.glob("*.json"))) < 2:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    busy = max(psutil.Process(process.pid).children(True), key=lambda child: child.cpu_times().user)
    busy.send_signal(signal.SIGKILL)
    before = {path.name: path.stat().st_mtime_ns for path in trials.glob("*.json")}
    assert len(before) < 4, "the worker must have died half-way"
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    after = {path.name: path.stat().st_mtime_ns for path in trials.glob("*.json")}
    assert len(after) == 4
    assert before.items() <= after.items(), "a finished trial was run twice"
    alone = LDSSearch(SPACE, LONGER, seeds=(0,), refit=False).fit(*blobs())
    assert json.loads(output) == json.loads(json.dumps(outcomes(alone)))
    monkeypatch.setattr(module, "run_trial", None)
    again = LDSSearch(SPACE, LONGER, seeds=(0,), folder=trials, refit=False).fit(*blobs())
    assert outcomes(again) == outcomes(alone)


def test_workers_that_keep_dying_end_the_search_with_a_sentence(monkeypatch, tmp_path):
    class KilledWorkerError(Exception):
        pass

    KilledWorkerError.__name__ = "KilledWorker"
    calls = []

    def dying(estimator, job, *rest):
        calls.append(job.seed)
        if len(calls) % 2 == 0:
            raise KilledWorkerError
        return run_trial(estimator, job, *rest)

    run_trial = module.run_trial
    monkeypatch.setattr(module, "run_trial", dying)
    search = LDSSearch(SPACE, QUICK, seeds=(0, 1), max_retries=2, folder=tmp_path, refit=False)
    with pytest.raises(RuntimeError, match=r"lost 3 times .* 3 of 8 trials finished; .* kept in"):
        search.fit(*blobs())
    assert len(calls) == 6
    assert len(list(tmp_path.glob("*.json"))) == 3


def assert_alike(search, other):
    """The same trials but for the rounding of float32, which short runs do not multiply much."""
    assert len(search.trials_) == len(other.trials_)
    for mine, theirs in zip(search.trials_, other.trials_, strict=True):
        assert (mine.setting, mine.seed) == (theirs.setting, theirs.seed)
        assert (mine.n_iter, mine.error) == (theirs.n_iter, theirs.error)
        assert mine.accuracy == pytest.approx(theirs.accuracy, abs=1e-9)
        assert mine.loss == pytest.approx(theirs.loss, rel=1e-3)


@pytest.mark.parametrize("batch", [3, 8])
def test_trials_side_by_side_come_to_the_same(alone, batch, tmp_path, monkeypatch):
    sizes = []
    run_batch = module.run_batch

    def noted(estimator, jobs, *rest):
        sizes.append(len(jobs))
        return run_batch(estimator, jobs, *rest)

    monkeypatch.setattr(module, "run_batch", noted)
    search = LDSSearch(SPACE, QUICK, seeds=(0, 1), batch=batch, folder=tmp_path, refit=False).fit(
        *blobs()
    )
    assert sizes == ([3, 3, 2] if batch == 3 else [8])
    assert_alike(search, alone)
    assert search.best_params_ == alone.best_params_
    monkeypatch.setattr(module, "run_batch", None)
    again = LDSSearch(SPACE, QUICK, seeds=(0, 1), folder=tmp_path, refit=False).fit(*blobs())
    assert again.trials_ == search.trials_, "finished trials are read, however they were run"


@pytest.mark.ci
def test_side_by_side_run_only_trials_that_can(monkeypatch):
    """Others run alone: another network, another width, a setting without a finite loss."""
    x, y = blobs()
    space = [{"backbone": ["gcn", "GCNConv"]}, {"hidden_channels": [8]}, {"inner_lr": [1e30, 0.02]}]
    one, side = (
        LDSSearch(space, QUICK, seeds=(0, 1), batch=batch, refit=False).fit(x, y)
        for batch in (1, 10)
    )
    assert_alike(side, one)
    assert sum(trial.error is not None for trial in side.trials_) == 2


@pytest.mark.filterwarnings("ignore:adjacency has no edge")
@pytest.mark.parametrize("share", [0.1, 0.0], ids=["edges", "no edge"])
def test_given_roles_and_a_given_graph_reach_a_batch(share):
    x, y = blobs()
    rng = np.random.default_rng(1)
    upper = np.triu(rng.random((60, 60)) < share, 1)
    given = {
        "adjacency": (upper + upper.T).astype(float),
        "validation": np.arange(0, 12),
        "stopping": np.arange(12, 24),
    }
    one, side = (
        LDSSearch({"outer_lr": [0.3, 1.0]}, QUICK, seeds=(0,), batch=batch, refit=False).fit(
            x, y, **given
        )
        for batch in (1, 2)
    )
    assert_alike(side, one)


def test_where_a_batch_does_not_fit_each_trial_runs_alone(monkeypatch, alone):
    from lds.estimators import trials

    def too_much(*_, **__):
        raise ValueError("more memory than there is")

    monkeypatch.setattr(trials, "learn_many", too_much)
    search = LDSSearch(SPACE, QUICK, seeds=(0, 1), batch=8, refit=False).fit(*blobs())
    assert outcomes(search) == outcomes(alone)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"class_weight": ["balanced", None]}, "class_weight; it weighs the rows of the score"),
        ({"verbose": [False, True]}, "verbose; it is the search's own"),
        ({"checkpoint": ["a"]}, "checkpoint; it is the search's own"),
        ({"random_state": [0, 1]}, "random_state; seeds= has the seeds"),
        ({"tables": ["views", "committee"]}, "tables; scores of the committee and of views"),
    ],
)
def test_what_no_search_can_compare_is_refused(space, message):
    estimator = LDSClassifier() if "tables" in space else QUICK
    with pytest.raises(ValueError, match=f"param_space must not hold {message}"):
        LDSSearch(space, estimator, seeds=(0,)).fit(*blobs())


@pytest.mark.parametrize(
    ("seeds", "error"),
    [((0.7,), TypeError), ("01", TypeError), (3, TypeError), ((-1,), ValueError)],
)
def test_seeds_are_checked_before_a_trial(seeds, error):
    with pytest.raises(error, match="seeds must be"):
        LDSSearch(SPACE, QUICK, seeds=seeds).fit(*blobs())


@pytest.mark.parametrize("batch", [1, 4])
def test_each_way_to_read_the_columns_is_a_setting_of_its_own(batch):
    x, y = blobs()
    frame = pd.DataFrame(x, columns=list("abcd"))
    frame["a"] = pd.Categorical.from_codes(np.arange(60) % 3, [1, 2, 3])
    space = {"categorical_features": ["from_dtype", None]}
    search = LDSSearch(space, QUICK, seeds=(0, 1), batch=batch, n_jobs=1).fit(frame, y)
    assert [t.setting["categorical_features"] for t in search.trials_] == [
        *["from_dtype"] * 2,
        *[None] * 2,
    ]
    for trial in search.trials_:
        clf = clone(QUICK).set_params(**trial.setting, random_state=trial.seed).fit(frame, y)
        best = [record for record in clf.history_ if record.improved][-1]
        assert trial.loss == pytest.approx(best.stopping_loss, rel=1e-4)
    assert len({trial.loss for trial in search.trials_}) > 2
