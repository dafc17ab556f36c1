"""The comparison at equal labels: what is compared, what is kept, what the table says."""

import json
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from scipy import stats

from lds.datasets.registry import load
from lds.experiments import compare
from lds.graphs.knn import knn_adjacency
from lds.nn.preparation import FeaturePreparation
from lds.structure.methods.committee import Committee
from lds.structure.restarts import Restarts
from lds.structure.result import Learned

pytestmark = pytest.mark.ci


def test_controls_never_read_test_labels() -> None:
    data = load("wine", seed=0)
    hidden = data.labels.copy()
    hidden[data.split.test] = (hidden[data.split.test] + 1) % 3
    other = replace(data, labels=hidden)
    for name in ("(b) GCN", "LabelSpreading", "LogisticRegression", "RBF SVM"):
        run = compare.methods(False)[name]
        np.testing.assert_array_equal(run(data, 0), run(other, 0), err_msg=name)


def test_logistic_regression_is_scikit_learns_best_on_the_stopping_rows() -> None:
    from sklearn.linear_model import LogisticRegression

    data = load("wine", seed=1)
    found = compare.methods(False)["LogisticRegression"](data, 1)
    rows = np.concatenate([data.split.train, data.split.validation])
    x = FeaturePreparation(data.features).transform(data.features)
    y, stop = data.labels, data.split.stopping
    fitted = [LogisticRegression(C=c, max_iter=1000).fit(x[rows], y[rows]) for c in compare.CHOICES]
    best = max(range(5), key=lambda k: fitted[k].score(x[stop], y[stop]))
    np.testing.assert_allclose(found, fitted[best].predict_proba(x), rtol=1e-12)


def test_the_table_pairs_seeds() -> None:
    ours, theirs = [0.9, 0.92, 0.97], [0.88, 0.93, 0.9]
    lines = [
        {"data": "wine", "retain": None, "seed": seed, "method": method}
        | {"accuracy": scores[seed], "nll": 0.5, "ece": 0.1, "seconds": 1.0}
        for method, scores in (("lds", ours), ("other", theirs))
        for seed in range(3)
    ]
    p = stats.ttest_1samp(np.subtract(theirs, ours), 0).pvalue
    shown = list(compare.table(lines))
    assert "93.0 ± 2.9" in shown[2]
    assert f"-2.7 (p = {p:.3f})" in shown[3]


def test_the_overview_sets_methods_against_the_default_of_the_same_seeds() -> None:
    runs = {
        ("lds", "wine"): [0.9, 0.92, 0.97],
        ("other", "wine"): [0.88, 0.93, 0.9],
        ("lds", "cora"): [0.8],
        ("other", "cora"): [0.85, 0.1],
        ("alone", "iris"): [0.5],
    }
    lines = [
        {"data": data, "retain": 0.5 if data == "cora" else None}
        | {"seed": seed, "method": method, "accuracy": accuracy}
        for (method, data), scores in runs.items()
        for seed, accuracy in enumerate(scores)
    ]
    error = stats.sem([-2, 1, -7])
    assert list(compare.overview(lines)) == [
        "| against the default | wine | cora, 50 % of edges | iris |",
        "|---|--:|--:|--:|",
        "| the default, % | 93.0 | 80.0 |  |",
        f"| other | -2.7 ({error:.1f}) | +5.0 |  |",
        "| alone |  |  |  |",
    ]


def test_finished_runs_are_not_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.jsonl"
    uniform = {"lds": lambda data, seed: np.full((data.n_nodes, len(data.classes)), 1 / 3)}
    monkeypatch.setattr(compare, "methods", lambda parts: uniform)
    monkeypatch.setattr(sys, "argv", ["compare", "wine", "--seeds", "2", "--out", str(out)])
    compare.main()
    before = out.read_text()
    assert [json.loads(line)["seed"] for line in before.splitlines()] == [0, 1]
    compare.main()
    assert out.read_text() == before
    assert "| wine | lds |" in capsys.readouterr().out


def test_parts_change_what_they_say() -> None:
    default = Committee().to_dict()
    for name, options in compare.PARTS.items():
        assert any(default[key] != value for key, value in options.items()), name
        Committee(**options)
    others = {"lds", "0/1 edges, frozen", "without discriminants", "without learned metric"}
    others |= {"with metric_rank=8", "refit of one GCN", "without the refit"}
    assert others | set(compare.PARTS) == set(compare.methods(True))


@pytest.mark.parametrize(("name", "rank"), [("wine", 8), ("iris", 3)])
def test_the_rank_of_a_metric_fits_the_features(
    monkeypatch: pytest.MonkeyPatch, name: str, rank: int
) -> None:
    monkeypatch.setattr(compare, "of_ours", lambda data, seed, options: options)
    assert compare.of_ranked(load(name), 0) == {"metric_rank": rank}


@pytest.fixture
def results(monkeypatch: pytest.MonkeyPatch) -> list[Learned]:
    """Results of the refits that the module makes by itself; their members train for few steps."""
    found: list[Learned] = []
    refitted = compare._refitted

    def noted(*arguments: Any) -> Learned:
        found.append(refitted(*arguments))
        return found[-1]

    few = partial(Committee, refit_steps=10, max_inner=20, max_iter=2)
    monkeypatch.setattr(compare, "Committee", few)
    monkeypatch.setattr(compare, "_refitted", noted)
    return found


def test_unweighted_edges_are_drawn_every_time(results: list[Learned]) -> None:
    data = load("wine", seed=0)
    compare.of_unweighted(data, 0)
    graph = knn_adjacency(data.features, 10, "euclidean")
    learned = results[0].edges.to_csr()
    assert (learned != graph).nnz == 0
    # One graph in every draw: but for the rounding of a mean of equal numbers.
    assert results[0].mutual_information.max() < 1e-12


def test_without_discriminants_networks_the_pagerank_of_labels_and_a_forest_are_left(
    results: list[Learned],
) -> None:
    found = compare.methods(True)["without discriminants"](load("wine", seed=0), 0)
    params = results[0].params
    assert len(params["log_weights"]) == 3 * 6
    assert not any(name.endswith("beliefs") for name in params)
    np.testing.assert_array_equal(found, results[0].probabilities)


def test_the_refit_may_be_of_one_network(results: list[Learned]) -> None:
    compare.of_refitted_gcn(load("wine", seed=0), 0)
    assert results[0].params["log_weights"].tolist() == [0]
    assert {name.split(".")[0] for name in results[0].params if "." in name} == {"0"}


def test_without_the_refit_the_best_outer_iteration_decides(
    monkeypatch: pytest.MonkeyPatch, results: list[Learned]
) -> None:
    seen: list[Restarts] = []
    restarts_on = compare.restarts_on

    def noted(*arguments: Any) -> Restarts:
        seen.append(restarts_on(*arguments))
        return seen[-1]

    monkeypatch.setattr(compare, "restarts_on", noted)
    data = load("wine", seed=0)
    found = compare.of_no_refit(data, 0)
    assert not results  # no refit was made
    rows = data.split.stopping
    loss = -np.log(found[rows, data.labels[rows]]).mean()
    (restarts,) = seen
    best = max(restarts.history, key=lambda one: (one.stopping_accuracy, -one.stopping_loss))
    assert loss == pytest.approx(best.stopping_loss, rel=1e-4)  # float32


def test_without_the_learned_metric_measurements_stay_as_they_come(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(compare, "of_ours", lambda data, seed, options: asked.append(options))
    wine = load("wine", seed=0)
    compare.of_plain(wine, 0)
    words = sp.random_array((len(wine.labels), 40), density=0.05, rng=np.random.default_rng(0))
    compare.of_plain(replace(wine, features=sp.csr_array(words)), 0)
    assert asked == [{"metric": "euclidean"}, {"metric": "cosine"}]
