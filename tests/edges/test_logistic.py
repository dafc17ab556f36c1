"""Shared hyperparameters of edges against formulas and dense autograd."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from torch.nn.functional import cross_entropy

from lds._random import mix, replayed
from lds.bilevel.adaptive import Adam
from lds.bilevel.step import Step
from lds.bilevel.taped import TapedStep
from lds.edges.logistic import (
    BESIDE_GRAPH,
    BETAS,
    CERTAIN,
    DEVIATION,
    EPS,
    GIVEN,
    MIDDLE_COSINE,
    MIDDLE_KERNEL,
    SLOPE,
    SMOOTH,
    LogisticEdges,
    new_edges,
    starting_edges,
    with_agreement,
)
from lds.graphs.candidates import PairList
from lds.graphs.directions import Directions
from lds.graphs.product import FactoredGradient
from lds.graphs.similarity import Similarity
from lds.nn.features import drop, node_features
from lds.nn.gcn import GCN
from lds.nn.pagerank import PageRank
from lds.structure.task import Task
from tests.structure import dense
from tests.structure.window import hypergradient

N, F, H, C, TAU = 30, 9, 5, 3, 5
ETA, RHO, P = 0.02, 5e-3, 0.4
CPU = torch.device("cpu")


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def random_edges(n_judges: int = 0, seed: int = 0, deviation=DEVIATION) -> LogisticEdges:
    """Two features and coefficients on a third of all pairs."""
    rng = np.random.default_rng(seed)
    pairs = PairList.of(sp.csr_array(np.triu(rng.random((N, N)) < 0.3, 1)))
    features = torch.from_numpy(rng.standard_normal((pairs.n_pairs, 2)))
    start = torch.tensor([-0.4, 0.9], dtype=torch.float64)
    return LogisticEdges(pairs, ["one", "other"], features, start, n_judges, deviation)


def pairs_of(edges: LogisticEdges) -> tuple[torch.Tensor, torch.Tensor]:
    return edges.pairs.pairs(edges.pairs.positions())


def random_gradient(seed: int = 1) -> tuple[FactoredGradient, torch.Tensor]:
    """Factors, and the symmetric matrix that they are."""
    generator = torch.Generator().manual_seed(seed)
    u, v = torch.randn(2, N, 3, dtype=torch.float64, generator=generator)
    return FactoredGradient((u, v), (v, u)), u @ v.T + v @ u.T


def test_probabilities_are_the_sigmoid_of_features_times_coefficients():
    edges = random_edges()
    expected = sigmoid(edges.features.numpy() @ edges.coefficients.numpy())
    n_pairs = len(expected)
    np.testing.assert_allclose(edges.probs[:n_pairs].numpy(), expected, rtol=1e-14)
    assert not edges.probs[n_pairs:].any(), "what aligns the buffer belongs to no pair"
    row, col = pairs_of(edges)
    matrix = edges.to_csr().toarray()
    np.testing.assert_allclose(matrix[row, col], expected, rtol=1e-14)
    assert edges.expected_edges == pytest.approx(expected.sum(), rel=1e-12)


def test_a_step_is_that_of_torchs_adam_on_the_chain_rules_gradient():
    edges = random_edges()
    beta = edges.coefficients.clone().requires_grad_()
    optimizer = torch.optim.Adam([beta], lr=0.1, betas=BETAS, eps=EPS)
    row, col = pairs_of(edges)
    for seed in range(4):
        gradient, matrix = random_gradient(seed)
        edges.descend(gradient, 0.1)
        optimizer.zero_grad()
        theta = (edges.features @ beta).sigmoid()
        (theta * matrix[row, col]).sum().backward()
        optimizer.step()
        torch.testing.assert_close(edges.coefficients, beta.detach(), rtol=1e-10, atol=0)
        expected = (edges.features @ beta.detach()).sigmoid()
        torch.testing.assert_close(edges.probs[: len(row)], expected, rtol=1e-10, atol=0)


def test_draws_follow_the_coefficients_once_they_move():
    edges = random_edges()
    with replayed(3):
        before = dense.adjacency(edges.draw())
    edges.descend(random_gradient()[0], 20.0)
    with replayed(3):
        after = dense.adjacency(edges.draw())
    assert not torch.equal(before, after)
    row, col = pairs_of(edges)
    theta = edges.probs[: len(row)]
    assert bool((after[row, col][theta > 1 - 1e-9] == 1).all())
    assert bool((after[row, col][theta < 1e-9] == 0).all())


@pytest.mark.parametrize("deviation", [DEVIATION, 0.5, torch.tensor([0.1, 2.0]).double()])
@pytest.mark.parametrize("n_judges", [1, 40])
def test_the_prior_pulls_back_to_where_coefficients_started_the_less_the_more_rows_judge(
    n_judges, deviation
):
    edges = random_edges(n_judges, deviation=deviation).copy()
    start, away = edges.coefficients, torch.tensor([0.3, -0.2], dtype=torch.float64)
    state = edges.state() | {"coefficients": start + away}
    edges.restore(state)
    zero = torch.zeros(N, 1, dtype=torch.float64)
    edges.descend(FactoredGradient((zero,), (zero,)), 0.01)
    # -log N(β; β_0, deviation²) of one prior beside the sum of n losses, over n.
    found = edges.state()["moments"][0] / (1 - BETAS[0])
    torch.testing.assert_close(found, away / (deviation**2 * n_judges), rtol=1e-12, atol=0)
    assert bool(((edges.coefficients - start).abs() < away.abs()).all())
    free = random_edges(0)
    free.restore(state)
    free.descend(FactoredGradient((zero,), (zero,)), 0.01)
    assert torch.equal(free.coefficients, start + away)


def test_a_copy_is_independent_and_a_restored_one_goes_on_to_the_same_bits():
    edges = random_edges(10)
    edges.descend(random_gradient(0)[0], 0.1)
    kept, state = edges.copy(), edges.state()
    frozen = {k: v.clone() if isinstance(v, torch.Tensor) else v for k, v in state.items()}
    edges.descend(random_gradient(1)[0], 0.1)
    assert not torch.equal(kept.coefficients, edges.coefficients)
    assert torch.equal(state["coefficients"], frozen["coefficients"])
    assert kept.names == edges.names
    restored = random_edges(10)
    restored.restore(frozen)
    for other in (kept, restored):
        other.descend(random_gradient(1)[0], 0.1)
        assert torch.equal(other.coefficients, edges.coefficients)
        assert torch.equal(other.probs, edges.probs)
        with replayed(5):
            mine = other.draw().matrix.to_dense()
        with replayed(5):
            assert torch.equal(mine, edges.draw().matrix.to_dense())


# The hypergradient of the coefficients


def dense_reference(edges, network, x, labels, params, seeds, outer_seed, train, val):
    """E and ∂E/∂β by one call of autograd through the window, with dense matrices."""
    beta = edges.coefficients.clone().requires_grad_()
    theta = (edges.features @ beta).sigmoid()
    row, col = pairs_of(edges)

    def graph(seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        with replayed(seed):
            drawn = dense.adjacency(edges.draw())
            of_x = drop(torch.ones_like(x), P)
            keep = drop(torch.ones(N, H, dtype=torch.float64), P)
        return dense.normalize(dense.straight_through(drawn, row, col, theta)), of_x, keep

    def inner(seed: int):
        a_hat, of_x, keep = graph(seed)

        def loss(w):
            logits = network(a_hat, x * of_x, w, keep)[train]
            return cross_entropy(logits, labels[train]) + RHO * 0.5 * w["W1"].square().sum()

        return loss

    w = dense.adam([inner(seed) for seed in seeds], params, ETA)
    value = cross_entropy(network(graph(outer_seed)[0], x, w)[val], labels[val])
    return value, *torch.autograd.grad(value, beta)


@pytest.mark.parametrize("step_kind", [Step, TapedStep])
@pytest.mark.parametrize("name", ["gcn", "pagerank"])
def test_the_hypergradient_of_coefficients_equals_dense_autograd(name, step_kind):
    rng = np.random.default_rng(0)
    x, labels = rng.standard_normal((N, F)), torch.from_numpy(rng.integers(0, C, N))
    train, val = torch.arange(0, 10), torch.arange(10, 20)
    if name == "gcn":
        network, reference = GCN(F, H, C, P), dense.gcn
    else:
        network = PageRank(F, H, C, P, teleport=0.1, n_hops=10)

        def reference(a_hat, x, w, keep=1.0):
            return dense.pagerank(a_hat, x, w, keep, alpha=0.1, n_hops=10)

    task = Task(node_features(x, torch.float64), labels, network, weight_decay=RHO)
    edges = random_edges()
    params = network.init(torch.Generator().manual_seed(1), torch.float64, CPU)
    dynamics = Adam(task.inner(train), lr=ETA)
    seeds, outer_seed = [mix(7, t) for t in range(TAU)], mix(7, TAU)
    ours, (gradient,) = hypergradient(
        dynamics, task.outer(val), params, {"edges": edges}, step_kind, seeds, outer_seed
    )

    value, expected = dense_reference(
        edges, reference, torch.from_numpy(x), labels, params, seeds, outer_seed, train, val
    )
    edges.descend(gradient, 0.1)
    found = edges.state()["moments"][0] / (1 - BETAS[0])
    torch.testing.assert_close(ours, value.detach(), rtol=1e-11, atol=0)
    # Sums of the same float64 terms in another order, through five steps of Adam.
    assert float((found - expected).norm() / expected.norm()) <= 1e-8


# Where they start


def rows_with_words(n: int = 20) -> sp.csr_array:
    return sp.csr_array(np.random.default_rng(0).poisson(0.12, (n, 90)).astype(np.float64))


def measurements(n: int = 20) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((n, 3))


@pytest.mark.parametrize("kind", ["words", "measurements"])
def test_without_a_graph_near_neighbours_start_by_the_calibrated_map(kind):
    similar = Similarity(rows_with_words() if kind == "words" else measurements(), "auto", 6)
    edges = starting_edges(similar, None, 5, torch.float64, CPU)
    alike, middle = similar.matrix(), MIDDLE_COSINE if kind == "words" else MIDDLE_KERNEL
    row, col = (part.numpy() for part in pairs_of(edges))
    expected = sigmoid(SLOPE * (alike.toarray()[row, col] - middle))
    np.testing.assert_allclose(edges.probs[: len(row)].numpy(), expected, rtol=1e-12)
    assert edges.names == ("candidate", "similarity")
    assert edges.coefficients.tolist() == [0, 1]
    assert len(row) == alike.nnz // 2, "pairs of similarity 0 are candidates, too"


def test_given_edges_start_at_their_weight_and_neighbours_beside_them_lower():
    similar = Similarity(measurements(), "auto", 4)
    alike = similar.matrix().toarray()
    far = [(i, j) for i in range(20) for j in range(i) if not alike[i, j]]
    near = [(i, j) for i in range(20) for j in range(i) if alike[i, j]]
    weights = {far[0]: 1.0, far[1]: 0.35, near[0]: 0.6, near[1]: 0.95, near[2]: 1e-6}
    given = np.zeros((20, 20))
    for (i, j), weight in weights.items():
        given[i, j] = given[j, i] = weight
    edges = starting_edges(similar, sp.csr_array(given), 5, torch.float64, CPU)
    theta = edges.to_csr().toarray()
    for (i, j), weight in weights.items():
        assert theta[i, j] == pytest.approx(min(max(weight, 1e-3), GIVEN), rel=1e-12)
    for i, j in near[3:]:
        logit = BESIDE_GRAPH + SLOPE * (alike[i, j] - MIDDLE_KERNEL)
        assert theta[i, j] == pytest.approx(sigmoid(logit), rel=1e-12)
    assert np.count_nonzero(theta) // 2 == len(near) + 2
    assert edges.names == ("candidate", "similarity", "given")
    row, col = (part.numpy() for part in pairs_of(edges))
    is_given = given[row, col] > 0
    features = edges.features.numpy()
    assert not features[is_given, :2].any(), "a given edge is no candidate"
    assert not features[~is_given, 2].any()


def test_given_edges_alone_have_their_weights():
    similar, given = Similarity(measurements(), "auto", 4), np.zeros((20, 20))
    near = similar.matrix().toarray()
    weights = {tuple(np.argwhere(near)[0]): 1.0, (3, 9): 0.95, (0, 19): 0.2}
    for (i, j), weight in weights.items():
        given[i, j] = given[j, i] = weight
    edges = starting_edges(similar, sp.csr_array(given), 5, torch.float64, CPU, alone=True)
    expected = np.minimum(given, CERTAIN)
    np.testing.assert_allclose(edges.to_csr().toarray(), expected, rtol=1e-12)
    beside = starting_edges(similar, sp.csr_array(given), 5, torch.float64, CPU)
    assert edges.names == beside.names
    assert torch.equal(edges.coefficients, beside.coefficients)


def test_an_empty_graph_is_a_graph():
    """Beside none, neighbours start as likely as they are; beside an empty one, lower."""
    similar = Similarity(measurements(), "auto", 4)
    none = starting_edges(similar, None, 5, torch.float64, CPU)
    empty = starting_edges(similar, sp.csr_array((20, 20)), 5, torch.float64, CPU)
    moved = torch.logit(empty.probs[:30]) - torch.logit(none.probs[:30])
    torch.testing.assert_close(moved, torch.full_like(moved, BESIDE_GRAPH))


def test_products_along_directions_are_features_of_near_neighbours_that_start_at_nothing():
    x, given = measurements(), np.zeros((20, 20))
    given[0, 1] = given[1, 0] = 0.7
    similar, directions = Similarity(x, "auto", 4), Directions(x, 2)
    graph = sp.csr_array(given)
    plain = starting_edges(similar, graph, 5, torch.float64, CPU)
    edges = starting_edges(similar, graph, 5, torch.float64, CPU, directions)
    assert edges.names == (*plain.names, "direction 0", "direction 1")
    assert torch.equal(edges.probs, plain.probs)
    row, col = (part.numpy() for part in pairs_of(edges))
    expected = directions.products(row, col) * (given[row, col] == 0)[:, None]
    np.testing.assert_allclose(edges.features[:, 3:].numpy(), expected, rtol=1e-12)


# Agreement and new nodes


def memberships(n: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).dirichlet([0.3] * C, n))


def log_odds(same):
    return np.log((same + SMOOTH) / (1 - same + SMOOTH))


def test_agreement_adds_the_log_odds_that_both_nodes_are_of_one_class():
    edges, p = random_edges(10), memberships(N)
    p[0], p[1] = torch.tensor([1.0, 0, 0]), torch.tensor([0, 1.0, 0])
    more = with_agreement(edges, p, 0.7)
    row, col = (part.numpy() for part in pairs_of(edges))
    same = np.array(
        [sum(float(p[i, c] * p[j, c]) for c in range(C)) for i, j in zip(row, col, strict=True)]
    )
    before = edges.features.numpy() @ edges.coefficients.numpy()
    np.testing.assert_allclose(
        more.probs[: len(row)].numpy(), sigmoid(before + 0.7 * log_odds(same)), rtol=1e-12
    )
    assert more.names == ("one", "other", "agreement")
    assert more.coefficients.tolist() == [*edges.coefficients.tolist(), 0.7]
    assert abs(log_odds(np.array([0.0, 1.0]))).max() < 4
    assert torch.equal(edges.probs, random_edges(10).probs), "what it was made from is not changed"
    assert torch.equal(with_agreement(edges, p, 0.0).probs, edges.probs)


@pytest.mark.parametrize("rank", [0, 2])
@pytest.mark.parametrize("agreement", [0.0, 0.6])
@pytest.mark.parametrize("kind", ["words", "measurements"])
def test_edges_of_new_nodes_are_the_same_function_of_the_same_features(kind, agreement, rank):
    words = kind == "words"
    x = rows_with_words(24) if words else measurements(24)
    similar = Similarity(x[:20], "auto", 5)
    beta, p = torch.tensor([-0.3, 1.2, 0.7, -0.4][: 2 + rank]).double(), memberships(20)
    directions = Directions(x[:20], rank) if rank else None
    theirs, asked = memberships(4, seed=9), []

    def classify(edges):
        asked.append(edges)
        return theirs

    found = new_edges(similar, x[20:], beta, p, classify, agreement, directions)
    near, alike = similar.of_new(x[20:])
    beta = beta.numpy()
    logit = beta[0] + beta[1] * SLOPE * (alike - (MIDDLE_COSINE if words else MIDDLE_KERNEL))
    if directions is not None:
        logit = logit + directions.of_new(x[20:], near) @ beta[2:]
    assert np.array_equal(found.nodes.numpy(), near)
    if agreement:
        (first,) = asked
        np.testing.assert_allclose(first.weight.numpy(), sigmoid(logit), rtol=1e-12)
        same = np.einsum("ic,ikc->ik", theirs.numpy(), p.numpy()[near])
        logit = logit + agreement * log_odds(same)
    assert len(asked) == bool(agreement)
    np.testing.assert_allclose(found.weight.numpy(), sigmoid(logit), rtol=1e-12)


@pytest.mark.parametrize("agreement", [0.0, 1.0])
def test_a_new_row_has_no_edge_to_a_row_without_a_common_word(agreement):
    similar = Similarity(sp.csr_array(np.eye(9, 30) + np.eye(9, 30, 1)), "auto", 5)
    new = sp.csr_array((np.ones(1), ([0], [3])), shape=(2, 30))
    p = torch.full((9, 2), 0.5)
    found = new_edges(similar, new, torch.tensor([0.0, 1]), p, lambda _: p[:2], agreement)
    linked = found.nodes[0][found.weight[0] > 0]
    assert sorted(linked.tolist()) == [2, 3]
    assert not found.weight[1].any(), "it has no known word"
