"""Every example runs, on a small budget."""

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.ci

EXAMPLES = Path(__file__).parent.parent / "examples"
BENCHMARKS = EXAMPLES / "benchmarks"


GRAPH = "--nodes 150 --features 40 --classes 3 --degree 6 --repeats 1 "


@pytest.mark.skipif(sys.platform != "linux", reason="the benchmark reads its memory from /proc")
@pytest.mark.parametrize("support", [pytest.param("all", marks=pytest.mark.slow), "sparse"])
def test_hyperstep_benchmark_compares_both_sides(support, run_script):
    options = f"{GRAPH} --support {support} --pairs-per-node 8 --json"
    report = json.loads(run_script(BENCHMARKS / "hyperstep.py", options))
    keys = {"seconds", "cpu_seconds", "peak_mb", "extra_mb"}
    assert keys <= set(report["lds"])
    assert keys == set(report["dense"])
    assert report["ratio_seconds"] > 0
    if support == "sparse":
        assert report["lds"]["pairs"] == 8 * 150


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the benchmark reads its memory from /proc")
def test_scaling_reports_how_time_grows_with_a_doubling(run_script):
    options = (
        "--sizes 200,800 --features 20 --classes 3 --degree 6 --pairs-per-node 8 --rounds 1 "
        "--repeats 1 --json"
    )
    small, large = json.loads(run_script(BENCHMARKS / "scaling.py", options))
    assert (small["pairs"], large["pairs"]) == (8 * 200, 8 * 800)
    fourfold = large["cpu_seconds"] / small["cpu_seconds"]
    assert large["ratio_cpu_seconds"] == pytest.approx(fourfold**0.5)


def test_parts_of_a_hyperstep_are_set_beside_their_floor(run_script):
    lines = run_script(BENCHMARKS / "parts.py", GRAPH + "--support sparse").splitlines()
    assert len(lines) == 11
    assert lines[-1].startswith("| hyperstep |")


def test_predictions_in_a_batch_are_timed_beside_a_loop(run_script):
    report = json.loads(run_script(BENCHMARKS / "predict.py", GRAPH + "--support all"))
    assert set(report) == {"batch", "loop", "n_draws", "ratio"}


def test_replicates_in_a_batch_are_timed_beside_a_loop_and_come_to_the_same(run_script):
    options = "--nodes 250 --runs 3 --steps 10 --iterations 1 --support sparse"
    report = json.loads(run_script(BENCHMARKS / "replicates.py", GRAPH + options))
    assert report["ratio"] > 0
    assert report["accuracy"]["batch"] == pytest.approx(report["accuracy"]["loop"], abs=0.02)
    assert report["operations"]["batch"] < 0.6 * report["operations"]["loop"]


def test_the_benchmark_for_a_gpu_runs_on_a_cpu_too(monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    options = (
        "--device cpu --nodes 250 --features 40 --classes 3 --degree 6 --runs 3 --repeats 1 "
        "--seeds 2 --max-iter 1 --support sparse --pairs-per-node 8"
    )
    monkeypatch.setattr(sys, "argv", ["gpu.py", *options.split()])
    script = runpy.run_path(str(BENCHMARKS / "gpu.py"))
    script["GRID"].clear()
    script["GRID"]["outer_lr"] = (1.0, 0.3)
    script["main"]()
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    report = {name: value for part in printed for name, value in part.items()}
    assert report["device"] == "CPU"
    assert set(report["windows"]) == {"1 runs", "3 runs"}
    assert report["predictions"]["ratio"] > 0
    assert report["run"]["outer_iterations"] == 1
    assert 0 < report["run"]["inner_steps"] <= 400
    assert report["grid"]["runs"] == 4
    assert report["grid"]["longest"] <= report["grid"]["inner_steps"] <= 4 * 400
    assert 1 / 3 < report["grid"]["mean_test_accuracy"] <= 1


@pytest.mark.parametrize(
    ("name", "joined"), [("like", 0.8), ("hubs", 0.8), ("unlike", 0.03), ("anybody", 0.25)]
)
def test_a_made_up_graph_joins_the_classes_it_says(name, joined):
    shapes = runpy.run_path(str(BENCHMARKS / "shapes.py"))
    data = shapes["dataset"](name, 0)
    row, col = data.adjacency.nonzero()
    share = (data.labels[row] == data.labels[col]).mean()
    assert abs(share - joined) < 4 * (joined * (1 - joined) / (len(row) / 2)) ** 0.5
    expected = shapes["GRAPHS"][name].degree
    assert len(row) / data.n_nodes == pytest.approx(expected, rel=0.2)
    degrees = np.bincount(row)
    assert (degrees.max() > 8 * degrees.mean()) == (name == "hubs")


def test_every_made_up_table_has_labelled_rows_of_every_class():
    shapes = runpy.run_path(str(BENCHMARKS / "shapes.py"))
    for name in shapes["SHAPES"]:
        data = shapes["dataset"](name, 1)
        assert data.adjacency is None
        assert set(data.labels[data.split.train]) == set(range(len(data.classes))), name


def wrong_labels_are_found(rows):
    by_name = {row["trained on"]: row for row in rows}
    everything, clean = by_name["everything"], by_name["clean half"]
    cleaned = [row for name, row in by_name.items() if name.startswith("cleaned")]
    assert len(cleaned) == 2
    for row in cleaned:  # a coin's F1 is 1/2
        assert row["f1"] > 0.65
        for column in ("test", "test with validation"):
            assert everything[column] < row[column] < clean[column]


def interactions_are_in_their_sets(rows):
    by_name = {row["method"]: row for row in rows}
    assert set(by_name) == {"STL", "NMTT", "HMTT", "HMTT-S"}
    for row in rows:
        C = np.array(row["C"])
        assert (C >= 0).all()
        assert (C == C.T).all()
        assert (C.diagonal() == 0).all()
        assert np.mean(row["test"]) > 0.4
    assert max(by_name["STL"]["sums"]) == 0
    assert max(by_name["HMTT-S"]["sums"]) < 1.001 * 0.002
    assert np.ptp(by_name["HMTT"]["C"], axis=1).min() > np.ptp(by_name["NMTT"]["C"], axis=1).max()


def the_ball_makes_methods_agree(rows):
    inside = [row for row in rows if row["projected"]]
    assert {row["method"] for row in inside} == {"reverse", "fixed point", "CG"}
    for row in inside:
        assert row["norm"] < 0.99 + 1e-4
        assert row["rho"] < row["norm"]
        assert row["loss"] < 0.7 * np.log(10)
        assert row["loss"] == pytest.approx(inside[0]["loss"], rel=0.01)
    assert all(row["norm"] > 1 for row in rows if not row["projected"])


SCRIPTS = [  # an example, a file it reads, what its rows must show
    ("hyper_cleaning.py", "mnist/mnist.npz", wrong_labels_are_found),
    ("task_interactions.py", "mnist/mnist.npz", interactions_are_in_their_sets),
    ("equilibrium.py", "mnist/mnist.npz", the_ball_makes_methods_agree),
]


@pytest.mark.data
@pytest.mark.parametrize(("script", "needed", "check"), SCRIPTS, ids=[line[0] for line in SCRIPTS])
def test_example_on_a_tiny_budget(script, needed, check, data_folder, tmp_path, run_script):
    if not (data_folder / needed).exists():
        pytest.skip(f"{data_folder} has no {needed}; data/README.md says how LDS_DATA is laid out")
    out = tmp_path / "rows.jsonl"
    table = run_script(EXAMPLES / script, "--budget tiny", "--root", data_folder, "--out", out)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(table.splitlines()) > len(rows) > 0
    check(rows)


def test_whole_fits_are_set_beside_those_of_scikit_learn(run_script):
    options = "--data rows --rows 200 --labels 80 --method lds --here"
    found = json.loads(run_script(BENCHMARKS / "fit.py", options))
    assert (found["rows"], found["labels"], found["method"]) == (200, 80, "lds")
    assert found["cpu_seconds"] > 0
    for method in ("LabelSpreading", "SelfTraining", "SVC", "ExtraTrees"):
        options = f"--data wine --method {method} --here"
        assert json.loads(run_script(BENCHMARKS / "fit.py", options))["accuracy"] > 0.8
