"""On another device than the CPU everything comes to the same, and no tensors of two devices meet.

On the stand-in of `tests.elsewhere`. A GPU, where there is one, draws something else: whole runs on
it are compared with each other in `tests/structure/side_by_side/test_captured.py`.
"""

import functools
import warnings
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from torch.utils._pytree import tree_map

import lds.structure.side_by_side.batch
from lds import LDSClassifier, ThesisLDSClassifier, bilevel
from lds.graphs.knn import knn_adjacency
from lds.structure.learn_many import learn_many
from tests import recorded
from tests.elsewhere import elsewhere
from tests.structure.varied_runs import LABELS, N, changed, features, varied

pytestmark = [
    pytest.mark.ci,
    pytest.mark.filterwarnings("ignore:max_iter=:sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:.* rows equal several rows of the fit"),
]

DENSE, SPARSE = features(), features(sparse=True)
TARGET = np.where(np.arange(N) < 30, LABELS, -1)
GRAPH = knn_adjacency(DENSE, 3, "cosine")

QUICK: dict[str, Any] = {"random_state": 0, "max_iter": 1, "max_inner": 10, "n_draws": 4}


def default(device: str, **options: Any) -> LDSClassifier:
    return LDSClassifier(**QUICK, refit_steps=4, refits=2, device=device, **options)


def thesis(device: str, **options: Any) -> ThesisLDSClassifier:
    # Of dropout another device draws something else.
    return ThesisLDSClassifier(**QUICK, dropout=0.0, device=device, **options)


CASES: dict[str, tuple[Any, Any, Any, dict[str, Any]]] = {
    "default": (DENSE, None, default, {"denoising_weight": 1.0}),
    "default beside a graph": (SPARSE, GRAPH, default, {"metric_rank": 2}),
    "all pairs": (DENSE, None, thesis, {}),
    "sparse support": (SPARSE, None, thesis, {"support": "sparse"}),
    "alternating": (DENSE, None, thesis, {"truncation": 0}),
    "connected": (DENSE, None, thesis, {"connected": True}),
    "denoising": (SPARSE, None, thesis, {"denoising_weight": 1.0}),
    "batches of nodes": (DENSE, None, thesis, {"support": "sparse", "batch_nodes": 8}),
    "PyG": (DENSE, None, thesis, {"support": "sparse", "backbone": "GCNConv"}),
    "pathwise": (DENSE, None, thesis, {"estimator": "reinmax"}),
    "black box": (DENSE, None, thesis, {"estimator": "disarm"}),
}


def learned(x, graph, classifier, options, device: str) -> list[np.ndarray]:
    """What a short fit gives to users."""
    clf = classifier(device, **options).fit(x, TARGET, adjacency=graph)
    theta = clf.edge_probabilities_.toarray()
    return [clf.label_distributions_, theta, clf.predict_proba(x[:7])]


@pytest.mark.parametrize("case", CASES)
def test_a_fit_elsewhere_is_the_fit_here(case):
    expected = learned(*CASES[case], "cpu")
    with elsewhere():
        found = learned(*CASES[case], "meta")
    for mine, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine, other, rtol=0, atol=2e-4)  # float32, 10 steps


@pytest.mark.parametrize("support", ["all", "sparse"])
def test_captured_windows_elsewhere_are_windows_elsewhere(support, monkeypatch):
    runs = [changed(run, max_iter=1, max_inner=15) for run in varied(SPARSE, support=support)[:2]]

    def probabilities() -> list[np.ndarray]:
        results = learn_many(runs, device="meta", dtype=torch.float64)
        return [result.probabilities for result in results]

    with elsewhere():
        expected = probabilities()
        monkeypatch.setattr(
            lds.structure.side_by_side.batch, "capture_on", lambda device: recorded.capture
        )
        found = probabilities()
    np.testing.assert_allclose(found, expected, rtol=1e-10)


@pytest.mark.parametrize(
    "method",
    [bilevel.Reverse(), bilevel.Reverse(truncation=3, checkpoint="sqrt"), bilevel.Forward(),
     bilevel.FixedPoint(n_iter=5), bilevel.ConjugateGradient(n_iter=5)],
    ids=str,
)  # fmt: skip
def test_a_hypergradient_elsewhere_is_the_one_here(method):
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(size, dtype=torch.float64, generator=generator) for size in ((9, 4), (9,)))
    start = {"weight": torch.zeros(4, dtype=torch.float64)}
    lam = {"log_ridge": torch.tensor(-1.0, dtype=torch.float64)}

    def gradient(device: str) -> torch.Tensor:
        a, b = x.to(device), y.to(device)

        def inner(w, hyper):
            fit = (a[:6] @ w["weight"] - b[:6]).square().mean()
            return fit + hyper["log_ridge"].exp() * w["weight"].square().sum()

        def outer(w, hyper):
            return (a[6:] @ w["weight"] - b[6:]).square().mean()

        params, hyper = ({k: v.to(device) for k, v in tree.items()} for tree in (start, lam))
        dynamics = bilevel.GradientDescent(inner, lr=0.1)
        result = bilevel.hypergradient(dynamics, outer, params, hyper, 6, method=method)
        return result.grad["log_ridge"].cpu()

    expected = gradient("cpu")
    assert expected != 0
    if torch.cuda.is_available():
        torch.testing.assert_close(gradient("cuda"), expected, rtol=1e-10, atol=0)
    with elsewhere():
        found = gradient("meta")
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)


def test_tensors_of_two_devices_are_refused_as_a_gpu_would():
    with elsewhere():
        there = torch.ones(3, device="meta")
        assert (2 * there).sum().item() == 6
        assert (there + torch.tensor(1.0)).tolist() == [2, 2, 2]  # a number may be anywhere
        with pytest.raises(RuntimeError, match="got tensors on meta and on cpu"):
            there + torch.ones(3)


def test_a_matrix_stays_sparse_elsewhere():
    matrix = sp.csr_array(np.eye(3))
    with elsewhere():
        from lds.nn.features import node_features

        x = node_features(sp.csr_array(np.pad(matrix.toarray(), ((0, 0), (0, 9)))), device="meta")
        assert x.device == torch.device("meta")
        assert x.dense().cpu().sum() == 3


@pytest.mark.parametrize("name", ["default beside a graph", "sparse support"])
def test_a_fit_elsewhere_can_be_saved_and_explained(name, tmp_path):
    x, graph, classifier, options = CASES[name]
    with elsewhere():
        clf = classifier("meta", **options).fit(x, TARGET, adjacency=graph)
        clf.save(tmp_path / "run")
        said = str(clf.explain(0))
    read = type(clf).load(tmp_path / "run")
    np.testing.assert_array_equal(read.label_distributions_, clf.label_distributions_)
    assert said == str(read.explain(0))


METHODS = [
    bilevel.Reverse(), bilevel.Forward(), bilevel.F2SA(), bilevel.SOBA(),
    bilevel.SABA(n_batches=1), bilevel.ConjugateGradient(), bilevel.FixedPoint(5),
]  # fmt: skip


@pytest.mark.parametrize("method", [*METHODS, None], ids=str)
def test_a_run_elsewhere_is_resumed_there(method, tmp_path, monkeypatch):
    """A checkpoint is read to the CPU, from where everything must be moved; None is online."""
    save, here = torch.save, lambda leaf: getattr(leaf, "here", leaf)
    monkeypatch.setattr(torch, "save", lambda state, file: save(tree_map(here, state), file))
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(size, generator=generator) for size in ((9, 4), (9,)))
    common = {"optimizer": functools.partial(torch.optim.SGD, lr=0.1), "seed": 0}

    def value(n_outer: int, **more: Any) -> float:
        a, b = x.to("meta"), y.to("meta")

        def inner(w: torch.Tensor, lam: torch.Tensor) -> torch.Tensor:
            return (a @ w - b).square().mean() + lam.exp() * w.square().sum()

        given = (
            bilevel.GradientDescent(inner, 0.1),
            lambda w, lam: (a @ w - b).square().mean(),
            torch.zeros(4).to("meta"),
            torch.tensor(-1.0).to("meta"),
        )
        if method is None:
            return bilevel.solve_online(*given, n_outer, save_every=1, **common, **more).value
        more |= {"n_outer": n_outer, "warm_start": "state", "method": method}
        return bilevel.solve(*given, 1, **common, **more).value

    with elsewhere(), warnings.catch_warnings():
        warnings.simplefilter("ignore", bilevel.ContractionWarning)
        whole = value(4)
        value(2, checkpoint=tmp_path)
        assert value(4, checkpoint=tmp_path, resume=True) == whole
