"""The run folder: round trip, and refusal of what is damaged or foreign."""

import json

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from lds.run_folder import (
    FILES,
    begin_run,
    load_encoding,
    load_features,
    load_run,
    load_settings,
    save_run,
    write_json,
)


@pytest.fixture
def folder(tmp_path):
    edges = sp.csr_array(np.array([[0, 0.25, 0], [0.25, 0, 1], [0, 1, 0]], dtype=np.float32))
    save_run(
        tmp_path / "run",
        settings={"data": "toy", "options": {"seed": 3}},
        metrics=[{"iteration": 0, "outer_loss": float("nan")}, {"iteration": 1, "outer_loss": 0.5}],
        summary={"reason": "patience"},
        start=sp.csr_array((3, 3), dtype=np.float32),
        edge_probs=edges,
        weights={"W1": torch.arange(6.0).view(2, 3).t()},
        predictions={"probabilities": np.eye(3), "labels": np.array([0, 1, -1])},
    )
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
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)


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


def test_another_format_is_refused(folder):
    write_json(folder / "settings.json", {"format": 99})
    with pytest.raises(ValueError, match=r"run format 2, written by `lds fit`, got 99$"):
        load_run(folder)
    write_json(folder / "settings.json", {"format": 1})
    with pytest.raises(ValueError, match="got 1, of an earlier version of lds; fit again"):
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
    (folder / "features.npz").write_bytes(b"old")
    (folder / "encoding.npz").write_bytes(b"old")
    (folder / "mine.txt").write_text("x")
    begin_run(folder, {"data": "other"})
    assert {path.name for path in folder.iterdir()} == {"settings.json", "mine.txt"}
    assert load_settings(folder)["data"] == "other"
    with pytest.raises(FileNotFoundError, match=r"no metrics\.jsonl; `lds fit --resume"):
        load_run(folder)
    with pytest.raises(FileNotFoundError, match="is not the folder of a run: it has no settings"):
        load_settings(folder / "gone")


def test_an_encoding_is_kept_where_it_is_given(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"has no encoding\.npz"):
        load_encoding(folder)
    again = {name: value for name, value in vars(load_run(folder)).items() if name != "settings"}
    encoding = {"encoding": np.arange(3, dtype=np.uint8), "weights 0": np.ones(2)}
    save_run(tmp_path / "again", settings={"data": "toy"}, encoding=encoding, **again)
    found = load_encoding(tmp_path / "again")
    assert {name: array.tolist() for name, array in found.items()} == {
        "encoding": [0, 1, 2], "weights 0": [1, 1],
    }  # fmt: skip


def test_features_are_kept_where_they_are_given(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"has no features\.npz"):
        load_features(folder)
    run = load_run(folder)
    features = np.arange(6, dtype=np.float32).reshape(3, 2)
    again = {name: value for name, value in vars(run).items() if name != "settings"}
    save_run(tmp_path / "again", settings={"data": "toy"}, features=features, **again)
    assert np.array_equal(load_features(tmp_path / "again"), features)
