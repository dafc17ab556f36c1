"""Which method learns from a table or a graph when nobody names one, and how that is kept."""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from torch_geometric.data import Data

from lds import LDSClassifier, LDSSearch, ViewsLDSClassifier, learn_structure
from lds.run_folder import load_settings
from lds.structure.methods.committee import Committee
from lds.structure.methods.views import Views

FEW = {"max_inner": 10, "refit_steps": 10, "max_iter": 1}


def table(n=48):
    rng = np.random.default_rng(0)
    truth = np.arange(n) % 2
    x = rng.standard_normal((n, 3)) + 3 * truth[:, None]
    y = np.where(np.arange(n) < 16, truth, -1)
    return x, y, truth


@pytest.fixture(scope="module")
def fitted():
    x, y, _ = table()
    return LDSClassifier(random_state=0).fit(x, y)


def ring(n):
    return np.eye(n, k=1) + np.eye(n, k=-1)


@pytest.mark.ci
def test_a_table_goes_to_learned_views(fitted):
    x, y, truth = table()
    assert fitted.learned_.method == Views()
    assert (fitted.transduction_ == truth).mean() >= 0.95
    same = ViewsLDSClassifier(random_state=0).fit(x, y)
    assert np.array_equal(same.label_distributions_, fitted.label_distributions_)


@pytest.mark.parametrize("case", ["graph", "roles", "option", "tables"])
def test_a_graph_roles_or_an_option_go_to_the_committee(case):
    x, y, _ = table()
    options = {"option": {"dropout": 0.4}, "tables": {"tables": "committee"}}.get(case, {})
    more = {
        "graph": {"adjacency": ring(48)},
        "roles": {"validation": np.arange(4), "stopping": np.arange(4, 8)},
    }
    found = LDSClassifier(**FEW, **options).fit(x, y, **more.get(case, {}))
    assert isinstance(found.learned_.method, Committee)
    if case in more:
        assert Committee().for_problem(found.learned_.problem) == Committee()  # without FEW


def test_the_frozen_control_of_a_table_is_that_of_views(fitted):
    problem = fitted.learned_.problem
    assert Committee().for_problem(problem) == Views()
    assert Committee().frozen().for_problem(problem) == Views().frozen()
    assert Committee(tables="committee").for_problem(problem) == Committee(tables="committee")
    with pytest.raises(ValueError, match="tables must be one of 'views', 'committee'"):
        Committee(tables="trees")


@pytest.mark.ci
def test_a_saved_table_is_read_back(fitted, tmp_path):
    x, _, _ = table()
    fitted.save(tmp_path)
    assert load_settings(tmp_path)["method"] == "views"
    expected = fitted.predict_proba(x + 0.1)
    for cls in (ViewsLDSClassifier, LDSClassifier):
        loaded = cls.load(tmp_path)
        assert np.array_equal(loaded.predict_proba(x + 0.1), expected)
    again = clone(loaded)
    assert again.get_params() == LDSClassifier(random_state=0).get_params()


def test_views_with_other_options_are_read_by_their_own_class(tmp_path):
    x, y, _ = table()
    ViewsLDSClassifier(n_trees=7, max_iter=2, random_state=0).fit(x, y).save(tmp_path)
    with pytest.raises(ValueError, match="ViewsLDSClassifier"):
        LDSClassifier.load(tmp_path)


@pytest.mark.ci
def test_data_without_edges_and_validation_nodes_goes_to_views():
    x, y, truth = table()
    data = Data(x=torch.tensor(x), y=torch.tensor(truth), train_mask=torch.tensor(y >= 0))
    assert learn_structure(data).learned.method == Views()
    data.val_mask = torch.arange(48) >= 40
    assert isinstance(learn_structure(data, **FEW).learned.method, Committee)


@pytest.mark.ci
def test_a_search_compares_settings_of_one_method():
    """The default's own value of an option is a setting like the others."""
    x, y, _ = table()
    few = LDSClassifier(refit_steps=10, max_iter=1)
    search = LDSSearch({"max_inner": [10, 100], "max_iter": [1]}, few, seeds=(0,)).fit(x, y)
    assert isinstance(search.best_estimator_.learned_.method, Committee)


@pytest.mark.slow
def test_a_search_over_the_default_is_of_the_committee():
    x, y, _ = table()
    whole = LDSSearch({"outer_lr": [0.1]}, seeds=(0,), refit=False).fit(x, y)
    expected = LDSClassifier(tables="committee", random_state=0).fit(x, y)
    assert whole.best_score_ == expected.history_[-1].stopping_accuracy
