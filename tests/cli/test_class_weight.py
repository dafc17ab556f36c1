"""`lds fit --class-weight`."""

import numpy as np
import pytest

from lds.cli.class_weight import read_class_weight
from lds.run_folder import load_run

SHORT = ["--max-iter", "1", "--max-inner", "10", "--refit-steps", "4"]
QUICK = [*SHORT, "--no-controls", "--refits", "1", "--quiet"]


def test_weights_of_classes_are_kept_and_resumed(lds, tmp_path):
    path, kinds = tmp_path / "table.csv", ["ant"] * 20 + ["bee"] * 8
    x = np.random.default_rng(0).standard_normal((28, 2))
    lines = [f"{a},{b},{kind}" for (a, b), kind in zip(x, kinds, strict=True)]
    path.write_text("\n".join(["a,b,y", *lines]) + "\n", encoding="utf-8")
    fit = ["fit", path, "--target", "y", *QUICK, "--out"]
    code, out, err = lds(*fit, tmp_path / "run", "--class-weight", "bee=3")
    assert code == 0, err
    assert "balanced" in out, "beside accuracy in the table"
    assert "weighted" in out, "no plain share of the rows"
    run = load_run(tmp_path / "run")
    assert run.settings["class_weight"] == {"bee": 3.0}
    labels, weights = run.predictions["labels"], run.predictions["row_weights"]
    assert run.settings["classes"] == ["ant", "bee"]
    learning = np.setdiff1d(np.arange(28), run.predictions["test_rows"])
    ratio = weights[learning][labels[learning] == 1].mean()
    ratio /= weights[learning][labels[learning] == 0].mean()
    assert ratio == pytest.approx(3)
    code, _, err = lds("fit", "--resume", tmp_path / "run", "--max-iter", "2", "--quiet")
    assert code == 0, err
    assert load_run(tmp_path / "run").predictions["row_weights"].tolist() == weights.tolist()
    code, _, err = lds(*fit, tmp_path / "other", "--class-weight", "wasp=3")
    assert code == 2
    assert "class_weight has the class 'wasp', which no labelled row has" in err


def test_the_texts_of_the_option():
    assert read_class_weight(None) is None
    assert read_class_weight(["balanced"]) == "balanced"
    assert read_class_weight(["a=b=2", "c=0.5"]) == {"a=b": 2.0, "c": 0.5}
    for wrong in (["balanced", "a=1"], ["a"], ["a=0"], ["a=x"], ["a=inf"], ["a=nan"]):
        with pytest.raises(ValueError, match="--class-weight must be balanced alone, or CLASS="):
            read_class_weight(wrong)
    with pytest.raises(ValueError, match="must name a class once, got 'a' twice"):
        read_class_weight(["a=1", "a=2"])
