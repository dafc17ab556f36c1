"""θ on pairs of nodes: the law of its draws, replay, and the projected step on it."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from scipy import stats

from lds._random import replayed
from lds.discrete.thinning import ThinningTable
from lds.edges.free import FreeEdges
from lds.edges.sampler import RECENT_DRAWS
from lds.graphs.batch import GraphBatch
from lds.graphs.candidates import AllPairs, PairList
from lds.graphs.product import FactoredGradient


def random_theta(n_nodes: int, p: float = 0.5, seed: int = 0) -> np.ndarray:
    """Symmetric probabilities, some 0, some 1."""
    rng = np.random.default_rng(seed)
    theta = rng.random((n_nodes, n_nodes)) * (rng.random((n_nodes, n_nodes)) < p)
    theta[rng.random((n_nodes, n_nodes)) < 0.1] = 1
    upper = np.triu(theta, 1)
    return upper + upper.T


def distribution(theta: np.ndarray, dtype=torch.float64, listed: bool = False) -> FreeEdges:
    start = sp.csr_array(theta)
    return FreeEdges(start, dtype, candidates=PairList.of(start) if listed else None)


def adjacency(graph: GraphBatch) -> torch.Tensor:
    """The 0/1 adjacency of each graph of a batch, `(n_draws, n_nodes, n_nodes)`."""
    n, entries = graph.n_nodes, graph.matrix.to_sparse_coo().coalesce()
    row, col = entries.indices()
    assert torch.equal(row // n, col // n), "no edge joins two graphs"
    found = torch.zeros(graph.n_draws, n, n, dtype=torch.float64)
    found[row // n, row % n, col % n] = (entries.values() > 0).double()
    return found - torch.eye(n)


def random_gradient(n_nodes: int, seed: int = 1) -> tuple[FactoredGradient, np.ndarray]:
    """Factors whose product is symmetric, in parts, and that product as a dense matrix."""
    generator = torch.Generator().manual_seed(seed)
    u, v = torch.randn(2, n_nodes, 3, dtype=torch.float64, generator=generator)
    c = torch.randn(n_nodes, 1, dtype=torch.float64, generator=generator)
    one = torch.ones_like(c)
    dense = u @ v.T + v @ u.T + c @ one.T + one @ c.T
    return FactoredGradient((u, v, c, one), (v, u, one, c)), dense.numpy()


# Draws


@pytest.mark.parametrize("listed", [False, True], ids=["all-pairs", "list"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_edges_are_drawn_as_often_as_their_probabilities_say(dtype, listed):
    n, n_draws = 12, 4000
    theta = random_theta(n)
    edges = distribution(theta, dtype, listed)
    with replayed(0):
        drawn = torch.cat([adjacency(edges.draw(100)) for _ in range(n_draws // 100)])
    assert torch.equal(drawn, drawn.transpose(1, 2))
    counts = drawn.sum(0).numpy()
    deviation = np.sqrt(n_draws * theta * (1 - theta))
    # Four standard errors of each of the 66 pairs; 0 and 1 exactly.
    assert (np.abs(counts - n_draws * theta) <= 4 * deviation).all()
    assert (counts[theta == 0] == 0).all()
    assert (counts[theta == 1] == n_draws).all()


@pytest.mark.ci
@pytest.mark.parametrize("listed", [False, True], ids=["all-pairs", "list"])
def test_marginals_and_pairs_of_edges_over_20000_graphs(listed):
    """Six edges: how often each and each two are drawn, and all 64 outcomes, by chi-square."""
    n_draws, theta = 20_000, np.zeros((4, 4))
    row, col = np.triu_indices(4, 1)
    p = np.array([0.05, 0.3, 0.5, 0.51, 0.8, 0.97])
    theta[row, col] = theta[col, row] = p
    edges = distribution(theta, torch.float32, listed)
    with replayed(1):
        graphs = [adjacency(edges.draw(500))[:, row, col] for _ in range(n_draws // 500)]
    z = torch.cat(graphs).numpy()
    error = np.sqrt(p * (1 - p) / n_draws)
    assert (np.abs(z.mean(0) - p) <= 4 * error).all()
    centred = (z - p) / np.sqrt(p * (1 - p))
    correlation = (centred.T @ centred / n_draws)[np.triu_indices(6, 1)]
    assert (np.abs(correlation) <= 4 / np.sqrt(n_draws)).all()
    outcome = (z @ 2 ** np.arange(6)).astype(int)
    bits = np.arange(64)[:, None] >> np.arange(6) & 1
    law = n_draws * np.prod(np.where(bits, p, 1 - p), axis=1)
    rare = law < 5  # outcomes expected less than five times count together
    observed = np.bincount(outcome, minlength=64)
    counts = np.append(observed[~rare], observed[rare].sum())
    expected = np.append(law[~rare], law[rare].sum())
    assert stats.chisquare(counts, expected).pvalue > 0.001


def test_a_batch_of_graphs_has_the_edges_its_table_draws():
    """Batches are built from the pairs that most draws share; the law is still the table's."""
    theta = random_theta(40, p=0.3)
    edges = distribution(theta)
    gradient, _ = random_gradient(40)
    for _ in range(2):  # before and after a step on θ
        table = ThinningTable(edges.probs)
        for seed in (0, 1):
            graph = edges.drawn(6, seed)
            keys = table.draw(6, generator=torch.Generator().manual_seed(seed))
            row, col = edges.pairs.pairs(keys % edges.pairs.size)
            expected = torch.zeros(6, 40, 40, dtype=torch.float64)
            expected[keys // edges.pairs.size, row, col] = 1
            assert torch.equal(adjacency(graph), expected + expected.transpose(1, 2))
        edges.descend(gradient, 0.05)


@pytest.mark.parametrize("n_draws", [1, 6])
@pytest.mark.parametrize("p", [0.02, 0.6], ids=["few", "many"])
def test_a_graph_from_a_list_has_the_pairs_whose_uniforms_are_below_theta(p, n_draws):
    """Also where most pairs of the list are in no draw, and some nodes have no pair at all."""
    n = 40
    theta = random_theta(n, p=p)
    theta[:5] = theta[:, :5] = 0
    listed = (theta > 0) | (np.abs(np.subtract.outer(np.arange(n), np.arange(n))) == 7)
    edges = FreeEdges(
        sp.csr_array(theta), torch.float64, candidates=PairList.of(sp.csr_array(listed))
    )
    row, col = np.nonzero(np.triu(listed, 1))
    uniform = torch.rand(
        (n_draws, len(row)), dtype=torch.float64, generator=torch.Generator().manual_seed(3)
    )
    expected = torch.zeros(n_draws, n, n, dtype=torch.float64)
    expected[:, row, col] = (uniform < torch.from_numpy(theta[row, col])).double()
    expected += expected.transpose(1, 2).clone()
    graph = edges.drawn(n_draws, 3)
    assert torch.equal(adjacency(graph), expected)
    scale = (expected.sum(2) + 1).rsqrt()
    normalised = scale.unsqueeze(2) * (expected + torch.eye(n)) * scale.unsqueeze(1)
    whole = torch.block_diag(*normalised)
    torch.testing.assert_close(graph.matrix.to_dense(), whole, rtol=1e-15, atol=0)
    assert graph.matrix.values().numel() == int((whole > 0).sum()), "no entry is stored for nothing"


def test_graphs_of_one_batch_are_drawn_independently():
    """Pairs of graphs in a batch share an edge with probability θ²."""
    theta = np.full((25, 25), 0.3)
    np.fill_diagonal(theta, 0)
    with replayed(1):
        drawn = adjacency(distribution(theta).draw(40))
    upper = drawn[:, *np.triu_indices(25, 1)]
    both = float((upper[0::2] * upper[1::2]).sum())
    n = upper.numel() / 2
    assert abs(both - 0.09 * n) <= 4 * (n * 0.09 * 0.91) ** 0.5


def test_a_draw_follows_from_torchs_state_and_takes_one_number_from_it():
    edges = distribution(random_theta(20))
    with replayed(5):
        first = edges.draw()
        rest = torch.rand(2)
        second = edges.draw()
    with replayed(5):
        again = edges.draw()
        assert torch.equal(torch.rand(2), rest)
    other = distribution(random_theta(20))  # not from memory
    with replayed(5):
        fresh = other.draw()
    assert torch.equal(adjacency(first), adjacency(again))
    assert torch.equal(adjacency(first), adjacency(fresh))
    assert not torch.equal(adjacency(first), adjacency(second))


def test_a_draw_is_the_same_after_many_others():
    """Recent draws are kept; one that fell out of memory is built again, and equal."""
    edges = distribution(random_theta(10))
    with replayed(0):
        first = adjacency(edges.draw())
    for seed in range(1, RECENT_DRAWS + 2):
        with replayed(seed):
            edges.draw()
    with replayed(0):
        assert torch.equal(adjacency(edges.draw()), first)


def test_one_state_gives_batches_of_any_size():
    edges = distribution(random_theta(10))
    for n_draws in (1, 3, 1):
        with replayed(0):
            assert edges.draw(n_draws).n_draws == n_draws


def test_a_recorder_draws_the_same_graphs_and_notes_products_apart():
    edges = distribution(random_theta(10))
    first, second = edges.record(), edges.record()
    with replayed(3):
        plain = edges.draw()
    graphs = []
    for recorder in (first, second):
        with replayed(3):
            graphs.append(recorder.draw())
    assert all(torch.equal(adjacency(g), adjacency(plain)) for g in graphs)
    assert plain.products is None
    assert graphs[0].products is not graphs[1].products
    assert first.inputs() == []
    assert first.gradient([]) is None


# The projected step


@pytest.mark.parametrize("n_nodes", [12, 300])
def test_descend_is_the_dense_formula_on_all_pairs(n_nodes):
    theta = random_theta(n_nodes)
    edges = distribution(theta)
    gradient, dense = random_gradient(n_nodes)
    edges.descend(gradient, 0.1)
    expected = np.clip(theta - 0.1 * dense, 0, 1)
    np.fill_diagonal(expected, 0)
    got = edges.to_csr().toarray()
    np.testing.assert_array_equal(got, got.T)
    # Eight float64 products summed in another order.
    np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-14)
    row, col = np.triu_indices(n_nodes, 1)
    for bound in (0, 1):
        assert (expected[row, col] == bound).mean() > 0.05, "the projection has nothing to do"
    assert edges.expected_edges == pytest.approx(expected[row, col].sum())


def test_descend_on_a_list_moves_the_listed_pairs_alone():
    theta = random_theta(40, p=0.1)
    edges = distribution(theta, listed=True)
    gradient, dense = random_gradient(40)
    edges.descend(gradient, 0.1)
    expected = np.where(theta > 0, np.clip(theta - 0.1 * dense, 0, 1), 0)
    np.testing.assert_allclose(edges.to_csr().toarray(), expected, rtol=1e-12, atol=1e-14)


def test_draws_follow_the_new_probabilities_after_descend():
    """A step that sends every θ to 1, and one that sends it to 0: draws under an old seed too."""
    n = 10
    edges = distribution(random_theta(n))
    one = torch.ones(n, 1, dtype=torch.float64)
    with replayed(0):
        before = adjacency(edges.draw())
    for lr, value in ((-2.0, 1.0), (2.0, 0.0)):
        edges.descend(FactoredGradient((one,), (one,)), lr)
        with replayed(0):
            after = adjacency(edges.draw())
        assert torch.equal(after[0], value * (1 - torch.eye(n)).double())
        assert not torch.equal(after, before)


def test_a_copy_is_independent():
    theta = random_theta(15)
    edges = distribution(theta)
    copy = edges.copy()
    gradient, _ = random_gradient(15)
    with replayed(2):
        before = adjacency(copy.draw())
    edges.descend(gradient, 0.3)
    np.testing.assert_array_equal(copy.to_csr().toarray(), theta)
    assert copy.expected_edges == pytest.approx(theta.sum() / 2)
    fresh = distribution(theta)
    with replayed(2):
        assert torch.equal(adjacency(fresh.draw()), before)
    graphs = []
    for one in (edges, copy, fresh):  # what one has drawn, the other must not take from memory
        with replayed(6):
            graphs.append(adjacency(one.draw()))
    assert torch.equal(graphs[1], graphs[2])
    assert not torch.equal(graphs[0], graphs[1])
    copy.descend(gradient, 0.3)
    assert torch.equal(copy.probs, edges.probs)
    with replayed(4):
        drawn = adjacency(edges.draw())
    with replayed(4):
        assert torch.equal(adjacency(copy.draw()), drawn)


def test_moving_to_other_pairs_draws_from_them_alone():
    theta = random_theta(20, p=0.4)
    edges = distribution(theta, listed=True)
    edges.draw()  # nothing of what it made before must stay
    keys = np.unique(np.concatenate([edges.pairs.keys[::2], [7 * 20 + 7 + 1]]))
    row, col = keys // 20, keys % 20
    probs = torch.rand(len(keys), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    probs[::3] = 1
    edges.move_to(PairList(20, keys), probs)
    expected = np.zeros_like(theta)
    expected[row, col] = probs
    expected += expected.T
    np.testing.assert_array_equal(edges.to_csr().toarray(), expected)
    assert edges.expected_edges == pytest.approx(expected.sum() / 2)
    with replayed(0):
        drawn = adjacency(edges.draw(200)).mean(0).numpy()
    assert not drawn[expected == 0].any()
    assert (drawn[expected == 1] == 1).all()
    with pytest.raises(TypeError, match="list of pairs"):
        distribution(theta).move_to(PairList(20, keys), probs)


# In and out


@pytest.mark.parametrize("listed", [False, True], ids=["all-pairs", "list"])
def test_to_csr_gives_back_what_it_started_from(listed):
    theta = random_theta(30, p=0.3)
    edges = distribution(theta, listed=listed)
    matrix = edges.to_csr()
    np.testing.assert_array_equal(matrix.toarray(), theta)
    assert matrix.nnz == np.count_nonzero(theta)
    assert edges.expected_edges == pytest.approx(theta.sum() / 2)
    assert edges.n_nodes == 30


def test_the_cutoff_drops_what_is_not_above_it():
    theta = np.zeros((4, 4))
    for (i, j), value in {(0, 1): 0.2, (0, 2): 0.5, (2, 3): 0.9}.items():
        theta[i, j] = theta[j, i] = value
    kept = distribution(theta).to_csr(cutoff=0.5).toarray()
    assert kept[2, 3] == kept[3, 2] == 0.9
    assert np.count_nonzero(kept) == 2


def test_the_diagonal_of_a_start_is_left_out():
    theta = random_theta(8) + np.eye(8)
    assert not distribution(theta).to_csr().toarray().diagonal().any()


def test_a_start_of_other_weights_than_one_is_kept_in_float32():
    theta = random_theta(20)
    got = distribution(theta, torch.float32).to_csr().toarray()
    np.testing.assert_array_equal(got, theta.astype(np.float32))


def test_pairs_default_to_all():
    assert isinstance(distribution(random_theta(5)).pairs, AllPairs)


def test_values_of_an_objective_give_no_gradient():
    edges = distribution(random_theta(5))
    assert not edges.needs_values
    with pytest.raises(TypeError, match=r"FreeEdges takes its gradient from derivatives"):
        edges.estimate(lambda graph: 0.0, 2, 0)
