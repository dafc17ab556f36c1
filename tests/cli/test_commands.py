"""Each command of `lds`, within one process, against what it should have written."""

import csv
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
import scipy.sparse as sp
import torch
import yaml
from lds.config import LDSConfig
from sklearn.exceptions import ConvergenceWarning

from lds._version import __version__
from lds.cli import main
from lds.datasets.registry import load
from lds.datasets.splits import three_way
from lds.edges.free import FreeEdges
from lds.estimators.classifier import LDSClassifier
from lds.run_folder import load_features, load_run, load_settings

QUICK = ["--max-iter", "2", "--max-inner", "10", "--quiet", "--no-controls"]


def rows(n, seed):
    """Two kinds of pets that overlap a little; a number, a number and a colour each."""
    rng = np.random.default_rng(seed)
    kinds = np.arange(n) % 2
    numbers = rng.standard_normal((n, 2)) * [1, 100] + kinds[:, None] * [2, 200]
    colors = np.where(rng.random(n) < 0.3 + 0.4 * kinds, "red", "blue")
    return numbers, colors, kinds


@pytest.fixture(scope="module", params=["committee", "lds"])
def table(request, tmp_path_factory) -> Path:
    """The run folder of a fit on a table, by options from a file; the table is gone."""
    folder = tmp_path_factory.mktemp("table")
    numbers, colors, kinds = rows(60, 0)
    lines = ["size,color,weight,kind"]
    for k, ((a, b), color) in enumerate(zip(numbers, colors, strict=True)):
        lines.append(f"{a},{color},{b},{'' if k >= 50 else ['cat', 'dog'][kinds[k]]}")
    path = folder / "pets.csv"
    path.write_text("\n".join(lines) + "\n")
    options = {
        "metric": "euclidean", "n-neighbors": 5, "max_inner": 30, "max-iter": 9, "quiet": True,
        "controls": False, "n_draws": 400, "test-size": 0, "method": request.param,
    }  # fmt: skip
    (folder / "options.toml").write_text(
        "\n".join(f"{key} = {json.dumps(value)}" for key, value in options.items())
    )
    with pytest.raises(SystemExit) as stop:
        main(["fit", str(path), "--config", str(folder / "options.toml"), "--target", "kind",
              "--max-iter", "2", "--out", str(folder / "run")])  # fmt: skip
    assert stop.value.code == 0
    path.unlink()
    return folder / "run"


def test_options_of_a_file_hold_under_flags_and_are_saved(table):
    settings = load_settings(table)
    options = settings["options"]
    assert (options["metric"], options["n_neighbors"], options["max_inner"]) == ("euclidean", 5, 30)
    assert options["max_iter"] == 2, "a flag goes over the file"
    assert options["dropout"] == LDSConfig().dropout
    assert settings["source"]["target"] == "kind"
    assert settings["source"]["test_size"] == 0
    kinds = [(c["name"], c["kind"], c["features"], c["missing"]) for c in settings["table"]]
    assert kinds == [
        ("size", "number", 1, 0), ("color", "category", 2, 0), ("weight", "number", 1, 0),
    ]  # fmt: skip
    assert "blue" not in (table / "settings.json").read_text(), "no value of a column"
    assert settings["method"] == options["method"]
    assert len(load_run(table).metrics) == 2 + (settings["method"] == "committee")


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("o.toml", "speed = 5", "may hold the options of `lds fit`, agreement, backbone, "),
        ("o.yaml", "n-neighbors: 5.5", "Invalid value for '--n-neighbors'"),
        ("o.yaml", "dropout: [1, 2]", "Invalid value for '--dropout'"),
        ("o.yaml", "dropout: {a: 2}", "must hold numbers and text, got dropout: {'a': 2}"),
        ("o.yml", "- 1", "must hold names and values, got list"),
        ("o.yml", "a: [", "cannot be read"),
        ("o.toml", "a = ", "cannot be read"),
        ("o.yaml", "x: !!python/object/apply:os.getcwd []", "cannot be read"),
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


def test_new_rows_are_classified_as_the_classifier_would(lds, table, tmp_path):
    numbers, colors, kinds = rows(60, 0)
    scaled = (numbers - numbers.mean(0)) / numbers.std(0)
    x = np.column_stack([scaled[:, 0], colors == "blue", colors == "red", scaled[:, 1]])
    assert np.allclose(load_features(table), x, atol=1e-12)
    new_numbers, new_colors, _ = rows(40, 1)
    new = (new_numbers - numbers.mean(0)) / numbers.std(0)
    new = np.column_stack([new[:, 0], new_colors == "blue", new_colors == "red", new[:, 1]])
    y = np.where(np.arange(60) < 50, kinds, -1)
    _, validation, stopping = three_way(y, np.arange(50), 0)
    options = load_settings(table)["options"] | {"random_state": 0}
    del options["seed"], options["update_edges"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # two iterations are few
        clf = LDSClassifier(**options).fit(x, y, validation=validation, stopping=stopping)
    wanted = clf.predict_proba(new)
    lines = ["weight,extra,color,size"]  # other columns, another order
    for (a, b), color in zip(new_numbers, new_colors, strict=True):
        lines.append(f"{b},0,{color},{a}")
    (tmp_path / "new.csv").write_text("\n".join(lines) + "\n")
    code, out, _ = lds(
        "predict", table, tmp_path / "new.csv", "--json", "--out", tmp_path / "p.csv"
    )
    assert code == 0
    found = json.loads(out)
    assert found["classes"] == ["cat", "dog"]
    assert [line["row"] for line in found["predictions"]] == list(range(40))
    sure = np.abs(wanted[:, 0] - 0.5) > 0.05  # both are means over 400 graphs of their own
    names = np.array([line["prediction"] for line in found["predictions"]])
    assert (names == np.array(["cat", "dog"])[wanted.argmax(1)])[sure].all()
    assert len(set(names)) == 2
    probabilities = np.array([line["probability"] for line in found["predictions"]])
    assert np.abs(probabilities - wanted.max(1)).max() < 0.03
    assert probabilities.min() < 0.9, "not all of them are sure"
    with (tmp_path / "p.csv").open(newline="") as file:
        written = list(csv.reader(file))
    assert written[0] == [
        "row", "prediction", "probability", "probability_cat", "probability_dog"
    ]  # fmt: skip
    each = np.array([line[3:] for line in written[1:]], dtype=float)
    assert np.abs(each - wanted).max() < 0.03
    assert [line[1] for line in written[1:]] == names.tolist()


def test_a_row_of_the_fit_gets_the_answer_it_got(lds, table, tmp_path):
    numbers, colors, _ = rows(60, 0)
    written = [f"{a},{b},{c}" for (a, b), c in zip(numbers, colors, strict=True)]
    lines = ["size,weight,color", *written[50:]]
    (tmp_path / "new.csv").write_text("\n".join(lines) + "\n")
    code, out, _ = lds("predict", table, tmp_path / "new.csv", "--json")
    assert code == 0
    found = [line["probability"] for line in json.loads(out)["predictions"]]
    probabilities = load_run(table).predictions["probabilities"][50:]
    assert found == pytest.approx(probabilities.max(1), abs=1e-6)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("size,color\n1,red\n", "it lacks weight"),
        ("size,color,weight\ninf,red,1\n", "column 'size' must hold finite numbers"),
        ("size,color,weight\n", "must have at least one row"),
    ],
)
def test_rows_that_do_not_fit_the_table_are_refused(lds, table, tmp_path, text, sentence):
    (tmp_path / "new.csv").write_text(text)
    code, _, err = lds("predict", table, tmp_path / "new.csv")
    assert code == 2
    assert sentence in err


@pytest.mark.filterwarnings("always")
@pytest.mark.parametrize(("cell", "sentence"), [("big", "row 0 'big'"), ("", "'size' row 0")])
def test_a_cell_that_is_no_number_counts_as_missing_and_is_named(
    lds, table, tmp_path, cell, sentence
):
    (tmp_path / "new.csv").write_text(f"size,color,weight\n{cell},red,1\n1,red,1\n")
    code, out, err = lds("predict", table, tmp_path / "new.csv")
    assert code == 0, err
    assert len(out.splitlines()) == 2
    assert sentence in err


@pytest.mark.filterwarnings("always")
def test_a_value_that_is_new_is_said_to_be(lds, table, tmp_path):
    (tmp_path / "new.csv").write_text("size,color,weight\n1,green,100\n")
    code, out, err = lds("predict", table, tmp_path / "new.csv")
    assert code == 0
    assert out.startswith("0: ")
    assert err.startswith("warning: columns have values that were not there in the fit")
    assert "column 'color' such as 'green'" in err


def test_prediction_needs_a_run_on_a_table(lds, tmp_path):
    assert lds("fit", "iris", *QUICK, "--out", tmp_path / "run")[0] == 0
    (tmp_path / "new.csv").write_text("a\n1\n")
    code, _, err = lds("predict", tmp_path / "run", tmp_path / "new.csv")
    assert code == 2
    assert "has no features.npz: only a run of `lds fit` on a table" in err


def test_export_writes_the_learned_graph_with_what_is_known_of_nodes(lds, table, tmp_path):
    run = load_run(table)
    upper = sp.triu(run.edge_probs, k=1).tocoo()
    code, out, _ = lds(
        "export", table, tmp_path / "pets.graphml", "--threshold", "0.5", "--json"
    )  # fmt: skip
    assert code == 0
    graph = nx.read_graphml(tmp_path / "pets.graphml", node_type=int)
    likely = upper.data >= 0.5
    assert {frozenset(edge) for edge in graph.edges} == {
        frozenset(pair) for pair in zip(upper.row[likely], upper.col[likely], strict=True)
    }
    assert json.loads(out)["edges"] == graph.number_of_edges() == likely.sum() > 0
    assert json.loads(out)["nodes"] == graph.number_of_nodes() == 60
    probabilities = run.predictions["probabilities"]
    for node, known in graph.nodes(data=True):
        assert known["prediction"] == ["cat", "dog"][probabilities[node].argmax()]
        assert known.get("label") == (["cat", "dog"][node % 2] if node < 50 else None)
    assert {known["split"] for _, known in graph.nodes(data=True)} == {
        "train", "validation", "stopping", "unlabelled"
    }  # fmt: skip
    code, out, _ = lds("export", table, tmp_path / "pets.csv", "--n-edges", 7)
    assert code == 0
    assert out.startswith("60 nodes, 7 edges: ")
    assert len((tmp_path / "pets.csv").read_text().splitlines()) == 8
    assert lds("export", table, tmp_path / "pets.npz")[0] == 0
    stored = sp.load_npz(tmp_path / "pets.npz")
    assert (stored != run.edge_probs).nnz == 0
    code, _, err = lds("export", table, tmp_path / "pets.svg")
    assert code == 2
    assert "path must end in one of .graphml" in err


def test_search_is_kept_and_its_best_is_a_file_of_options(lds, tmp_path):
    folder = tmp_path / "search"
    arguments = [
        "search", "iris", "--try", "n-neighbors=5,20", "--set", "max-iter=2", "--set",
        "max-inner=10", "--seeds", "0", "--out", folder, "--json",
    ]  # fmt: skip
    code, out, err = lds(*arguments)
    assert code == 0
    told = err.splitlines()
    assert told[0] == "0 of 2: finished before"
    assert told[2].startswith("2 of 2: n_neighbors=20, seed 0: ")
    found = json.loads(out)
    assert [line["setting"] for line in found["settings"]] == [
        {"n_neighbors": 5}, {"n_neighbors": 20}
    ]  # fmt: skip
    best = max(found["settings"], key=lambda line: (line["accuracy"], -line["loss"]))
    assert found["best"] == best["setting"]
    stored = yaml.safe_load((folder / "best.yaml").read_text())
    assert stored == {**found["best"], "max_iter": 2, "max_inner": 10}
    code, out, _ = lds(
        "fit", "iris", "--config", folder / "best.yaml", "--no-controls", "--json", "--quiet",
        "--out", tmp_path / "run",
    )  # fmt: skip
    assert code == 0
    fitted = json.loads(out)
    assert fitted["stopping_accuracy"] == found["score"], "a trial is that fit"
    assert fitted["folder"] == str(tmp_path / "run")
    times = {path: path.stat().st_mtime_ns for path in folder.glob("*.json")}
    assert len(times) == 2
    assert lds(*arguments)[2].splitlines() == ["2 of 2: finished before"]
    _, out, err = lds(*arguments, "--quiet")
    assert not err
    assert json.loads(out) == found
    assert {path: path.stat().st_mtime_ns for path in folder.glob("*.json")} == times


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--try", "speed=1"], "--try must be OPTION=VALUE, OPTION one of n_neighbors, metric"),
        (["--try", "n-neighbors"], "--try must be OPTION=VALUE"),
        (["--try", "n-neighbors=5,x"], "n_neighbors must be an integer, got 'x'"),
        (["--set", "connected=maybe"], "connected must be true or false, got 'maybe'"),
        (["--try", "dropout=0,2"], "dropout must be in [0, 1), got 2"),
        (["--try", "dropout=0", "--set", "dropout=0.5"], "different options, got dropout in both"),
        (["--seeds", "1,b"], "--seeds must be an integer, got 'b'"),
    ],
)
def test_a_wrong_search_is_refused(lds, tmp_path, arguments, sentence):
    code, _, err = lds("search", "iris", *arguments, "--out", tmp_path / "search")
    assert code == 2
    assert sentence in " ".join(err.split())


def test_report_says_where_it_is(lds, table, tmp_path):
    code, out, _ = lds("report", table, "--out", tmp_path / "pets.html", "--json")
    assert code == 0
    path = tmp_path / "pets.html"
    assert json.loads(out) == {"path": str(path), "bytes": path.stat().st_size}


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
    "command", ["fit", "predict", "search", "report", "export", "datasets", "doctor"]
)
def test_help_teaches(lds, command):
    code, out, _ = lds(command, "--help")
    assert code == 0
    text = " ".join(out.split())
    assert f"lds {command}" in text
    assert "Exit codes: 0 done" in text
    assert "--json" in text


def test_a_run_goes_on_only_as_it_was_begun(lds, tmp_path):
    run = tmp_path / "run"
    assert lds("fit", "iris", *QUICK, "--out", run)[0] == 0
    code, _, err = lds("fit", "--resume", run, "--outer-lr", "2", "--seed", "1")
    assert code == 2
    assert "but for max_iter, patience, device, controls; got outer_lr, seed too" in err
    code, out, _ = lds("fit", "--resume", run, "--max-iter", "3", "--quiet", "--json")
    assert code == 0
    assert json.loads(out)["reason"] == "max_iter"
    assert len(load_run(run).metrics) == 3 + 1, "and the refit"
    assert load_settings(run)["options"]["max_iter"] == 3
    code, _, err = lds("fit", "--resume", tmp_path / "gone")
    assert code == 2
    assert "is not the folder of a run: it has no settings.json" in err
    assert lds("fit")[0] == 2


def test_an_interrupt_in_the_refit_tells_how_to_go_on(lds, tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("lds.structure.committee.train_member", interrupted)
        code, _, err = lds("fit", "iris", *QUICK, "--out", tmp_path / "run")
        assert code == 130
        assert f"are kept; to go on: lds fit --resume {tmp_path / 'run'}\n" in err
        nothing = lds("fit", "iris", *QUICK, "--no-checkpoint", "--out", tmp_path / "other")
        assert "nothing to save" in nothing[2]
    assert lds("fit", "--resume", tmp_path / "run", "--quiet")[0] == 0
    assert lds("fit", "iris", *QUICK, "--out", tmp_path / "whole")[0] == 0
    ours, theirs = load_run(tmp_path / "run"), load_run(tmp_path / "whole")
    assert ours.metrics == theirs.metrics
    assert np.array_equal(ours.predictions["probabilities"], theirs.predictions["probabilities"])


def test_a_table_that_changed_is_another_run(lds, tmp_path):
    numbers, _, kinds = rows(40, 2)
    lines = ["a,kind"] + [f"{a},{k}" for (a, _), k in zip(numbers, kinds, strict=True)]
    path, run = tmp_path / "pets.csv", tmp_path / "run"
    path.write_text("\n".join(lines) + "\n")
    assert lds("fit", path, *QUICK, "--target", "kind", "--out", run)[0] == 0
    path.write_text("\n".join([*lines, "0.5,1"]) + "\n")
    code, _, err = lds("fit", "--resume", run, "--max-iter", "3", "--quiet")
    assert code == 2
    assert "is of another run (features: 'float64 of shape (40, 1)" in err


def test_the_data_of_a_run_are_those_of_load(lds, tmp_path):
    assert lds("fit", "wine", *QUICK, "--seed", 4, "--out", tmp_path / "run")[0] == 0
    wine, run = load("wine", seed=4), load_run(tmp_path / "run")
    assert np.array_equal(run.predictions["labels"], wine.labels)
    assert np.array_equal(run.predictions["train_rows"], wine.split.train)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["fit", "nothing"], "data set must be one of iris, wine"),
        (["fit", "iris", "--method", "magic"], "Invalid value for '--method'"),
        (["fit", "iris", "--dropout", "1.5"], "dropout must be in [0, 1), got 1.5"),
        (["fit", "iris", "--metric", "fancy"], "metric must be one of"),
        (["fit", "iris", "--n-neighbors", "150", "--method", "lds"], "n_neighbors must be"),
        (["fit", "iris", "--support", "all"], "support must be 'sparse' or 'auto' with method="),
        (["fit", "iris", "--backbone", "GCNConv"], "got 'GCNConv'; method='lds' takes it"),
        (["fit", "iris", "--connected"], "connected must be False with method='committee', got"),
        (["fit", "iris", "--estimator", "disarm"], "got 'disarm'; method='lds' takes it"),
        (["fit", "iris", "--batch-nodes", "4"], "batch_nodes must be 0 with method='committee'"),
        (["fit", "iris", "--learn-inner-lr", "0.1"], "got 0.1; method='lds' takes it"),
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


def test_version_and_names(lds):
    assert lds("--version")[1].strip() == __version__
    assert lds("datasets")[1].split()[:3] == ["iris", "wine", "breast_cancer"]


def test_an_existing_run_is_not_written_over(lds, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        code, _, err = lds("fit", "iris", *QUICK, "--seed", "1", "--method", "lds")
        assert code == 0
    assert (tmp_path / "runs" / "iris-1-2").is_dir()
    assert "iris-1 holds a run; this one goes to" in err


def test_a_table_of_the_users_own_is_predicted_where_blank(lds, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    kinds = np.arange(60) % 2
    lines = ["a,b,kind"]
    for k, (a, b) in enumerate(rng.standard_normal((60, 2)) + 6 * kinds[:, None]):
        lines.append(f"{a},{b},{'' if k >= 50 else ['cat', 'dog'][kinds[k]]}")
    (tmp_path / "pets.csv").write_text("\n".join(lines) + "\n")
    options = ["--metric", "euclidean", "--n-neighbors", "5", "--max-inner", "60"]
    code, _, err = lds("fit", "pets.csv", "--target", "kind", *QUICK, *options)
    assert code == 0, err
    written = (tmp_path / "runs" / "pets-0" / "predictions.csv").read_text().splitlines()
    assert written[0] == "row,prediction,probability,probability_cat,probability_dog"
    found = [line.split(",")[1].strip('"') for line in written[1:]]
    assert found == [["cat", "dog"][kind] for kind in kinds[50:]]


@pytest.fixture(scope="module")
def named(tmp_path_factory) -> Path:
    """The run folder of a fit on a table with identifiers, separated by ";"."""
    folder = tmp_path_factory.mktemp("named")
    numbers, _, kinds = rows(40, 3)
    lines = ["who;a;b;note;kind"]
    for k, (a, b) in enumerate(numbers):
        label = "" if k >= 30 else ["cat", "dog"][kinds[k]]
        lines.append(f"pet {k};{a:.3f};{b:.3f};n{k};{label}")
    (folder / "pets.txt").write_text("\n".join(lines) + "\n")
    with pytest.raises(SystemExit) as stop:
        main(["fit", str(folder / "pets.txt"), *QUICK, "--target", "-1", "--id", "who",
              "--drop", "note", "--out", str(folder / "run")])  # fmt: skip
    assert stop.value.code == 0
    return folder / "run"


def test_what_is_found_out_is_said_once(lds, named, tmp_path):
    path = named.parent / "pets.txt"
    options = ["--target", "-1", "--drop", "note,0", *QUICK]
    _, _, err = lds("fit", path, *(o for o in options if o != "--quiet"), "--out", tmp_path / "run")
    said = [line for line in err.splitlines() if "separated" in line]
    assert said == [
        f"{path}: columns are separated by ';'; target -1 is the column 'kind'; drop 0 is the "
        "column 'who'; 30 of 40 rows have a label, 15 of class 'cat' and 15 of class 'dog'"
    ]
    assert "separated" not in lds("fit", path, *options, "--out", tmp_path / "other")[2]


def test_identifiers_go_with_their_rows(lds, named, tmp_path):
    with (named / "predictions.csv").open(newline="") as file:
        written = list(csv.reader(file))
    assert written[0][:3] == ["id", "row", "prediction"]
    assert [line[:2] for line in written[1:]] == [[f"pet {k}", str(k)] for k in range(30, 40)]
    source = load_settings(named)["source"]
    assert (source["target"], source["identifier"], source["drop"]) == ("-1", "who", ["note"])
    (tmp_path / "new.csv").write_text("b,who,a\n1.5,new pet,0.5\n2.5,pet two,1.5\n")
    code, out, _ = lds("predict", named, tmp_path / "new.csv", "--out", tmp_path / "p.csv")
    assert code == 0, out
    with (tmp_path / "p.csv").open(newline="") as file:
        assert [line[0] for line in csv.reader(file)] == ["id", "new pet", "pet two"]
    _, out, _ = lds("predict", named, tmp_path / "new.csv")
    assert out.startswith("new pet: ")
    _, out, _ = lds("predict", named, tmp_path / "new.csv", "--json")
    first = json.loads(out)["predictions"][0]
    assert (first["id"], first["row"]) == ("new pet", 0)
    assert first["probabilities"][first["prediction"]] == first["probability"]
    assert sum(first["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert lds("export", named, tmp_path / "g.graphml")[0] == 0
    graph = nx.read_graphml(tmp_path / "g.graphml", node_type=int)
    assert {node: known["id"] for node, known in graph.nodes(data=True)} == {
        k: f"pet {k}" for k in range(40)
    }
    assert lds("export", named, tmp_path / "g.csv", "--n-edges", 5)[0] == 0
    with (tmp_path / "g.csv").open(newline="") as file:
        for line in csv.DictReader(file):
            assert line["source_id"] == f"pet {line['source']}"
            assert line["target_id"] == f"pet {line['target']}"
    assert lds("report", named, "--out", tmp_path / "r.html")[0] == 0
    assert '"id":["pet 0","pet 1",' in (tmp_path / "r.html").read_text()


def test_a_run_on_a_table_goes_on_as_it_was_read(lds, named):
    code, _, err = lds("fit", "--resume", named, "--max-iter", "3", "--quiet", "--json")
    assert code == 0, err
    assert len(load_run(named).metrics) == 3 + 1, "and the refit"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["fit", "gone.csv"], "there is no table at gone.csv"),
        (["fit", "tt.csv"], "there is t.csv"),
        (["fit", "t.xlsx"], "t.xlsx is a workbook"),
        (["fit", "t.feather"], "a table must be a .csv"),
        (["fit", "sub.csv"], "sub.csv is a folder"),
        (["fit", "wnie"], "the nearest is 'wine'"),
        (["fit", "iris", "--out", "t.csv/run"], "--out t.csv/run cannot be a folder: t.csv is a"),
        (["fit", "iris", "--out", "t.csv"], "--out t.csv cannot be a folder: t.csv is a file"),
        (["fit", "iris", "--config", "gone.toml"], "there is no file gone.toml"),
        (["fit", "--resume", "gone"], "gone is not the folder of a run"),
        (["search", "gone.csv"], "there is no table at gone.csv"),
        (["predict", "gone", "t.csv"], "gone is not the folder of a run"),
        (["report", "gone"], "gone is not the folder of a run"),
        (["export", "gone", "g.csv"], "gone is not the folder of a run"),
    ],
)
def test_a_bad_path_is_refused_before_anything_heavy_is_imported(tmp_path, arguments, sentence):
    (tmp_path / "t.csv").write_text("a,y\n1,u\n")
    (tmp_path / "sub.csv").mkdir()
    code = (
        "import sys, lds.cli\n"
        f"try: lds.cli.main({arguments!r})\n"
        "except SystemExit as stop: assert stop.code == 2, stop.code\n"
        "heavy = {'torch', 'pandas', 'scipy', 'sklearn', 'clevercsv', 'numpy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert sentence in result.stderr
