"""The classifiers among scikit-learn's tools: common checks, pipelines, cross-validation."""

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.datasets import load_wine
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler, StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from lds import LDSClassifier, ThesisLDSClassifier
from tests.estimators.options import CLASSIFIERS, classifier, run_check

QUICK = {"max_inner": 20, "max_iter": 3, "patience": 2, "random_state": 0}
SHORT = {**QUICK, "refit_steps": 4}
TINY = {"n_neighbors": 3, "max_inner": 20, "max_iter": 1, "n_draws": 2, "random_state": 0}


REPEATED = (
    "a row repeated is one more node of the graph, with neighbours of its own; a weight is what "
    "its label counts"
)


def expected_failures(estimator):
    return {
        "check_sample_weight_equivalence_on_dense_data": REPEATED,
        "check_sample_weight_equivalence_on_sparse_data": REPEATED,
        "check_classifiers_classes": (
            "its labels {-1, 1} collide with -1 for unlabelled; scikit-learn exempts its own "
            "semi-supervised classes from this check by name"
        ),
    }


@pytest.mark.ci
# Some checks fit ten rows: too few labels for three roles by class, and no time to converge.
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore::UserWarning")
@parametrize_with_checks(
    [
        LDSClassifier(**TINY, hidden_channels=16, refits=1, refit_steps=10),
        ThesisLDSClassifier(**TINY),
    ],
    expected_failed_checks=expected_failures,
)
def test_common_checks(estimator, check, monkeypatch):
    run_check(estimator, check, monkeypatch)


def test_exactly_three_common_checks_fail():
    repeated, also_sparse, classes = expected_failures(None)
    assert repeated.removesuffix("dense_data") == also_sparse.removesuffix("sparse_data")
    assert classes == "check_classifiers_classes"
    x, y = np.random.default_rng(0).standard_normal((20, 2)), np.repeat([-1, 1], 10)
    with pytest.raises(ValueError, match=r"two classes or more .* of class 1"):
        LDSClassifier().fit(x, y)


def table(n_labelled=90, seed=0):
    """Wine as a data frame with string labels, None where unlabelled, shuffled."""
    bunch = load_wine(as_frame=True)
    order = np.random.default_rng(seed).permutation(178)[:150]
    frame = bunch.data.iloc[order].reset_index(drop=True)
    truth = bunch.target_names[bunch.target.to_numpy()[order]].astype(object)
    labels = truth.copy()
    labels[n_labelled:] = None
    return frame, labels, truth


@pytest.mark.ci
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_pipeline_on_a_data_frame_with_string_labels():
    frame, labels, truth = table()
    kept = slice(0, 120)  # 30 rows stay outside
    pipe = make_pipeline(StandardScaler().set_output(transform="pandas"), LDSClassifier(**SHORT))
    pipe.fit(frame[kept], labels[kept])
    clf = pipe[-1]
    assert clf.feature_names_in_.tolist() == frame.columns.tolist()
    assert clf.classes_.tolist() == ["class_0", "class_1", "class_2"]
    assert (clf.transduction_ == truth[kept])[90:].mean() > 0.85
    assert pipe.score(frame[120:], truth[120:]) > 0.85
    assert pipe.predict_proba(frame[120:]).shape == (30, 3)
    assert np.array_equal(pipe.predict(frame[kept]), clf.transduction_)
    with pytest.raises(ValueError, match="feature names"):
        clf.predict(frame[120:].rename(columns=str.upper))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_graph_is_metadata_of_fit_and_passes_through_a_pipeline():
    frame, labels, truth = table()
    same = truth[:, None] == truth[None, :]
    graph = sp.csr_array((same & ~np.eye(150, dtype=bool)).astype(float))
    noise = np.random.default_rng(0).standard_normal(frame.shape)
    pipe = make_pipeline(StandardScaler(), LDSClassifier(**SHORT))
    pipe.fit(noise, labels, ldsclassifier__adjacency=graph)
    assert (pipe[-1].transduction_ == truth)[90:].mean() > 0.9, "the classes are in the graph alone"
    request = LDSClassifier().get_metadata_routing().fit.requests
    assert set(request) == {"adjacency", "validation", "stopping", "sample_weight"}


@pytest.mark.ci
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_cross_validation_on_labelled_rows_and_a_search_over_settings():
    x, y = (part[::2] for part in load_wine(return_X_y=True))
    pipe = make_pipeline(StandardScaler(), LDSClassifier(**SHORT | {"max_iter": 1}, refits=1))
    scores = cross_val_score(pipe, x, y, cv=StratifiedKFold(2, shuffle=True, random_state=0))
    assert scores.min() > 0.9
    search = GridSearchCV(pipe, {"ldsclassifier__n_neighbors": [5, 10]}, cv=2).fit(x, y)
    assert search.best_params_["ldsclassifier__n_neighbors"] in (5, 10)
    assert search.predict(x[:4]).shape == (4,)


@pytest.mark.ci
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("method", CLASSIFIERS)
def test_sparse_features_through_a_pipeline(method):
    frame, labels, _ = table()
    x = np.where(frame > frame.median(), frame, 0)
    if method == "default":  # it takes sparse features without negative ones for words
        x = -x
    pipe = make_pipeline(MaxAbsScaler(), classifier(method, **QUICK))
    sparse = clone(pipe).fit(sp.csr_array(x), labels)
    dense = clone(pipe).fit(x, labels)
    assert np.array_equal(sparse[-1].transduction_, dense[-1].transduction_)
    assert np.array_equal(sparse.predict(sp.csr_array(x[:3])), sparse[-1].transduction_[:3])


def test_clone_copies_the_settings_alone():
    clf = ThesisLDSClassifier(n_neighbors=7, support="sparse", random_state=3)
    copy = clone(clf)
    assert copy.get_params() == clf.get_params()
    assert vars(copy) == vars(clf)
