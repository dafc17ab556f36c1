"""Records as JSON lines: added whole, read once, and none lost to an edit by hand."""

from pathlib import Path

import pytest

from lds.experiments.records import JsonLines


def test_a_record_is_added_after_a_last_line_without_an_end(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    path.write_text('{"data": "a", "seed": 1}\n\n{"data": "b", "seed": 1}', encoding="utf-8")
    runs = JsonLines(path, ("data", "seed"))
    for seed in (2, 3):
        runs.add({"data": "a", "seed": seed})
    again = JsonLines(path, ("data", "seed"))
    assert again.records == runs.records
    assert [again.has("a", seed) for seed in range(5)] == [False, True, True, True, False]
    assert again.has("b", 1)


def test_a_line_that_is_no_record_is_named(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    path.write_text('{"data": "a", "seed": 1}\n{"data": "a"}\n', encoding="utf-8")
    with pytest.raises(ValueError, match=r"line 2 of .* one JSON object with data, seed, got"):
        JsonLines(path, ("data", "seed"))
