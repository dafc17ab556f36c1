"""The examples of discrete hyperparameters run, on a tiny budget, and print their comparison."""

from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.ci

EXAMPLES = Path(__file__).parent.parent / "examples"


def numbers(table: str) -> dict[str, list[float]]:
    """Those of each method's row."""
    lines = [line.split("|")[1:-1] for line in table.splitlines() if "|" in line]
    return {
        cells[0].strip(): [float(cell.split("±")[0]) for cell in cells[1:] if cell.strip()]
        for cells in lines
        if cells[0].strip() not in ("method", "---")
    }


@pytest.fixture
def run(run_script):
    return lambda name, *options: numbers(
        run_script(EXAMPLES / f"{name}.py", "--budget tiny", *options)
    )


@pytest.fixture(name="mnist", scope="module")
def _mnist(tmp_path_factory) -> Path:
    """A file of MNIST's layout: a bar for each class, in noise."""
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    arrays = {}
    for part, n in (("train", 500), ("test", 100)):
        labels = rng.integers(0, 10, n)
        images = rng.integers(0, 60, (n, 28, 28))
        for image, label in zip(images, labels, strict=True):
            image[2 * label : 2 * label + 3] += 180
        arrays |= {f"x_{part}": images.astype(np.uint8), f"y_{part}": labels.astype(np.uint8)}
    (root / "mnist").mkdir()
    np.savez(root / "mnist" / "mnist.npz", **arrays)
    return root


def test_feature_mask(run):
    rows = run("feature_mask", "--problem", "planted")
    assert set(rows) == {
        "mask by hypergradients",
        "L1 by cross-validation",
        "SelectKBest, mutual information",
        "RFE",
    }
    f1, columns, accuracy, _ = rows["mask by hypergradients"]
    assert 0 < f1 <= 1
    assert 0 < columns <= 200
    assert 50 < accuracy <= 100


@pytest.mark.parametrize("data", ["digits", "mnist"])
def test_trusted_examples(run, mnist, data):
    rows = run("trusted_examples", "--data", data, "--root", mnist)
    assert rows["trust the right ones (not known)"][0] == 1
    assert rows["trust all"][0] == 0
    for name in ("coins, Gumbel-softmax", "coins, straight-through", "continuous weights"):
        f1, accuracy, calls, _ = rows[name]
        assert 0 <= f1 <= 1
        assert accuracy > 30
        assert calls == 2


@pytest.mark.parametrize("data", ["digits", "mnist"])
def test_architecture(run, mnist, data):
    rows = run("architecture", "--data", data, "--root", mnist)
    assert {"hypergradients", "random search", "Optuna, TPE"} < set(rows)
    for accuracy, _ in rows.values():
        assert accuracy > 30


def test_dependency_mask(run):
    rows = run("dependency_mask")
    directed, undirected, _ = rows["mask by hypergradients"]
    assert 0 < directed <= undirected <= 1
    assert rows["graphical lasso, best threshold"][0] >= rows["graphical lasso"][0]


@pytest.mark.parametrize("data", ["wine", "digits"])
def test_permutation(run, data):
    rows = run("permutation", "--data", data)
    assert rows["right order (not known)"][0] == 100
    assert rows["random order"][0] < 50 < rows["means of each class"][0]
    matched, accuracy, _ = rows["Gumbel-Sinkhorn by hypergradients"]
    assert 0 <= matched <= 100
    assert 0 < accuracy <= 100
    assert rows["random order"][1] < rows["right order (not known)"][1]
