"""Options of the methods: names, kinds, ranges, defaults, and who has which."""

import dataclasses
import inspect
import json

import numpy as np
import pytest

from lds import LDSClassifier, ThesisLDSClassifier
from lds.structure.methods.base import Method
from lds.structure.methods.committee import Committee
from lds.structure.methods.registry import METHODS, method_of
from lds.structure.methods.thesis import Thesis
from lds.structure.options import option_fields

BOTH = pytest.mark.parametrize("method", [Committee, Thesis], ids=lambda method: method.name)

THESIS_ONLY = [
    ("backbone", "GCNConv"),
    ("connected", True),
    ("estimator", "reinmax"),
    ("learn_inner_lr", 0.1),
    ("batch_nodes", 8),
    ("support", "all"),
    ("pairs_per_node", 9),
    ("grow_every", 1),
]
DEFAULT_ONLY = [
    ("agreement", 0.5),
    ("distillation", 0.5),
    ("max_nodes", 9),
    ("metric_rank", 1),
    ("refits", 2),
    ("refit_steps", 20),
    ("tables", "committee"),
]
NEEDS = {"batch_nodes": {"support": "sparse"}}
"""What an option needs beside it."""


# Ranges and kinds


@pytest.mark.parametrize(
    ("method", "option", "value"),
    [
        (Thesis, "truncation", -1),
        (Thesis, "dropout", 1.0),
        (Thesis, "inner_lr", 0.0),
        (Thesis, "support", "dense"),
        (Thesis, "patience", 0),
        (Thesis, "pairs_per_node", 0),
        (Thesis, "grow_every", -1),
        (Thesis, "backbone", "MLP"),
        (Thesis, "outer_lr_decay", 1.1),
        (Thesis, "inner_lr", float("nan")),
        (Thesis, "inner_lr", float("inf")),
        (Committee, "agreement", -1.0),
        (Committee, "refit_steps", 0),
        (Committee, "metric_rank", -1),
        (Committee, "settle", -0.1),
    ],
)
def test_bad_options_are_named(method, option, value):
    with pytest.raises(ValueError, match=f"{option} must be"):
        method(**{option: value})
    with pytest.raises(ValueError, match=f"{option} must be"):
        dataclasses.replace(method(), **{option: value})


@pytest.mark.parametrize(
    ("option", "value"),
    [("n_draws", 2.5), ("max_iter", None), ("inner_lr", "x"), ("max_iter", True), ("redraw", "no")],
)
@BOTH
def test_options_of_another_kind_are_named(method, option, value):
    with pytest.raises(TypeError, match=rf"{option} must be (an? (integer|number)|True or False),"):
        method(**{option: value})


def test_a_flag_of_another_kind_is_named():
    with pytest.raises(TypeError, match="connected must be True or False, got 'no'"):
        Thesis(connected="no")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backbone": "MLP"}, "backbone must be one of gcn, GCNConv"),
        ({"backbone": "TAGConv"}, "'TAGConv' needs connected=True"),
        (
            {"backbone": "GCNConv", "estimator": "reinmax"},
            "backbone must be 'gcn' with estimator='reinmax'",
        ),
        ({"connected": True, "estimator": "disarm"}, "connected must be False with"),
        ({"learn_inner_lr": 0.1, "estimator": "disarm"}, "learn_inner_lr must be 0 with"),
        ({"batch_nodes": 8}, "batch_nodes must be 0 with support='all'; it needs 'sparse'"),
    ],
)
def test_options_that_exclude_each_other_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Thesis(**options)


@BOTH
def test_an_outer_objective_of_weight_0_is_refused(method):
    with pytest.raises(ValueError, match="label_weight and denoising_weight must not both be 0"):
        method(label_weight=0.0)
    assert method(label_weight=0.0, denoising_weight=1.0).denoising_weight == 1


# Names


@pytest.mark.parametrize(
    ("mine", "other", "option", "value"),
    [
        *(("default", "thesis", *each) for each in THESIS_ONLY),
        *(("thesis", "default", *each) for each in DEFAULT_ONLY),
    ],
)
def test_an_option_of_the_other_method_is_refused_with_the_method_that_has_it(
    mine, other, option, value
):
    sentence = f"the method '{mine}' has no option '{option}'; method '{other}' has it"
    with pytest.raises(TypeError, match=f"^{sentence}$"):
        method_of(mine, **{option: value})
    with pytest.raises(TypeError, match=f"^{sentence}$"):
        METHODS[mine](**{option: value})
    found = method_of(other, **{option: value, **NEEDS.get(option, {})})
    assert getattr(found, option) == value


def test_the_lists_above_are_complete():
    default, thesis = set(option_fields(Committee)), set(option_fields(Thesis))
    assert {name for name, _ in THESIS_ONLY} == thesis - default
    assert {name for name, _ in DEFAULT_ONLY} == default - thesis


@BOTH
def test_an_option_that_no_method_has_is_refused_with_the_names_there_are(method):
    with pytest.raises(TypeError, match=r"there is no option 'depth'; there are .*inner_lr, "):
        method(depth=3)


def test_methods_go_by_name():
    assert list(METHODS) == ["default", "thesis", "views"]
    assert method_of() == Committee()
    assert method_of("thesis") == Thesis()
    assert method_of(n_neighbors=4, dropout=0.1) == Committee(n_neighbors=4, dropout=0.1)
    with pytest.raises(ValueError, match=r"method must be one of .*'views', got 'magic'"):
        method_of("magic")


# Values


@BOTH
def test_a_method_is_a_value(method):
    one, same, other = method(), method(), method(max_iter=3)
    assert one == same
    assert hash(one) == hash(same)
    assert one != other
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.max_iter = 3
    assert Committee() != Thesis()


@BOTH
def test_to_dict_makes_the_method_again_through_json(method):
    for made in (method(), method(inner_lr=0.02, max_iter=3, redraw=True), method().frozen()):
        kept = json.loads(json.dumps(made.to_dict()))
        assert list(kept) == [field.name for field in dataclasses.fields(method)]
        assert method_of(method.name, **kept) == made


@BOTH
def test_every_option_has_help_and_a_default_in_its_range(method):
    for name, field in option_fields(method, user=False).items():
        within = field.metadata["within"]
        assert len(field.metadata["help"]) > 10, name
        assert not field.metadata["help"].endswith("."), f"{name}: the docstring adds a full stop"
        assert within is None or within.holds(field.default), name


@BOTH
def test_update_edges_is_of_the_control_alone(method):
    assert "update_edges" not in option_fields(method)
    frozen = method().frozen()
    assert (method().update_edges, frozen.update_edges) == (True, False)
    assert isinstance(frozen, Method)
    assert isinstance(method().control(), Thesis)


# Estimators


@pytest.mark.parametrize(
    ("method", "classifier"), [(Committee, LDSClassifier), (Thesis, ThesisLDSClassifier)]
)
def test_defaults_of_the_estimators_are_those_of_the_methods(method, classifier):
    signature = dict(inspect.signature(classifier).parameters)
    options = option_fields(method)
    assert [name for name in signature if name in options] == list(options)
    for name, field in options.items():
        default = signature[name].default
        assert (default, type(default)) == (field.default, type(field.default)), name
        assert signature[name].annotation == field.type, name
    others = set(signature) - set(options) - {"n_jobs"}  # not of every class
    assert others == {
        "class_weight",
        "categorical_features",
        "random_state",
        "checkpoint",
        "resume",
        "device",
        "verbose",
    }
    assert classifier()._method() == method()
    for name in signature:
        assert f"\n    {name}: " in classifier.__doc__


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("n_neighbors", np.int64(5)),
        ("outer_lr", np.float32(0.5)),
        ("outer_lr", 1),
        ("redraw", np.True_),
    ],
)
def test_numbers_of_numpy_become_plain(name, given):
    found = Thesis(**{name: given})
    plain = getattr(found, name)
    assert type(plain) is option_fields(Thesis)[name].type
    assert plain == given
    assert json.loads(json.dumps(found.to_dict()))[name] == plain


def test_a_number_that_no_float_can_hold_is_refused():
    with pytest.raises(ValueError, match=r"outer_lr must be at most 1\.8e308, got a larger number"):
        Thesis(outer_lr=10**400)
