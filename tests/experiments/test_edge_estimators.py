"""The comparison of estimators on edges: every one of them, on one small run."""

import pytest

from lds.experiments import edge_estimators
from lds.structure.methods.thesis import ESTIMATORS

pytestmark = pytest.mark.ci


def test_every_estimator_has_a_line(capsys, monkeypatch):
    monkeypatch.setattr(
        "sys.argv",
        ["edge_estimators", "wine", "--seeds", "1", "--max-iter", "1", "--max-inner", "6"],
    )
    edge_estimators.main()
    lines = capsys.readouterr().out.splitlines()[2:]
    names = [line.split("`")[1] for line in lines]
    assert names == ["frozen", *ESTIMATORS]
    for line in lines:
        accuracy = float(line.split("|")[3].split("±")[0])
        assert 30 < accuracy <= 100
