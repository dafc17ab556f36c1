"""Parameters of the two classifiers: each has its own default and reaches the method."""

import inspect
import pydoc
from numbers import Real

import pytest
from sklearn.base import clone

from lds import ThesisLDSClassifier
from lds.structure.options import option_fields
from tests.estimators.options import CLASSIFIERS

RESTARTS = {
    "n_neighbors": 7,
    "metric": "euclidean",
    "hidden_channels": 8,
    "dropout": 0.25,
    "weight_decay": 0.01,
    "inner_lr": 0.02,
    "outer_lr": 0.3,
    "outer_lr_decay": 0.9,
    "truncation": 3,
    "n_draws": 4,
    "inner_tol": 0.01,
    "inner_patience": 7,
    "max_inner": 50,
    "patience": 3,
    "max_iter": 3,
    "label_weight": 0.5,
    "denoising_weight": 0.5,
    "settle": 0.1,
}
OTHER = {
    "default": {
        **RESTARTS,
        "redraw": False,
        "agreement": 0.5,
        "distillation": 0.5,
        "max_nodes": 9,
        "metric_rank": 2,
        "refits": 2,
        "refit_steps": 20,
        "tables": "committee",
    },
    "thesis": {
        **RESTARTS,
        "redraw": True,
        "backbone": "GATv2Conv",
        "learn_inner_lr": 0.1,
        "support": "sparse",
        "pairs_per_node": 5,
        "grow_every": 2,
        "batch_nodes": 4,
        "connected": True,
        "estimator": "disarm",
    },
}
"""A value of every option that is not its default."""

NEEDED = {"batch_nodes": {"support": "sparse"}}
"""Options that another option needs."""

AROUND = {
    "class_weight": None,
    "categorical_features": "from_dtype",
    "random_state": None,
    "checkpoint": None,
    "resume": False,
    "n_jobs": None,
    "device": "cpu",
    "verbose": False,
}
"""Parameters that are no options of a method, with their defaults."""


def around_a_fit(cls):
    """Those of a class: the thesis's method has no work to share among processes."""
    alone = cls is ThesisLDSClassifier
    return {name: default for name, default in AROUND.items() if not (alone and name == "n_jobs")}


each_class = pytest.mark.parametrize("cls", CLASSIFIERS.values())
each_option = pytest.mark.parametrize(
    ("cls", "name"),
    [(cls, name) for method, cls in CLASSIFIERS.items() for name in OTHER[method]],
)


def parameters(cls):
    found = dict(inspect.signature(cls).parameters)
    assert next(iter(found)) == "n_neighbors", "which may be given by position"
    return found


@each_class
def test_parameters_are_the_options_of_the_method_and_those_around_a_fit(cls):
    options = option_fields(cls.method)
    around = around_a_fit(cls)
    assert list(parameters(cls)) == [*options, *around]
    assert set(OTHER[cls.method.name]) == set(options), "else a test here misses an option"
    for name in around:
        assert parameters(cls)[name].default == around[name]


@each_option
def test_a_default_in_the_signature_is_that_of_the_method(cls, name):
    parameter, field = parameters(cls)[name], option_fields(cls.method)[name]
    assert parameter.default is not None
    assert type(parameter.default) is field.type, "no None, no string for a number"
    assert parameter.annotation is field.type
    assert parameter.default == field.default
    assert getattr(cls()._method(), name) == field.default
    assert isinstance(parameter.default, Real | str)


@each_option
def test_changing_a_parameter_changes_that_option_of_the_method(cls, name):
    needed = NEEDED.get(name, {})
    value = OTHER[cls.method.name][name]
    before = cls(**needed)._method().to_dict()
    assert before[name] != value
    clf = cls(**needed, **{name: value})
    for one in (clf, clone(clf), cls(**needed).set_params(**{name: value})):
        assert one._method().to_dict() == before | {name: value}


@each_class
def test_a_parameter_of_the_other_class_names_that_class(cls):
    (other,) = set(CLASSIFIERS.values()) - {cls}
    for name in parameters(other).keys() - parameters(cls).keys():
        way = f"^{cls.__name__} has no parameter '{name}'; {other.__name__} has it$"
        with pytest.raises(TypeError, match=way):
            cls(**{name: (AROUND | OTHER[other.method.name])[name]})


@each_class
def test_an_unknown_parameter_is_refused_with_the_known_ones(cls):
    with pytest.raises(TypeError, match=r"has no parameter 'n_neighbours'; it has .*n_neighbors"):
        cls(n_neighbours=3)


@each_class
def test_help_has_a_line_for_every_parameter(cls):
    lines = [line.strip() for line in pydoc.plaintext.document(cls).splitlines()]
    lines = [line.removeprefix("|").strip() for line in lines]
    text = " ".join(lines)
    for name, field in option_fields(cls.method).items():
        assert sum(line.startswith(f"{name}: ") for line in lines) == 1, name
        assert f"{name}: {field.metadata['help']}" in text
        if field.metadata["within"] is not None:
            assert f"{field.metadata['help']} ({field.metadata['within'].words})." in text
    for name in around_a_fit(cls):
        assert sum(line.startswith(f"{name}: ") for line in lines) >= 1, name


@pytest.mark.parametrize("method", CLASSIFIERS)
def test_a_negative_random_state_is_named_before_any_work(method):
    x, y = [[float(k), float(k % 3)] for k in range(20)], [k % 2 for k in range(20)]
    with pytest.raises(ValueError, match="random_state must be 0 or more, got -1"):
        CLASSIFIERS[method](random_state=-1).fit(x, y)
