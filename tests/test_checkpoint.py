"""Checkpoint files: the latest and the one before; damage and foreign runs refused; no pickle."""

import io
import pickle
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from lds._checkpoint import LATEST, MAGIC, PREVIOUS, Checkpoint


def saved(folder, n=2, **fingerprint):
    checkpoint = Checkpoint(folder, {"seed": 0, **fingerprint})
    for k in range(n):
        checkpoint.save({"k": k, "theta": torch.arange(5000.0) + k, "history": [[0, 0.5, None]]})
    return checkpoint


def test_the_latest_comes_back_and_the_one_before_is_kept(tmp_path):
    checkpoint = saved(tmp_path, n=3)
    state = checkpoint.load()
    assert state["k"] == 2
    assert torch.equal(state["theta"], torch.arange(5000.0) + 2)
    assert state["history"] == [[0, 0.5, None]]
    (tmp_path / LATEST).unlink()
    assert checkpoint.load()["k"] == 1
    assert {path.name for path in tmp_path.iterdir()} == {PREVIOUS}


def test_nothing_there_is_no_state(tmp_path):
    assert Checkpoint(tmp_path / "new", {}).load() is None
    assert Checkpoint(tmp_path / "new", {}).begin(resume=True) is None
    assert not (tmp_path / "new").exists()


def test_a_run_from_the_start_writes_over_no_checkpoint(tmp_path):
    checkpoint = saved(tmp_path)
    there = {path.name for path in tmp_path.iterdir()}
    (tmp_path / f".{LATEST}.killed").write_bytes(b"half")
    with pytest.raises(ValueError, match="resume=True to go on with it, or another folder"):
        checkpoint.begin(resume=False)
    assert {path.name for path in tmp_path.iterdir()} == there
    for path in tmp_path.iterdir():
        path.unlink()
    assert checkpoint.begin(resume=False) is None


def damage(path: Path, how: str) -> None:
    raw = bytearray(path.read_bytes())
    if how == "empty":
        raw = bytearray()
    elif how == "head":
        raw = raw[: len(MAGIC) + 1]
    elif how == "truncated":
        raw = raw[: len(raw) // 2]
    elif how == "one byte short":
        raw = raw[:-1]
    else:
        raw[int(how)] ^= 0x10
    path.write_bytes(raw)


WAYS = ["empty", "head", "truncated", "one byte short"]
FLIPPED = [0, len(MAGIC), *np.random.default_rng(0).integers(len(MAGIC) + 4, 20_000, 6).tolist()]


@pytest.mark.parametrize("how", [*WAYS, *map(str, FLIPPED)])
def test_damage_is_named_and_the_one_before_is_used(tmp_path, how):
    checkpoint = saved(tmp_path)
    damage(tmp_path / LATEST, how)
    with pytest.warns(UserWarning, match=rf"{LATEST} is damaged .*going on from .*{PREVIOUS}"):
        state = checkpoint.load()
    assert state["k"] == 0
    assert torch.equal(state["theta"], torch.arange(5000.0))


def test_a_damaged_file_never_takes_the_place_of_the_good_one(tmp_path):
    saved(tmp_path)
    damage(tmp_path / LATEST, "truncated")
    again = Checkpoint(tmp_path, {"seed": 0})
    with pytest.warns(UserWarning, match="damaged"):
        again.load()
    again.save({"k": 1})
    assert again.load() == {"k": 1}
    (tmp_path / LATEST).unlink()
    assert again.load()["k"] == 0
    again.save({"k": 2})
    again.save({"k": 3})
    (tmp_path / LATEST).unlink()
    assert again.load()["k"] == 2, "from then on the one before is kept as ever"


def test_both_damaged_is_refused_with_both_reasons(tmp_path):
    checkpoint = saved(tmp_path)
    damage(tmp_path / LATEST, "empty")
    damage(tmp_path / PREVIOUS, "truncated")
    with pytest.raises(ValueError, match=rf"{LATEST} .*it is empty.*{PREVIOUS} .*its checksum"):
        checkpoint.load()


def test_another_run_is_refused_with_what_differs(tmp_path):
    saved(tmp_path, lr=0.1)
    with pytest.raises(ValueError, match=r"of another run \(lr: 0\.1 there, 0\.2 here\)"):
        Checkpoint(tmp_path, {"seed": 0, "lr": 0.2}).load()
    with pytest.raises(ValueError, match=r"of another run \(lr: 0\.1 there, None here\)"):
        Checkpoint(tmp_path, {"seed": 0}).load()


def test_another_run_on_top_leaves_the_one_before_in_use(tmp_path):
    saved(tmp_path, n=1)
    Checkpoint(tmp_path, {"seed": 9}).save({"k": 9})
    with pytest.warns(UserWarning, match="of another run .seed: 9 there, 0 here.; going on from"):
        assert Checkpoint(tmp_path, {"seed": 0}).load()["k"] == 0


class Touch:
    """Unpickling it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (Path(self.path),))


@pytest.mark.parametrize("form", ["pickle", "torch"])
def test_code_in_a_file_is_never_run(tmp_path, form):
    touched = tmp_path / "touched"
    stored = {"fingerprint": {}, "state": Touch(touched)}
    buffer = io.BytesIO()
    pickle.dump(stored, buffer, protocol=2) if form == "pickle" else torch.save(stored, buffer)
    whole = buffer.getvalue()
    run = tmp_path / "run"
    run.mkdir()
    (run / LATEST).write_bytes(MAGIC + zlib.crc32(whole).to_bytes(4, "big") + whole)
    with pytest.raises(ValueError, match=r"checkpoint.pt cannot be read"):
        Checkpoint(run, {}).load()
    (run / LATEST).write_bytes(whole)
    with pytest.raises(ValueError, match=r"damaged or of another format"):
        Checkpoint(run, {}).load()
    assert not touched.exists()
    pickle.loads(pickle.dumps(stored))
    assert touched.exists(), "the file would have made it"


def test_a_failed_write_leaves_both_files(tmp_path, monkeypatch):
    checkpoint = saved(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(fileno):
        raise OSError("no space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="no space"):
        checkpoint.save({"k": 2})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_numbers_of_numpy_are_written_as_plain_ones(tmp_path):
    checkpoint = Checkpoint(tmp_path, {"lr": np.float64(0.5), "steps": [np.int64(3)]})
    checkpoint.save({"k": np.int32(2), "history": [(np.float32(0.5), {"flag": np.True_})]})
    assert checkpoint.load() == {"k": 2, "history": [(0.5, {"flag": True})]}
