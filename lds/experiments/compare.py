"""The default beside honest controls at equal labels, and what each of its parts adds.

    python -m lds.experiments.compare wine digits --seeds 5 --out compare.jsonl
    python -m lds.experiments.compare cora --retain 0 --seeds 5 --root DATA --out compare.jsonl
    python -m lds.experiments.compare wine cora --parts --seeds 3 --root DATA --out parts.jsonl

Everything but (a) trains on the training and the validation (A) labels and chooses on the
early-stopping rows; test labels are read at the end. "lds" is the committee, which the default is
where rows have roles. "learned views" is the default of `fit(X, y)` without a graph: it trains on
the early-stopping rows as well. Every finished run is a line of the output file; a run found there
is not run again. One setting for all data sets.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.semi_supervised import LabelSpreading
from sklearn.svm import SVC

import lds.experiments.arguments as kinds
from lds._random import mix
from lds._sources import REGISTRY
from lds.datasets.base import NodeDataset
from lds.datasets.registry import load
from lds.edges.logistic import LogisticEdges
from lds.experiments.fit import problem_of, quality_on_test
from lds.experiments.labels import only_labels
from lds.experiments.records import JsonLines
from lds.experiments.reproduce.verdicts import p_shown
from lds.graphs.candidates import PairList
from lds.graphs.knn import knn_adjacency
from lds.graphs.similarity import are_words
from lds.nn.discriminant import Discriminant
from lds.nn.ensemble import Ensemble
from lds.nn.preparation import FeaturePreparation, as_array
from lds.structure.context import RunContext
from lds.structure.controls import fit_gcn
from lds.structure.learn import learn
from lds.structure.methods.committee import Committee
from lds.structure.methods.committee_preparation import CommitteePreparation, prepare
from lds.structure.methods.committee_run import (
    committee_on,
    restarts_on,
    result_of,
    starting_distribution,
)
from lds.structure.methods.thesis import Thesis
from lds.structure.methods.views import Views
from lds.structure.predict import predict_proba
from lds.structure.problem import Problem
from lds.structure.restarts import Restarts
from lds.structure.result import Learned
from lds.structure.seeds import PREDICTION

Probabilities = NDArray[np.floating[Any]]

Case = tuple[str, float | None, int, Callable[[], NodeDataset]]
"""A data set: its name, the share of its graph's edges, the seed, and what makes it."""

OURS, VIEWS = "lds", "learned views"
PARTS: dict[str, dict[str, Any]] = {
    "without learned edges": {"update_edges": False, "max_iter": 1},
    "without agreement": {"agreement": 0.0},
    "without distillation": {"distillation": 0.0},
    "roles dealt once": {"redraw": False},
    "from the first step": {"settle": 0.0},
    "with denoising": {"denoising_weight": 1.0},
    "denoising alone": {"label_weight": 0.0, "denoising_weight": 1.0},
}
"""What each changes of the default."""

SURE = 40.0
"""Log-odds of a probability that is 1 in float32."""

CHOICES = (0.01, 0.1, 1.0, 10.0, 100.0)
"""C of logistic regression and of the SVM."""


def of_ours(data: NodeDataset, seed: int, options: dict[str, Any]) -> Probabilities:
    """The default method, or it with other options."""
    return learn(problem_of(data), Committee(**options), seed=seed).probabilities


def of_views(data: NodeDataset, seed: int) -> Probabilities:
    """What the default does of features and labels alone, without roles of rows."""
    return learn(problem_of(data), Views(), seed=seed).probabilities


def of_plain(data: NodeDataset, seed: int) -> Probabilities:
    """The default, measurements in the metric they come with; words as ever."""
    metric = "cosine" if are_words(data.features) else "euclidean"
    return of_ours(data, seed, {"metric": metric})


def of_ranked(data: NodeDataset, seed: int) -> Probabilities:
    """The default, a metric of rank 8 learned with the edges."""
    return of_ours(data, seed, {"metric_rank": min(8, min(data.features.shape) - 1)})


def of_networks(data: NodeDataset, seed: int) -> Probabilities:
    """The default, its committee without discriminants."""

    def networks(whole: Ensemble) -> Ensemble:
        kinds = [kind for kind in whole.kinds if not isinstance(kind, Discriminant)]
        return Ensemble(kinds, whole.n_times)

    return _of_committee(data, seed, networks)


def of_refitted_gcn(data: NodeDataset, seed: int) -> Probabilities:
    """One GCN, trained on all labels and the learned distribution, in place of the committee."""
    return _of_committee(data, seed, lambda whole: Ensemble(whole.kinds[:1]))


def of_no_refit(data: NodeDataset, seed: int) -> Probabilities:
    """The network and the distribution of the best outer iteration, as the thesis has it."""
    method, problem = Committee(), problem_of(data)
    _, _, restarts, _ = _restarted(problem, method, seed)
    params, edges = restarts.best.found()
    graphs = mix(seed, restarts.best.iteration, PREDICTION)
    return predict_proba(restarts.task, params, edges, method.n_draws, graphs).numpy()


def of_unweighted(data: NodeDataset, seed: int) -> Probabilities:
    """The committee on the given graph, or on 10 nearest neighbours, with probability 1."""
    graph = data.adjacency
    if graph is None:
        metric = "cosine" if sp.issparse(data.features) else "euclidean"
        graph = knn_adjacency(data.features, 10, metric)
    pairs = PairList.of(graph)
    given = LogisticEdges(pairs, ["given"], torch.full((pairs.n_pairs, 1), SURE), torch.ones(1))
    method = Committee(update_edges=False, max_iter=1, agreement=0.0)
    problem = problem_of(replace(data, adjacency=graph))
    prepared, edges, restarts, reason = _restarted(problem, method, seed, given)
    return _refitted(edges, method, prepared, restarts, reason, seed).probabilities


def _of_committee(
    data: NodeDataset, seed: int, instead: Callable[[Ensemble], Ensemble]
) -> Probabilities:
    """The default, refitted by another committee than its own."""
    method, problem = Committee(), problem_of(data)
    prepared, edges, restarts, reason = _restarted(problem, method, seed)
    ensemble = instead(prepared.ensemble)
    task = replace(prepared.task, network=ensemble)
    other = replace(prepared, ensemble=ensemble, task=task)
    return _refitted(edges, method, other, restarts, reason, seed).probabilities


def _refitted(
    edges: LogisticEdges,
    method: Committee,
    prepared: CommitteePreparation,
    restarts: Restarts,
    reason: str,
    seed: int,
) -> Learned:
    """The committee on a distribution, and its result."""
    problem = restarts.problem
    found = committee_on(edges, method, prepared, problem, RunContext(seed))
    return result_of(found, edges, method, prepared, problem, restarts, reason)


def _restarted(
    problem: Problem, method: Committee, seed: int, edges: LogisticEdges | None = None
) -> tuple[CommitteePreparation, LogisticEdges, Restarts, str]:
    """The default up to its refit: preparation, edges, restarts, and why they ended."""
    run = RunContext(seed)
    prepared = prepare(method, problem, run)
    edges = edges or starting_distribution(problem, prepared)
    restarts = restarts_on(edges, method, problem, prepared, seed)
    return prepared, edges, restarts, restarts.run(run, {})


def of_gcn(data: NodeDataset, seed: int, *, validation: bool) -> Probabilities:
    """The GCN of the thesis on the starting graph, with or without the validation labels."""
    problem = problem_of(data)
    rows = problem.labelled if validation else problem.split.train
    return fit_gcn(problem, rows, Thesis(support="auto"), seed=seed).probabilities


def of_sklearn(data: NodeDataset, models: list[Any], *, spreading: bool = False) -> Probabilities:
    """The model of a list that does best on the early-stopping rows, the first of equals."""
    x = FeaturePreparation(data.features).transform(data.features)
    if spreading:
        x = as_array(x)
    split, y = data.split, data.labels
    rows = np.concatenate([split.train, split.validation])
    best: tuple[float, Probabilities] | None = None
    for model in models:
        if spreading:
            found = model.fit(x, only_labels(y, rows))
            spread = np.nan_to_num(found.label_distributions_, nan=1 / len(found.classes_))
            probabilities = _all_classes(spread, found.classes_, len(data.classes))
        else:
            found = model.fit(x[rows], y[rows])
            values = (
                found.predict_proba(x) if hasattr(found, "predict_proba") else _one_hot(found, x)
            )
            probabilities = _all_classes(values, found.classes_, len(data.classes))
        score = float((probabilities[split.stopping].argmax(1) == y[split.stopping]).mean())
        if best is None or score > best[0]:
            best = score, probabilities
    assert best is not None
    return best[1]


def _one_hot(model: Any, x: Any) -> Probabilities:
    return np.asarray(model.predict(x)[:, None] == model.classes_, dtype=np.float64)


def _all_classes(values: Probabilities, classes: NDArray[Any], n_classes: int) -> Probabilities:
    found = np.zeros((len(values), n_classes))
    found[:, classes.astype(int)] = values
    return found


def methods(parts: bool) -> dict[str, Callable[[NodeDataset, int], Probabilities]]:
    """What is compared, by name."""
    found: dict[str, Callable[[NodeDataset, int], Probabilities]] = {
        OURS: lambda data, seed: of_ours(data, seed, {})
    }
    if parts:
        for name, options in PARTS.items():
            found[name] = lambda data, seed, options=options: of_ours(data, seed, options)  # type: ignore[misc]
        found["without learned metric"] = of_plain
        found["with metric_rank=8"] = of_ranked
        found["without discriminants"] = of_networks
        found["refit of one GCN"] = of_refitted_gcn
        found["without the refit"] = of_no_refit
        return {**found, "0/1 edges, frozen": of_unweighted}
    return {
        **found,
        VIEWS: of_views,
        "(a) GCN, train": lambda data, seed: of_gcn(data, seed, validation=False),
        "(b) GCN": lambda data, seed: of_gcn(data, seed, validation=True),
        "(c) frozen": lambda data, seed: of_ours(data, seed, PARTS["without learned edges"]),
        "LabelSpreading": lambda data, seed: of_sklearn(
            data,
            [
                LabelSpreading(kernel="knn", n_neighbors=k, alpha=a, max_iter=1000)
                for k in (5, 10, 20)
                for a in (0.2, 0.8)
            ],
            spreading=True,
        ),
        "LogisticRegression": lambda data, seed: of_sklearn(
            data, [LogisticRegression(C=c, max_iter=1000) for c in CHOICES]
        ),
        "RBF SVM": lambda data, seed: of_sklearn(data, [SVC(C=c) for c in CHOICES[2:]]),
    }


def collect(out: Path, cases: Iterable[Case], parts: bool) -> list[dict[str, Any]]:
    """One record a case and method, those of the file `out` before; the new ones are added to it.

    Arguments:
        out: JSON lines; what is there is not run again.
        cases: what to run on. Data is made or read only where a method is missing.
        parts: the ablation instead of controls.
    """
    lines = JsonLines(out, ("data", "retain", "seed", "method"))
    for name, retain, seed, make in cases:
        data: NodeDataset | None = None
        for method, run in methods(parts).items():
            if lines.has(name, retain, seed, method):
                continue
            data = data or make()
            if method == VIEWS and data.adjacency is not None:
                continue
            started = time.process_time()
            quality = quality_on_test(run(data, seed), data)
            assert quality is not None
            record = {
                "data": name,
                "retain": retain,
                "seed": seed,
                "method": method,
                **quality.to_dict(),
                "seconds": time.process_time() - started,
            }
            lines.add(record)
            print(json.dumps(record), flush=True)
    return list(lines.records.values())


def table(found: list[dict[str, Any]]) -> Iterator[str]:
    """Markdown: accuracy ± deviation, NLL / ECE, seconds, and a paired test against the default."""
    yield "| data | method | accuracy, % | against the default | NLL, nats | ECE, % | CPU s |"
    yield "|---|---|---|---|---|---|---|"
    keys = list(dict.fromkeys((line["data"], line["retain"]) for line in found))
    for key in keys:
        mine = [line for line in found if (line["data"], line["retain"]) == key]
        ours = {line["seed"]: 100 * line["accuracy"] for line in mine if line["method"] == OURS}
        for method in dict.fromkeys(line["method"] for line in mine):
            lines = [line for line in mine if line["method"] == method]
            scores = {line["seed"]: 100 * line["accuracy"] for line in lines}
            shared = sorted(ours.keys() & scores.keys())
            against = ""
            if method != OURS and len(shared) > 1:
                apart = np.array([scores[s] - ours[s] for s in shared])
                against = f"{apart.mean():+.1f}{p_shown(apart.tolist())}"
            values = list(scores.values())
            nll, ece, seconds = (
                np.mean([line[column] for line in lines]) for column in ("nll", "ece", "seconds")
            )
            yield (
                f"| {_title(key)} | {method} | {np.mean(values):.1f} ± {np.std(values):.1f} "
                f"| {against} | {nll:.3f} | {100 * ece:.1f} | {seconds:.0f} |"
            )


def overview(found: list[dict[str, Any]]) -> Iterator[str]:
    """Markdown, a row a method: points of accuracy against the default of the same seeds.

    With several seeds the standard error of the mean difference follows.
    """
    keys = list(dict.fromkeys((line["data"], line["retain"]) for line in found))
    yield "| against the default | " + " | ".join(_title(key) for key in keys) + " |"
    yield "|---|" + "--:|" * len(keys)
    by_method: dict[str, dict[Any, dict[int, float]]] = {}
    for line in found:
        scores = by_method.setdefault(line["method"], {})
        key = (line["data"], line["retain"])
        scores.setdefault(key, {})[line["seed"]] = 100 * line["accuracy"]
    ours = by_method.get(OURS, {})
    for method, scores in by_method.items():
        cells = []
        for key in keys:
            mine = {s: score for s, score in scores.get(key, {}).items() if s in ours.get(key, {})}
            apart = np.array([mine[s] - ours[key][s] for s in sorted(mine)])
            if not apart.size:
                cells.append("")
            elif method == OURS:
                cells.append(f"{np.mean(list(mine.values())):.1f}")
            else:
                error = apart.std(ddof=1) / apart.size**0.5 if apart.size > 1 else None
                cells.append(f"{apart.mean():+.1f}" + ("" if error is None else f" ({error:.1f})"))
        yield f"| {'the default, %' if method == OURS else method} | " + " | ".join(cells) + " |"


def _title(key: tuple[str, float | None]) -> str:
    return key[0] if key[1] is None else f"{key[0]}, {100 * key[1]:.0f} % of edges"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "names", nargs="*", type=kinds.data_set, help="data sets; none only prints the file's table"
    )
    parser.add_argument("--retain", type=kinds.share, help="of a graph's edges")
    parser.add_argument("--seeds", type=kinds.count, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--root", type=kinds.existing_folder, help="folder with the data sets")
    parser.add_argument("--parts", action="store_true", help="the ablation instead of controls")
    parser.add_argument(
        "--out", type=kinds.output_file, required=True, help="file of records, JSON lines"
    )
    arguments = parser.parse_args()
    with_graph = [name for name, source in REGISTRY.items() if source.has_graph]
    kinds.check_retain(parser, arguments.retain, arguments.names, with_graph)
    torch.set_num_threads(1)
    root = None if arguments.root is None else str(arguments.root)
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)

    def cases() -> Iterator[Case]:
        for name in arguments.names:
            for seed in seeds:
                make = partial(load, name, seed=seed, root=root, retain=arguments.retain)
                yield name, arguments.retain, seed, make

    found = collect(arguments.out, cases(), arguments.parts)
    print("\n".join([*table(found), "", *overview(found)]))


if __name__ == "__main__":
    main()
