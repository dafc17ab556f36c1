"""Arguments of experiments that do not fit are refused in a sentence, before any work."""

import re
import sys

import pytest

from lds.experiments import compare, edge_estimators, graphs, table, tables


@pytest.mark.parametrize(
    ("module", "arguments", "sentence"),
    [
        (compare, "wien --out x", "must be one of iris, .*, got 'wien'; the nearest is 'wine'"),
        (compare, "wine --seeds 0 --out x", "--seeds: must be an integer of 1 or more, got '0'"),
        (compare, "wine --out gone/x", "--out: there is no folder gone to write x into"),
        (compare, "wine --retain 0 --out x", r"--retain: is for .*, got it for wine too; leave"),
        (compare, "cora --retain 3 --out x", r"--retain: must be a number in \[0, 1\], got '3'"),
        (table, "wine cora --retain 0", "--retain: is for citeseer, cora, pubmed, got it for wine"),
        (table, "wine --root gone", "--root: must be a folder, and there is none at gone"),
        (edge_estimators, "nope", "names: must be one of iris"),
        (graphs, "labels gone --out x", "folder: must be a folder, and there is none at gone"),
        (tables, ". --tables a --out x", "--tables: . has no a.csv.gz"),
        (tables, ". --out x", r"folder: . must have NAME\.csv\.gz files, got none"),
    ],
)
def test_a_wrong_argument_is_refused(module, arguments, sentence, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["experiment", *arguments.split()])
    with pytest.raises(SystemExit) as stop:
        module.main()
    assert stop.value.code == 2
    _, _, said = capsys.readouterr().err.partition("error: argument ")
    assert len(said.splitlines()) == 1
    assert re.search(sentence, said)
    assert not list(tmp_path.iterdir())
