"""Commands of `lds`, within one process, against what they should have written."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import torch
import yaml

from lds._version import __version__
from lds.datasets.registry import load
from lds.edges.free import FreeEdges
from lds.run_folder import load_run, load_settings
from lds.structure.result import Learned
from tests.cli.options import QUICK, THESIS


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("o.toml", "n-neigbors = 5", "got 'n-neigbors'; the nearest is 'n_neighbors'"),
        ("o.toml", "speed = 5", "may hold the options of `lds fit`, agreement, backbone, "),
        ("o.yaml", "n-neighbors: 5.5", "Invalid value for '--n-neighbors'"),
        ("o.yaml", "dropout: [1, 2]", "Invalid value for '--dropout'"),
        ("o.yaml", "dropout: {a: 2}", "must hold numbers and text, got dropout: {'a': 2}"),
        ("o.yml", "- 1", "must hold names and values, got list"),
        ("o.yml", "a: [", "cannot be read"),
        ("o.toml", "a = ", "cannot be read"),
        ("o.yaml", "x: !!python/object/apply:os.getcwd []", "cannot be read"),
        ("o.yaml", "seed: 1\nseed: 2", "cannot be read (it holds seed twice)"),
        ("o.yaml", "n-neighbors: 5\nn_neighbors: 9", "once, got 'n_neighbors' a second time"),
        ("o.json", "{}", "--config must be a .toml, .yaml, .yml file"),
        (None, "", "there is no file"),
    ],
)
def test_a_wrong_file_of_options_is_refused(lds, tmp_path, name, text, sentence):
    path = tmp_path / (name or "gone.toml")
    if name:
        path.write_text(text)
    code, _, err = lds("fit", "iris", *QUICK, "--config", path, "--out", tmp_path / "run")
    assert code == 2
    assert sentence in err
    assert not (tmp_path / "run").exists()


def test_two_files_of_options_are_refused(lds, tmp_path):
    (tmp_path / "o.yaml").write_text("seed: 1")
    twice = ["--config", tmp_path / "o.yaml", "--config", tmp_path / "o.yaml"]
    code, _, err = lds("fit", "iris", *QUICK, *twice, "--out", tmp_path / "run")
    assert code == 2
    assert "--config must be given once, got" in err


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("class_weight: heavy", "--class-weight must be balanced alone, or CLASS=NUMBER"),
        ("drop: a", "--drop is for a table, got"),
        ("drop: [a, b]", "--drop is for a table, got"),
    ],
)
def test_a_file_of_options_holds_one_value_or_several(lds, tmp_path, text, sentence):
    (tmp_path / "o.yaml").write_text(text)
    code, _, err = lds("fit", "iris", "--config", tmp_path / "o.yaml", "--out", tmp_path / "run")
    assert code == 2
    assert sentence in err


@pytest.mark.ci
def test_search_is_kept_and_its_best_is_a_file_of_options(lds, tmp_path):
    folder = tmp_path / "search"
    fixed = {"max_iter": 2, "max_inner": 10, "refit_steps": 4}
    every = [word for name, value in fixed.items() for word in ("--set", f"{name}={value}")]
    tried = ["--try", "n-neighbors=5,20", "--seeds", "0"]
    arguments = ["search", "iris", *tried, *every, "--out", folder, "--json"]
    code, out, err = lds(*arguments)
    assert code == 0
    told = err.splitlines()
    assert told[:3] == ["reading iris", "loading torch", "0 of 2: the first trials run"]
    assert told[4].startswith("2 of 2: n_neighbors=20, seed 0: ")
    found = json.loads(out)
    settings = [line["setting"] for line in found["settings"]]
    assert settings == [{"n_neighbors": 5}, {"n_neighbors": 20}]
    best = max(found["settings"], key=lambda line: (line["accuracy"], -line["loss"]))
    assert found["best"] == best["setting"]
    stored = yaml.safe_load((folder / "best.yaml").read_text())
    assert stored == {**found["best"], **fixed, "method": "default", "tables": "committee"}
    options = ["--config", folder / "best.yaml", "--no-controls", "--json", "--quiet"]
    code, out, _ = lds("fit", "iris", *options, "--out", tmp_path / "run")
    assert code == 0
    fitted = json.loads(out)
    assert fitted["stopping_accuracy"] == found["score"], "a trial is that fit"
    assert fitted["folder"] == str(tmp_path / "run")
    times = {path: path.stat().st_mtime_ns for path in folder.glob("*.json")}
    assert len(times) == 2
    assert lds(*arguments)[2].splitlines()[-1] == "2 of 2: finished before"
    _, out, err = lds(*arguments, "--quiet")
    assert not err
    assert json.loads(out) == found
    assert "iris: early-stopping rows, 1 seed" in " ".join(
        lds(*arguments[:-1], "--quiet")[1].split()
    )
    assert {path: path.stat().st_mtime_ns for path in folder.glob("*.json")} == times


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--try", "speed=1"], "--try must be OPTION=VALUE, OPTION one of n_neighbors, outer_lr"),
        (["--try", "n-neigbors=5"], "got 'n-neigbors=5'; the nearest is 'n_neighbors'"),
        (["--method", "thesi"], "got 'thesi'; the nearest is 'thesis'"),
        (["--try", "n-neighbors"], "--try must be OPTION=VALUE"),
        (
            ["--try", "n-neighbors=5", "--try", "n_neighbors=9"],
            "--try must name an option once, got n_neighbors twice; VALUE,VALUE,... goes into one",
        ),
        (["--set", "dropout=0", "--set", "dropout=0.1"], "--set must name an option once"),
        (["--try", "n-neighbors=5,x"], "n_neighbors must be an integer, got 'x'"),
        (["--set", "connected=maybe"], "connected must be true or false, got 'maybe'"),
        (["--try", "dropout=0,2"], "dropout must be in [0, 1), got 2"),
        (["--try", "dropout=0", "--set", "dropout=0.5"], "different options, got dropout in both"),
        (["--seeds", "1,b"], "--seeds must be an integer, got 'b'"),
        (["--seeds", "0,1,0"], "--seeds must be different seeds, got 0 twice"),
        (["--n-iter", "0"], "--n-iter must be at least 1, got 0"),
        (["--batch", "0"], "--batch must be at least 1, got 0"),
        (["--jobs", "0"], "--jobs must be at least 1, or -1 for one a core, got 0"),
    ],
)
def test_a_wrong_search_is_refused(lds, tmp_path, arguments, sentence):
    code, _, err = lds("search", "iris", *arguments, "--out", tmp_path / "search")
    assert code == 2
    assert sentence in " ".join(err.split())


def test_doctor_tells_what_theta_would_take(lds):
    code, out, _ = lds("doctor", 300, 10_000_000, "--json")
    assert code == 0
    found = json.loads(out)
    assert found["versions"]["torch"] == torch.__version__
    assert found["threads"] == torch.get_num_threads()
    assert found["devices"]["cpu"]["available_bytes"] > 0
    small, huge = found["support"]
    probs = FreeEdges(sp.csr_array((300, 300), dtype=np.float32)).probs
    assert small["all_pairs_bytes"] == 2 * probs.nbytes
    assert (small["all_pairs_fit"], small["auto"]) == (True, "all")
    assert (huge["all_pairs_fit"], huge["auto"]) == (False, "sparse")
    assert huge["all_pairs_bytes"] == pytest.approx(2 * 4 * 1e7**2 / 2, rel=1e-3)
    code, out, _ = lds("doctor")
    assert code == 0
    assert "support: which pairs may become edges" in out
    assert lds("doctor", 1)[0] == 2


def test_datasets_for_machines(lds):
    code, out, _ = lds("datasets", "--json")
    assert code == 0
    found = {entry["name"]: entry["has_graph"] for entry in json.loads(out)}
    assert found["iris"] is False
    assert found["cora"] is True


@pytest.mark.parametrize(
    "command",
    ["fit", "predict", "search", "report", "runs", "export", "datasets", "doctor", "reproduce"],
)
def test_help_teaches(lds, command):
    code, out, _ = lds(command, "--help")
    assert code == 0
    text = " ".join(out.split())
    assert f"lds {command}" in text
    assert "Exit codes: 0 done" in text
    assert "--json" in text


@pytest.mark.ci
def test_a_run_goes_on_only_as_it_was_begun(lds, tmp_path):
    run = tmp_path / "run"
    assert lds("fit", "iris", *QUICK, "--out", run)[0] == 0
    code, _, err = lds("fit", "--resume", run, "--outer-lr", "2", "--seed", "1")
    assert code == 2
    assert "but for max_iter, patience, device, controls; got outer_lr, seed too" in err
    code, out, err = lds("fit", "--resume", run, "--max-iter", "3", "--json")
    assert code == 0
    assert "continuing after outer iteration 2\n" in err
    assert "starting graph" not in err
    assert json.loads(out)["reason"] == "max_iter"
    assert len(load_run(run).metrics) == 3 + 1, "and the refit"
    assert load_settings(run)["options"]["max_iter"] == 3
    code, _, err = lds("fit", "--resume", run, "--json")
    assert code == 0
    assert "the run was complete after outer iteration 3;" in err
    code, _, err = lds("fit", "--resume", tmp_path)
    assert code == 2
    assert "is not the folder of a run: it has no settings.json" in err
    assert lds("fit")[0] == 2


@pytest.mark.ci
def test_an_interrupt_in_the_refit_tells_how_to_go_on(lds, tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("lds.structure.methods.refit.train_members", interrupted)
        code, _, err = lds("fit", "iris", *QUICK, "--out", tmp_path / "run")
        assert code == 130
        assert f"are kept; to continue: lds fit --resume {tmp_path / 'run'}\n" in err
        nothing = lds("fit", "iris", *QUICK, "--no-checkpoint", "--out", tmp_path / "other")
        assert "nothing to save" in nothing[2]
    assert lds("fit", "--resume", tmp_path / "run", "--quiet")[0] == 0
    assert lds("fit", "iris", *QUICK, "--out", tmp_path / "whole")[0] == 0
    ours, theirs = load_run(tmp_path / "run"), load_run(tmp_path / "whole")
    assert ours.metrics == theirs.metrics
    assert np.array_equal(ours.predictions["probabilities"], theirs.predictions["probabilities"])


def test_the_data_of_a_run_are_those_of_load(lds, tmp_path):
    assert lds("fit", "wine", *QUICK, "--seed", 4, "--out", tmp_path / "run")[0] == 0
    wine, run = load("wine", seed=4), load_run(tmp_path / "run")
    assert np.array_equal(run.predictions["labels"], wine.labels)
    assert np.array_equal(run.predictions["train_rows"], wine.split.train)


OF_THESIS = "the method 'default' has no option '{}'; method 'thesis' has it"
OF_DEFAULT = "the method 'thesis' has no option '{}'; method 'default' has it"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["fit", "nothing"], "data set must be one of iris, wine"),
        (
            ["fit", "iris", "--method", "magic"],
            "method must be one of 'default', 'thesis', 'views', got",
        ),
        (["fit", "iris", "--dropout", "1.5"], "dropout must be in [0, 1), got 1.5"),
        (["fit", "iris", "--method", "defualt"], "got 'defualt'; the nearest is 'default'"),
        (["fit", "iris", "--n-neigbors", "3"], "--n-neighbors"),
        (["fti", "iris"], "Did you mean 'fit'?"),
        (["fit", "iris", "--metric", "fancy"], "metric must be one of"),
        (["fit", "iris", "--n-neighbors", "150", "--method", "thesis"], "--n-neighbors must be"),
        (["fit", "iris", "--support", "all"], OF_THESIS.format("support")),
        (["fit", "iris", "--backbone", "GCNConv"], OF_THESIS.format("backbone")),
        (
            ["fit", "iris", "--method", "views", "--hidden-channels", "3"],
            "has no option 'hidden_channels'; methods 'default' and 'thesis' have it",
        ),
        (["fit", "iris", "--connected"], OF_THESIS.format("connected")),
        (["fit", "iris", "--estimator", "disarm"], OF_THESIS.format("estimator")),
        (["fit", "iris", "--batch-nodes", "4"], OF_THESIS.format("batch_nodes")),
        (["fit", "iris", "--learn-inner-lr", "0.1"], OF_THESIS.format("learn_inner_lr")),
        (["fit", "iris", "--method", "thesis", "--agreement", "1"], OF_DEFAULT.format("agreement")),
        (["fit", "iris", "--method", "thesis", "--redraw", "--metric-rank", "2"], "metric_rank"),
        (["fit", "iris", "--method", "thesis", "--settle", "-1"], "settle must be 0 or more"),
        (["fit", "iris", "--agreement", "-1"], "agreement must be 0 or more, got -1.0"),
        (["fit", "iris", "--retain", "0.5"], "retain is for data sets with a graph"),
        (["fit", "gone.csv", "--target", "y"], "there is no table at gone.csv"),
        (["fit", "iris", "--device", "abacus"], "device must be one torch knows and has"),
    ],
)
def test_a_users_error_is_one_sentence_and_exit_code_2(
    lds, tmp_path, monkeypatch, arguments, sentence
):
    monkeypatch.chdir(tmp_path)
    code, _, err = lds(*arguments)
    assert code == 2
    assert sentence in err
    assert not list(tmp_path.iterdir()), "nothing is written before the input is checked"


@pytest.mark.ci
def test_an_existing_folder_is_kept_unless_forced(lds, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "mine.txt").write_text("x")
    code, _, err = lds("fit", "iris", *QUICK, "--out", run)
    assert code == 2
    assert "is not empty" in err
    assert lds("fit", "iris", *QUICK, "--out", run, "--force")[0] == 0
    assert (run / "mine.txt").exists()
    kept = (run / "checkpoint.pt").read_bytes()
    assert lds("fit", "iris", *QUICK, "--out", run)[0] == 2
    assert (run / "checkpoint.pt").read_bytes() == kept
    assert lds("fit", "iris", *QUICK, "--out", run, "--force", "--seed", "1")[0] == 0
    assert (run / "checkpoint.pt").read_bytes() != kept


@pytest.mark.parametrize("name", ["settings.json", "summary.json", "predictions.csv"])
def test_force_writes_over_no_file_that_is_not_of_a_run(lds, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "runs" / "iris-0"
    run.mkdir(parents=True)
    (run / name).write_text('{"editor.fontSize": 14}')
    for where in (["--out", run], []):
        code, _, err = lds("fit", "iris", *QUICK, *where, "--force")
        assert code == 2
        assert f"is not the folder of a run, and its {name} would be lost" in " ".join(err.split())
    assert (run / name).read_text() == '{"editor.fontSize": 14}'
    assert [path.name for path in run.iterdir()] == [name]


def test_version_and_names(lds):
    assert lds("--version")[1].strip() == __version__
    names = [line.split()[0] for line in lds("datasets")[1].splitlines()]
    assert [name for name in names if name in ("iris", "wine", "breast_cancer")] == [
        "iris",
        "wine",
        "breast_cancer",
    ]


def test_an_existing_run_is_not_written_over(lds, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        code, _, err = lds("fit", "iris", *THESIS, "--seed", "1", "--method", "thesis")
        assert code == 0
    assert (tmp_path / "runs" / "iris-1-2").is_dir()
    assert "iris-1 holds a run; this one goes to" in err


BAD_PATHS = [
    (["fit", "gone.csv"], "there is no table at gone.csv"),
    (["fit", "tt.csv"], "there is t.csv"),
    (["fit", "t.xlsx"], "t.xlsx is a workbook"),
    (["fit", "t.feather"], "a table must be a .csv"),
    (["fit", "sub.csv"], "sub.csv is a folder"),
    (["fit", "wnie"], "the nearest is 'wine'"),
    (["fit", "iris", "--out", "t.csv/run"], "--out t.csv/run cannot be a folder: t.csv is a"),
    (["fit", "iris", "--out", "t.csv"], "--out t.csv cannot be a folder: t.csv is a file"),
    (["fit", "iris", "--config", "gone.toml"], "there is no file gone.toml"),
    (["fit", "--resume", "gone"], "there is no folder gone; `lds runs` lists"),
    (["search", "gone.csv"], "there is no table at gone.csv"),
    (["predict", "gone", "t.csv"], "there is no folder gone; `lds runs` lists"),
    (["report", "gone"], "there is no folder gone; `lds runs` lists"),
    (["report", "gone", "gone2"], "there is no folder gone; `lds runs` lists"),
    (["runs", "gone"], "there is no folder gone of runs"),
    (["export", "gone", "g.csv"], "there is no folder gone; `lds runs` lists"),
]
"""Arguments, and what is said of them."""


@pytest.fixture(scope="module")
def refusals(tmp_path_factory):
    """What one process prints for each, and what heavy modules it has by then."""
    folder = tmp_path_factory.mktemp("paths")
    (folder / "t.csv").write_text("a,y\n1,u\n")
    (folder / "sub.csv").mkdir()
    code = (
        "import contextlib, io, json, sys, lds.cli\n"
        "heavy = {'torch', 'pandas', 'scipy', 'sklearn', 'clevercsv', 'numpy'}\n"
        "found = []\n"
        "for arguments in json.loads(sys.argv[1]):\n"
        "    with contextlib.redirect_stderr(io.StringIO()) as said:\n"
        "        try: lds.cli.main(arguments)\n"
        "        except SystemExit as stop: code = stop.code\n"
        "        else: code = None\n"
        "    found.append([code, said.getvalue(), sorted(heavy & set(sys.modules))])\n"
        "print(json.dumps(found))\n"
    )
    here = {"PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", code, json.dumps([arguments for arguments, _ in BAD_PATHS])]
    kept = {"capture_output": True, "text": True}
    result = subprocess.run(command, cwd=folder, env={**os.environ, **here}, **kept)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.mark.parametrize("k", range(len(BAD_PATHS)), ids=lambda k: " ".join(BAD_PATHS[k][0]))
def test_a_bad_path_is_refused_before_anything_heavy_is_imported(refusals, k):
    code, said, heavy = refusals[k]
    assert code == 2
    assert BAD_PATHS[k][1] in said
    assert not heavy


def test_a_number_of_jobs_that_cannot_be_is_refused(lds, tmp_path):
    code, _, err = lds("fit", "iris", "--jobs", "0", "--out", tmp_path / "run")
    assert code == 2
    assert "--jobs must be at least 1, or -1 for one a core" in " ".join(err.split())
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.ci
def test_two_jobs_come_to_the_same_probabilities(lds, tmp_path):
    views = ["--method", "views", "--n-trees", "5", "--max-iter", "2", "--no-controls", "--quiet"]
    for jobs in ("1", "2"):
        code, _, err = lds("fit", "iris", *views, "--jobs", jobs, "--out", tmp_path / jobs)
        assert code == 0, err
    alone, two = (Learned.load(tmp_path / jobs) for jobs in ("1", "2"))
    assert np.array_equal(alone.probabilities, two.probabilities)
    assert load_settings(tmp_path / "1") == load_settings(tmp_path / "2")
