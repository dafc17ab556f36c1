"""README's Python examples run as written, on small data."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_iris

pytestmark = pytest.mark.ci

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def names_the_reader_has() -> dict[str, object]:
    from torch_geometric.data import Data

    x, y = load_iris(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    x, y = x[order].astype(np.float32), y[order]
    train, val = torch.zeros(150, dtype=torch.bool), torch.zeros(150, dtype=torch.bool)
    train[:30], val[30:60] = True, True
    data = Data(x=torch.from_numpy(x), y=torch.from_numpy(y), train_mask=train, val_mask=val)
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(60, 10, generator=generator)
    targets = features[:, 0] - 2 * features[:, 1]
    return {
        "data": data,
        "X": x[:120],
        "y": np.where(np.arange(120) < 60, y[:120], -1),
        "X_new": x[120:],
        "X_train": features[:40],
        "y_train": targets[:40],
        "X_val": features[40:],
        "y_val": targets[40:],
    }


def test_readme_shows_the_three_uses():
    for use in ("learn_structure(data", "LDSClassifier(", "discrete.gumbel_softmax("):
        assert any(use in block for block in BLOCKS), use


def test_readme_is_short_and_names_what_it_must():
    assert len(README.splitlines()) <= 150
    assert len(README.split()) <= 1300  # tables and code included
    for name in ("`ThesisLDSClassifier`", "`clf.save(folder)`", "--method thesis"):
        assert name in README, name


TERMS = (
    "GNN",
    "control",
    "default",
    "frozen",
    "committee",
    "hyperparameter",
    "hypergradient",
    "calibration",
    "paired test",
    "coefficients",
    "k-subset",
    "gradient estimator",
    "bilevel",
    "standard deviation",
    "logistic regression",
    "RBF SVM",
    "Optuna",
)
"""Terms of README that a reader may not know."""


@pytest.mark.parametrize("term", TERMS)
def test_the_glossary_explains_a_term_of_readme(term):
    glossary = (ROOT / "examples" / "docs" / "pages" / "glossary.md").read_text(encoding="utf-8")
    rows = [line for line in glossary.splitlines() if line.startswith("| ")]
    assert term.lower() in README.lower()
    assert any(term.lower() in row.split("|")[1].lower() for row in rows)


@pytest.mark.parametrize("block", BLOCKS)
def test_readme_example_runs(block):
    quick = block.replace("random_state=0)", "random_state=0, patience=2, refit_steps=40)").replace(
        "learn_structure(data)", "learn_structure(data, refit_steps=40)"
    )
    space = names_the_reader_has()
    exec(compile(quick, "README.md", "exec"), space)
    if "clf" in space:
        truth = load_iris().target[np.random.default_rng(0).permutation(150)]
        predictions = space["clf"].predict(space["X_new"])
        assert (predictions == truth[120:]).mean() > 0.8
    if "solution" in space:
        assert space["solution"].value < space["solution"].history[0].value
        masks = space["solution"].last.hyper
        if isinstance(masks, torch.Tensor):  # the two columns that matter, and no other
            assert (masks > 0.5).tolist() == [True, True] + 8 * [False]
