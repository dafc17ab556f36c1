"""Denoising against a dense computation, and its hypergradient against dense autograd."""

import dataclasses

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from lds._random import mix, replayed
from lds._types import Split
from lds.bilevel.adaptive import Adam
from lds.bilevel.step import Step
from lds.bilevel.taped import TapedStep
from lds.edges.free import FreeEdges
from lds.graphs.candidates import PairList
from lds.graphs.knn import knn_adjacency
from lds.nn.features import DenseFeatures, SparseFeatures, node_features
from lds.nn.gcn import GCN
from lds.structure.denoising import HIDDEN, MASKED, NEGATIVES, Denoiser
from lds.structure.learn import learn
from lds.structure.methods.committee import Committee
from lds.structure.methods.thesis import Thesis
from lds.structure.problem import Problem
from lds.structure.task import Task, total
from tests.structure import dense
from tests.structure.window import hypergradient

N, F, H, C, TAU = 24, 14, 5, 3, 4
ETA, RHO = 0.02, 5e-3
CPU = torch.device("cpu")
# Sums of a few hundred float64 products in another order.
CLOSE = {"rtol": 1e-11, "atol": 1e-13}


def problem(sparse: bool):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((N, F)) * np.linspace(0.5, 2, F)
    if sparse:
        x = x * (rng.random((N, F)) < 0.2)
    upper = np.triu(rng.random((N, N)) * (rng.random((N, N)) < 0.3), 1)
    theta = sp.csr_array(upper + upper.T)
    features = node_features(sp.csr_array(x) if sparse else x, torch.float64)
    assert isinstance(features, SparseFeatures if sparse else DenseFeatures)
    edges = FreeEdges(theta, torch.float64, candidates=PairList.of(theta))
    return features, torch.from_numpy(x), edges, torch.from_numpy(rng.integers(0, C, N))


def fresh(features) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    params = Denoiser(features).init(generator, torch.float64, CPU)
    params["bias"] = torch.randn(F, dtype=torch.float64, generator=generator)
    return params


def drawn_of(features, edges, seed: int):
    """What a call under `seed` draws: the graph, the hidden entries, and other words."""
    with replayed(seed):
        a = dense.adjacency(edges.draw())
        _, (row, col, truth) = features.hide(MASKED)
        other = torch.randint(F, (NEGATIVES * len(row),))
    return a, row, col, truth, other


def dense_loss(a_hat, x, w, drawn, sparse: bool) -> torch.Tensor:
    """The objective written out: the masked X through two layers, then entry by entry."""
    _, row, col, truth, other = drawn
    seen = x.clone()
    seen[row, col] = 0
    code = a_hat @ torch.relu(a_hat @ (seen / (1 - MASKED) @ w["encoder"]))
    predicted = code @ w["decoder"].T + w["bias"]
    if not sparse:
        variance = ((x - x.mean(0)) ** 2).mean()
        return ((predicted[row, col] - truth) ** 2).mean() / variance
    logits = torch.cat([predicted[row, col], predicted[row.repeat(NEGATIVES), other]])
    there = torch.cat([torch.ones(len(row)), torch.zeros(len(other))]).double()
    return binary_cross_entropy_with_logits(logits, there)


BOTH = pytest.mark.parametrize("sparse", [False, True], ids=["measurements", "words"])


@BOTH
def test_the_loss_is_the_dense_computation_with_the_same_mask(sparse):
    features, x, edges, _ = problem(sparse)
    w = fresh(features)
    with replayed(4):
        found = Denoiser(features).loss(w, {"edges": edges})
    drawn = drawn_of(features, edges, 4)
    expected = dense_loss(dense.normalize(drawn[0]), x, w, drawn, sparse)
    torch.testing.assert_close(found, expected, **CLOSE)


@BOTH
def test_hidden_entries_are_absent_from_the_input_and_given_beside_it(sparse):
    features, x, _, _ = problem(sparse)
    torch.manual_seed(0)
    kept, (row, col, truth) = features.hide(0.3)
    assert torch.equal(truth, x[row, col])
    assert len(set(zip(row.tolist(), col.tolist(), strict=True))) == len(row) > 0
    seen = x.clone()
    seen[row, col] = 0
    assert torch.equal(kept.dense(), seen)
    assert torch.equal(kept.matmul(torch.eye(F).double()), seen)
    assert torch.equal(features.dense(), x), "X itself is as it was"
    stored = int((x != 0).sum()) if sparse else x.numel()
    # Binomial: four standard deviations.
    assert abs(len(row) - 0.3 * stored) <= 4 * (0.3 * 0.7 * stored) ** 0.5
    torch.manual_seed(0)
    again = features.hide(0.3)[1]
    assert all(torch.equal(a, b) for a, b in zip(again, (row, col, truth), strict=True))


@pytest.mark.parametrize(("share", "words"), [(0.1, True), (0.2, False), (0.5, False)])
def test_measurements_of_which_many_are_0_are_no_words(share, words):
    rng = np.random.default_rng(0)
    x = rng.random((50, 40)) * (rng.random((50, 40)) < share)
    seen = Denoiser.of(node_features(x, torch.float64)).features
    assert isinstance(seen, SparseFeatures if words else DenseFeatures)
    np.testing.assert_array_equal(seen.dense(), x)


def test_what_is_hidden_does_not_reach_its_own_prediction():
    """Another value of a hidden entry changes the truth it is held against, and no prediction."""
    features, x, edges, _ = problem(False)
    w = fresh(features)
    _, row, col, truth, _ = drawn_of(features, edges, 4)
    changed = x.clone()
    changed[row[0], col[0]] += 3.0

    def squares(values):
        with replayed(4):
            loss = Denoiser(DenseFeatures(values)).loss(w, {"edges": edges})
        return float(loss) * float(values.var(0, correction=0).mean()) * len(row)

    drawn = drawn_of(features, edges, 4)
    a_hat = dense.normalize(drawn[0])
    seen = x.clone()
    seen[row, col] = 0
    code = a_hat @ torch.relu(a_hat @ (seen / (1 - MASKED) @ w["encoder"]))
    predicted = float((code @ w["decoder"].T + w["bias"])[row[0], col[0]])
    moved = (predicted - float(truth[0]) - 3) ** 2 - (predicted - float(truth[0])) ** 2
    assert squares(changed) - squares(x) == pytest.approx(moved, rel=1e-9)


def test_nothing_hidden_and_a_constant_are_no_trouble():
    _, _, edges, _ = problem(False)
    empty = SparseFeatures(sp.csr_array((N, F)), torch.float64, CPU)
    constant = DenseFeatures(torch.ones(N, F, dtype=torch.float64))
    for features in (empty, constant):
        with replayed(0):
            loss = Denoiser(features).loss(fresh(features), {"edges": edges})
        assert bool(loss.isfinite())


@BOTH
@pytest.mark.parametrize("step_kind", [Step, TapedStep])
def test_the_hypergradient_of_label_and_denoising_losses_equals_dense_autograd(sparse, step_kind):
    """Both in the inner objective, their weighted sum outside; one call of autograd through all."""
    features, x, edges, labels = problem(sparse)
    task = Task(features, labels, GCN(F, H, C, dropout=0.0), weight_decay=RHO)
    train, val, weights = torch.arange(8), torch.arange(8, 16), (0.7, 3.0)
    denoiser = Denoiser(features)
    inner = total([(1, task.inner(train)), (1, denoiser.loss)])
    objective = total(list(zip(weights, (task.outer(val), denoiser.loss), strict=True)))
    params = task.network.init(torch.Generator().manual_seed(2), torch.float64, CPU)
    params |= fresh(features)
    dynamics, hyper = Adam(inner, lr=ETA), {"edges": edges}
    seeds, outer_seed = [mix(5, t) for t in range(TAU)], mix(5, TAU)
    ours, (gradient,) = hypergradient(
        dynamics, objective, params, hyper, step_kind, seeds, outer_seed
    )
    found = torch.zeros_like(edges.probs)
    edges.pairs.add_products(found, gradient.left, gradient.right, 1.0)

    theta = edges.probs[: edges.pairs.n_pairs].clone().requires_grad_()
    row, col = edges.pairs.pairs(edges.pairs.positions())

    def losses(seed: int, weights, rows, penalty: float):
        with replayed(seed):  # one draw for the labels, then one and a mask for denoising
            first = dense.adjacency(edges.draw())
            second = dense.adjacency(edges.draw())
            _, (r, c, truth) = features.hide(MASKED)
            other = torch.randint(F, (NEGATIVES * len(r),))
        one, two = (
            dense.normalize(dense.straight_through(a, row, col, theta)) for a in (first, second)
        )

        def loss(w):
            fit = cross_entropy(dense.gcn(one, x, w)[rows], labels[rows])
            predicted = dense_loss(two, x, w, (None, r, c, truth, other), sparse)
            return (
                weights[0] * fit + weights[1] * predicted + penalty * 0.5 * w["W1"].square().sum()
            )

        return loss

    w = dense.adam([losses(seed, (1, 1), train, RHO) for seed in seeds], params, ETA)
    value = losses(outer_seed, weights, val, 0.0)(w)
    (expected,) = torch.autograd.grad(value, theta)
    torch.testing.assert_close(ours, value.detach(), rtol=1e-11, atol=0)
    error = (found[: edges.pairs.n_pairs] - expected).norm() / expected.norm()
    assert float(error) <= 1e-8


# Through `learn`

SMALL = Thesis(n_neighbors=3, max_inner=10, max_iter=2, hidden_channels=4)


def blobs():
    rng = np.random.default_rng(0)
    labels = np.arange(40) % 2
    x = rng.standard_normal((40, 5)) + 2 * np.eye(5)[labels]
    split = Split(np.arange(8), np.arange(8, 20), np.arange(20, 30), np.arange(30, 40))
    return x.astype(np.float32), labels.astype(np.int64), split


def fit(labels=None, **options):
    x, y, split = blobs()
    y = y if labels is None else labels
    return learn(Problem(x, y, split), dataclasses.replace(SMALL, **options))


@pytest.mark.ci
def test_with_no_weight_on_labels_those_of_validation_rows_change_nothing():
    _, y, split = blobs()
    swapped = y.copy()
    swapped[split.validation] = 1 - y[split.validation]
    alone = {"label_weight": 0.0, "denoising_weight": 1.0}
    first, second = fit(**alone), fit(swapped, **alone)
    assert torch.equal(first.edges.probs, second.edges.probs)
    assert np.array_equal(first.probabilities, second.probabilities)
    assert first.history == [
        dataclasses.replace(record, group_probs=mine.group_probs)
        for record, mine in zip(second.history, first.history, strict=True)
    ]
    start = knn_adjacency(blobs()[0], 3, "cosine")
    assert abs(first.edges.to_csr() - start).max() > 1e-6, "denoising moves θ"
    both = {"label_weight": 1.0, "denoising_weight": 1.0}
    assert not torch.equal(fit(**both).edges.probs, fit(swapped, **both).edges.probs)


def test_without_a_weight_it_is_left_out_to_the_last_bit():
    plain, zero = fit(), fit(denoising_weight=0.0)
    assert torch.equal(plain.edges.probs, zero.edges.probs)
    assert set(plain.params) == {"W1", "W2"}
    other = fit(denoising_weight=0.5)
    assert {"encoder", "decoder", "bias"} < set(other.params)
    assert other.params["encoder"].shape == (5, HIDDEN)
    assert not torch.equal(plain.edges.probs, other.edges.probs)


def test_both_weights_0_are_refused():
    message = "label_weight and denoising_weight must not both be 0"
    with pytest.raises(ValueError, match=message):
        Thesis(label_weight=0.0)
    with pytest.raises(ValueError, match=message):
        Committee(label_weight=0.0)
    with pytest.raises(ValueError, match="an objective must have a weight above 0"):
        total([(0, lambda w, hyper: torch.zeros(()))])
