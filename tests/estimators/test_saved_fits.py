"""A fit of a classifier in a folder: the commands, the report and the pictures take it."""

import json
import warnings

import networkx as nx
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from torch_geometric.data import Data

from lds import LDSClassifier, LearnedStructure, learn_structure, plots
from lds.cli import main
from lds.report.page import write_report
from lds.run_folder import as_run, load_run
from lds.structure.result import Learned
from tests.estimators.options import CLASSIFIERS, SHORT, classifier
from tests.saved_run import N_LABELLED, write_table

SEED = 3
TINY = {"n_neighbors": 5, "max_inner": 20, "max_iter": 2, "metric": "euclidean", "n_draws": 8}

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture
def lds(capsys):
    """Runs a command that must succeed, and returns what it prints."""

    def run(*arguments):
        with pytest.raises(SystemExit) as stop:
            main([str(argument) for argument in arguments])
        text = capsys.readouterr()
        assert stop.value.code == 0, text.err
        return text.out

    return run


@pytest.fixture(scope="module", params=CLASSIFIERS)
def fitted(request, tmp_path_factory):
    """A classifier of a data frame, the folder where it is saved, and the file of its table."""
    folder = tmp_path_factory.mktemp("fit")
    write_table(folder / "pets.csv")
    frame = pd.read_csv(folder / "pets.csv")
    x, y = frame.drop(columns="kind"), frame["kind"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # two iterations are few
        clf = classifier(request.param, **TINY, random_state=SEED).fit(x, y)
    clf.save(folder / "run")
    return clf, folder / "run", folder / "pets.csv"


@pytest.fixture
def new_rows(tmp_path):
    """A file of rows that were not in the fit."""
    rows = np.random.default_rng(9).standard_normal((6, 3)) + np.eye(3)[[0, 1, 2] * 2]
    path = tmp_path / "new.csv"
    pd.DataFrame(rows, columns=list("abc")).to_csv(path, index=False)
    return path


@pytest.mark.ci
def test_python_and_the_shell_write_the_same_run(lds, fitted, new_rows, tmp_path):
    """The same table, seed and roles: without test rows both divide the labels alike."""
    clf, folder, table = fitted
    method = clf.method.name
    options = {**TINY, **SHORT[method], "seed": SEED, "test_size": 0, "method": method}
    flags = [part for k, v in options.items() for part in (f"--{k.replace('_', '-')}", v)]
    shell = tmp_path / "shell"
    lds("fit", table, "--target", "kind", "--quiet", "--no-controls", *flags, "--out", shell)
    ours, theirs = load_run(folder), load_run(shell)
    assert ours.predictions.keys() == theirs.predictions.keys()
    for name, array in ours.predictions.items():
        assert np.array_equal(array, theirs.predictions[name]), name
    assert (ours.edge_probs != theirs.edge_probs).nnz == (ours.start != theirs.start).nnz == 0
    assert ours.metrics == theirs.metrics
    assert ours.weights.keys() == theirs.weights.keys()
    assert all(torch.equal(ours.weights[name], theirs.weights[name]) for name in ours.weights)
    for name in ("method", "options", "seed", "classes", "table", "versions"):
        assert ours.settings[name] == theirs.settings[name], name
    for name, value in ours.summary.items():
        assert theirs.summary[name] == value, name
    assert theirs.summary.keys() - ours.summary.keys() == {"seconds"}
    assert lds("predict", folder, new_rows, "--json") == lds("predict", shell, new_rows, "--json")


def test_predict_takes_a_saved_fit_of_a_frame(lds, fitted, new_rows):
    _, folder, _ = fitted
    found = json.loads(lds("predict", folder, new_rows, "--json"))
    wanted = Learned.load(folder).predict_new(pd.read_csv(new_rows).to_numpy())
    classes = load_run(folder).settings["classes"]
    assert found["classes"] == classes
    assert [line["prediction"] for line in found["predictions"]] == [
        classes[best] for best in wanted.argmax(1)
    ]
    each = [list(line["probabilities"].values()) for line in found["predictions"]]
    np.testing.assert_allclose(each, wanted, atol=1e-6)  # six digits are printed


def test_rows_of_the_fit_get_the_answer_they_got(lds, fitted):
    clf, folder, table = fitted
    found = json.loads(lds("predict", folder, table, "--json"))
    predictions = [line["prediction"] for line in found["predictions"]]
    assert predictions == clf.transduction_.tolist()


@pytest.mark.ci
@pytest.mark.usefixtures("no_pictures")
def test_export_and_report_take_a_saved_fit(lds, fitted, tmp_path):
    clf, folder, _ = fitted
    lds("export", folder, tmp_path / "pets.graphml", "--n-edges", 9)
    graph = nx.read_graphml(tmp_path / "pets.graphml", node_type=int)
    assert graph.number_of_edges() == 9
    assert [graph.nodes[k]["prediction"] for k in range(90)] == clf.transduction_.tolist()
    assert graph.nodes[0]["label"] in clf.classes_
    assert "label" not in graph.nodes[N_LABELLED], "it is unlabelled"
    lds("report", folder, "--out", tmp_path / "pets.html")
    write_report(clf, tmp_path / "clf.html")
    pages = [(tmp_path / name).read_text(encoding="utf-8") for name in ("pets.html", "clf.html")]
    assert pages[0] == pages[1], "the same fit, the same page"
    assert f"{type(clf).__name__}, seed {SEED}" in pages[0]
    assert_same_pictures(clf, folder)


def assert_same_pictures(fit, folder):
    """A fit and its folder are one record, of which pictures are drawn."""
    mine, read = as_run(fit), load_run(folder)
    assert mine.metrics == read.metrics
    assert mine.predictions.keys() == read.predictions.keys()
    for name, array in mine.predictions.items():
        np.testing.assert_array_equal(array, read.predictions[name], err_msg=name)
    for graph, other in ((mine.edge_probs, read.edge_probs), (mine.start, read.start)):
        assert (graph != other).nnz == 0


@pytest.mark.ci
def test_pictures_take_a_classifier_its_result_and_its_folder(fitted):
    clf, folder, _ = fitted
    # `write_report` above draws the embedding; its t-SNE takes seconds.
    slow = {"embedding", "learned_graph"}
    cheap = [getattr(plots, name) for name in plots.__all__ if name not in slow]
    for source in (clf, clf.learned_, folder, str(folder)):
        for draw in cheap:
            assert draw(source).axes
    curves = [plots.learning_curves(one).axes[0].get_lines()[0] for one in (clf, folder)]
    np.testing.assert_array_equal(*(curve.get_ydata() for curve in curves))


def test_a_saved_fit_is_loaded_as_its_classifier(fitted, new_rows, tmp_path):
    clf, folder, table = fitted
    loaded = type(clf).load(folder)
    x = pd.read_csv(table).drop(columns="kind")
    assert np.array_equal(loaded.predict_proba(x), clf.predict_proba(x)), "rows of the fit"
    assert loaded.classes_.tolist() == clf.classes_.tolist()
    assert loaded.transduction_.tolist() == clf.transduction_.tolist()
    assert loaded.feature_names_in_.tolist() == list("abc")
    assert loaded.get_params()["random_state"] == SEED
    fixed = {"random_state", "categorical_features", "checkpoint", "resume", "device", "verbose"}
    options = clf.get_params()
    for name in options.keys() - fixed:
        assert loaded.get_params()[name] == options[name], name
    assert (loaded.edge_probabilities_ != clf.edge_probabilities_).nnz == 0
    assert loaded.dropped_probability_ == clf.dropped_probability_
    new = pd.read_csv(new_rows)
    wanted = Learned.load(folder).predict_new(new.to_numpy())
    np.testing.assert_allclose(loaded.predict_proba(new), wanted, atol=1e-6)
    loaded.save(tmp_path / "again")
    again = load_run(tmp_path / "again")
    assert np.array_equal(again.predictions["probabilities"], clf.label_distributions_)
    other = next(cls for name, cls in CLASSIFIERS.items() if name != clf.method.name)
    with pytest.raises(ValueError, match=f"{type(clf).__name__}.load reads it"):
        other.load(folder)
    with pytest.raises(FileNotFoundError, match="is not the folder of a run"):
        type(clf).load(tmp_path)


def test_a_run_of_the_shell_is_loaded(lds, tmp_path):
    options = ["--max-iter", "1", "--max-inner", "10", "--refit-steps", "4", "--quiet"]
    lds("fit", "iris", *options, "--no-controls", "--out", tmp_path / "run")
    clf = LDSClassifier.load(tmp_path / "run")
    x, y = load_iris(return_X_y=True)
    assert clf.predict(x).shape == y.shape
    test = load_run(tmp_path / "run").summary["test_accuracy"]["lds"]
    rows = clf.split_.test
    assert np.mean(clf.transduction_[rows] == load_iris().target_names[y[rows]]) == test


def test_a_fit_draws_its_pictures_and_writes_its_report(fitted, tmp_path, monkeypatch):
    clf, _, _ = fitted
    for name in ("probabilities", "degrees", "calibration", "learning", "edges", "groups"):
        assert getattr(clf, f"plot_{name}")().axes
    (axes,) = clf.plot_graph(n_edges=7).axes
    assert len(axes.collections[0].get_segments()) == 7
    assert clf.plot_probabilities(3).axes[0].get_title().endswith("pairs with node 3")
    monkeypatch.setattr("lds.report.page.PICTURES", {})  # t-SNE takes seconds
    assert clf.report(tmp_path / "clf.html") == tmp_path / "clf.html"
    assert "</html>" in (tmp_path / "clf.html").read_text(encoding="utf-8")


def test_a_notebook_shows_what_a_fit_found(fitted):
    clf, _, _ = fitted
    shown = clf._repr_mimebundle_()["text/html"]
    for text in (type(clf).__name__, "early-stopping accuracy", "before learning", "max_inner"):
        assert text in shown
    facts = clf.learned_._repr_html_()
    assert len(facts) < 2000
    assert "2 outer iterations" in facts
    assert "early-stopping accuracy" not in type(clf)()._repr_mimebundle_()["text/html"]


def test_a_row_is_explained_by_its_edges(fitted):
    clf, folder, _ = fitted
    row = 4
    found = clf.explain(row, most=3)
    theta, start = clf.edge_probabilities_.toarray()[row], load_run(folder).start.toarray()[row]
    likely = sorted(np.flatnonzero(theta), key=lambda j: (-theta[j], j))[:3]
    assert [each.row for each in found.neighbours] == likely
    assert [each.learned for each in found.neighbours] == theta[likely].tolist()
    assert [each.start for each in found.neighbours] == start[likely].tolist()
    assert found.prediction == clf.transduction_[row]
    names = np.where(clf.learned_.problem.labels >= 0, clf.learned_.problem.labels, -1)
    classes = np.where(names >= 0, names, clf.label_distributions_.argmax(1))
    for k, name in enumerate(clf.classes_):
        share = theta[classes == k].sum() / theta.sum()
        assert found.votes[name] == pytest.approx(share, abs=1e-6)
    x = clf.learned_.problem.features
    gap = (x[row] - theta @ x / theta.sum()) / x.std(0)
    first = found.differences[0]
    assert first.name == "abc"[np.abs(gap).argmax()]
    assert first.deviations == pytest.approx(gap[np.abs(gap).argmax()], abs=1e-6)
    name, vote = next(iter(found.votes.items()))
    before = found.starting_votes[name]
    assert f"learned: class {name}: {100 * before:.0f} -> {100 * vote:.0f} %" in repr(found)
    assert "neighbour" in repr(found)
    assert "<table>" in found._repr_html_()
    with pytest.raises(ValueError, match="row must be a number from 0 to 89, got 90"):
        clf.explain(90)
    again = type(clf).load(folder).explain(row, most=3)
    assert again.votes == pytest.approx(found.votes)


def test_an_unfitted_classifier_has_nothing_to_save(tmp_path):
    for cls in CLASSIFIERS.values():
        with pytest.raises(NotFittedError):
            cls().save(tmp_path / "run")
        with pytest.raises(NotFittedError):
            plots.learning_curves(cls())


X = np.round(np.random.default_rng(0).standard_normal((30, 3)), 3) + 3 * np.eye(3)[[0, 1, 2] * 10]
Y = np.where(np.arange(30) < 24, np.arange(30) % 3 * 5, -1)


def tiny(x, y):
    clf = LDSClassifier(**TINY, refit_steps=4, refits=1, random_state=0)
    return clf.fit(x, y)


@pytest.mark.parametrize("header", [True, False])
def test_columns_of_an_array_are_found_by_position(lds, tmp_path, header, capsys):
    clf = tiny(X, Y)
    clf.save(tmp_path / "run")
    pd.DataFrame(X, columns=list("uvw")).to_csv(tmp_path / "x.csv", index=False, header=header)
    found = json.loads(lds("predict", tmp_path / "run", tmp_path / "x.csv", "--json"))
    assert found["classes"] == [0, 5, 10]
    assert [line["prediction"] for line in found["predictions"]] == clf.transduction_.tolist()
    pd.DataFrame(X[:, :2], columns=list("uv")).to_csv(tmp_path / "two.csv", index=False)
    with pytest.raises(SystemExit) as stop:
        main(["predict", str(tmp_path / "run"), str(tmp_path / "two.csv")])
    assert stop.value.code == 2
    sentence = "must have the 3 columns of the array of the fit, in their order, got 2 columns"
    assert sentence in capsys.readouterr().err


def test_a_sparse_fit_is_exported_but_predicts_in_python_alone(lds, tmp_path, capsys):
    tiny(X, Y).save(tmp_path / "run")
    clf = tiny(sp.csr_array(np.abs(X)), Y)
    with pytest.raises(FileExistsError, match=r"run holds a run; .*overwrite=True"):
        clf.save(tmp_path / "run")
    clf.save(tmp_path / "run", overwrite=True)  # over a dense one
    lds("export", tmp_path / "run", tmp_path / "g.csv")
    assert Learned.load(tmp_path / "run").predict_new(sp.csr_array(np.abs(X[:2]))).shape == (2, 3)
    loaded = LDSClassifier.load(tmp_path / "run")
    dense = tiny(np.abs(X), Y).learned_.problem.features.std(0)
    first = loaded.explain(0).differences[0]
    gap = first.value - first.mean
    assert first.deviations == pytest.approx(gap / dense[int(first.name)], rel=1e-4)
    (tmp_path / "new.csv").write_text("a,b,c\n1,2,3\n")
    with pytest.raises(SystemExit) as stop:
        main(["predict", str(tmp_path / "run"), str(tmp_path / "new.csv")])
    assert stop.value.code == 2
    assert "has no encoding.npz: its run was on features" in capsys.readouterr().err


@pytest.mark.ci
@pytest.mark.usefixtures("no_pictures")
def test_a_learned_structure_is_saved_drawn_and_reported(lds, tmp_path, capsys):
    rows = torch.arange(30)
    masks = {"train_mask": rows < 12, "val_mask": (rows >= 12) & (rows < 24)}
    data = Data(x=torch.from_numpy(X), y=rows % 3 * 5, **masks)
    learned = learn_structure(data, **TINY, refit_steps=4, refits=1, verbose=True)
    said = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in said[:2]] == ["1", "2"]
    assert said[-1].startswith("refit, ")
    assert said[-1].endswith(" members trained")
    learned.save(tmp_path / "run")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        learned.save(tmp_path / "run")
    run = load_run(tmp_path / "run")
    assert run.settings["classes"] == [0, 5, 10]
    assert np.array_equal(run.predictions["probabilities"], learned.probabilities.numpy())
    write_report(learned, tmp_path / "a.html")
    lds("report", tmp_path / "run", "--out", tmp_path / "b.html")
    pages = [(tmp_path / name).read_text(encoding="utf-8") for name in ("a.html", "b.html")]
    assert pages[0] == pages[1]
    assert_same_pictures(learned, tmp_path / "run")
    lds("export", tmp_path / "run", tmp_path / "g.csv")
    assert plots.expected_edges(learned).axes
    assert learned.plot_edges().axes
    assert learned.explain(2).prediction == int(learned.predictions[2])
    assert "early-stopping accuracy" in learned._repr_html_()
    loaded = LearnedStructure.load(tmp_path / "run")
    assert torch.equal(loaded.probabilities, learned.probabilities)
    assert torch.equal(loaded.predictions, learned.predictions)
    assert torch.equal(loaded.edge_index, learned.edge_index)
    assert loaded.classes.tolist() == [0, 5, 10]
    assert torch.equal(loaded.data.y[rows < 24], data.y[rows < 24])
    assert loaded.data.train_mask.sum() == 12
    new = loaded.to_data()
    assert new.edge_index.shape[1] == learned.to_data().edge_index.shape[1]
    assert LearnedStructure.load(tmp_path / "run", data).data is data
    with pytest.raises(ValueError, match="data must have the 30 nodes of the run, got 2"):
        LearnedStructure.load(tmp_path / "run", Data(x=torch.zeros(2, 3)))
    assert plots.expected_edges(learned.learned).axes


def test_a_fit_with_classes_of_whole_floats_is_a_structure_of_these_classes(tmp_path):
    clf = tiny(X, np.where(Y < 0, np.nan, Y + 1))
    assert clf.classes_.dtype == float
    clf.save(tmp_path / "run")
    loaded = LearnedStructure.load(tmp_path / "run")
    assert loaded.classes.tolist() == [1, 6, 11]
    assert loaded.predictions.tolist() == clf.transduction_.tolist()


def test_new_nodes_are_refused_where_features_are_made_from_the_graph(tmp_path):
    rows = torch.arange(30)
    ring = torch.stack([torch.cat([rows, rows]), torch.cat([rows.roll(1), rows.roll(2)])])
    masks = {"train_mask": rows % 3 == 0, "val_mask": rows % 3 == 1}
    x = torch.ones(30, 29)
    data = Data(x=x, y=rows // 10, edge_index=torch.cat([ring, ring.flip(0)], 1), **masks)
    with pytest.warns(UserWarning, match="features are made from the graph"):
        learned = learn_structure(data, **TINY, refit_steps=4, refits=1)
    assert learned.learned.problem.features.shape[1] == x.shape[1]
    learned.save(tmp_path / "run")
    for each in (learned, LearnedStructure.load(tmp_path / "run")):
        for call in (each.predict, each.predict_proba):
            with pytest.raises(ValueError, match="features made from its graph, which new nodes"):
                call(x[:2])
    clf = LDSClassifier.load(tmp_path / "run")
    clf.save(tmp_path / "again")
    for each in (clf, LDSClassifier.load(tmp_path / "again")):
        with pytest.raises(ValueError, match="features made from its graph, which new nodes"):
            each.predict(x.numpy())


def test_the_shell_says_that_features_were_made_from_the_graph(lds, tmp_path, capsys):
    graph = nx.circulant_graph(30, [1, 2])
    nx.set_node_attributes(graph, {node: "pq"[node // 15] for node in graph}, "kind")
    nx.write_graphml(graph, tmp_path / "bare.graphml")
    options = ["--target", "kind", "--max-iter", "1", "--max-inner", "5", "--refit-steps", "4"]
    short = ["--refits", "1", "--no-controls", "--quiet", "--out", tmp_path / "run"]
    lds("fit", tmp_path / "bare.graphml", *options, *short)
    assert LearnedStructure.load(tmp_path / "run").made_features
    (tmp_path / "rows.csv").write_text("a,b\n1,2\n")
    with pytest.raises(SystemExit):
        main(["predict", str(tmp_path / "run"), str(tmp_path / "rows.csv")])
    assert "features made from its graph, which new nodes" in capsys.readouterr().err


def test_the_data_of_a_loaded_run_hold_the_rows_that_it_knows(tmp_path):
    clf = tiny(X, Y)
    clf.save(tmp_path / "run")
    loaded = LearnedStructure.load(tmp_path / "run")
    assert loaded.data.x.dtype == torch.float64
    assert torch.equal(loaded.predict_proba(loaded.data.x), loaded.probabilities)
    loaded.data.x.zero_()
    assert loaded.learned.problem.features.any()


def test_a_structure_is_loaded_onto_the_networkx_graph_of_its_fit(tmp_path):
    graph = nx.circulant_graph(30, [1, 2])
    for node in graph:
        graph.nodes[node].update(x=[float(node // 10), node % 7], y=node // 10)
        graph.nodes[node].update(train_mask=node % 3 == 0, val_mask=node % 3 == 1)
    learned = learn_structure(graph, **TINY, refit_steps=4, refits=1)
    learned.save(tmp_path / "run")
    loaded = LearnedStructure.load(tmp_path / "run", graph)
    assert torch.equal(loaded.data.x, learned.data.x)
