"""Algorithm 7 as a whole: its schedule, its stopping rules, its errors, its controls."""

import dataclasses
import math

import numpy as np
import psutil
import pytest
import scipy.sparse as sp
import torch

from lds._types import Split
from lds.bilevel.checks import NonFiniteError
from lds.bilevel.step import evaluate
from lds.config import LDSConfig
from lds.graphs.knn import knn_adjacency
from lds.structure.controls import CONTROLS, run_controls
from lds.structure.learner import Learner, learn

SMALL = LDSConfig(n_neighbors=3, max_inner=20, max_iter=3, hidden_channels=4, truncation=5)


def blobs(n=60, seed=0):
    """Three classes around three far apart centres."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    x = rng.standard_normal((n, 5)) + 4 * np.eye(5)[labels]
    split = Split(np.arange(12), np.arange(12, 24), np.arange(24, 36), np.arange(36, n))
    return x.astype(np.float32), labels.astype(np.int64), split


def fit(config=SMALL, problem=None, **options):
    x, y, split = blobs() if problem is None else problem
    start = knn_adjacency(x, config.n_neighbors, config.metric)
    return learn(x, y, split, start, config, **options)


def test_separable_classes_are_learned_and_theta_stays_a_distribution():
    _, y, split = blobs()
    result = fit(dataclasses.replace(SMALL, max_inner=60))
    assert (result.probabilities.argmax(1) == y)[split.test].mean() >= 0.95
    np.testing.assert_allclose(result.probabilities.sum(1), 1, rtol=1e-5)
    theta = result.edges.probs
    assert bool(((theta >= 0) & (theta <= 1)).all())
    start = knn_adjacency(blobs()[0], 3, "cosine")
    assert abs(result.edges.to_csr() - start).max() > 0, "θ never moved"


def test_the_same_seed_gives_bitwise_the_same_run_and_another_seed_does_not():
    first, again = fit(), fit()
    assert torch.equal(first.edges.probs, again.edges.probs)
    assert all(torch.equal(first.params[k], again.params[k]) for k in first.params)
    assert np.array_equal(first.probabilities, again.probabilities)
    assert first.history == again.history
    other = fit(dataclasses.replace(SMALL, seed=1))
    assert not torch.equal(first.edges.probs, other.edges.probs)


def test_the_run_leaves_the_global_random_state_alone():
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    fit()
    assert torch.equal(torch.rand(4), expected)


def test_frozen_control_takes_the_same_steps_until_theta_first_moves():
    # One window per inner run: θ moves only after the last inner step, so the first outer iteration
    # of both takes the same inner steps on the same draws.
    config = dataclasses.replace(SMALL, max_inner=5, max_iter=2)
    moving = fit(config)
    frozen = fit(dataclasses.replace(config, update_edges=False))
    assert moving.history[0].inner_loss == frozen.history[0].inner_loss
    assert moving.history[0].outer_loss == frozen.history[0].outer_loss
    assert moving.history[1].inner_loss != frozen.history[1].inner_loss
    start = knn_adjacency(blobs()[0], 3, "cosine")
    assert abs(frozen.edges.to_csr() - start).max() == 0


def test_inner_run_stops_after_p_steps_without_progress_by_the_tolerance():
    # No loss falls below a tenth of the best: every step after the first is without progress.
    config = dataclasses.replace(SMALL, inner_tol=9.0, inner_patience=7, max_inner=100)
    assert [record.inner_steps for record in fit(config).history] == [8, 8, 8]
    eager = dataclasses.replace(SMALL, inner_tol=0.0, inner_patience=50, max_inner=30)
    assert [record.inner_steps for record in fit(eager).history] == [30, 30, 30]


def test_outer_patience_and_step_decay():
    config = dataclasses.replace(
        SMALL, max_inner=3, max_iter=30, patience=2, outer_lr=0.5, outer_lr_decay=0.5
    )
    result = fit(config)
    assert result.reason == "patience"
    assert len(result.history) - 1 - result.best == 2
    assert [r.outer_lr for r in result.history] == [
        0.5**k for k in range(1, len(result.history) + 1)
    ]
    scores = [(r.stopping_accuracy, -r.stopping_loss) for r in result.history]
    assert result.best == max(range(len(scores)), key=scores.__getitem__)


def test_alternating_minimisation_uses_the_direct_term_alone():
    config = dataclasses.replace(SMALL, truncation=0, max_inner=4, max_iter=1)
    result = fit(config)
    start = knn_adjacency(blobs()[0], 3, "cosine")
    assert abs(result.edges.to_csr() - start).max() > 0
    # Through w_t a hypergradient depends on the training labels; the direct term at fresh weights
    # and one inner step of lr -> 0 does not.
    x, y, split = blobs()
    still = dataclasses.replace(config, inner_lr=1e-30, max_inner=1)
    swapped = y.copy()
    swapped[split.train] = (y[split.train] + 1) % 3
    first, second = fit(still), fit(still, problem=(x, swapped, split))
    assert torch.equal(first.edges.probs, second.edges.probs)
    through = dataclasses.replace(still, inner_lr=0.01, truncation=1)
    first, second = fit(through), fit(through, problem=(x, swapped, split))
    assert not torch.equal(first.edges.probs, second.edges.probs)


def test_learning_rate_can_be_learned_with_theta():
    fixed, learned = fit(), fit(dataclasses.replace(SMALL, learn_inner_lr=0.1))
    assert {record.inner_lr for record in fixed.history} == {fixed.history[0].inner_lr}
    assert math.isclose(fixed.history[0].inner_lr, 0.01, rel_tol=1e-6)
    rates = [record.inner_lr for record in learned.history]
    assert len(set(rates)) > 1
    assert all(rate > 0 for rate in rates)


def test_interrupt_returns_the_best_so_far():
    def stop(record):
        if record.iteration == 1:
            raise KeyboardInterrupt

    result = fit(on_iteration=stop)
    assert result.reason == "interrupted"
    assert len(result.history) == 2
    whole = fit(dataclasses.replace(SMALL, max_iter=2))
    assert torch.equal(result.edges.probs, whole.edges.probs)


def test_non_finite_loss_stops_with_step_and_cause_and_keeps_the_last_good_state(monkeypatch):
    inner_run = Learner.inner_run

    def poisoned(self, iteration):
        if iteration == 2:
            self.edges.probs.zero_()
            self.log_lr = torch.tensor(float("nan"))
        return inner_run(self, iteration)

    monkeypatch.setattr(Learner, "inner_run", poisoned)
    result = fit()
    assert result.reason.startswith(
        "non-finite: inner loss is nan at outer iteration 2, inner step 1"
    )
    assert len(result.history) == 2
    assert np.isfinite(result.probabilities).all()
    with pytest.raises(NonFiniteError, match="at outer iteration 0"):
        fit(dataclasses.replace(SMALL, inner_lr=1e30))


def test_sparse_support_that_does_not_grow_learns_on_its_pairs_only():
    config = dataclasses.replace(SMALL, support="sparse", n_neighbors=6, grow_every=0)
    start = knn_adjacency(blobs()[0], 3, "cosine")
    result = learn(*blobs(), start, config)
    allowed = knn_adjacency(blobs()[0], 6, "cosine").toarray() + start.toarray()
    learned = result.edges.to_csr().toarray()
    assert not learned[allowed == 0].any()
    assert learned[(start.toarray() == 0) & (allowed > 0)].any()


def test_sparse_support_grows_within_its_budget_and_follows_the_seed():
    config = dataclasses.replace(SMALL, support="sparse", pairs_per_node=4, grow_every=2)
    first, again = fit(config), fit(config)
    assert torch.equal(first.edges.probs, again.edges.probs)
    assert np.array_equal(first.edges.pairs.keys, again.edges.pairs.keys)
    start = knn_adjacency(blobs()[0], 3, "cosine").toarray()
    learned = first.edges.to_csr().toarray()
    assert learned[start == 0].any(), "no pair was added"
    assert np.count_nonzero(learned) // 2 <= first.edges.pairs.n_pairs <= 4 * 60


@pytest.mark.parametrize("grow_every", [0, 1])
def test_sparse_support_on_every_pair_equals_all_pairs(grow_every):
    n = blobs()[0].shape[0]
    start = knn_adjacency(blobs()[0], 3, "cosine")
    config = dataclasses.replace(
        SMALL, max_inner=5, max_iter=1, n_neighbors=3 if grow_every else n - 1,
        grow_every=grow_every, pairs_per_node=n,
    )  # fmt: skip
    # With θ in {0, 1} at the start the draws of the first window agree; so must its one update.
    dense = learn(*blobs(), start, config)
    listed = learn(*blobs(), start, dataclasses.replace(config, support="sparse"))
    difference = abs(dense.edges.to_csr() - listed.edges.to_csr()).max()
    assert difference < 1e-5  # float32 sums in another order


def test_controls_see_the_labels_they_name():
    x, y, split = blobs()
    start = knn_adjacency(x, 3, "cosine")
    controls = run_controls(x, y, split, start, SMALL)
    assert list(controls) == list(CONTROLS)
    swapped = y.copy()
    swapped[split.validation] = (y[split.validation] + 1) % 3
    changed = run_controls(x, swapped, split, start, SMALL)
    same = {
        name: np.array_equal(controls[name].probabilities, changed[name].probabilities)
        for name in CONTROLS
    }
    assert same == {"gcn_train": True, "gcn_train_validation": False, "frozen": True}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, y, s: (np.where(x == x.max(), np.nan, x), y, s), "features must be finite"),
        (lambda x, y, s: (x, y[:-1], s), "labels must have one entry a row"),
        (lambda x, y, s: (x, np.zeros_like(y), s), "at least two classes"),
        (lambda x, y, s: (x, np.full_like(y, -1), s), "labelled rows only"),
        (
            lambda x, y, s: (x, y, dataclasses.replace(s, train=s.train[:0])),
            "split.train must have",
        ),
        (
            lambda x, y, s: (x, y, dataclasses.replace(s, stopping=np.array([99]))),
            "must index the 60",
        ),
    ],
)
def test_bad_problems_are_refused_in_one_sentence(change, message):
    x, y, split = blobs()
    start = knn_adjacency(x, 3, "cosine")
    x, y, split = change(x, y, split)
    with pytest.raises(ValueError, match=message):
        learn(x, y, split, start, SMALL)


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (sp.csr_array((59, 59)), r"must have shape \(60, 60\)"),
        (sp.csr_array(np.triu(np.ones((60, 60)), 1)), "must be symmetric"),
        (sp.csr_array(2 * np.ones((60, 60))), r"weights in \[0, 1\]"),
    ],
)
def test_bad_graphs_are_refused(start, message):
    x, y, split = blobs()
    with pytest.raises(ValueError, match=message):
        learn(x, y, split, start, SMALL)


def test_all_pairs_that_do_not_fit_are_refused_before_allocation(monkeypatch):
    memory = psutil.virtual_memory()._replace(available=1000)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    with pytest.raises(ValueError, match=r"needs [\d,]+ bytes, but 1,000 .* support='sparse'"):
        fit()
    assert fit(dataclasses.replace(SMALL, support="sparse", max_iter=1)).history


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("truncation", -1),
        ("dropout", 1.0),
        ("inner_lr", 0.0),
        ("support", "dense"),
        ("patience", 0),
        ("pairs_per_node", 0),
        ("grow_every", -1),
    ],
)
def test_bad_options_are_named(option, value):
    with pytest.raises(ValueError, match=f"{option} must be"):
        LDSConfig(**{option: value})


@pytest.mark.parametrize(
    ("option", "value"),
    [("n_draws", 2.5), ("max_iter", None), ("inner_lr", "x"), ("seed", True), ("connected", "no")],
)
def test_options_of_another_kind_are_named(option, value):
    with pytest.raises(TypeError, match=rf"{option} must be (an? (integer|number)|True or False),"):
        LDSConfig(**{option: value})


def test_a_negative_seed_is_refused():
    with pytest.raises(ValueError, match="seed must be 0 or more, got -1"):
        LDSConfig(seed=-1)


@pytest.mark.parametrize("support", ["all", "sparse"])
def test_connected_draws_throughout_a_run(support):
    x, _, _ = blobs()
    config = dataclasses.replace(SMALL, connected=True, support=support)
    assert n_parts(knn_adjacency(x, 3, "cosine")) > 1, "the start must not be connected"
    result, again = fit(config), fit(config)
    for _ in range(5):
        assert n_parts(result.edges.draw().matrix.to_dense().numpy()) == 1
    assert torch.equal(result.edges.probs, again.edges.probs)
    assert not torch.equal(result.edges.probs, fit(SMALL).edges.probs)


def n_parts(matrix):
    return sp.csgraph.connected_components(sp.csr_array(matrix))[0]


@pytest.mark.parametrize(
    ("name", "support"),
    [("SAGEConv", "all"), ("ChebConv", "all"), ("APPNP", "sparse"), ("GATv2Conv", "sparse")],
)
def test_networks_of_pyg_learn_a_graph(name, support):
    _, y, split = blobs()
    config = dataclasses.replace(
        SMALL, backbone=name, support=support, pairs_per_node=6, max_inner=60,
        connected=name == "ChebConv",
    )  # fmt: skip
    result = fit(config)
    assert (result.probabilities.argmax(1) == y)[split.test].mean() >= 0.9
    x = blobs()[0]
    start = knn_adjacency(x, 3, "cosine")
    learned = result.edges.to_csr()
    assert abs(learned - start).max() > 0, "θ never moved"
    if support == "sparse":
        allowed = (knn_adjacency(x, 6, "cosine") + start).toarray()
        assert not learned.toarray()[allowed == 0].any()
    again = fit(dataclasses.replace(config, max_iter=1))
    assert again.history[0] == result.history[0]


def test_gcnconv_takes_the_steps_of_the_librarys_own_gcn():
    """Two roads to one hypergradient: factors of matrix products, and weights of edges."""
    x, y, split = blobs()
    start = knn_adjacency(x, 3, "cosine")
    device, dtype = torch.device("cpu"), torch.float64
    thetas = []
    for name in ("gcn", "GCNConv"):
        config = dataclasses.replace(SMALL, backbone=name, dropout=0.0)
        learner = Learner(x, y, split, start, config, device, dtype)
        make = learner.task.network.init(torch.Generator().manual_seed(0), dtype, device)
        w1, w2 = (torch.full((n, m), 0.1, dtype=dtype) for n, m in ((5, 4), (4, 3)))
        w1[0, 1], w2[2, 1] = 0.7, -0.4
        if name == "gcn":
            params = {"W1": w1, "W2": w2}
        else:
            params = {k: torch.zeros_like(w) for k, w in make.items()}
            params["first.lin.weight"], params["second.lin.weight"] = w1.t(), w2.t()
        objective = learner.outer
        outer = evaluate(
            learner.dynamics, lambda w, hyper, t, e=objective: e(w, hyper),
            learner.dynamics.start(params, learner.hyper), learner.hyper, 0, 0,
        )  # fmt: skip
        learner.edges.descend(outer.direct[0], 5.0)
        thetas.append(learner.edges.to_csr().toarray())
    assert abs(thetas[0] - start.toarray()).max() > 1e-3
    np.testing.assert_allclose(thetas[0], thetas[1], rtol=1e-9, atol=1e-12)


def test_a_backbone_that_is_none_is_refused():
    with pytest.raises(ValueError, match="backbone must be one of gcn, GCNConv"):
        fit(dataclasses.replace(SMALL, backbone="MLP"))
    with pytest.raises(ValueError, match="'TAGConv' needs connected=True"):
        fit(dataclasses.replace(SMALL, backbone="TAGConv"))
    with pytest.raises(ValueError, match="backbone must be 'gcn' with estimator='reinmax'"):
        LDSConfig(backbone="GCNConv", estimator="reinmax")


def test_the_history_tells_the_mean_probability_of_groups_and_held_out_edges_change_nothing():
    upper = np.zeros((60, 60), dtype=np.float32)
    upper[40, 43] = upper[41, 44] = 1
    held_out = sp.csr_array(upper + upper.T)
    plain, told = fit(), fit(held_out=held_out)
    assert torch.equal(plain.edges.probs, told.edges.probs)
    last = told.history[told.best].group_probs
    dense = told.edges.to_csr().toarray()
    assert last["held_out"] == pytest.approx((dense[40, 43] + dense[41, 44]) / 2, rel=1e-5)
    assert last["same"] > last["different"], "these classes lie far apart"
    assert told.hidden.shape == (60, SMALL.hidden_channels)
    assert (told.hidden >= 0).all()
