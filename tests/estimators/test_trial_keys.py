"""The key of a trial, and a search that fits no best setting."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.exceptions import NotFittedError

from lds import LDSSearch, ThesisLDSClassifier, ViewsLDSClassifier
from lds.estimators.trial_keys import key_of

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def test_a_device_is_its_text_and_what_has_no_key_is_named_by_its_owner():
    given = ThesisLDSClassifier(device=torch.device("cpu"))
    setting = {"n_neighbors": 3}
    assert key_of("", given, setting, 0) == key_of("", ThesisLDSClassifier(), setting, 0)
    assert key_of("", given, {"device": torch.device("cpu")}, 0) == key_of("", given, {}, 0)
    odd = ThesisLDSClassifier(dropout=[0.5])
    with pytest.raises(TypeError, match="the estimator's dropout must hold numbers"):
        key_of("", odd, setting, 0)
    with pytest.raises(TypeError, match=r"param_space\['dropout'\] must hold numbers"):
        key_of("", given, {"dropout": [0.5]}, 0)


def test_the_number_of_processes_makes_no_other_trial():
    keys = {key_of("", ViewsLDSClassifier(n_jobs=n), {}, 0) for n in (None, 1, 2)}
    assert len(keys) == 1


@pytest.mark.parametrize("refit", [True, False])
def test_a_search_predicts_where_it_fits_the_best_setting(refit):
    quick = ThesisLDSClassifier(n_neighbors=3, max_inner=10, max_iter=1, device=torch.device("cpu"))
    x = np.random.default_rng(0).standard_normal((20, 2))
    x = pd.DataFrame(x, columns=["a", "b"])
    search = LDSSearch({"n_neighbors": [3]}, quick, seeds=(0,), refit=refit)
    with pytest.raises(NotFittedError, match="not fitted yet"):
        search.predict(x)
    search.fit(x, np.repeat([0, 1], 10))
    assert hasattr(search, "n_features_in_") == refit
    if refit:
        assert search.feature_names_in_.tolist() == ["a", "b"]
        return
    for call in (search.predict, search.predict_proba):
        with pytest.raises(NotFittedError, match=rf"refit must be True for {call.__name__}, got"):
            call(x)
