"""Warnings of a command: a line each, once."""

import warnings

import pytest

import lds.structure.methods.thesis_run as thesis_run
from tests.cli.options import THESIS


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
