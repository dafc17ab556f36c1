"""Run one method of chapter 9 on one split of one data set (§9.4)."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

import lds.experiments.reproduce.groups as groups
from lds.datasets.base import NodeDataset
from lds.datasets.registry import load
from lds.experiments.fit import problem_of
from lds.experiments.reproduce.baselines import BASELINES, accuracy_of, run_baseline
from lds.experiments.reproduce.dense_lds import learn_dense
from lds.experiments.reproduce.entry import Row
from lds.experiments.table import run_one
from lds.graphs.knn import knn_adjacency
from lds.structure.methods.thesis import Thesis

SHORT: dict[str, Any] = {"max_iter": 1, "max_inner": 10}
"""Options of a tiny run of LDS."""

DENSE = {"tiny": SHORT, "cpu": {"max_iter": 30, "patience": 5}, "full": {}}
"""Options of kNN-LDS (dense) by budget."""


@lru_cache(maxsize=2)
def data_of(name: str, seed: int, retain: float | None, root: Path) -> NodeDataset:
    """Load a data set; the last two are kept."""
    return load(name, seed=seed, root=root, retain=retain)


def run(row: Row, budget: str, root: Path) -> dict[str, Any]:
    """Run a row: data, method, seed; retain for graphs, setting for LDS."""
    torch.set_num_threads(1)
    name, method, seed = row["data"], row["method"], row["seed"]
    retain = row.get("retain")
    if method == "LDS":
        return _lds(row, budget, root)
    data = data_of(name, seed, retain, root)
    if method == "LDS (dense)":
        return _dense(data, seed, row["setting"], budget)
    if method == "size":
        return _size(data)
    if method in BASELINES:
        return run_baseline(method, data, seed, budget)
    return groups.run(row, data, SHORT if budget == "tiny" else {})


def _lds(row: Row, budget: str, root: Path) -> dict[str, Any]:
    setting = {**row["setting"], **(SHORT if budget == "tiny" else {})}
    retain = row.get("retain")
    found = run_one(
        row["data"], 0.0 if retain is None else retain, row["seed"], setting, row["what"], str(root)
    )
    return of_table(found)


def of_table(found: dict[str, Any]) -> dict[str, Any]:
    """The outcome of a record of `lds.experiments.table`."""
    test = dict(found["test"])
    kept = (
        "stopping_accuracy",
        "stopping_loss",
        "iterations",
        "starting_edges",
        "expected_edges",
    )
    outcome = {name: found[name] for name in kept if name in found}
    if "lds" in test:
        return {"value": test["lds"], **outcome}
    return {"value": test["gcn_train_validation"], "controls": test, **outcome}


def _dense(data: NodeDataset, seed: int, setting: dict[str, Any], budget: str) -> dict[str, Any]:
    method = Thesis(**{**DENSE[budget], **setting})
    start = knn_adjacency(data.features, method.n_neighbors, method.metric)
    found = learn_dense(problem_of(data), start, method, seed)
    return {
        "value": accuracy_of(found.probabilities, data.labels, data.split.test),
        "stopping_accuracy": found.stopping_accuracy,
        "stopping_loss": found.stopping_loss,
        "iterations": found.iterations,
        "similarity": float(found.similarities.sum(dtype=np.float64)) / 2,
    }


def _size(data: NodeDataset) -> dict[str, Any]:
    """Edges of the graph of a data set."""
    edges = 0 if data.adjacency is None else data.adjacency.nnz // 2
    return {"value": float(edges)}
