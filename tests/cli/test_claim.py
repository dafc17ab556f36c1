"""A folder is of one run: another command is refused, and a failed one leaves no trace."""

import pytest

from lds.cli.claim import Earlier, claimed
from tests.cli.options import QUICK

ONE = [*QUICK, "--max-iter", "1", "--no-controls", "--quiet"]


@pytest.mark.parametrize("option", [["--out"], ["--force", "--out"], ["--resume"]])
def test_a_folder_in_use_is_refused(lds, tmp_path, option):
    run = tmp_path / "run"
    with claimed(run):
        if option == ["--resume"]:
            assert lds("fit", "iris", *ONE, "--out", tmp_path / "whole")[0] == 0
            (tmp_path / "whole" / "settings.json").rename(run / "settings.json")
            arguments = ["fit", *option, run]
        else:
            arguments = ["fit", "iris", *ONE, *option, run]
        before = sorted(run.iterdir())
        code, _, err = lds(*arguments)
        assert code == 2
        assert "is in use by another `lds fit`" in err
        assert sorted(run.iterdir()) == before


def test_a_default_name_in_use_is_left_to_its_command(lds, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with claimed(tmp_path / "runs" / "iris-0"):
        assert lds("fit", "iris", *ONE)[0] == 0
    assert [each.name for each in (tmp_path / "runs").iterdir()] == ["iris-0-2"]
    assert not (tmp_path / "runs" / "iris-0-2" / ".lock").exists()


@pytest.mark.parametrize("options", [[], ["--out", "a/b"], ["--force"]])
def test_a_refused_run_leaves_no_folder(lds, tmp_path, monkeypatch, options):
    monkeypatch.chdir(tmp_path)
    code, _, err = lds("fit", "iris", *ONE, "--class-weight", "rose=2", *options)
    assert (code, "rose" in err) == (2, True)
    assert not list(tmp_path.iterdir())


def test_force_keeps_the_earlier_run_until_the_new_one_begins(lds, tmp_path):
    run = tmp_path / "run"
    assert lds("fit", "iris", *ONE, "--out", run)[0] == 0
    kept = {path.name: path.read_bytes() for path in run.iterdir()}
    assert "checkpoint.pt" in kept
    refused = ["--force", "--device", "cuda:77"]
    assert lds("fit", "iris", *ONE, "--out", run, *refused)[0] == 2
    assert {path.name: path.read_bytes() for path in run.iterdir()} == kept


def test_what_a_killed_force_moved_aside_comes_back(tmp_path):
    (tmp_path / "checkpoint.pt").write_bytes(b"earlier")
    Earlier(tmp_path)  # whose process is killed here
    assert not (tmp_path / "checkpoint.pt").exists()
    with claimed(tmp_path):
        assert (tmp_path / "checkpoint.pt").read_bytes() == b"earlier"
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]
