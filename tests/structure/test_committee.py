"""The committee as a whole: what it reads, its weights, its refits, its schedule, its extremes."""

import dataclasses
import math

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from lds.config import LDSConfig
from lds.structure.committee import (
    AGREEMENT,
    COEFFICIENTS,
    WHITENING,
    CommitteeLearner,
    Member,
    calibrated,
    expected_graph,
    fit_member,
    harms,
    predict_new,
    train_member,
    weigh,
)
from lds.structure.learner import learn
from scipy import stats
from scipy.optimize import minimize_scalar
from torch.nn.functional import cross_entropy

from lds._random import replayed
from lds._types import Split
from lds.bilevel.checks import NonFiniteError
from lds.edges.logistic import (
    BETAS,
    DEVIATION,
    MIDDLE_KERNEL,
    SLOPE,
    TRUST_DEVIATION,
    LogisticEdges,
    starting_edges,
    with_agreement,
)
from lds.graphs.knn import knn_adjacency
from lds.graphs.product import FactoredGradient
from lds.graphs.similarity import Similarity
from lds.nn.discriminant import Discriminant
from lds.nn.ensemble import LOG_WEIGHTS, TELEPORTS, Ensemble
from lds.nn.features import node_features
from lds.nn.gcn import GCN
from lds.nn.label_pagerank import LabelPageRank
from lds.nn.new_nodes import NewEdges
from lds.nn.preparation import FeaturePreparation
from lds.nn.whitening import whitened, whitening
from lds.structure import committee, learner
from lds.structure import train as training
from lds.structure.controls import run_controls
from lds.structure.predict import score
from lds.structure.task import AGREEING, Task, task_on
from tests.structure import dense

SMALL = LDSConfig.of(
    n_neighbors=5, max_inner=15, max_iter=2, hidden_channels=4, n_draws=4, settle=0
)
ALONE = dataclasses.replace(SMALL, agreement=0.0)
CPU = torch.device("cpu")
NETWORKS = 1 + len(TELEPORTS)
"""Members of one turn that train by gradients: a GCN and PageRanks."""
KINDS = NETWORKS + 3
"""Members of one turn, two discriminants and the PageRank of the labels the last."""


def blobs(n=60, seed=0):
    """Three classes around three far apart centres."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    x = rng.standard_normal((n, 5)) + 4 * np.eye(5)[labels]
    split = Split(np.arange(12), np.arange(12, 24), np.arange(24, 36), np.arange(36, n))
    return x.astype(np.float32), labels.astype(np.int64), split


def words(n=60, seed=0):
    """Counts of words, some of them of a class."""
    rng = np.random.default_rng(seed)
    _, labels, split = blobs(n)
    of_class = np.kron(np.eye(3), np.ones((1, 30)))[labels]
    return sp.csr_array(rng.poisson(0.02 + 0.3 * of_class).astype(np.float32)), labels, split


def in_units(n=60, seed=0):
    """The same, with a column in another unit."""
    x, labels, split = blobs(n, seed)
    return x * np.array([1, 1, 1e4, 1, 1], dtype=np.float32), labels, split


def path(n=60, weight=1.0) -> sp.csr_array:
    """A graph in which the last third of the nodes is isolated."""
    i = np.arange(2 * n // 3 - 1)
    upper = sp.coo_array((np.full(len(i), weight), (i, i + 1)), shape=(n, n))
    return sp.csr_array(upper + upper.T)


def seen(x, metric):
    """Measurements as members see them."""
    return whitened(FeaturePreparation(x).transform(x), metric)


def fit(config=SMALL, problem=None, graph=None, **options):
    return learn(*(blobs() if problem is None else problem), graph, config, **options)


def assert_same(ours, theirs):
    assert repr(ours.history) == repr(theirs.history), "a loss may be nan, which equals nothing"
    assert (ours.best, ours.reason) == (theirs.best, theirs.reason)
    assert ours.params.keys() == theirs.params.keys()
    assert all(torch.equal(ours.params[name], theirs.params[name]) for name in theirs.params)
    assert torch.equal(ours.edges.probs, theirs.edges.probs)
    assert np.array_equal(ours.probabilities, theirs.probabilities)
    assert np.array_equal(ours.mutual_information, theirs.mutual_information)
    assert np.array_equal(ours.hidden, theirs.hidden)


# As a whole


@pytest.mark.parametrize("kind", [blobs, words, in_units])
def test_separable_classes_are_learned(kind, monkeypatch):
    monkeypatch.setattr(committee, "MAX_STEPS", 50)
    x, y, split = kind()
    result = fit(problem=(x, y, split))
    assert (result.probabilities.argmax(1) == y)[split.test].mean() >= 0.9
    np.testing.assert_allclose(result.probabilities.sum(1), 1, rtol=1e-5)
    theta = result.edges.probs
    assert bool(((theta >= 0) & (theta <= 1)).all())
    assert (result.mutual_information >= 0).all()


def test_the_last_record_is_of_the_refit(monkeypatch):
    monkeypatch.setattr(committee, "MAX_STEPS", 20)
    result = fit()
    assert len(result.history) == SMALL.max_iter + 1
    assert result.best == SMALL.max_iter
    last = result.history[-1]
    assert last.improved
    assert last.iteration == SMALL.max_iter
    _, y, split = blobs()
    right = result.probabilities.argmax(1) == y
    assert last.stopping_accuracy == pytest.approx(right[split.stopping].mean())
    truth = result.probabilities[split.stopping, y[split.stopping]]
    assert last.stopping_loss == pytest.approx(-np.log(truth).mean(), rel=1e-5)
    assert last.expected_edges == result.edges.expected_edges
    assert last.inner_steps == NETWORKS * (1 + AGREEING) * 20


def test_the_refit_tells_how_far_it_is():
    told = []
    result = fit(on_member=lambda done, total: told.append((done, total)))
    total = (1 + AGREEING) * KINDS
    assert told == [(k, total) for k in range(total + 1)]
    assert len(result.params[LOG_WEIGHTS]) == total


def test_the_same_seed_gives_bitwise_the_same_run_and_another_seed_does_not():
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    first = fit()
    assert torch.equal(torch.rand(4), expected), "nothing outside is disturbed"
    assert_same(fit(), first)
    other = fit(dataclasses.replace(SMALL, seed=1))
    assert not np.array_equal(other.probabilities, first.probabilities)
    assert not torch.equal(other.params[COEFFICIENTS], first.params[COEFFICIENTS])


class CrashError(RuntimeError):
    pass


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
    config = dataclasses.replace(SMALL, max_iter=4, **options)
    whole = fit(config, graph=graph)

    def crash(record):
        if record.iteration == 2:
            raise CrashError

    with pytest.raises(CrashError):
        fit(config, graph=graph, checkpoint=tmp_path, on_iteration=crash)
    seen = []
    resumed = fit(config, graph=graph, checkpoint=tmp_path, resume=True, on_iteration=seen.append)
    assert [record.iteration for record in seen] == [2, 3], "only what was not kept runs again"
    assert_same(resumed, whole)
    assert_same(fit(config, graph=graph, checkpoint=tmp_path, resume=True), whole)


def test_an_interrupted_run_is_refitted_on_what_it_has_and_can_go_on(tmp_path):
    def stop(record):
        if record.iteration == 1:
            raise KeyboardInterrupt

    config = dataclasses.replace(SMALL, max_iter=3)
    found = fit(config, checkpoint=tmp_path, on_iteration=stop)
    assert found.reason == "interrupted"
    assert len(found.history) == 2 + 1
    shorter = fit(dataclasses.replace(config, max_iter=2))
    assert np.array_equal(found.probabilities, shorter.probabilities)
    assert_same(fit(config, checkpoint=tmp_path, resume=True), fit(config))


def test_a_checkpoint_of_the_other_method_or_of_another_graph_is_refused(tmp_path):
    fit(checkpoint=tmp_path)
    with pytest.raises(ValueError, match="starting graph: 'none' there"):
        fit(graph=path(), checkpoint=tmp_path, resume=True)
    with pytest.raises(ValueError, match="method: 'committee' there, 'lds' here"):
        fit(LDSConfig(), graph=path(), checkpoint=tmp_path, resume=True)


def test_a_loss_that_is_not_finite_is_said():
    with pytest.raises(NonFiniteError, match="a smaller inner_lr"):
        fit(dataclasses.replace(SMALL, inner_lr=1e30))
    frozen = dataclasses.replace(SMALL, inner_lr=1e30, max_inner=1, update_edges=False)
    with pytest.raises(NonFiniteError, match="a smaller inner_lr"):
        fit(frozen)


# Which labels are read, and for what


def test_labels_of_test_rows_are_never_read():
    x, y, split = blobs()
    other = y.copy()
    other[split.test] = (y[split.test] + 1) % 3
    none = y.copy()
    none[split.test] = -1
    first = fit()
    assert_same(fit(problem=(x, other, split)), first)
    assert_same(fit(problem=(x, none, split)), first)


def rows_read(monkeypatch, config=SMALL):
    """Rows of each inner and outer objective that a run asks for, in turn."""
    asked = {"inner": [], "outer": []}

    def noted(make, seen):
        def objective(self, nodes):
            seen.append(nodes.tolist())
            return make(self, nodes)

        return objective

    for name, seen in asked.items():
        monkeypatch.setattr(Task, name, noted(getattr(Task, name), seen))
    fit(config)
    return asked


def test_stopping_rows_are_not_trained_on_and_the_refit_trains_on_all_others(monkeypatch):
    asked = rows_read(monkeypatch)
    _, _, split = blobs()
    both = sorted([*split.train, *split.validation])
    refits = NETWORKS * (1 + AGREEING)
    assert [sorted(rows) for rows in asked["inner"][-refits:]] == refits * [both]
    assert all(set(rows) <= set(both) for rows in [*asked["inner"], *asked["outer"]])
    deals = asked["inner"][1:-refits]  # the first is of the split, before any restart
    judges = asked["outer"][1:]
    assert len(deals) == len(judges) == SMALL.max_iter
    assert deals[0] != deals[1], "roles are dealt anew at every restart"
    for trains, judge in zip(deals, judges, strict=True):
        assert sorted([*trains, *judge]) == both


def test_without_redrawing_the_roles_are_those_of_the_split(monkeypatch):
    asked = rows_read(monkeypatch, dataclasses.replace(SMALL, redraw=False, agreement=0.0))
    _, _, split = blobs()
    assert asked["outer"] == [split.validation.tolist()]
    assert asked["inner"][0] == split.train.tolist()
    assert len(asked["inner"]) == 1 + NETWORKS, "one refit without agreement"


def test_labels_of_stopping_rows_do_not_move_the_edges():
    x, y, split = blobs()
    swapped = y.copy()
    swapped[split.stopping] = (y[split.stopping] + 1) % 3
    first, second = fit(), fit(problem=(x, swapped, split))
    assert torch.equal(first.params[COEFFICIENTS], second.params[COEFFICIENTS])
    assert not torch.equal(first.params[LOG_WEIGHTS], second.params[LOG_WEIGHTS])


# The refit


def trained(n_stopping=12):
    """A member of each kind, and what they were made of."""
    x, y, _ = blobs()
    edges = starting_edges(Similarity(x, "auto", 5), None, 12, torch.float64, CPU)
    task = task_on(x, y, ALONE, torch.float64, CPU)
    train, stopping = torch.arange(24), torch.arange(24, 24 + n_stopping)
    expected, kinds = expected_graph(edges), task.network.members
    members = [
        train_member(
            dataclasses.replace(task, network=network), edges, expected, train, stopping, ALONE, k
        )
        for k, network in enumerate(kinds[:NETWORKS])
    ]
    members += [
        fit_member(dataclasses.replace(task, network=network), expected, train, stopping)
        for network in kinds[NETWORKS:]
    ]
    return members, edges, task, stopping


def probabilities_of(members, edges) -> torch.Tensor:
    """On the expected graph, dense: `(n_members, n_nodes, n_classes)`."""
    row, col = edges.pairs.pairs(edges.pairs.positions())
    theta = torch.zeros(60, 60, dtype=torch.float64)
    theta[row, col] = edges.probs[: len(row)]
    a_hat = dense.normalize(theta + theta.T)
    x, each = torch.from_numpy(blobs()[0]).double(), []
    for member in members:
        network, w = member.network, member.params
        if isinstance(network, Discriminant):
            logits = x @ w["W"] + w["b"] + w["coupling"] * (a_hat @ w["beliefs"])
        elif isinstance(network, LabelPageRank):
            mass = dense.walk(a_hat, w["labels"], alpha=0.1, n_hops=10)
            logits = w["sharpness"] * (mass + 1e-3 * mass.mean()).log()
        elif isinstance(network, GCN):
            logits = dense.gcn(a_hat, x, w)
        else:
            logits = dense.pagerank(a_hat, x, w, alpha=network.teleport, n_hops=network.n_hops)
        each.append(logits.softmax(1))
    return torch.stack(each)


@pytest.mark.parametrize("n_stopping", [1, 12, 36])
def test_members_count_by_their_loss_on_the_stopping_rows(n_stopping, monkeypatch):
    """Weights proportional to exp(-√n · mean loss): within each family, and of the wholes."""
    monkeypatch.setattr(committee, "MAX_STEPS", 20)
    members, edges, task, stopping = trained(n_stopping)
    log_weights, probabilities = weigh(task, members, expected_graph(edges), stopping)
    each = probabilities_of(members, edges)
    truth = torch.from_numpy(blobs()[1])[stopping]
    losses = -each[:, stopping].gather(2, truth.expand(KINDS, -1).unsqueeze(2)).log().mean((1, 2))
    root = math.sqrt(n_stopping)
    shares, wholes = [], []
    families = (slice(NETWORKS), slice(NETWORKS, KINDS - 1), slice(KINDS - 1, KINDS))
    for family in families:
        shares.append(torch.softmax(-root * losses[family], 0))
        together = (shares[-1][:, None, None] * each[family]).sum(0)[stopping]
        wholes.append(-root * -together.gather(1, truth.unsqueeze(1)).log().mean())
    of_family = torch.stack(wholes).softmax(0)
    expected = torch.cat([a * b for a, b in zip(of_family, shares, strict=True)])
    torch.testing.assert_close(log_weights.exp(), expected, rtol=1e-9, atol=0)
    mean = (expected[:, None, None] * each).sum(0)
    torch.testing.assert_close(probabilities, mean, rtol=1e-9, atol=1e-12)
    assert [member.steps for member in members[:NETWORKS]] == NETWORKS * [20]


def test_a_member_keeps_the_weights_of_its_best_score_and_stops_without_a_better_one(monkeypatch):
    """Run for longer, it meets the same scores: the best of all of them is what it keeps."""
    seen = []

    def noted(probabilities, labels, rows):
        found = score(probabilities, labels, rows)
        seen.append((found.accuracy, -found.loss))
        return found

    monkeypatch.setattr(committee, "MAX_STEPS", 400)
    monkeypatch.setattr(committee, "PATIENCE", 10)
    monkeypatch.setattr(training, "score", noted)
    monkeypatch.setattr(committee, "calibrated", lambda task, member, *_: member)
    members, edges, _, stopping = trained()
    truth, at = torch.from_numpy(blobs()[1]), 0
    networks = members[:NETWORKS]
    for member, probs in zip(networks, probabilities_of(networks, edges), strict=True):
        scores = seen[at : at + member.steps // 2]
        at += len(scores)
        best = max(range(len(scores)), key=scores.__getitem__)
        found = score(probs, truth, stopping)
        assert found.accuracy == scores[best][0]
        assert found.loss == pytest.approx(-scores[best][1], rel=1e-9)
        assert len(scores) - 1 - best == 10 // 2, "it waits ten steps, looking at every other"
    assert at == len(seen)


@pytest.mark.parametrize("n_stopping", [3, 36])
def test_members_are_as_sure_as_the_stopping_rows_justify(n_stopping):
    """The temperature against scipy's minimum."""
    members, edges, task, _ = trained()
    stopping = torch.from_numpy(np.random.default_rng(0).permutation(60)[:n_stopping])
    truth = torch.from_numpy(blobs()[1])[stopping]
    graph = expected_graph(edges)
    for member in members:
        z = member.network(member.params, task.features, graph, training=False)[0]

        def cost(log_tau, z=z):
            loss = cross_entropy(z[stopping] / math.exp(log_tau), truth)
            return n_stopping * float(loss) + 2 * log_tau**2

        tau = math.exp(minimize_scalar(cost, bounds=(-0.65, 1.6), method="bounded").x)
        found = calibrated(task, member, graph, stopping)
        scaled = member.network(found.params, task.features, graph, training=False)[0]
        ratio = float((z * scaled).sum() / scaled.square().sum())
        assert ratio == pytest.approx(tau, rel=0.06), "temperatures are 10 % apart"
        torch.testing.assert_close(z, ratio * scaled, rtol=1e-9, atol=1e-9)


def test_the_expected_graph_is_theta_normalised():
    edges = trained()[1]
    theta = edges.to_csr().toarray()
    graph = expected_graph(edges)
    looped = theta + np.eye(60)
    scale = 1 / np.sqrt(looped.sum(1))
    expected = scale[:, None] * looped * scale
    np.testing.assert_allclose(graph.matrix.to_dense().numpy(), expected, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(graph.scale.numpy(), scale, rtol=1e-12)
    assert (graph.n_draws, graph.n_nodes) == (1, 60)


def test_members_of_one_kind_differ_by_their_turn_and_all_sit_on_the_committee():
    result = fit()
    log_weights = result.params[LOG_WEIGHTS]
    assert log_weights.shape == (KINDS * (1 + AGREEING),)
    assert float(log_weights.exp().sum()) == pytest.approx(1, rel=1e-6)
    gcns = [result.params[f"{k}.W1"] for k in range(0, len(log_weights), KINDS)]
    assert all(not torch.equal(gcns[0], other) for other in gcns[1:])
    first = fit(ALONE)
    assert torch.equal(first.params["0.W1"], gcns[0]), "the first turn knows no agreement"


def test_training_a_member_does_not_change_the_distribution():
    members, edges, *_ = trained()
    fresh = starting_edges(Similarity(blobs()[0], "auto", 5), None, 12, torch.float64, CPU)
    assert torch.equal(edges.probs, fresh.probs)
    again, *_ = trained()
    for one, two in zip(members, again, strict=True):
        assert all(torch.equal(one.params[name], two.params[name]) for name in one.params)


def test_the_last_distribution_agrees_with_what_the_turn_before_took_the_nodes_for():
    """By hand from the members of the last but one turn, who sit on the committee."""
    result = fit()
    x, y, split = blobs()
    task = task_on(seen(x, result.params[WHITENING]), y, SMALL, torch.float32, CPU)
    beta, x = result.params[COEFFICIENTS], seen(x, result.params[WHITENING])
    before = starting_edges(Similarity(x, "auto", 5), None, 12, torch.float32, CPU)
    before.restore(before.state() | {"coefficients": beta})

    def turn(k):
        return [
            Member(network, task.network.of_member(result.params, KINDS * k + place), 0)
            for place, network in enumerate(task.network.members[:KINDS])
        ]

    last = before
    for k in range(AGREEING):
        p = weigh(task, turn(k), expected_graph(last), torch.from_numpy(split.stopping))[1]
        last = with_agreement(before, p, SMALL.agreement)
    torch.testing.assert_close(result.edges.probs, last.probs, rtol=1e-5, atol=1e-7)
    members = [member for k in range(1 + AGREEING) for member in turn(k)]
    log_weights, _ = weigh(task, members, expected_graph(last), torch.from_numpy(split.stopping))
    torch.testing.assert_close(result.params[LOG_WEIGHTS], log_weights, rtol=1e-5, atol=1e-6)


def test_agreement_joins_the_features_after_the_first_refit():
    plain, agreed = fit(ALONE), fit()
    assert isinstance(plain.edges, LogisticEdges)
    assert plain.edges.names == ("candidate", "similarity")
    assert agreed.edges.names == ("candidate", "similarity", "agreement")
    assert torch.equal(plain.params[COEFFICIENTS], agreed.params[COEFFICIENTS])
    assert torch.equal(agreed.edges.coefficients[:2], agreed.params[COEFFICIENTS])
    assert float(agreed.edges.coefficients[2]) == SMALL.agreement
    assert [float(fitted.params[AGREEMENT]) for fitted in (plain, agreed)] == [0, SMALL.agreement]
    given = fit(graph=path())
    assert given.edges.names == ("candidate", "similarity", "given", "agreement")


def unlike(n=200, seed=0):
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
    return (x.astype(np.float32), labels.astype(np.int64), split), graph


def test_edges_between_unlike_nodes_are_not_undone_by_agreement(monkeypatch):
    monkeypatch.setattr(committee, "MAX_STEPS", 60)
    problem, graph = unlike()
    _, labels, split = problem
    config = dataclasses.replace(SMALL, hidden_channels=16, max_inner=40)
    found = fit(config, problem, graph)
    assert float(found.params[AGREEMENT]) == 0
    assert "agreement" not in found.edges.names
    right = found.probabilities.argmax(1) == labels
    assert right[split.test].mean() > 0.85  # nearest class means know 0.5 of them
    assert found.edges.to_csr()[graph.nonzero()].mean() > 0.8


@pytest.mark.parametrize("grown", [0.9, 1.1])
def test_harm_is_a_growth_of_the_loss_by_three_standard_errors(grown):
    rng = np.random.default_rng(0)
    labels = torch.arange(50) % 3
    before = rng.dirichlet(np.ones(3), 50)
    own = before[np.arange(50), labels]
    noise = rng.normal(size=30)
    noise -= noise.mean()
    # Losses of the first 30 rows grow so that their paired t statistic is 3 · grown.
    lost = noise + 3 * grown * noise.std(ddof=1) / 30**0.5
    own[:30] *= np.exp(-0.05 * lost)
    after = before.copy()
    after[np.arange(50), labels] = own
    rows = torch.arange(30)
    t = stats.ttest_rel(-np.log(own[:30]), -np.log(before[np.arange(30), labels[:30]])).statistic
    assert t == pytest.approx(3 * grown)
    arguments = (torch.from_numpy(before), torch.from_numpy(after), labels)
    assert harms(*arguments, rows) == (grown > 1)
    assert not harms(*arguments, rows[:1])


# The schedule


def hypersteps(monkeypatch, settle: float, truncation: int, **options):
    """Inner losses of one run, and the steps at which a hypergradient was taken."""
    losses, taken = [], []
    finite, outer_step = learner.finite, CommitteeLearner._outer_step

    def noted(value, name, iteration, t):
        found = finite(value, name, iteration, t)
        if name == "inner loss":
            losses.append(found)
        return found

    def stepped(self, method, memory, state, iteration, t):
        taken.append(t)
        return outer_step(self, method, memory, state, iteration, t)

    monkeypatch.setattr(learner, "finite", noted)
    monkeypatch.setattr(CommitteeLearner, "_outer_step", stepped)
    config = dataclasses.replace(
        SMALL, settle=settle, truncation=truncation, max_iter=1, max_inner=60, inner_patience=60,
        **options,
    )  # fmt: skip
    result = fit(config)
    return losses, taken, result


@pytest.mark.parametrize("settle", [0.02, 0.1, 0.3])
@pytest.mark.parametrize("truncation", [3, 5])
def test_hypergradients_are_taken_once_the_best_loss_has_settled(monkeypatch, settle, truncation):
    losses, taken, _ = hypersteps(monkeypatch, settle, truncation, inner_lr=0.05, dropout=0.0)
    ends = range(truncation, len(losses) + 1, truncation)
    best = [min(losses[:t]) for t in ends]
    first = next(k for k in range(1, len(best)) if best[k] > best[k - 1] * (1 - settle))
    assert taken == list(ends)[first:]
    assert first > 1, "the loss must fall at first"


def test_where_it_does_not_settle_the_coefficients_stay(monkeypatch):
    losses, taken, result = hypersteps(monkeypatch, 1e-9, 20, dropout=0.0)
    assert losses[19] > losses[39] > losses[59]
    assert taken == []
    assert result.params[COEFFICIENTS].tolist() == [0, 1]
    assert math.isnan(result.history[0].outer_loss)
    assert hypersteps(monkeypatch, 0.0, 20)[1] == [20, 40, 60], "0 takes them from the first step"


def test_edges_that_are_not_updated_stay_where_they_started():
    frozen = fit(dataclasses.replace(SMALL, update_edges=False))
    assert frozen.params[COEFFICIENTS].tolist() == [0, 1]
    assert fit().params[COEFFICIENTS].tolist() != [0, 1]


@pytest.mark.parametrize("graph", [None, path()], ids=["no graph", "graph"])
def test_the_prior_weighs_against_the_rows_that_judge(graph):
    """Trust in a given graph, and in neighbours beside it, may move further than the rest."""
    x, y, split = blobs()
    learner = CommitteeLearner(x, y, split, graph, SMALL, CPU, torch.float64)
    edges, similar = learner.edges, Similarity(seen(x, learner.whitening), "auto", 5)
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
    torch.testing.assert_close(found, away / (deviation.double() ** 2 * split.validation.size))


def test_controls_of_a_committee_read_the_labels_they_name():
    x, y, split = blobs()
    plain = LDSConfig(n_neighbors=3, support="sparse", max_inner=5, max_iter=1)
    start = knn_adjacency(x, 3, "cosine")
    found = run_controls(x, y, split, start, plain, frozen=(None, SMALL))
    direct = fit(dataclasses.replace(SMALL, update_edges=False, agreement=0.0, max_iter=1))
    assert np.array_equal(found["frozen"].probabilities, direct.probabilities)
    alone = run_controls(x, y, split, start, plain)
    for name in ("gcn_train", "gcn_train_validation"):
        assert np.array_equal(found[name].probabilities, alone[name].probabilities)


# Features


def test_counts_in_another_unit_a_row_are_the_same_words():
    """Twice as long a document: rows have length 1 for the networks, and cosine for the edges."""
    x, y, split = words()
    longer = sp.csr_array(sp.diags_array(np.where(np.arange(60) % 2, 2.0, 1.0)) @ x)
    assert_same(fit(problem=(longer.astype(np.float32), y, split)), fit(problem=(x, y, split)))


def test_the_unit_of_a_column_that_differs_from_the_others_does_not_matter():
    x, y, split = in_units()
    further = x * np.array([1, 1, 8, 1, 1], dtype=np.float32)
    one, other = fit(problem=(x, y, split)), fit(problem=(further, y, split))
    np.testing.assert_allclose(one.start.toarray(), other.start.toarray(), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(one.probabilities, other.probabilities, atol=1e-2)


def test_integer_counts_are_words_too():
    x, y, split = words()
    whole = fit(problem=(x.astype(np.int64), y, split))
    floats = fit(problem=(x.astype(np.float64), y, split))
    assert np.array_equal(whole.probabilities, floats.probabilities)


def test_sparse_measurements_are_no_words():
    x, y, split = blobs()
    result = fit(problem=(sp.csr_array(x), y, split))
    dense_one = fit()
    np.testing.assert_allclose(
        result.start.toarray(), dense_one.start.toarray(), rtol=1e-4, atol=1e-6
    )
    np.testing.assert_allclose(result.probabilities, dense_one.probabilities, atol=1e-2)


def test_measurements_alone_are_seen_in_a_metric_of_training_and_validation_labels():
    _, y, split = blobs()
    rows = np.concatenate([split.train, split.validation])
    for problem in (blobs(), in_units()):
        expected = whitening(FeaturePreparation(problem[0]).transform(problem[0]), y, rows)
        assert torch.equal(fit(ALONE, problem).params[WHITENING], expected)
    assert WHITENING not in fit(ALONE, words()).params
    own = dataclasses.replace(ALONE, metric="cityblock")
    assert WHITENING not in fit(own).params, "a metric of the user's own is of the features"


def test_a_metric_may_be_named():
    """ "auto" on words is the cosine; a named metric is that of features as they come."""
    by_name = fit(dataclasses.replace(SMALL, metric="cosine"), words())
    assert_same_but_config(by_name, fit(SMALL, words()))
    x, y, split = blobs()
    named, other = (dataclasses.replace(SMALL, metric=name) for name in ("euclidean", "manhattan"))
    assert not np.array_equal(fit(other).probabilities, fit(named).probabilities)
    for config in (named, other):
        edges = CommitteeLearner(x, y, split, None, config, CPU, torch.float64).edges
        similar = Similarity(FeaturePreparation(x).transform(x), config.metric, 5)
        direct = starting_edges(similar, None, 12, torch.float64, CPU)
        assert torch.equal(edges.probs, direct.probs)


def assert_same_but_config(ours, theirs):
    assert np.array_equal(ours.probabilities, theirs.probabilities)
    assert repr(ours.history) == repr(theirs.history)


# Extremes


@pytest.mark.parametrize("kind", [blobs, words])
def test_fewer_rows_than_neighbours_asked_for(kind):
    x, y, _ = kind(12)
    split = Split(np.arange(3), np.arange(3, 6), np.arange(6, 9), np.arange(9, 12))
    config = LDSConfig.of(max_inner=10, max_iter=2)
    assert config.n_neighbors > 12
    result = fit(config, (x, y, split))
    assert result.edges.pairs.n_pairs == 12 * 11 // 2, "every pair is a candidate"
    assert np.isfinite(result.probabilities).all()


@pytest.mark.parametrize("kind", [blobs, words])
def test_isolated_nodes_and_rows_without_a_word(kind):
    x, y, split = kind()
    if kind is words:
        x = x.tolil()
        x[50] = 0
        x = sp.csr_array(x)
    result = fit(problem=(x, y, split), graph=path())
    assert np.isfinite(result.probabilities).all()
    np.testing.assert_allclose(result.probabilities.sum(1), 1, rtol=1e-5)
    empty = fit(problem=(x, y, split), graph=sp.csr_array((60, 60)))
    assert np.isfinite(empty.probabilities).all()


def test_a_class_may_lack_in_the_stopping_rows_and_in_the_train_rows():
    x, y, _ = blobs()
    first, last = np.flatnonzero(y != 2), np.flatnonzero(y == 2)
    split = Split(first[:10], np.concatenate([first[10:16], last[:6]]), first[16:26], last[6:])
    result = fit(problem=(x, y, split))
    assert result.probabilities.shape == (60, 3)
    assert np.isfinite(result.probabilities).all()
    assert result.probabilities[:, 2].max() > 0


def test_one_row_a_role_and_class():
    x, y, _ = blobs()
    split = Split(np.array([0, 1]), np.array([3]), np.array([4]), np.arange(6, 60))
    assert np.isfinite(fit(problem=(x, y, split)).probabilities).all()


@pytest.mark.parametrize(
    "options",
    [{"denoising_weight": 1e4}, {"label_weight": 1e4}, {"agreement": 50.0}, {"weight_decay": 10.0},
     {"outer_lr": 100.0}],
    ids=str,
)  # fmt: skip
def test_large_weights_stay_finite(options):
    result = fit(dataclasses.replace(SMALL, **options), graph=path())
    assert np.isfinite(result.probabilities).all()
    theta = result.edges.probs
    assert bool(((theta >= 0) & (theta <= 1)).all())


def test_given_edges_of_any_weight_are_taken_and_weights_above_1_refused():
    for weight in (1e-9, 0.5, 1.0):
        assert np.isfinite(fit(graph=path(weight=weight)).probabilities).all()
    with pytest.raises(ValueError, match=r"weights in \[0, 1\]"):
        fit(graph=path(weight=1.5))


def test_features_of_one_column_that_does_not_vary():
    _, y, split = blobs()
    constant = np.ones((60, 1), dtype=np.float32)
    with pytest.warns(UserWarning, match="the same for every row"):
        result = fit(problem=(constant, y, split))
    assert np.isfinite(result.probabilities).all()


# New nodes


def test_new_nodes_have_the_edges_of_the_coefficients_and_the_mean_of_the_members():
    """By the formula of the edges, then the members' own way with new nodes, draw by draw."""
    config = ALONE
    x, y, split = blobs()
    result = fit(config, (x, y, split))
    new = blobs(6, seed=1)[0]
    found = predict_new(
        x, y, new, result.params, result.edges, result.probabilities, config, seed=3
    )
    metric = result.params[WHITENING]
    x, new = seen(x, metric), whitened(FeaturePreparation(x).transform(new), metric)
    near, alike = Similarity(x, "auto", 5).of_new(new)
    beta = result.params[COEFFICIENTS].double().numpy()
    logit = beta[0] + beta[1] * SLOPE * (alike - MIDDLE_KERNEL)
    weight = torch.from_numpy(1 / (1 + np.exp(-logit))).float()
    with replayed(3):
        graph = result.edges.draw(config.n_draws)
    network = Ensemble(task_on(x, y, config, torch.float32, CPU).network.members)
    logits = network.attach(
        result.params, node_features(x), graph, node_features(new),
        NewEdges(torch.from_numpy(near), weight),
    )  # fmt: skip
    torch.testing.assert_close(found, logits.exp().mean(0), rtol=1e-4, atol=1e-6)  # float32


@pytest.mark.parametrize("kind", [blobs, words, in_units])
@pytest.mark.parametrize(
    "options", [{}, {"agreement": 0.0}, {"metric_rank": 3}], ids=["default", "alone", "rank 3"]
)
def test_new_rows_near_a_row_of_the_fit_come_out_as_it_did(kind, options, monkeypatch):
    monkeypatch.setattr(committee, "MAX_STEPS", 30)
    x, y, split = kind()
    config = dataclasses.replace(SMALL, **options)
    result = fit(config, (x, y, split))
    found = predict_new(x, y, x, result.params, result.edges, result.probabilities, config, 0)
    assert (found.argmax(1).numpy() == result.probabilities.argmax(1)).mean() >= 0.95
    np.testing.assert_allclose(found.sum(1).numpy(), 1, rtol=1e-5)


def test_agreement_that_was_refused_is_not_believed_of_new_nodes():
    x, y, _ = blobs()
    result, new = fit(), blobs(6, seed=1)[0]

    def found(params, config):
        return predict_new(x, y, new, params, result.edges, result.probabilities, config, 0)

    refused = result.params | {AGREEMENT: torch.tensor(0.0)}
    half = dataclasses.replace(SMALL, agreement=0.5)  # what counts is what was learned with
    assert torch.equal(found(refused, SMALL), found(refused, half))
    assert not torch.equal(found(refused, SMALL), found(result.params, SMALL))
    older = {name: leaf for name, leaf in result.params.items() if name != AGREEMENT}
    assert torch.equal(found(older, SMALL), found(result.params, SMALL))


def test_predictions_of_new_nodes_follow_their_seed():
    x, y, _ = blobs()
    result = fit()
    arguments = (x, y, blobs(4, 1)[0], result.params, result.edges, result.probabilities, SMALL)
    assert torch.equal(predict_new(*arguments, 0), predict_new(*arguments, 0))
    assert not torch.equal(predict_new(*arguments, 0), predict_new(*arguments, 1))


def test_a_learned_metric_finds_the_direction_in_which_classes_differ():
    """Two of three directions are noise of more variance; features come as they are."""
    rng, n = np.random.default_rng(0), 300
    y = np.arange(n) % 2
    x = rng.standard_normal((n, 4)) * [3, 2.5, 0.3, 0.1]
    x[:, 2] += 2 * y
    split = Split(np.arange(100), np.arange(100, 200), np.arange(200, 220), np.arange(220, n))
    config = dataclasses.replace(
        ALONE, metric="euclidean", metric_rank=3, max_inner=60, inner_patience=60, max_iter=4,
        inner_lr=0.05,
    )  # fmt: skip
    result = fit(config, (x, y, split))
    learned = dict(zip(result.edges.names, result.edges.coefficients.tolist(), strict=True))
    assert learned["direction 2"] > 0.3
    assert learned["direction 2"] > max(learned["direction 0"], learned["direction 1"]) + 0.3


# Options


@pytest.mark.parametrize(
    ("option", "value", "wanted"),
    [
        ("backbone", "GCNConv", "'gcn'"),
        ("connected", True, "False"),
        ("estimator", "reinmax", "'straight_through'"),
        ("learn_inner_lr", 0.1, "0.0"),
    ],
)
def test_options_of_the_thesiss_method_name_the_way_out(option, value, wanted):
    sentence = f"{option} must be {wanted} with method='committee', got {value!r}; method='lds' "
    with pytest.raises(ValueError, match=f"^{sentence}takes it$"):
        LDSConfig.of(**{option: value})
    assert getattr(LDSConfig.of("lds", **{option: value}), option) == value


def test_a_rank_that_features_do_not_have_or_a_method_does_not_take_is_refused():
    with pytest.raises(ValueError, match=r"^metric_rank must be 0 .*; method='committee' takes it"):
        LDSConfig.of("lds", metric_rank=1)
    with pytest.raises(ValueError, match=r"^metric_rank must be below .*, \(60, 5\), got 5$"):
        fit(dataclasses.replace(SMALL, metric_rank=5))


def test_batches_of_nodes_and_all_pairs_name_the_way_out():
    with pytest.raises(ValueError, match=r"batch_nodes must be 0 .*; method='lds' takes it"):
        LDSConfig.of(batch_nodes=8)
    with pytest.raises(ValueError, match=r"support must be 'sparse' .*, got 'all'; method='lds'"):
        LDSConfig.of(support="all")


def test_defaults_of_a_method_hold_for_what_is_not_given():
    assert LDSConfig.of("lds") == LDSConfig()
    assert LDSConfig.of().method == "committee"
    assert LDSConfig.of(n_neighbors=None, dropout=0.1) == LDSConfig.of(dropout=0.1)
    assert LDSConfig.of("lds", n_neighbors=None).n_neighbors == LDSConfig().n_neighbors
    assert LDSConfig.of(n_neighbors=4).n_neighbors == 4
    with pytest.raises(TypeError, match="there is no option 'depth'; there are agreement, "):
        LDSConfig.of(depth=3)
    with pytest.raises(ValueError, match="method must be one of 'committee', 'lds', got 'magic'"):
        LDSConfig.of("magic")
    with pytest.raises(ValueError, match="agreement must be 0 or more, got -1"):
        LDSConfig.of(agreement=-1.0)


def test_a_thesis_run_needs_a_start():
    with pytest.raises(ValueError, match="start must be a starting graph with method='lds'"):
        learn(*blobs(), None, LDSConfig())
