"""The run folder: round trip, and refusal of what is damaged or foreign."""

import json

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from lds._run_files import FILES
from lds.run_folder import (
    Run,
    as_run,
    begin_run,
    load_encoding,
    load_features,
    load_preparation,
    load_run,
    load_settings,
    save_run,
    write_json,
)

FEATURES = np.arange(6, dtype=np.float32).reshape(3, 2)


@pytest.fixture
def folder(tmp_path):
    edges = sp.csr_array(np.array([[0, 0.25, 0], [0.25, 0, 1], [0, 1, 0]], dtype=np.float32))
    run = Run(
        settings={"data": "toy", "seed": 3, "options": {"dropout": 0.5}},
        metrics=[{"iteration": 0, "outer_loss": float("nan")}, {"iteration": 1, "outer_loss": 0.5}],
        summary={"reason": "patience"},
        start=sp.csr_array((3, 3), dtype=np.float32),
        edge_probs=edges,
        weights={"W1": torch.arange(6.0).view(2, 3).t()},
        predictions={"probabilities": np.eye(3), "labels": np.array([0, 1, -1])},
    )
    save_run(tmp_path / "run", run, features=FEATURES)
    return tmp_path / "run"


def test_round_trip(folder):
    run = load_run(folder)
    assert run.settings["data"] == "toy"
    assert run.metrics == [
        {"iteration": 0, "outer_loss": None},
        {"iteration": 1, "outer_loss": 0.5},
    ]
    assert run.summary == {"reason": "patience"}
    assert run.start.shape == (3, 3)
    assert run.start.nnz == 0
    assert run.edge_probs.toarray()[1].tolist() == [0.25, 0, 1]
    assert torch.equal(run.weights["W1"], torch.arange(6.0).view(2, 3).t())
    assert run.predictions["labels"].tolist() == [0, 1, -1]
    assert sorted(path.name for path in folder.iterdir()) == sorted([*FILES, "features.npz"])


def test_whatever_holds_a_record_gives_it(folder):
    run = load_run(folder)
    assert as_run(run) is run
    assert as_run(str(folder)).metrics == run.metrics

    class Fit:
        def as_run(self):
            return run

    assert as_run(Fit()) is run


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"has no {name}"):
        load_run(folder)


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_named(folder, name):
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=f"{name} is damaged"):
        load_run(folder)


@pytest.mark.parametrize(
    ("name", "text"),
    [("summary.json", text) for text in ("{}", "[]", "null", '{"n": 1}')]
    + [("metrics.jsonl", text) for text in ("[]\n[]", '{"a": 1}\n{"a": 1}')],
)
def test_json_that_lacks_something_is_damaged(folder, name, text):
    (folder / name).write_text(text)

    def read():
        run = load_run(folder)
        return run.summary["reason"], run.metrics[0]["iteration"]

    with pytest.raises(ValueError, match=f"{name} is damaged"):
        read()


def test_a_changed_bit_of_the_weights_is_found(folder):
    raw = bytearray((folder / "weights.safetensors").read_bytes())
    raw[-1] ^= 1
    (folder / "weights.safetensors").write_bytes(raw)
    with pytest.raises(ValueError, match=r"weights\.safetensors is damaged \(its checksum"):
        load_run(folder)


def test_another_format_is_refused(folder):
    write_json(folder / "settings.json", {"format": 99})
    with pytest.raises(ValueError, match=r"run format 6, written by `lds fit`, got 99$"):
        load_run(folder)
    for older in (1, 2):
        write_json(folder / "settings.json", {"format": older})
        with pytest.raises(ValueError, match=f"got {older}, of an earlier version of lds; fit ag"):
            load_run(folder)


def test_pickled_arrays_are_never_loaded(folder):
    np.savez(folder / "predictions.npz", probabilities=np.array([{}], dtype=object), labels=[0])
    with pytest.raises(ValueError, match=r"predictions.npz is damaged .*allow_pickle=False"):
        load_run(folder)


def test_an_interrupted_write_leaves_the_old_file(folder):
    class Unserialisable:
        pass

    before = (folder / "summary.json").read_text()
    with pytest.raises(TypeError):
        write_json(folder / "summary.json", {"x": Unserialisable()})
    assert (folder / "summary.json").read_text() == before
    assert json.loads(before) == {"reason": "patience"}


def test_a_run_that_begins_has_settings_and_nothing_of_an_earlier_one(folder):
    for name in ("features.npz", "encoding.npz", "predictions.csv", "report.html"):
        (folder / name).write_bytes(b"old")
    (folder / "mine.txt").write_text("x")
    begin_run(folder, {"data": "other"})
    assert {path.name for path in folder.iterdir()} == {"settings.json", "mine.txt"}
    assert load_settings(folder)["data"] == "other"
    with pytest.raises(
        FileNotFoundError, match=r"no metrics\.jsonl; if .* began it, `lds fit --resume"
    ):
        load_run(folder)
    with pytest.raises(FileNotFoundError, match="is not the folder of a run: it has no settings"):
        load_settings(folder.parent)
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*gone; `lds runs` lists"):
        load_settings(folder / "gone")


def test_an_encoding_and_a_preparation_are_kept_where_they_are_given(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"has no encoding\.npz: its run was on feat"):
        load_encoding(folder)
    assert load_preparation(folder) == {}
    run, again = load_run(folder), tmp_path / "again"
    encoding = {"encoding": np.arange(3, dtype=np.uint8), "weights 0": np.ones(2)}
    preparation = {"features/powers": np.ones(3)}
    save_run(again, run, features=FEATURES, encoding=encoding, preparation=preparation)
    found = {name: array.tolist() for name, array in load_encoding(again).items()}
    assert found == {"encoding": [0, 1, 2], "weights 0": [1, 1]}
    assert load_preparation(again)["features/powers"].tolist() == [1, 1, 1]
    (again / "report.html").write_text("of the earlier run")
    save_run(again, run, features=FEATURES)  # a run without them over one with them
    assert sorted(path.name for path in again.iterdir()) == sorted([*FILES, "features.npz"])


@pytest.mark.parametrize("features", [FEATURES, sp.csr_array(FEATURES)], ids=["dense", "sparse"])
def test_features_are_kept(folder, tmp_path, features):
    save_run(tmp_path / "again", load_run(folder), features=features)
    found = load_features(tmp_path / "again")
    assert sp.issparse(found) == sp.issparse(features)
    assert np.array_equal(found.toarray() if sp.issparse(found) else found, FEATURES)
    (tmp_path / "again" / "features.npz").unlink()
    with pytest.raises(FileNotFoundError, match=r"has no features\.npz: the run has not ended"):
        load_features(tmp_path / "again")
