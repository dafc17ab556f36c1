"""Paths are checked before any work, with a message that names the way out."""

import errno
import math
from pathlib import Path

import pytest

from lds._files import (
    check_input_file,
    check_output_file,
    check_output_folder,
    dumps,
    write_atomically,
)


def test_an_input_file_must_exist(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("a,y\n")
    check_input_file(tmp_path / "table.csv", "table")
    with pytest.raises(ValueError, match="is a folder; name the table in it"):
        check_input_file(tmp_path, "table")
    with pytest.raises(FileNotFoundError, match=r"no table at .*tabel.csv; there is .*table.csv"):
        check_input_file(tmp_path / "tabel.csv", "table")
    with pytest.raises(FileNotFoundError, match=r"no table at .*x.csv$"):
        check_input_file(tmp_path / "none" / "x.csv", "table")


def test_an_output_file_needs_a_folder_and_may_need_a_suffix(tmp_path: Path) -> None:
    check_output_file(tmp_path / "new.html", "--out", (".html",))
    with pytest.raises(ValueError, match=r"--out must end in .html, got 'new.txt'"):
        check_output_file(tmp_path / "new.txt", "--out", (".html",))
    with pytest.raises(ValueError, match=r"--out must end in one of .a, .b, got"):
        check_output_file(tmp_path / "new.txt", "--out", (".a", ".b"))
    with pytest.raises(ValueError, match="--out must name a file, got the folder"):
        check_output_file(tmp_path, "--out")
    with pytest.raises(FileNotFoundError, match=r"no folder .*none to write new.txt into"):
        check_output_file(tmp_path / "none" / "new.txt", "--out")


def test_an_output_folder_may_be_new_but_no_file(tmp_path: Path) -> None:
    check_output_folder(tmp_path / "a" / "b", "--out")
    (tmp_path / "a").write_text("")
    with pytest.raises(ValueError, match=r"--out .*b cannot be a folder: .*a is a file"):
        check_output_folder(tmp_path / "a" / "b", "--out")


def test_a_failed_write_leaves_the_old_file_alone(tmp_path: Path) -> None:
    def fail(file: object) -> None:
        raise RuntimeError("half way")

    path = tmp_path / "x"
    write_atomically(path, lambda file: file.write(b"old"))
    with pytest.raises(RuntimeError, match="half way"):
        write_atomically(path, fail)
    assert [entry.name for entry in tmp_path.iterdir()] == ["x"]
    write_atomically(path, lambda file: file.write(b"new"), before=tmp_path / "before")
    assert (path.read_bytes(), (tmp_path / "before").read_bytes()) == (b"new", b"old")


def test_a_full_disk_is_said_with_the_path(tmp_path: Path) -> None:
    def fill(file: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match=r"x\.json cannot be written \(No space left on device\)"):
        write_atomically(tmp_path / "x.json", fill)
    assert not list(tmp_path.iterdir())


def test_numbers_that_are_not_finite_become_null() -> None:
    assert dumps({"a": [math.nan, (math.inf, 1.5)]}) == '{"a": [null, [null, 1.5]]}'
