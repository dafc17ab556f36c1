"""The refit, part by part: weights of members, harm, temperatures, training, expected graphs."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.optimize import minimize_scalar
from torch.nn.functional import cross_entropy

import lds.structure.training
from lds._random import mix, replayed
from lds.bilevel.checks import NonFiniteError
from lds.edges.logistic import LogisticEdges, starting_edges
from lds.edges.numbered_draws import NumberedDraws
from lds.graphs.similarity import Similarity
from lds.nn.discriminant import Discriminant
from lds.nn.ensemble import TELEPORTS, Ensemble, default_ensemble
from lds.nn.gcn import GCN
from lds.nn.label_pagerank import LabelPageRank
from lds.nn.pagerank import PageRank
from lds.structure.methods import committee_members, refit
from lds.structure.methods.committee_members import (
    Member,
    calibrated,
    fit_member,
    groups,
    train_members,
)
from lds.structure.methods.refit import Refit, expected_graph, harms, weigh
from lds.structure.predict import score
from lds.structure.seeds import FRESH_WEIGHTS
from lds.structure.task import Task, task_on
from tests.structure import dense
from tests.structure.blobs import around_centres
from tests.structure.small import ALONE, DEFAULT, KINDS, NETWORKS, REFITS

N, C = 60, 3
CPU, DOUBLE = torch.device("cpu"), torch.float64
TRAIN, STOPPING = torch.arange(24), torch.arange(24, 36)
X, LABELS = around_centres(N)
TRUTH = torch.from_numpy(LABELS)


def distribution() -> LogisticEdges:
    return starting_edges(Similarity(X, "auto", 5), None, 12, DOUBLE, CPU)


def ensemble(n_times: int = 1) -> Ensemble:
    return default_ensemble(5, 4, C, 0.5, n_times)


def task_of(network) -> Task:
    decay = DEFAULT.weight_decay
    return task_on(X, LABELS, network, weight_decay=decay, dtype=DOUBLE, device=CPU)


def by_hand(seed: int = 0) -> list[Member]:
    """A member of each kind, with weights that nothing has trained."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, dtype=DOUBLE, generator=generator)

    members = []
    for network in ensemble().kinds:
        params = network.init(generator, DOUBLE, CPU)
        if isinstance(network, Discriminant):
            params = {"W": 0.3 * normal(5, C), "b": normal(C), "beliefs": normal(N, C).softmax(1)}
            coupling = 2.0 if network.neighbors else 0.0
            params["coupling"] = torch.tensor(coupling, dtype=DOUBLE)
        elif isinstance(network, LabelPageRank):
            params["labels"] = torch.zeros(N, C, dtype=DOUBLE)
            params["labels"][TRAIN, TRUTH[TRAIN]] = 1 / 8
            params["sharpness"] = torch.tensor(0.7, dtype=DOUBLE)
        members.append(Member(network, params, 0))
    return members


def train_all(method=ALONE, stopping=STOPPING) -> list[Member]:
    """A member of each kind, trained or fitted."""
    edges = distribution()
    expected, members = expected_graph(edges), []
    task = task_of(None)
    for k, networks in enumerate(groups(ensemble().kinds, task)):
        if len(members) < NETWORKS:
            arguments = (NumberedDraws(edges, 0), expected, TRAIN, stopping, method, k)
            members += train_members(task, networks, *arguments)
        else:
            members.append(fit_member(task, networks[0], expected, TRAIN, stopping, 0))
    return members


@pytest.fixture(scope="module")
def trained() -> list[Member]:
    return train_all(dataclasses.replace(ALONE, refit_steps=100))


def probabilities_of(members, edges) -> torch.Tensor:
    """On the expected graph, dense: `(n_members, n_nodes, n_classes)`."""
    row, col = edges.pairs.pairs(edges.pairs.positions())
    theta = torch.zeros(N, N, dtype=DOUBLE)
    theta[row, col] = edges.probs[: len(row)]
    a_hat = dense.normalize(theta + theta.T)
    x, each = torch.from_numpy(X).double(), []
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


# Weights


def assert_weights(members, stopping) -> None:
    """Weights proportional to exp(-√n · mean loss): within each family, and of the wholes."""
    edges = distribution()
    log_weights, probabilities = weigh(task_of(None), members, expected_graph(edges), stopping)
    each, truth = probabilities_of(members, edges), TRUTH[stopping]
    losses = -each[:, stopping].gather(2, truth.expand(KINDS, -1).unsqueeze(2)).log().mean((1, 2))
    root = math.sqrt(len(stopping))
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
    assert float(expected.max()) > 1.5 * float(expected.min()), "the weights must differ"


@pytest.mark.parametrize("n_stopping", [1, 12, 36])
def test_members_count_by_their_loss_on_the_stopping_rows(n_stopping, trained):
    stopping = torch.arange(24, 24 + n_stopping)
    assert_weights(by_hand(), stopping)
    assert_weights(trained, stopping)


# Harm


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
    task = dataclasses.replace(task_of(GCN(5, 4, C)), labels=labels)
    arguments = (torch.from_numpy(before), torch.from_numpy(after), task)
    assert harms(*arguments, rows) == (grown > 1)
    assert not harms(*arguments, rows[:1])


# Temperatures


@pytest.mark.parametrize("n_stopping", [3, 36])
@pytest.mark.parametrize("kind", ["by hand", "trained"])
def test_members_are_as_sure_as_the_stopping_rows_justify(n_stopping, kind, trained):
    """The temperature against scipy's minimum."""
    stopping = torch.from_numpy(np.random.default_rng(0).permutation(N)[:n_stopping])
    truth, graph = TRUTH[stopping], expected_graph(distribution())
    for member in by_hand() if kind == "by hand" else trained:
        task = task_of(member.network)
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


# Training


def test_a_member_takes_the_steps_of_the_option():
    members = train_all(dataclasses.replace(ALONE, refit_steps=20))
    assert [member.steps for member in members] == NETWORKS * [20] + (KINDS - NETWORKS) * [0]


@pytest.mark.parametrize("steps", [1, 3])
def test_the_last_step_has_a_score_whatever_the_number_of_steps(steps):
    members = train_all(dataclasses.replace(ALONE, refit_steps=steps))
    assert [member.steps for member in members[:NETWORKS]] == NETWORKS * [steps]


@pytest.mark.ci
def test_a_member_keeps_the_weights_of_its_best_score_and_stops_without_a_better_one(monkeypatch):
    """Run for longer, it meets the same scores: the best of all of them is what it keeps."""
    seen = []

    def noted(probabilities, labels, rows, weights):
        found = score(probabilities, labels, rows)
        seen.append((found.accuracy, -found.loss))
        return found

    monkeypatch.setattr(committee_members, "STACK_BYTES", 0)  # one network after another
    monkeypatch.setattr(committee_members, "PATIENCE", 3 * committee_members.EVERY)
    monkeypatch.setattr(lds.structure.training, "score", noted)
    monkeypatch.setattr(committee_members, "calibrated", lambda task, member, *_: member)
    networks = train_all(dataclasses.replace(ALONE, refit_steps=400))[:NETWORKS]
    at = 0
    for member, probs in zip(networks, probabilities_of(networks, distribution()), strict=True):
        scores = seen[at : at + member.steps // committee_members.EVERY]
        at += len(scores)
        best = max(range(len(scores)), key=scores.__getitem__)
        found = score(probs, TRUTH, STOPPING)
        assert found.accuracy == scores[best][0]
        assert found.loss == pytest.approx(-scores[best][1], rel=1e-9)
        assert len(scores) - 1 - best == 3, "three scores without a better one end it"
    assert at == len(seen)


@pytest.mark.parametrize("taught", [False, True])
def test_networks_side_by_side_are_those_that_torchs_adam_trains_alone(taught, monkeypatch):
    """Without dropout: weights, steps and ends of each are its own."""
    monkeypatch.setattr(committee_members, "PATIENCE", 3 * committee_members.EVERY)
    monkeypatch.setattr(committee_members, "TAUGHT_PATIENCE", 3 * committee_members.EVERY)
    monkeypatch.setattr(committee_members, "calibrated", lambda task, member, *_: member)
    method, stopped = dataclasses.replace(ALONE, refit_steps=200, inner_lr=0.1), []
    networks = [GCN(5, 4, C, 0.0), *(PageRank(5, 4, C, 0.0, teleport=a) for a in TELEPORTS)]
    edges = distribution()
    draws, expected, task = NumberedDraws(edges, 0), expected_graph(edges), task_of(None)
    if taught:
        teacher = torch.rand(N, C, dtype=DOUBLE, generator=torch.Generator().manual_seed(1))
        task = dataclasses.replace(task, teacher=teacher.softmax(1), distillation=0.3)
    where = draws, expected, TRAIN, STOPPING, method, 9
    members = train_members(task, networks, *where, stopped.append)
    assert len({member.steps for member in members}) > 1, "they end at different steps"
    assert stopped == sorted(set(stopped))
    assert max(stopped) < len(networks)
    fresh = torch.Generator().manual_seed(mix(9, FRESH_WEIGHTS))
    for network, member in zip(networks, members, strict=True):
        w = {n: p.requires_grad_() for n, p in network.init(fresh, DOUBLE, CPU).items()}
        adam, best, waited, t = torch.optim.Adam(w.values(), lr=method.inner_lr), None, 0, 0
        while waited < 3 * committee_members.EVERY and t < method.refit_steps:
            z = network(w, task.features, draws(t).graph, training=True)[0]
            loss = cross_entropy(z[TRAIN], TRUTH[TRAIN])
            loss = loss + method.weight_decay * w["W1"].square().sum() / 2
            if taught:
                loss = loss + 0.3 * cross_entropy(z, task.teacher)
            adam.zero_grad()
            loss.backward()
            adam.step()
            t += 1
            if t % committee_members.EVERY == 0:
                z = network(w, task.features, expected, training=False)[0].detach()
                now = score(z.softmax(1), TRUTH, STOPPING)
                waited += committee_members.EVERY
                if best is None or now.better_than(best[0]):
                    best, waited = (now, {n: p.detach().clone() for n, p in w.items()}), 0
        assert member.steps == t
        assert member.params.keys() == best[1].keys()
        for name, leaf in member.params.items():
            torch.testing.assert_close(leaf, best[1][name], rtol=1e-6, atol=1e-8)


def test_training_a_member_does_not_change_the_distribution_and_follows_its_seed():
    edges, fresh = distribution(), distribution()
    network = ensemble().kinds[0]
    draws, expected = NumberedDraws(edges, 0), expected_graph(edges)
    arguments = (task_of(network), [network], draws, expected, TRAIN, STOPPING, ALONE)
    one, two, other = (train_members(*arguments, seed)[0] for seed in (3, 3, 4))
    assert torch.equal(edges.probs, fresh.probs)
    assert all(torch.equal(one.params[name], two.params[name]) for name in one.params)
    assert not torch.equal(one.params["W1"], other.params["W1"])


def test_a_member_without_a_finite_loss_is_an_error(monkeypatch):
    monkeypatch.setattr(committee_members, "train", lambda *_, **__: NETWORKS * [None])
    with pytest.raises(NonFiniteError, match="never finite; try a smaller inner_lr"):
        train_all()


def test_members_in_closed_form_do_not_depend_on_a_seed():
    one, two = train_all(), train_all()
    for member, again in zip(one, two, strict=True):
        assert all(torch.equal(member.params[k], again.params[k]) for k in member.params)


def test_the_expected_graph_is_theta_normalised():
    edges = distribution()
    theta = edges.to_csr().toarray()
    graph = expected_graph(edges)
    looped = theta + np.eye(N)
    scale = 1 / np.sqrt(looped.sum(1))
    expected = scale[:, None] * looped * scale
    np.testing.assert_allclose(graph.matrix.to_dense().numpy(), expected, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(graph.scale.numpy(), scale, rtol=1e-12)
    assert (graph.n_draws, graph.n_nodes) == (1, N)


# The refit as a whole, with members that cost nothing


@pytest.fixture
def cheap(monkeypatch) -> None:
    """Members are made by hand, another set at every turn."""
    turns = [by_hand(seed) for seed in range(REFITS)]
    made = iter([member for turn in turns for member in turn])
    monkeypatch.setattr(refit, "train_members", lambda _, group, *__: [next(made) for _ in group])
    monkeypatch.setattr(refit, "fit_member", lambda *_: next(made))


@pytest.mark.usefixtures("cheap")
@pytest.mark.parametrize("harmful", [True, False])
def test_agreement_is_refused_where_it_harms_and_all_members_stay(harmful, monkeypatch):
    monkeypatch.setattr(refit, "harms", lambda *_: harmful)
    network, edges, reports = ensemble(REFITS), distribution(), []

    def report(done, total):
        reports.append((done, total))

    found = Refit(task_of(network), network, TRAIN, STOPPING, DEFAULT, 0, report)(edges)
    assert len(found.members) == len(found.log_weights) == KINDS * REFITS
    assert float(found.log_weights.exp().sum()) == pytest.approx(1, rel=1e-12)
    assert found.agreement == (0.0 if harmful else DEFAULT.agreement)
    assert (found.edges is edges) == harmful
    counts = [t * KINDS + k for t in range(REFITS) for k in range(NETWORKS, KINDS + 1)]
    assert reports == [(k, KINDS * REFITS) for k in [0, *counts]]


@pytest.mark.parametrize("weight", [0.0, 0.7])
def test_networks_of_later_turns_learn_from_the_committee_before_them(weight, monkeypatch):
    method = dataclasses.replace(DEFAULT, agreement=0.0, distillation=weight)
    made, teachers = iter(by_hand(0) + by_hand(1)), []

    def noted(task, group, *_):
        teachers.append((task.teacher, task.distillation))
        return [next(made) for _ in group]

    monkeypatch.setattr(refit, "train_members", noted)
    monkeypatch.setattr(refit, "fit_member", lambda *_: next(made))
    network, edges = ensemble(2), distribution()
    Refit(task_of(network), network, TRAIN, STOPPING, method, 0)(edges)
    first, second = teachers
    assert first == (None, 0.0)
    if not weight:
        assert second == first
        return
    members = by_hand(0)
    log_weights, _ = weigh(task_of(network), members, expected_graph(edges), STOPPING)
    x = task_of(network).features
    each = [
        m.network(m.params, x, expected_graph(edges), training=False)[0].softmax(1) for m in members
    ]
    squares = sum(w * p for w, p in zip(log_weights.exp(), each, strict=True)) ** 2
    expected = squares / squares.sum(1, keepdim=True)  # the temperature is 1/2
    assert second[1] == weight
    torch.testing.assert_close(second[0], expected, rtol=1e-12, atol=0)


def test_the_inner_loss_with_a_teacher_is_cross_entropy_and_kullback_leibler():
    network = GCN(5, 4, C, dropout=0.0)
    task, edges = task_of(network), distribution()
    params = network.init(torch.Generator().manual_seed(0), DOUBLE, CPU)
    teacher = torch.rand(N, C, dtype=DOUBLE, generator=torch.Generator().manual_seed(1)).softmax(1)
    taught = dataclasses.replace(task, teacher=teacher, distillation=0.3)
    with replayed(3):
        plain = task.inner(TRAIN)(params, {"edges": edges})
    with replayed(3):
        found = taught.inner(TRAIN)(params, {"edges": edges})
    with replayed(3):
        says = network(params, task.features, edges.draw(), training=False)[0].log_softmax(1)
    p, q = teacher.numpy(), says.detach().exp().numpy()
    divergence = np.mean(stats.entropy(p, q, axis=1) + stats.entropy(p, axis=1))
    assert float(found - plain) == pytest.approx(0.3 * divergence, rel=1e-9)
    with replayed(3):  # the outer objective has labels alone
        outer = taught.outer(TRAIN)(params, {"edges": edges})
    with replayed(3):
        assert float(outer) == float(task.outer(TRAIN)(params, {"edges": edges}))
