"""What the shell says of labels, of the refit, and of paths that cannot be."""

import subprocess
import sys

import numpy as np
import pytest

from lds.run_folder import load_run

SHORT = ["--max-iter", "1", "--max-inner", "10", "--refit-steps", "4"]
QUICK = [*SHORT, "--no-controls", "--refits", "1"]


def write(path, labels):
    x = np.random.default_rng(0).standard_normal((len(labels), 2))
    lines = [f"{a},{b},{label}" for (a, b), label in zip(x, labels, strict=True)]
    path.write_text("\n".join(["a,b,y", *lines]) + "\n", encoding="utf-8")
    return path


def test_a_mark_is_refused_until_the_option_settles_it(lds, tmp_path):
    path = write(tmp_path / "table.csv", ["ant", "bee", "?"] * 10)
    fit = ["fit", path, "--target", "y", *QUICK, "--quiet", "--out"]
    code, _, err = lds(*fit, tmp_path / "refused")
    assert code == 2
    assert "column 'y' has the label '?' (10 of 30 rows), which often means no label; say" in err
    assert not (tmp_path / "refused").exists()
    code, _, err = lds(*fit, tmp_path / "none", "--unlabelled", "?", "--unlabelled", "")
    assert code == 0, err
    run = load_run(tmp_path / "none")
    assert run.settings["classes"] == ["ant", "bee"]
    assert run.predictions["labels"].tolist() == [0, 1, -1] * 10
    assert (tmp_path / "none" / "predictions.csv").read_text().count("\n") == 11
    code, _, err = lds(*fit, tmp_path / "class", "--unlabelled", "")
    assert code == 0, err
    assert load_run(tmp_path / "class").settings["classes"] == ["?", "ant", "bee"]


def test_minus_one_as_a_class_is_named(lds, tmp_path):
    path = write(tmp_path / "table.csv", ["-1", "1"] * 10)
    code, _, err = lds("fit", path, "--target", "y", *QUICK, "--out", tmp_path / "run")
    assert code == 2
    assert "got 10 of class 1; -1 was read as no label: number the classes from 0" in err


def test_a_search_takes_the_option(lds, tmp_path):
    path = write(tmp_path / "table.csv", ["ant", "bee", "?"] * 10)
    fixed = ("max-iter=1", "max-inner=10", "refits=1", "refit-steps=4")
    every = [word for option in fixed for word in ("--set", option)]
    tried = ["--target", "y", "--try", "n-neighbors=3", "--seeds", "0", *every]
    search = ["search", path, *tried, "--out", tmp_path / "found"]
    code, _, err = lds(*search)
    assert code == 2
    assert "has the label '?'" in err
    assert lds(*search, "--unlabelled", "?")[0] == 0


def test_a_log_tells_of_the_members_of_the_refit(lds, tmp_path):
    path = write(tmp_path / "table.csv", ["ant", "bee"] * 12)
    code, _, err = lds("fit", path, "--target", "y", *QUICK, "--out", tmp_path / "run")
    assert code == 0, err
    told = [line for line in err.splitlines() if line.startswith("refit")]
    counts = [(int(line.split()[1]), int(line.split()[3])) for line in told]
    total = counts[0][1]
    assert told == [f"refit, {done} of {total} members trained" for done, _ in counts]
    assert counts[0][0] == 0
    assert counts[-1][0] == total > 1
    assert len(counts) > 3


def test_names_of_classes_are_no_markup(lds, tmp_path):
    path = write(tmp_path / "table.csv", ["[red]", "[/bold]"] * 12)
    assert lds("fit", path, "--target", "y", *QUICK, "--out", tmp_path / "run")[0] == 0
    code, out, err = lds("predict", tmp_path / "run", path)
    assert code == 0, err
    named = {line.split()[1] for line in out.splitlines()}
    assert named <= {"[red]", "[/bold]"}
    assert named


@pytest.mark.filterwarnings("always::UserWarning")
def test_control_characters_in_names_of_classes_are_exported_with_a_warning(lds, tmp_path):
    import networkx as nx

    path = write(tmp_path / "table.csv", ["ant\x07", "bee"] * 12)
    assert lds("fit", path, "--target", "y", *QUICK, "--out", tmp_path / "run")[0] == 0
    for suffix, read in ((".graphml", nx.read_graphml), (".gexf", nx.read_gexf)):
        code, _, err = lds("export", tmp_path / "run", tmp_path / f"graph{suffix}")
        assert code == 0
        assert "warning: node attributes hold characters that XML cannot" in err
        name = "label" if suffix == ".graphml" else "given_label"
        found = nx.get_node_attributes(read(tmp_path / f"graph{suffix}"), name)
        assert set(found.values()) == {r"ant\x07", "bee"}


def test_a_bad_path_is_refused_before_torch_is_imported(tmp_path):
    """One process for all: what a command imported would be there at the next."""
    commands = [
        "fit gone.csv --target y",
        "fit nothing",
        "search gone.csv --target y",
        "export gone graph.gexf",
        "report gone",
        "predict gone rows.csv",
    ]
    program = (
        "import sys; from lds.cli import main\n"
        "for command in sys.argv[1:]:\n"
        "    try:\n        main(command.split())\n"
        "    except SystemExit as stop:\n        print(stop.code, 'torch' in sys.modules)"
    )
    command = [sys.executable, "-c", program, *commands]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True)
    assert done.stdout.splitlines() == len(commands) * ["2 False"], done.stderr


@pytest.mark.parametrize(
    ("command", "path", "sentence"),
    [
        ("export", "graph.dot", "path must end in one of .graphml, .gexf, .csv, .npz"),
        ("export", "gone/graph.csv", "there is no folder gone"),
        ("report", "page.pdf", "the report's file must end in .html"),
    ],
)
def test_a_path_is_checked_before_the_run_is_read(
    lds, tmp_path, monkeypatch, command, path, sentence
):
    monkeypatch.chdir(tmp_path)
    module = sys.modules[f"lds.cli.{command}"]
    monkeypatch.setattr(module, "check_finished", lambda run: None)
    code, _, err = lds(command, "run", *(["--out"] if command == "report" else []), path)
    assert code == 2
    assert sentence in err
