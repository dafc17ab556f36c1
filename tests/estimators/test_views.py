"""The classifier of learned views: labels, parameters, saved fits, scikit-learn's common checks."""

import inspect

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_wine
from sklearn.utils.estimator_checks import parametrize_with_checks
from torch_geometric.data import Data

from lds import ViewsLDSClassifier, learn_structure
from lds.report.page import html
from lds.run_folder import as_run
from lds.structure.methods.views import Views
from lds.structure.options import option_fields
from lds.structure.result import Learned
from tests.estimators.options import run_check
from tests.estimators.test_sklearn import expected_failures

QUICK = {"n_neighbors": 5, "n_trees": 10, "max_iter": 4, "n_hops": 6, "random_state": 0}


def wine(n_labelled=45):
    bunch = load_wine(as_frame=True)
    order = np.random.default_rng(0).permutation(178)
    frame = bunch.data.iloc[order].reset_index(drop=True)
    truth = bunch.target_names[bunch.target.to_numpy()[order]].astype(object)
    y = truth.copy()
    y[n_labelled:] = None
    return frame, y, truth


@pytest.fixture(scope="module")
def fitted():
    frame, y, _ = wine()
    return ViewsLDSClassifier(**QUICK).fit(frame[:150], y[:150])


def test_unlabelled_and_new_rows_are_classified(fitted):
    frame, _, truth = wine()
    assert (fitted.transduction_[45:] == truth[45:150]).mean() >= 0.93
    assert fitted.score(frame[150:], truth[150:]) >= 0.8
    np.testing.assert_allclose(fitted.predict_proba(frame[150:]).sum(1), 1, rtol=1e-5)
    assert np.array_equal(fitted.predict_proba(frame[:5]), fitted.label_distributions_[:5])


def test_coefficients_have_the_names_of_views(fitted):
    found = fitted.view_coefficients_
    of_rows = ["any pair", "columns", "ranks", "forest"]
    of_labels = ["label forest", "important ranks", "whitened columns", "members agree"]
    assert list(found) == of_rows + of_labels
    assert list(found.values()) == pytest.approx(fitted.learned_.params["coefficients"].tolist())


@pytest.mark.ci
@pytest.mark.usefixtures("no_pictures")
def test_a_saved_fit_predicts_the_same_and_has_a_report(fitted, tmp_path):
    frame, _, _ = wine()
    fitted.save(tmp_path)
    later = fitted._encoding.encode(frame[150:]) if fitted._encoding else frame[150:].to_numpy()
    loaded = Learned.load(tmp_path)
    assert np.array_equal(loaded.predict_new(later), fitted.predict_proba(frame[150:]))
    assert "learned views" in html(as_run(tmp_path))


def test_parameters_are_those_of_the_record():
    signature = inspect.signature(ViewsLDSClassifier.__init__).parameters
    for name, field in option_fields(Views).items():
        assert signature[name].default == field.default
        assert f"{name}: " in ViewsLDSClassifier.__doc__
    with pytest.raises(TypeError, match="has no parameter 'agreement'; LDSClassifier has it"):
        ViewsLDSClassifier(agreement=1.0)


def test_four_labels_are_enough_and_a_lonely_one_is_read():
    frame, _, truth = wine()
    y = np.full(178, None, dtype=object)
    for name in np.unique(truth)[:2]:
        y[np.flatnonzero(truth == name)[:2]] = name
    lonely = np.unique(truth)[2]
    y[np.flatnonzero(truth == lonely)[0]] = lonely
    with pytest.warns(UserWarning, match="1 of 3 classes have a single"):
        found = ViewsLDSClassifier(**QUICK).fit(frame, y)
    assert (found.transduction_ == truth).mean() >= 0.6
    assert set(found.classes_) == set(truth)


@pytest.mark.ci
def test_data_of_pyg():
    frame, _, truth = wine()
    y = torch.from_numpy(np.unique(truth, return_inverse=True)[1])
    row = torch.arange(178)
    data = Data(x=torch.tensor(frame.to_numpy()), y=y, train_mask=row < 40, val_mask=row > 150)
    options = {name: value for name, value in QUICK.items() if name != "random_state"}
    found = learn_structure(data, method="views", **options)
    assert (found.predictions[40:150] == y[40:150]).double().mean() >= 0.9


@pytest.mark.ci
def test_columns_of_text_and_gaps():
    frame, y, truth = wine()
    mixed = pd.DataFrame({"kind": np.where(frame["alcohol"] > 13, "strong", "weak"), **frame})
    mixed.loc[::7, "ash"] = np.nan
    found = ViewsLDSClassifier(**QUICK).fit(mixed, y)
    assert (found.transduction_ == truth).mean() >= 0.9


@pytest.mark.ci
@pytest.mark.filterwarnings("ignore::UserWarning")
@parametrize_with_checks(
    [ViewsLDSClassifier(n_neighbors=3, n_trees=3, n_folds=2, max_iter=2, n_hops=3, random_state=0)],
    expected_failed_checks=expected_failures,
)
def test_common_checks(estimator, check, monkeypatch):
    run_check(estimator, check, monkeypatch)


def joined_by_class(truth, share_wrong, seed=0):
    """Edges of each row to four others, most of them of its class."""
    rng = np.random.default_rng(seed)
    graph = np.zeros((len(truth), len(truth)))
    for i, name in enumerate(truth):
        same = np.flatnonzero(truth == name)
        for _ in range(4):
            j = rng.integers(len(truth)) if rng.random() < share_wrong else rng.choice(same)
            graph[i, j] = graph[j, i] = float(i != j)
    return graph


@pytest.mark.ci
def test_a_given_graph_is_a_view_with_a_coefficient():
    frame, y, truth = wine()
    noise = np.random.default_rng(1).standard_normal(frame.shape)  # says nothing of the classes
    of_classes, random = (joined_by_class(truth, share) for share in (0.1, 1.0))
    found = {
        name: ViewsLDSClassifier(**{**QUICK, "max_iter": 20}).fit(noise, y, adjacency=graph)
        for name, graph in (("classes", of_classes), ("random", random))
    }
    accuracy = {name: (fit.transduction_[45:] == truth[45:]).mean() for name, fit in found.items()}
    assert accuracy["classes"] > 0.9
    assert accuracy["random"] < 0.6
    worth = {name: fit.view_coefficients_["given graph"] for name, fit in found.items()}
    assert worth["classes"] > 1 > worth["random"]  # both start at 1
    joined = {tuple(edge) for edge in np.argwhere(np.triu(of_classes))}
    learned = found["classes"].to_networkx(threshold=1e-4)
    assert joined <= {tuple(sorted(edge)) for edge in learned.edges}


@pytest.mark.ci
def test_a_saved_fit_with_a_given_graph_predicts_the_same(tmp_path):
    frame, y, truth = wine()
    graph = joined_by_class(truth[:150], 0.2)
    fit = ViewsLDSClassifier(**QUICK).fit(frame[:150], y[:150], adjacency=graph)
    fit.save(tmp_path / "one")
    loaded = ViewsLDSClassifier.load(tmp_path / "one")
    assert loaded.view_coefficients_ == fit.view_coefficients_
    assert np.array_equal(loaded.predict_proba(frame[150:]), fit.predict_proba(frame[150:]))
    loaded.save(tmp_path / "two")  # the graph goes along
    again = ViewsLDSClassifier.load(tmp_path / "two")
    assert np.array_equal(again.predict_proba(frame[150:]), fit.predict_proba(frame[150:]))


def test_coefficients_of_a_loaded_fit(fitted, tmp_path):
    fitted.save(tmp_path)
    assert ViewsLDSClassifier.load(tmp_path).view_coefficients_ == fitted.view_coefficients_


def test_a_k_of_ones_own_is_not_cut():
    frame, y, _ = wine()
    with pytest.raises(ValueError, match=r"n_neighbors must be .* rows \(178\)"):
        ViewsLDSClassifier(**{**QUICK, "n_neighbors": 178}).fit(frame, y)
    few = np.concatenate([np.flatnonzero(y == name)[:6] for name in sorted(set(y[:45]))])
    ViewsLDSClassifier(**{**QUICK, "n_neighbors": 20}).fit(frame.iloc[few], y[few])


def test_equal_rows_are_told_of():
    with pytest.warns(UserWarning, match="the same for every row"):
        ViewsLDSClassifier(**QUICK).fit(np.ones((20, 2)), np.arange(20) % 2)
