"""The default method as a whole: determinism, resuming, what it reads, its refits."""

import dataclasses

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from sklearn.ensemble import ExtraTreesClassifier

from lds._random import mix
from lds._types import Split
from lds.bilevel.checks import NonFiniteError
from lds.edges.logistic import (
    BETAS,
    DEVIATION,
    TRUST_DEVIATION,
    LogisticEdges,
    starting_edges,
    with_agreement,
)
from lds.graphs.product import FactoredGradient
from lds.graphs.similarity import Similarity
from lds.nn.ensemble import LOG_WEIGHTS, MoreMembers, default_ensemble
from lds.nn.node_forest import N_TREES, SMALLEST, NodeForest
from lds.nn.preparation import FeaturePreparation
from lds.nn.whitening import whitened
from lds.structure.context import RunContext
from lds.structure.learn import learn
from lds.structure.methods import committee_members
from lds.structure.methods.committee_members import Member
from lds.structure.methods.committee_preparation import WHITENING, prepare
from lds.structure.methods.committee_run import AGREEMENT, COEFFICIENTS, starting_distribution
from lds.structure.methods.refit import expected_graph, weigh
from lds.structure.problem import Problem
from lds.structure.seeds import MEMBER
from lds.structure.task import Task, task_on
from tests.structure.blobs import blobs, in_units, path, words
from tests.structure.same import assert_same
from tests.structure.small import ALONE, DEFAULT, KINDS_OF_MEASUREMENTS, NETWORKS, REFITS, THESIS

CPU = torch.device("cpu")
QUICK = dataclasses.replace(DEFAULT, refit_steps=4)


def seen(x, metric):
    """Measurements as members see them."""
    return whitened(FeaturePreparation(x).transform(x), metric)


def fit(method=DEFAULT, problem=None, **options):
    return learn(blobs() if problem is None else problem, method, **options)


# As a whole


@pytest.mark.ci
@pytest.mark.parametrize("kind", [blobs, words, in_units])
def test_separable_classes_are_learned(kind):
    problem = kind()
    result = fit(dataclasses.replace(DEFAULT, refit_steps=50), problem)
    right = result.probabilities.argmax(1) == problem.labels
    assert right[problem.split.test].mean() >= 0.9
    np.testing.assert_allclose(result.probabilities.sum(1), 1, rtol=1e-5)
    theta = result.edges.probs
    assert bool(((theta >= 0) & (theta <= 1)).all())
    assert (result.mutual_information >= 0).all()


def test_a_forest_reads_measurements_that_are_not_whitened(alone_fit):
    problem, forest = alone_fit.problem, KINDS_OF_MEASUREMENTS - 1
    columns = np.float32(FeaturePreparation(problem.features).transform(problem.features))
    rows, a_stack = problem.labelled, 1  # the networks, which train as one
    number = mix(alone_fit.seed, 0, a_stack + forest - NETWORKS, MEMBER)
    trees = ExtraTreesClassifier(N_TREES, random_state=number % 2**32)
    expected = trees.fit(columns[rows], problem.labels[rows]).predict_proba(columns)
    found = alone_fit.params[f"{forest}.forest"].exp().numpy()
    np.testing.assert_allclose(found, expected, atol=2 * SMALLEST)
    assert MoreMembers.among(alone_fit.params) == MoreMembers(forest=True)


def test_words_have_no_forest():
    prepared = prepare(ALONE, words(), RunContext())
    assert not any(isinstance(kind, NodeForest) for kind in prepared.ensemble.kinds)
    assert prepared.task.columns is None


def test_the_last_record_is_of_the_refit(default_fit):
    result = default_fit
    assert len(result.history) == DEFAULT.max_iter + 1
    assert result.best == DEFAULT.max_iter
    assert result.n_restarts == DEFAULT.max_iter
    assert [record.refit for record in result.history] == DEFAULT.max_iter * [False] + [True]
    last = result.history[-1]
    assert last.improved
    assert last.iteration == DEFAULT.max_iter
    labels, stopping = result.problem.labels, result.problem.split.stopping
    right = result.probabilities.argmax(1) == labels
    assert last.stopping_accuracy == pytest.approx(right[stopping].mean())
    truth = result.probabilities[stopping, labels[stopping]]
    assert last.stopping_loss == pytest.approx(-np.log(truth).mean(), rel=1e-5)
    assert last.expected_edges == result.edges.expected_edges
    assert last.inner_steps == NETWORKS * REFITS * DEFAULT.refit_steps


def test_the_refit_reports_how_far_it_is():
    reports = []
    result = fit(on_member=lambda done, total: reports.append((done, total)))
    total = REFITS * KINDS_OF_MEASUREMENTS
    in_closed_form = [
        t * KINDS_OF_MEASUREMENTS + k
        for t in range(REFITS)
        for k in range(NETWORKS, KINDS_OF_MEASUREMENTS + 1)
    ]
    assert reports == [(k, total) for k in [0, *in_closed_form]], "networks train side by side"
    assert len(result.params[LOG_WEIGHTS]) == total


@pytest.mark.ci
def test_networks_of_a_large_graph_train_one_after_another(monkeypatch):
    monkeypatch.setattr(committee_members, "STACK_BYTES", 0)
    reports = []
    result = fit(on_member=lambda done, total: reports.append((done, total)))
    total = REFITS * KINDS_OF_MEASUREMENTS
    assert reports == [(k, total) for k in range(total + 1)]
    assert result.history[-1].inner_steps == NETWORKS * REFITS * DEFAULT.refit_steps


@pytest.mark.ci
def test_the_same_seed_gives_bitwise_the_same_run_and_another_seed_does_not(default_fit):
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    again = fit()
    assert torch.equal(torch.rand(4), expected), "nothing outside is disturbed"
    assert_same(again, default_fit)
    other = fit(seed=1)
    assert not np.array_equal(other.probabilities, default_fit.probabilities)
    assert not torch.equal(other.params[COEFFICIENTS], default_fit.params[COEFFICIENTS])


class CrashError(RuntimeError):
    pass


@pytest.mark.ci
@pytest.mark.parametrize(
    ("options", "graph"),
    [
        ({}, None),
        ({}, path()),
        ({"agreement": 0.0}, path()),
        ({"denoising_weight": 1.0, "truncation": 3}, None),
        ({"settle": 0.2}, path()),
        ({"metric_rank": 2}, None),
    ],
    ids=lambda value: (
        str(value) if isinstance(value, dict) else ["graph", "no graph"][value is None]
    ),
)
def test_a_crashed_run_goes_on_to_the_same_bits(tmp_path, options, graph):
    method, problem = dataclasses.replace(QUICK, max_iter=3, **options), blobs(graph=graph)
    whole = fit(method, problem)

    def crash(record):
        if record.iteration == 1:
            raise CrashError

    with pytest.raises(CrashError):
        fit(method, problem, checkpoint=tmp_path, on_iteration=crash)
    records = []
    resumed = fit(method, problem, checkpoint=tmp_path, resume=True, on_iteration=records.append)
    assert [record.iteration for record in records] == [1, 2], "only what was not kept runs again"
    assert_same(resumed, whole)
    if not options:  # a run that has ended
        assert_same(fit(method, problem, checkpoint=tmp_path, resume=True), whole)


@pytest.mark.ci
def test_an_interrupted_run_is_refitted_on_what_it_has_and_can_go_on(tmp_path):
    def stop(record):
        if record.iteration == 1:
            raise KeyboardInterrupt

    method = dataclasses.replace(QUICK, max_iter=3)
    found = fit(method, checkpoint=tmp_path, on_iteration=stop)
    assert found.reason == "interrupted"
    assert len(found.history) == 2 + 1
    shorter = fit(dataclasses.replace(method, max_iter=2))
    assert np.array_equal(found.probabilities, shorter.probabilities)
    assert_same(fit(method, checkpoint=tmp_path, resume=True), fit(method))


def test_a_checkpoint_of_the_other_method_or_of_another_graph_is_refused(tmp_path):
    fit(QUICK, checkpoint=tmp_path)
    given = blobs(graph=path())
    with pytest.raises(ValueError, match="starting graph: 'none' there"):
        fit(QUICK, given, checkpoint=tmp_path, resume=True)
    with pytest.raises(ValueError, match="method: 'default' there, 'thesis' here"):
        fit(THESIS, given, checkpoint=tmp_path, resume=True)


def test_a_loss_that_is_not_finite_is_an_error():
    with pytest.raises(NonFiniteError, match="a smaller inner_lr"):
        fit(dataclasses.replace(DEFAULT, inner_lr=1e30))
    frozen = dataclasses.replace(DEFAULT, inner_lr=1e30, max_inner=1, update_edges=False)
    with pytest.raises(NonFiniteError, match="a smaller inner_lr"):
        fit(frozen)


# Which labels are read, and for what


@pytest.mark.ci
def test_labels_of_test_rows_are_never_read(default_fit):
    problem = blobs()
    test = problem.split.test
    other, none = problem.labels.copy(), problem.labels.copy()
    other[test] = (other[test] + 1) % 3
    none[test] = -1
    for labels in (other, none):
        assert_same(fit(problem=Problem(problem.features, labels, problem.split)), default_fit)


def rows_read(monkeypatch, method=DEFAULT):
    """Rows of each inner and outer objective that a run asks for, in turn."""
    asked = {"inner": [], "outer": []}

    def noted(make, seen):
        def objective(self, nodes):
            seen.append(nodes.tolist())
            return make(self, nodes)

        return objective

    for name, rows in asked.items():
        monkeypatch.setattr(Task, name, noted(getattr(Task, name), rows))
    fit(method)
    return asked


def test_stopping_rows_are_not_trained_on_and_the_refit_trains_on_all_others(monkeypatch):
    asked = rows_read(monkeypatch)
    both = sorted(blobs().labelled)
    refits = REFITS
    assert [sorted(rows) for rows in asked["inner"][-refits:]] == refits * [both]
    assert all(set(rows) <= set(both) for rows in [*asked["inner"], *asked["outer"]])
    deals, judges = asked["inner"][:-refits], asked["outer"]
    assert len(deals) == len(judges) == DEFAULT.max_iter
    assert deals[0] != deals[1], "roles are dealt anew at every restart"
    for trains, judge in zip(deals, judges, strict=True):
        assert sorted([*trains, *judge]) == both


def test_without_redrawing_the_roles_are_those_of_the_split(monkeypatch):
    asked = rows_read(monkeypatch, dataclasses.replace(ALONE, redraw=False))
    split, n = blobs().split, ALONE.max_iter
    assert asked["outer"] == n * [split.validation.tolist()]
    assert asked["inner"][:n] == n * [split.train.tolist()]
    assert len(asked["inner"]) == n + 1, "one refit"


def test_labels_of_stopping_rows_do_not_move_the_edges(default_fit):
    problem = blobs()
    labels, rows = problem.labels.copy(), problem.split.stopping
    labels[rows] = (labels[rows] + 1) % 3
    second = fit(problem=Problem(problem.features, labels, problem.split))
    assert torch.equal(default_fit.params[COEFFICIENTS], second.params[COEFFICIENTS])
    assert not torch.equal(default_fit.params[LOG_WEIGHTS], second.params[LOG_WEIGHTS])


# The refit


def test_members_of_one_kind_differ_by_their_turn_and_all_stay(default_fit, alone_fit):
    log_weights = default_fit.params[LOG_WEIGHTS]
    assert log_weights.shape == (KINDS_OF_MEASUREMENTS * REFITS,)
    assert float(log_weights.exp().sum()) == pytest.approx(1, rel=1e-6)
    gcns = [
        default_fit.params[f"{k}.W1"] for k in range(0, len(log_weights), KINDS_OF_MEASUREMENTS)
    ]
    assert all(not torch.equal(gcns[0], other) for other in gcns[1:])
    assert torch.equal(alone_fit.params["0.W1"], gcns[0]), "the first turn has no agreement"


def test_the_last_distribution_agrees_with_the_predictions_of_the_turn_before(default_fit):
    """By hand from the members of the last but one turn, which are in the committee."""
    params, problem = default_fit.params, blobs()
    x = seen(problem.features, params[WHITENING])
    ensemble = default_ensemble(
        5, DEFAULT.hidden_channels, 3, DEFAULT.dropout, REFITS, MoreMembers(forest=True)
    )
    task = task_on(
        x,
        problem.labels,
        ensemble,
        weight_decay=DEFAULT.weight_decay,
        dtype=torch.float32,
        device=CPU,
    )
    before = starting_edges(Similarity(x, "auto", 5), None, 12, torch.float32, CPU)
    before.restore(before.state() | {"coefficients": params[COEFFICIENTS]})
    stopping = torch.from_numpy(problem.split.stopping)

    def turn(k):
        return [
            Member(network, ensemble.of_member(params, KINDS_OF_MEASUREMENTS * k + place), 0)
            for place, network in enumerate(ensemble.kinds)
        ]

    last = before
    for k in range(REFITS - 1):
        p = weigh(task, turn(k), expected_graph(last), stopping)[1]
        last = with_agreement(before, p, DEFAULT.agreement)
    torch.testing.assert_close(default_fit.edges.probs, last.probs, rtol=1e-5, atol=1e-7)
    members = [member for k in range(REFITS) for member in turn(k)]
    log_weights, _ = weigh(task, members, expected_graph(last), stopping)
    torch.testing.assert_close(params[LOG_WEIGHTS], log_weights, rtol=1e-5, atol=1e-6)


def test_agreement_joins_the_features_after_the_first_refit(default_fit, alone_fit):
    plain, agreed = alone_fit, default_fit
    assert isinstance(plain.edges, LogisticEdges)
    assert plain.edges.names == ("candidate", "similarity")
    assert agreed.edges.names == ("candidate", "similarity", "agreement")
    assert torch.equal(plain.params[COEFFICIENTS], agreed.params[COEFFICIENTS])
    assert torch.equal(agreed.edges.coefficients[:2], agreed.params[COEFFICIENTS])
    assert float(agreed.edges.coefficients[2]) == DEFAULT.agreement
    accepted = [float(fitted.params[AGREEMENT]) for fitted in (plain, agreed)]
    assert accepted == [0, DEFAULT.agreement]
    given = fit(problem=blobs(graph=path()))
    assert given.edges.names == ("candidate", "similarity", "given", "agreement")


def unlike(n=200, seed=0) -> Problem:
    """Four classes whose features say little; neighbours are of another class, always the same."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 4
    x = rng.standard_normal((n, 8)) + 1.2 * np.eye(8)[labels]
    ends = rng.permuted(np.arange(n).reshape(-1, 4), axis=0)  # a row: a node of each class
    for _ in range(7):
        ends = np.vstack([ends, rng.permuted(np.arange(n).reshape(-1, 4), axis=0)])
    row, col = np.vstack([ends[:, :2], ends[:, 2:]]).T
    upper = sp.coo_array((np.ones(len(row)), (row, col)), shape=(n, n))
    graph = sp.csr_array(((upper + upper.T) > 0).astype(np.float32))
    split = Split(*(np.arange(40 * k, 40 * (k + 1)) for k in range(3)), np.arange(120, n))
    return Problem(x.astype(np.float32), labels.astype(np.int64), split, graph)


@pytest.mark.ci
def test_edges_between_unlike_nodes_are_not_undone_by_agreement():
    problem = unlike()
    found = fit(
        dataclasses.replace(DEFAULT, hidden_channels=16, max_inner=40, refit_steps=30), problem
    )
    assert float(found.params[AGREEMENT]) == 0
    assert "agreement" not in found.edges.names
    right = found.probabilities.argmax(1) == problem.labels
    assert right[problem.split.test].mean() > 0.85  # nearest class means know 0.5 of them
    assert found.edges.to_csr()[problem.graph.nonzero()].mean() > 0.8


def test_edges_that_are_not_updated_stay_where_they_started(default_fit):
    frozen = fit(dataclasses.replace(QUICK, update_edges=False))
    assert frozen.params[COEFFICIENTS].tolist() == [0, 1]
    assert default_fit.params[COEFFICIENTS].tolist() != [0, 1]


@pytest.mark.parametrize("graph", [None, path()], ids=["no graph", "graph"])
def test_the_prior_weighs_against_the_rows_that_judge(graph):
    """Trust in a given graph, and in neighbours beside it, may move further than the rest."""
    problem = blobs(graph=graph)
    prepared = prepare(DEFAULT, problem, RunContext(dtype=torch.float64))
    edges = starting_distribution(problem, prepared)
    similar = Similarity(seen(problem.features, prepared.whitening), "auto", 5)
    direct = starting_edges(similar, graph, 12, torch.float64, CPU)
    assert torch.equal(edges.probs, direct.probs)
    deviation = torch.tensor([DEVIATION, DEVIATION])
    if graph is not None:
        deviation = torch.tensor([TRUST_DEVIATION, DEVIATION, TRUST_DEVIATION])
    zero = torch.zeros(60, 1, dtype=torch.float64)
    away = torch.tensor([0.5, -0.2, 0.1], dtype=torch.float64)[: len(deviation)]
    edges.restore(edges.state() | {"coefficients": direct.coefficients + away})
    edges.descend(FactoredGradient((zero,), (zero,)), 0.1)
    found = edges.state()["moments"][0] / (1 - BETAS[0])
    n_judges = problem.split.validation.size
    torch.testing.assert_close(found, away / (deviation.double() ** 2 * n_judges))
