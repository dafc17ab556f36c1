"""What members and coefficients say: their mean is the prediction, and a folder keeps them."""

import numpy as np
import pytest

from lds import LDSClassifier, ThesisLDSClassifier, ViewsLDSClassifier
from lds.run_folder import load_account, load_run
from lds.structure.account import Account, account

X = np.random.default_rng(0).standard_normal((60, 4)) + 2 * np.eye(4)[np.arange(60) % 3]
Y = np.where(np.arange(60) < 36, np.arange(60) % 3, -1)
QUICK = {
    LDSClassifier: {"max_iter": 2, "max_inner": 20, "refit_steps": 20, "n_neighbors": 5},
    ViewsLDSClassifier: {"max_iter": 3, "n_trees": 20},
    ThesisLDSClassifier: {"max_iter": 2, "patience": 2, "max_inner": 20, "n_neighbors": 5},
}


@pytest.fixture(scope="module", params=[LDSClassifier, ViewsLDSClassifier])
def fitted(request, tmp_path_factory):
    clf = request.param(random_state=0, **QUICK[request.param]).fit(X, Y)
    folder = tmp_path_factory.mktemp("account") / "run"
    clf.save(folder)
    return clf, folder, account(clf.learned_)


@pytest.mark.ci
def test_the_weighted_mean_of_the_members_is_the_prediction(fitted):
    clf, _, found = fitted
    assert len(found.members) > 2
    assert sum(weight for weight, _ in found.members.values()) == pytest.approx(1, abs=1e-5)
    for _, each in found.members.values():
        np.testing.assert_allclose(each.sum(1), 1, atol=1e-5)
    mean = sum(weight * each for weight, each in found.members.values())
    # Of the default the prediction is a mean over drawn graphs, and the members read their mean.
    exact = isinstance(clf, ViewsLDSClassifier)
    np.testing.assert_allclose(mean, clf.label_distributions_, atol=1e-6 if exact else 0.15)
    assert (mean.argmax(1) == clf.label_distributions_.argmax(1)).mean() > 0.9


def test_a_folder_keeps_it_and_a_fit_read_back_says_the_same(fitted):
    clf, folder, found = fitted
    kept, again = (
        Account.from_arrays(load_account(folder)),
        account(type(clf).load(folder).learned_),
    )
    for other, tolerance in ((kept, 1e-3), (again, 2e-3)):
        assert list(other.members) == list(found.members)
        assert list(other.coefficients) == list(found.coefficients)
        for name, (weight, each) in found.members.items():
            assert other.members[name][0] == pytest.approx(weight)
            np.testing.assert_allclose(other.members[name][1], each, atol=tolerance)
        for name, pair in found.coefficients.items():
            assert other.coefficients[name] == pytest.approx(pair)


def test_coefficients_start_where_the_method_says(fitted):
    clf, _, found = fitted
    frozen = type(clf)(random_state=0, **QUICK[type(clf)])
    if isinstance(clf, ViewsLDSClassifier):
        assert [start for start, _ in found.coefficients.values()][1:] == [1.0] * 7
        return
    frozen.set_params(outer_lr=1e-12, agreement=0.0)
    for name, (start, learned) in account(frozen.fit(X, Y).learned_).coefficients.items():
        assert learned == pytest.approx(start, abs=1e-6), name
        assert found.coefficients[name][0] == start


def test_a_method_without_members_says_nothing(tmp_path):
    clf = ThesisLDSClassifier(random_state=0, **QUICK[ThesisLDSClassifier])
    with pytest.warns(Warning, match="max_iter"):
        clf.fit(X, Y)
    assert account(clf.learned_) == Account() or not account(clf.learned_).members
    clf.save(tmp_path / "run")
    assert load_account(tmp_path / "run") == {}
    assert load_run(tmp_path / "run").weights


def test_a_row_is_explained_with_members_and_cells(fitted):
    clf, _, found = fitted
    said = clf.explain(7)
    assert said.cells == pytest.approx({str(k): X[7, k] for k in range(4)}, rel=1e-5)
    assert [vote.weight for vote in said.members] == sorted(
        (weight for weight, _ in found.members.values()), reverse=True
    )
    for vote in said.members:
        each = found.members[vote.name][1][7]
        assert vote.prediction == each.argmax()
        assert vote.probability == pytest.approx(each.max(), abs=1e-6)
    assert f"member {said.members[0].name}" in repr(said)
    assert "cell 3" in said._repr_html_()
