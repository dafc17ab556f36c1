"""Weights of rows and classes: oracles are repeated rows, labels left out, and scikit-learn."""

import dataclasses

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from sklearn.base import clone
from sklearn.metrics import accuracy_score, log_loss, recall_score
from sklearn.utils.class_weight import compute_sample_weight
from torch_geometric.data import Data

from lds import (
    LDSClassifier,
    LDSSearch,
    LearnStructure,
    ThesisLDSClassifier,
    ViewsLDSClassifier,
    learn_structure,
)
from lds.estimators.labels import accuracy, split_roles
from lds.estimators.weights import weigh_rows
from lds.graphs.batch import weighted_graph
from lds.nn.discriminant import Discriminant, fit_discriminant
from lds.nn.features import DenseFeatures, SparseFeatures
from lds.nn.gcn import GCN
from lds.nn.label_pagerank import LabelPageRank, fit_label_pagerank
from lds.structure.methods import members
from lds.structure.predict import score
from lds.structure.problem import Problem
from lds.structure.side_by_side.window import WindowRows
from lds.structure.task import Task

SMALL = {"n_neighbors": 4, "max_inner": 15, "max_iter": 2, "hidden_channels": 4}
SMALL |= {"n_draws": 2, "refit_steps": 10, "refits": 1}
NONE = torch.zeros(0, dtype=torch.int64)


def without_edges(n_nodes: int):
    return weighted_graph(NONE, NONE, torch.zeros(0, dtype=torch.float64), n_nodes)


def table(n: int = 60, seed: int = 0):
    """Three blobs, a third of the labels unknown."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 3
    x = rng.normal(size=(n, 4)) + 1.5 * np.eye(4)[y]
    return x, np.where(rng.random(n) < 0.3, -1, y), y


def fits(**weights):
    x, y, _ = table()
    few = ViewsLDSClassifier(n_neighbors=4, n_trees=5, n_folds=3, max_iter=2, random_state=0)
    classifiers = few, LDSClassifier(**SMALL, random_state=0)
    more = {"sample_weight": weights.pop("sample_weight", None)}
    return [clf.set_params(**weights).fit(x, y, **more) for clf in classifiers]


@pytest.mark.parametrize("class_weight", ["balanced", {"a": 2.0, "b": 0.5}])
def test_weights_are_scikit_learns_with_mean_1(class_weight):
    classes, codes = np.array(["a", "b", "c"]), np.array([0, 0, 0, 1, 1, 2, -1])
    names = np.append(classes, "")[codes]
    given = np.arange(1.0, 8)
    expected = given * compute_sample_weight(
        class_weight if isinstance(class_weight, str) else class_weight | {"c": 1.0}, names
    )
    if class_weight == "balanced":  # every class has the same total, weights of rows included
        totals = np.bincount(codes[:6], given[:6])
        expected = given / totals[codes]
    _, _, found = weigh_rows(codes, classes, given, class_weight)
    np.testing.assert_allclose(found[:6], expected[:6] / expected[:6].mean(), rtol=1e-12)
    assert found[6] == 1


@pytest.mark.ci
def test_equal_weights_change_nothing():
    plain = fits()
    for one, other in zip(plain, fits(sample_weight=np.full(60, 3.5)), strict=True):
        assert other.learned_.problem.weights is None
        np.testing.assert_array_equal(one.label_distributions_, other.label_distributions_)


@pytest.mark.parametrize(
    "weights",
    [
        torch.tensor([1.0, 2, 3, 2], requires_grad=True),
        torch.tensor([1, 2, 3, 2]).bfloat16(),
        np.array([1, 2, np.float32(3), 2.0], dtype=object),
    ],
    ids=["grad", "bfloat16", "objects"],
)
def test_weights_of_any_kind_hold_the_same_numbers(weights):
    codes, classes = np.array([0, 1, 0, 1]), np.arange(2)
    found = weigh_rows(codes, classes, weights, None)[2]
    assert found.tolist() == weigh_rows(codes, classes, [1, 2, 3, 2], None)[2].tolist()
    assert accuracy(codes, [0, 0, 0, 1], weights) == 6 / 8


@pytest.mark.ci
def test_weight_0_takes_a_label_away():
    x, y, _ = table()
    lost = np.flatnonzero(y >= 0)[:7]
    weight = np.ones(60)
    weight[lost] = 0
    for one, other in zip(
        fits(sample_weight=weight),
        [clf.fit(x, np.where(weight > 0, y, -1)) for clf in fits()],
        strict=True,
    ):
        np.testing.assert_array_equal(one.label_distributions_, other.label_distributions_)


def test_losses_and_scores_are_those_of_repeated_rows():
    torch.manual_seed(0)
    labels, rows = torch.arange(8) % 3, torch.tensor([0, 1, 2, 4, 7])
    weights = torch.tensor([3.0, 1, 2, 9, 1, 9, 9, 2], dtype=torch.float64)
    repeated = rows.repeat_interleave(weights[rows].long())
    features = DenseFeatures(torch.randn(8, 4, dtype=torch.float64))
    task = Task(features, labels, GCN(4, 3, 3), 0.1, weights=weights)
    plain = dataclasses.replace(task, weights=None)
    params = task.network.init(torch.Generator().manual_seed(0), torch.float64, torch.device("cpu"))

    class Edges:
        def draw(self):
            return without_edges(8)

    hyper = {"edges": Edges()}
    for of_task in ("inner", "outer"):
        torch.manual_seed(1)  # of dropout
        found = getattr(task, of_task)(rows)(params, hyper)
        torch.manual_seed(1)
        expected = getattr(plain, of_task)(repeated)(params, hyper)
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)
    logits = torch.randn(2, 8, 3, dtype=torch.float64)
    nodes = [rows.numpy(), rows[:3].numpy()]
    many = [repeated.numpy(), rows[:3].repeat_interleave(weights[rows[:3]].long()).numpy()]
    torch.testing.assert_close(
        WindowRows(nodes, labels, weights, torch.float64).mean_loss(logits),
        WindowRows(many, labels, None, torch.float64).mean_loss(logits),
        rtol=1e-12,
        atol=0,
    )
    p, counts = logits[0].softmax(1), weights[rows].numpy()
    found, truth = score(p, labels, rows, weights), labels[rows].numpy()
    assert found.accuracy == pytest.approx(
        accuracy_score(truth, p[rows].argmax(1).numpy(), sample_weight=counts)
    )
    expected = log_loss(truth, p[rows].numpy(), sample_weight=counts, labels=range(3))
    assert found.loss == pytest.approx(expected)
    assert members.log_loss(p[rows].numpy(), truth, counts / counts.mean()) == pytest.approx(
        expected
    )


@pytest.mark.parametrize("kept", [DenseFeatures, SparseFeatures])
def test_closed_forms_are_those_of_repeated_rows(kept):
    rng = np.random.default_rng(0)
    y = torch.arange(12) % 3
    x = rng.normal(size=(12, 4)) + 2 * np.eye(4)[y]
    counts = torch.from_numpy(rng.integers(1, 4, 12)).double()

    def features(rows):
        if kept is SparseFeatures:
            return SparseFeatures(sp.csr_array(x[rows]), torch.float64, torch.device("cpu"))
        return DenseFeatures(torch.from_numpy(x[rows]))

    once = np.arange(12)
    often = np.repeat(once, counts.long())
    network = Discriminant(4, 3, neighbors=False)
    weighted, repeated = (
        fit_discriminant(
            network, features(rows), y[rows], torch.arange(len(rows)), without_edges(len(rows)), w
        )["W"]
        for rows, w in ((once, counts), (often, None))
    )
    # All rows are labelled, so W is that of linear discriminant analysis, up to a factor and to a
    # vector that all classes share: the centre of the rows is another.
    first, second = (w - w.mean(1, keepdim=True) for w in (weighted, repeated))
    torch.testing.assert_close(first / first.norm(), second / second.norm(), rtol=1e-9, atol=1e-12)
    start = fit_label_pagerank(LabelPageRank(3), features(once), y, torch.arange(12), counts)
    expected = counts / torch.bincount(y, counts)[y]
    torch.testing.assert_close(start["labels"].sum(1), expected, rtol=1e-12, atol=0)


def test_column_squares_count():
    x, counts = np.random.default_rng(0).normal(size=(5, 3)), torch.arange(5.0)
    expected = torch.from_numpy(np.arange(5) @ x**2)
    sparse = SparseFeatures(sp.csr_array(x), torch.float64, torch.device("cpu"))
    for found in (DenseFeatures(torch.from_numpy(x)), sparse):
        torch.testing.assert_close(found.column_squares(counts), expected)


@pytest.mark.ci
def test_balanced_classes_find_more_of_a_rare_class():
    rng = np.random.default_rng(1)
    truth = (rng.random(400) < 0.12).astype(int)
    x = rng.normal(size=(400, 3)) + 1.3 * truth[:, None] * np.array([1, 0.5, 0])
    y = np.where(rng.random(400) < 0.5, truth, -1)
    later = y < 0
    for clf in (
        ViewsLDSClassifier(n_trees=15, n_folds=2, max_iter=2, random_state=0),
        LDSClassifier(**SMALL | {"refit_steps": 60}, random_state=0),
    ):
        found = [clone(clf).set_params(class_weight=w).fit(x, y) for w in (None, "balanced")]
        recall = [recall_score(truth[later], one.transduction_[later]) for one in found]
        assert recall[1] > recall[0] + 0.15, recall


@pytest.mark.ci
def test_weights_reach_searches_transforms_and_folders(tmp_path):
    x, y, _ = table()
    weight = np.where(np.arange(60) < 30, 5.0, 1.0)
    views, committee = fits(sample_weight=weight, class_weight={0: 2.0})
    for k, clf in enumerate((views, committee)):
        assert clf.learned_.problem.weights is not None
        clf.save(tmp_path / str(k))
        again = type(clf).load(tmp_path / str(k))
        new = x + 0.01
        np.testing.assert_allclose(again.predict_proba(new), clf.predict_proba(new), atol=1e-6)
    search = LDSSearch({"n_neighbors": [4]}, committee.set_params(class_weight=None), seeds=(0,))
    scores = [
        search.fit(x, y, sample_weight=w).best_score_ for w in (None, np.where(y == 1, 9.0, 0.1))
    ]
    assert scores[0] != scores[1]
    train = (y >= 0) & (np.arange(60) % 2 == 0)
    masks = {"train_mask": torch.from_numpy(train), "val_mask": torch.from_numpy((y >= 0) & ~train)}
    data = Data(x=torch.from_numpy(x).float(), y=torch.from_numpy(y), **masks)
    found = learn_structure(data, class_weight="balanced", sample_weight=weight, **SMALL)
    assert found.learned.problem.weights.max() > 1
    assert "balanced" in repr(LearnStructure(class_weight="balanced", **SMALL))
    with pytest.raises(ValueError, match="sample_weight must be above 0 at every train"):
        learn_structure(data, sample_weight=np.zeros(60) + (np.arange(60) > 20), **SMALL)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"sample_weight": np.ones(5)}, r"sample_weight must be one number a row, \(60,\), got"),
        ({"sample_weight": np.full(60, "a", dtype=object)}, "be one number a row, .* got object"),
        ({"sample_weight": -np.ones(60)}, "must be finite and at least 0, got -1 at row "),
        ({"sample_weight": np.full(60, np.nan)}, "must be finite and at least 0, got nan at row "),
        ({"sample_weight": np.zeros(60)}, "sample_weight must be above 0 for at least 4 labelled"),
        ({"class_weight": "even"}, "class_weight must be 'balanced', a mapping"),
        ({"class_weight": {7: 1.0}}, "class_weight has the class 7, which no labelled row has"),
        (
            {"class_weight": {0: 0.0}},
            "class_weight must be finite and above 0, got 0.0 for class 0",
        ),
    ],
)
def test_wrong_weights_are_refused_in_a_sentence(given, message):
    x, y, _ = table()
    more = {name: given[name] for name in given if name == "sample_weight"}
    clf = ThesisLDSClassifier(class_weight=given.get("class_weight"))
    with pytest.raises(ValueError, match=message):
        clf.fit(x, y, **more)


def test_a_problem_refuses_weights_of_rows_that_learn():
    x, y, _ = table()
    split = split_roles(y, [0, 1, 2], None, None, 0)
    with pytest.raises(ValueError, match="weights must be finite and above 0 at labelled rows"):
        Problem(x, y, split, weights=np.zeros(60))
    with pytest.raises(ValueError, match=r"weights must have one entry a row of features, \(60,\)"):
        Problem(x, y, split, weights=np.ones(3))


def test_weights_too_far_apart_are_refused_and_large_ones_are_not():
    x, y, _ = table()
    far = np.where(np.arange(60) < 30, 1e-60, 1.0)
    clf = LDSClassifier(**SMALL, random_state=0)
    with pytest.raises(ValueError, match="must differ by a factor of at most 1e\\+08, got"):
        clf.fit(x, y, sample_weight=far)
    with pytest.raises(ValueError, match="must differ by a factor of at most 1e\\+08, got"):
        clone(clf).set_params(class_weight={0: 1e-60}).fit(x, y)
    wide = 1e308 * np.linspace(0.1, 1, 60)
    one, other = (clone(clf).fit(x, y, sample_weight=w) for w in (wide, wide / 1e308))
    np.testing.assert_allclose(one.label_distributions_, other.label_distributions_, atol=1e-4)
