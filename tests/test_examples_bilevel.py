"""The examples of the bilevel core run on a tiny budget, and write a line of JSON a run."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import data_root

pytestmark = pytest.mark.ci

EXAMPLES = Path(__file__).parent.parent / "examples"
MNIST, CIFAR = "mnist/mnist.npz", "cifar10_subset/cifar10_subset.npz"
OMNIGLOT = "omniglot/omniglot28.npz"


@pytest.mark.data
@pytest.mark.parametrize(
    ("command", "needs", "runs"),
    [
        ("hyper_representation.py --shots 1", OMNIGLOT, 3),
        ("learning_rate_on_the_fly.py --data cifar10", CIFAR, 15),
        ("learning_rate_on_the_fly.py --data mlp", MNIST, 16),
    ],
)
def test_example_writes_a_line_a_run(command, needs, runs, tmp_path, run_script):
    root = data_root()
    if not (root / needs).exists():
        pytest.skip(f"{root} has no {needs}; LDS_DATA names another folder")
    script, options = command.split(maxsplit=1)
    out = tmp_path / "out.jsonl"
    run_script(EXAMPLES / script, f"{options} --budget tiny", "--root", root, "--out", out)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(rows) == runs
    assert all(0 < row["validation"] <= 1 and 0 < row["test"] <= 1 for row in rows)


@pytest.mark.parametrize("data", ["noisy", "imbalanced"])
def test_meta_weight_net_trains_beside_plain_training(data, tmp_path, run_script):
    rng = np.random.default_rng(0)
    digits = {
        f"{kind}_{part}": values
        for part, n in (("train", 1000), ("test", 500))
        for kind, values in (
            ("x", rng.integers(0, 256, (n, 28, 28), dtype=np.uint8)),
            ("y", rng.integers(0, 10, n)),
        )
    }
    (tmp_path / "mnist").mkdir()
    np.savez(tmp_path / "mnist" / "mnist.npz", **digits)
    out, script = tmp_path / "out.jsonl", EXAMPLES / "meta_weight_net.py"
    run_script(script, f"--budget tiny --data {data}", "--root", tmp_path, "--out", out)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(rows) == 4 + (data == "imbalanced")  # which has class sizes to weigh by
    assert all(0 <= row["test"] <= 1 for row in rows)


def test_a_search_in_a_table_spends_its_lookups(tmp_path, run_script):
    pytest.importorskip("nas_bench_graph")
    out = tmp_path / "out.jsonl"
    run_script(EXAMPLES / "architecture_table.py", "--budget tiny", "--out", out)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(rows) == 6
    assert {row["lookups"] for row in rows} == {20}
    assert all(0.5 < row["test"] <= row["validation"] + 0.1 for row in rows)


def test_memory_is_measured_in_sizes_of_the_hyperparameters(run_script):
    script = EXAMPLES / "benchmarks" / "many_hyperparameters.py"
    row = json.loads(run_script(script, "--method SOBA --count 20000 --outer 2"))
    assert row["method"] == "SOBA"
    assert row["peak"] >= 0


def test_tasks_by_vmap_are_those_of_a_loop(run_script):
    options = "--width 2 --tasks 3 --steps 2 --repeats 1"
    report = json.loads(run_script(EXAMPLES / "benchmarks" / "tasks.py", options))
    assert report["difference"] < 1e-9
    assert report["ratio"] > 0


@pytest.mark.slow
def test_single_loop_methods_are_timed_on_both_problems(tmp_path, run_script):
    rng = np.random.default_rng(0)
    digits = rng.integers(0, 256, (600, 28, 28), dtype=np.uint8)
    data = tmp_path / "mnist.npz"
    kinds = rng.integers(0, 10, 600)
    np.savez(data, x_train=digits, y_train=kinds, x_test=digits[::-1], y_test=kinds[::-1])
    script = EXAMPLES / "benchmarks" / "single_loop.py"
    lines = run_script(script, "--budget tiny", "--data", data).splitlines()
    rows = [json.loads(line) for line in lines]
    assert len({(row["problem"], row["method"]) for row in rows}) == len(rows) == 14
