"""Commands on tables of the user's own: fit, predict, export, report, and options from a file."""

import csv
import json
import warnings
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.exceptions import ConvergenceWarning

from lds.cli import main
from lds.datasets.splits import three_way
from lds.run_folder import load_features, load_run, load_settings
from lds.structure.methods.registry import METHODS
from tests.cli.options import QUICK, rows
from tests.estimators.options import CLASSIFIERS, SHORT


@pytest.fixture(scope="module", params=SHORT)
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
        "metric": "euclidean",
        "n-neighbors": 5,
        "max_inner": 30,
        "max-iter": 9,
        "quiet": True,
        "controls": False,
        "n_draws": 400,
        "test-size": 0,
        "method": request.param,
        **SHORT[request.param],
    }
    (folder / "options.toml").write_text(
        "\n".join(f"{key} = {json.dumps(value)}" for key, value in options.items())
    )
    arguments = ["fit", str(path), "--config", str(folder / "options.toml"), "--target", "kind"]
    with pytest.raises(SystemExit) as stop:
        main([*arguments, "--max-iter", "2", "--out", str(folder / "run")])
    assert stop.value.code == 0
    path.unlink()
    return folder / "run"


def test_options_of_a_file_hold_under_flags_and_are_saved(table):
    settings = load_settings(table)
    options = settings["options"]
    assert (options["metric"], options["n_neighbors"], options["max_inner"]) == ("euclidean", 5, 30)
    assert options["max_iter"] == 2, "a flag goes over the file"
    assert options["dropout"] == METHODS[settings["method"]]().dropout
    assert settings["source"]["target"] == "kind"
    assert settings["source"]["test_size"] == 0
    kinds = [(c["name"], c["kind"], c["features"], c["missing"]) for c in settings["table"]]
    numbers = [(name, "number", 1, 0) for name in ("size", "weight")]
    assert kinds == [numbers[0], ("color", "category", 2, 0), numbers[1]]
    assert "blue" not in (table / "settings.json").read_text(), "no value of a column"
    assert settings["seed"] == 0
    assert options == METHODS[settings["method"]](**options).to_dict(), "those of the method alone"
    assert len(load_run(table).metrics) == 2 + (settings["method"] == "default")


@pytest.mark.ci
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
    settings = load_settings(table)
    options = settings["options"] | {"random_state": settings["seed"]}
    assert options.pop("update_edges") is True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # two iterations are few
        clf = CLASSIFIERS[settings["method"]](**options)
        clf.fit(x, y, validation=validation, stopping=stopping)
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
    of_classes = ["probability_cat", "probability_dog"]
    assert written[0] == ["row", "prediction", "probability", *of_classes]
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


@pytest.mark.ci
def test_a_run_on_one_column_predicts(lds, tmp_path):
    (tmp_path / "t.csv").write_text("a,y\n" + "".join(f"{k}.5,{k % 2}\n" for k in range(24)))
    (tmp_path / "new.csv").write_text("a\n1.5\n2.5\n")
    options = [
        "--target",
        "y",
        "--method",
        "views",
        "--n-trees",
        5,
        "--max-iter",
        1,
        "--no-controls",
        "--quiet",
    ]
    assert lds("fit", tmp_path / "t.csv", *options, "--out", tmp_path / "run")[0] == 0
    code, out, _ = lds("predict", tmp_path / "run", tmp_path / "new.csv")
    assert (code, len(out.splitlines())) == (0, 2)


def test_prediction_needs_a_run_on_a_table(lds, tmp_path):
    assert lds("fit", "iris", *QUICK, "--out", tmp_path / "run")[0] == 0
    (tmp_path / "new.csv").write_text("a\n1\n")
    code, _, err = lds("predict", tmp_path / "run", tmp_path / "new.csv")
    assert code == 2
    assert "has no encoding.npz: its run was on features" in err


def test_export_writes_the_learned_graph_with_what_is_known_of_nodes(lds, table, tmp_path):
    run = load_run(table)
    upper = sp.triu(run.edge_probs, k=1).tocoo()
    path = tmp_path / "pets.graphml"
    code, out, _ = lds("export", table, path, "--threshold", "0.5", "--json")
    assert code == 0
    graph = nx.read_graphml(path, node_type=int)
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
    roles = {known["split"] for _, known in graph.nodes(data=True)}
    assert roles == {"train", "validation", "stopping", "unlabelled"}
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


@pytest.mark.ci
@pytest.mark.usefixtures("no_pictures")
def test_report_says_where_it_is(lds, table, tmp_path):
    code, out, _ = lds("report", table, "--out", tmp_path / "pets.html", "--json")
    assert code == 0
    path = tmp_path / "pets.html"
    assert json.loads(out) == {"path": str(path), "bytes": path.stat().st_size}


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


@pytest.mark.ci
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
    columns = ["--target", "-1", "--id", "who", "--drop", "note"]
    with pytest.raises(SystemExit) as stop:
        main(["fit", str(folder / "pets.txt"), *QUICK, *columns, "--out", str(folder / "run")])
    assert stop.value.code == 0
    return folder / "run"


@pytest.mark.ci
def test_what_is_found_out_is_said_once(lds, named, tmp_path):
    path = named.parent / "pets.txt"
    options = ["--target", "-1", "--drop", "note,0", *QUICK]
    _, _, err = lds("fit", path, *(o for o in options if o != "--quiet"), "--out", tmp_path / "run")
    said = [line for line in err.splitlines() if "separated" in line]
    assert said == [
        f"{path}: columns are separated by ';'; --target -1 is the column 'kind'; --drop 0 is "
        "the column 'who'; 30 of 40 rows have a label, 15 of class 'cat' and 15 of class 'dog'"
    ]
    assert "separated" not in lds("fit", path, *options, "--out", tmp_path / "other")[2]


@pytest.mark.ci
@pytest.mark.usefixtures("no_pictures")
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


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("ids", "options", "sentence"),
    [
        ("k{}", ("--drop", "id"), "edge ends are row numbers, from 0"),
        ("{:03d}", (), "edges name nodes by the column 'id', as numbers: '0' is '000' there"),
        ("{:03d}", ("--drop", "id"), "error: --drop must not name 'id': e.csv names nodes by it"),
    ],
)
def test_how_edges_name_nodes_is_printed(lds, tmp_path, ids, options, sentence):
    numbers, _, kinds = rows(40, 5)
    lines = [f"{ids.format(k)},{a},{kinds[k]}" for k, (a, _) in enumerate(numbers)]
    (tmp_path / "n.csv").write_text("\n".join(["id,a,kind", *lines]) + "\n")
    pairs = [f"{k},{k + 1}" for k in range(39)]
    (tmp_path / "e.csv").write_text("\n".join(["source,target", *pairs]) + "\n")
    where = ("--target", "kind", "--edges", tmp_path / "e.csv", "--out", tmp_path / "run")
    said = [option for option in QUICK if option != "--quiet"]
    code, _, err = lds("fit", tmp_path / "n.csv", *said, *where, *options)
    assert sentence in err
    assert (code == 0) == ("error" not in sentence)
