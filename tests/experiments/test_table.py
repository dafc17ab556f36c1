"""The accuracy table's runs: side by side as one by one, and none of them twice."""

import pytest

from lds.experiments import table

pytestmark = pytest.mark.ci

QUICK = {"max_iter": 2, "max_inner": 25}
JOBS = [
    ("iris", 0.0, seed, {**QUICK, **setting}, what, None)
    for setting, what in (({}, "lds"), ({"n_neighbors": 20, "truncation": 10}, "lds"))
    for seed in (0, 1)
]


def test_runs_side_by_side_come_to_the_records_of_runs_one_by_one(tmp_path, monkeypatch):
    one = table.Store(tmp_path / "one.jsonl").run(JOBS, n_jobs=1)
    store = table.Store(tmp_path / "side.jsonl")
    side = store.run(JOBS, n_jobs=1, batch=3)
    for mine, theirs in zip(side, one, strict=True):
        assert mine.keys() == theirs.keys()
        for name in table.KEYS:
            assert mine[name] == theirs[name]
        assert mine["test"]["lds"] == pytest.approx(theirs["test"]["lds"], abs=0.02)
        # float32; the runs are short
        assert mine["stopping_loss"] == pytest.approx(theirs["stopping_loss"], rel=1e-2)
        assert mine["starting_edges"] == theirs["starting_edges"]
    monkeypatch.setattr(table, "run_batch", None)
    again = table.Store(tmp_path / "side.jsonl")
    assert again.run(JOBS, n_jobs=1, batch=3) == side
    assert again.records == store.records


def test_data_that_differ_by_seed_run_one_by_one(monkeypatch):
    load, ran = table.load, []

    def shifted(name, *, seed, **options):
        data = load(name, seed=seed, **options)
        data.features[0, 0] += seed
        return data

    def noted(jobs):
        ran.extend(jobs)
        return []

    monkeypatch.setattr(table, "load", shifted)
    monkeypatch.setattr(table, "run_each", noted)
    table.run_batch(JOBS[:2])
    assert ran == JOBS[:2]
