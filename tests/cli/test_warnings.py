"""Warnings of a command: a line each, once."""

import warnings

import pytest

import lds.structure.methods.thesis_run as thesis_run
from tests.cli.options import THESIS


@pytest.mark.ci
@pytest.mark.filterwarnings("default")
def test_a_control_does_not_repeat_the_warning_of_the_method(lds, tmp_path, monkeypatch):
    calls = []

    def warn(*_, **__):
        calls.append(1)
        warnings.warn(f"features are odd ({len(calls)})", UserWarning, stacklevel=2)

    monkeypatch.setattr(thesis_run, "warn_of_features", warn)
    options = [each for each in THESIS if each != "--no-controls"]
    code, _, err = lds("fit", "iris", "--method", "thesis", *options, "--out", tmp_path / "run")
    assert code == 0
    assert len(calls) == 2  # the method, and the control that is never updated
    assert err.splitlines().count("warning: features are odd (1)") == 1
    assert "features are odd (2)" not in err


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("controls", [True, False])
def test_roles_that_a_method_does_not_read_concern_the_controls(
    lds, tmp_path, monkeypatch, controls
):
    def stopped(*_, **__):
        raise ValueError("far enough")

    monkeypatch.setattr("lds.cli.fit._for_data", stopped)  # the data are read by then
    labels = ["a"] * 10 + ["b"] * 10 + ["c"] * 2
    cells = [f"{0.37 * k % 1},{0.61 * k % 1},{label}" for k, label in enumerate(labels)]
    (tmp_path / "t.csv").write_text("\n".join(["x,y,kind", *cells, ""]))
    only = () if controls else ("--no-controls",)
    said = "the roles are drawn without regard to classes"
    _, _, err = lds("fit", tmp_path / "t.csv", "--target", "kind", "--method", "views", *only)
    assert (f"{said}; this concerns the controls alone" in err) == controls
    assert (said in err) == controls
    _, _, err = lds("fit", tmp_path / "t.csv", "--target", "kind", *only)
    assert said in err
    assert f"{said};" not in err
