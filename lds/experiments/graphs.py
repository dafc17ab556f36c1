"""Graphs as people have them: attacked, with few labels or edges, with edges between unlike nodes.

    python -m lds.experiments.graphs attacks DATA --seeds 10 --out graphs.jsonl
    python -m lds.experiments.graphs labels DATA --only "cora, 140" --method default --out g.jsonl
    python -m lds.experiments.graphs heterophily DATA --seeds 10 --out graphs.jsonl
    python -m lds.experiments.graphs adaptive DATA --only cora --out graphs.jsonl

All methods learn from the labels of the training rows alone; the validation rows stop them and
choose their settings. Every finished run is a line of the output file; a run found there is not run
again. The seed numbers the official split where there are ten, and otherwise all that is random.

"adaptive" attacks the methods named by `--method`, each through its own expected graph
(`graphs_attack`), with a budget of 25 % of the edges, and a GCN through its graph. An attack
through the training of the method would be stronger: what is left is an upper bound.
"""

import argparse
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from lds._types import Split
from lds.datasets.splits import each_class_first
from lds.experiments.arguments import count, existing_folder, output_file
from lds.experiments.graphs_attack import ExpectedGraph, Surrogate, attack
from lds.experiments.graphs_cases import BENCHES, GraphCase, Maker, Rows, attacks
from lds.experiments.graphs_published import PUBLISHED
from lds.experiments.graphs_rivals import KIPF, Probabilities, Rival, rivals, train
from lds.experiments.labels import only_labels
from lds.experiments.records import JsonLines
from lds.structure.learn import learn
from lds.structure.methods.registry import DEFAULT, METHODS, method_of
from lds.structure.methods.views import Views
from lds.structure.problem import Problem
from lds.structure.result import EDGE_CUTOFF, Learned

ADAPTIVE = "adaptive"
BUDGET = 0.25
"""Flips of the adaptive attack, as a share of the edges."""

HELD_BACK = 0.4
"""Share of the training rows whose labels move the edges."""


def score(case: GraphCase, probabilities: Probabilities) -> float:
    """Score class probabilities on the test rows, in [0, 1]."""
    rows, truth = case.test, case.labels[case.test]
    if case.score == "AUC":
        return float(roc_auc_score(truth, probabilities[rows, 1]))
    return float((probabilities[rows].argmax(1) == truth).mean())


def problem_of(case: GraphCase, method: str, seed: int) -> Problem:
    """Deal the training rows into train and validation; the published validation rows stop.

    Learned views learn from rows that stop as well, so for them these are training rows, too.

    Arguments:
        case: see `GraphCase`.
        method: name of a method.
        seed: of the deal; every class has a train row.
    """
    order = each_class_first(case.labels, case.train, np.random.default_rng(seed))
    n_held = max(1, round(HELD_BACK * order.size))
    train_rows, held = order[:-n_held], order[-n_held:]
    stopping = case.validation
    if METHODS[method] is Views:
        held, stopping = held[: n_held // 2], held[n_held // 2 :]
    known = np.concatenate([train_rows, held, stopping])
    none = np.empty(0, dtype=np.int64)
    split = Split(np.sort(train_rows), np.sort(held), np.sort(stopping), none)
    return Problem(case.features, only_labels(case.labels, known), split, case.graph)


def of_ours(case: GraphCase, method: str, seed: int) -> Learned:
    """Learn by a method of the library with its defaults."""
    return learn(problem_of(case, method, seed), method_of(method), seed=seed)


def all_classes(found: Learned, case: GraphCase) -> Probabilities:
    """Return class probabilities with a column for classes that no known row has."""
    p = found.probabilities.astype(np.float64)
    return np.pad(p, ((0, 0), (0, case.n_classes - p.shape[1])))


class Records(JsonLines):
    """Records of a file of JSON lines; each new one is added to the file.

    Arguments:
        path: of the file, which need not exist.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, ("bench", "case", "seed", "method"))

    def run(self, where: dict[str, Any], work: Callable[[], dict[str, Any]]) -> None:
        """Do the work of a record that is not there, and add it with its CPU seconds."""
        if self.has(*(where[name] for name in self.fields)):
            return
        started = time.process_time()
        found = work()
        self.add({**where, **found, "seconds": round(time.process_time() - started, 2)})


def collect(
    records: Records,
    bench: str,
    cases: Sequence[tuple[str, Maker]],
    seeds: Sequence[int],
    methods: Sequence[str],
    names: Sequence[str] | None,
) -> None:
    """Run methods and rivals on every case and seed.

    Arguments:
        records: that grow.
        bench: name of the benchmark.
        cases: by name.
        seeds: of the cases.
        methods: of the library.
        names: of rivals; None: all.
    """
    for seed in seeds:
        for name, maker in cases:
            try:
                case = maker(seed)
            except FileNotFoundError as error:
                print(f"left out: {name} ({error})", flush=True)
                continue
            where = {"bench": bench, "case": name, "seed": seed, "score_of": case.score}
            work: dict[str, Callable[[], dict[str, Any]]] = {
                f"lds {method}": partial(_ours_scored, case, method, seed) for method in methods
            }
            for rival, run in rivals(bench, graph=case.graph is not None).items():
                if names is None or rival in names:
                    work[rival] = partial(_rival_scored, case, run, seed)
            for title, scored in work.items():
                records.run({**where, "method": title}, scored)


def _ours_scored(case: GraphCase, method: str, seed: int) -> dict[str, Any]:
    return {"score": score(case, all_classes(of_ours(case, method, seed), case))}


def _rival_scored(case: GraphCase, rival: Rival, seed: int) -> dict[str, Any]:
    return {"score": score(case, rival(case, seed))}


def collect_adaptive(
    records: Records,
    cases: Sequence[tuple[str, Maker]],
    seeds: Sequence[int],
    methods: Sequence[str],
) -> None:
    """Attack each method through its expected graph, and a GCN through its graph.

    The record of a method has its accuracy before ("clean") and after ("score"), the accuracy of a
    GCN on the graph that was made against the method ("gcn"), and the numbers of flips.
    """
    for seed in seeds:
        for name, maker in cases:
            case = maker(seed)
            assert case.graph is not None
            budget = round(BUDGET * case.graph.nnz / 2)
            where = {"bench": ADAPTIVE, "case": name, "seed": seed, "score_of": case.score}
            records.run({**where, "method": "GCN"}, partial(_gcn_attacked, case, seed, budget))
            for method in methods:
                work = partial(_ours_attacked, case, method, seed, budget)
                records.run({**where, "method": f"lds {method}"}, work)


def _ours_attacked(case: GraphCase, method: str, seed: int, budget: int) -> dict[str, Any]:
    assert case.graph is not None
    found = of_ours(case, method, seed)
    p = all_classes(found, case)
    expected = ExpectedGraph.learned(found.edges.to_csr(EDGE_CUTOFF), case.graph, p)
    hurt = attacked(case, expected, p.argmax(1), budget)
    after = all_classes(of_ours(hurt, method, seed), case)
    gcn = train(hurt, "gcn", KIPF, seed)[1]
    scores = {"score": score(case, after), "clean": score(case, p), "gcn": score(case, gcn)}
    return {**scores, **flips(case, hurt)}


def _gcn_attacked(case: GraphCase, seed: int, budget: int) -> dict[str, Any]:
    p = train(case, "gcn", KIPF, seed)[1]
    hurt = attacked(case, ExpectedGraph.plain(len(case.labels)), p.argmax(1), budget)
    after = train(hurt, "gcn", KIPF, seed)[1]
    return {"score": score(case, after), "clean": score(case, p), **flips(case, hurt)}


def attacked(case: GraphCase, expected: ExpectedGraph, targets: Rows, budget: int) -> GraphCase:
    """Return the case with a graph attacked through an expected graph."""
    assert case.graph is not None
    surrogate = Surrogate(case, expected, targets)
    return replace(case, graph=attack(case.graph, surrogate, budget))


def flips(case: GraphCase, hurt: GraphCase) -> dict[str, int]:
    """Count the edges that an attack added and removed."""
    assert case.graph is not None
    assert hurt.graph is not None
    change = (hurt.graph - case.graph).data
    return {"added": int((change > 0).sum()) // 2, "removed": int((change < 0).sum()) // 2}


def overview(found: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Write Markdown: means in per cent by case and method, with the published ones."""
    by_case: dict[str, dict[str, list[float]]] = {}
    for r in found:
        if r["bench"] != ADAPTIVE:
            by_case.setdefault(r["case"], {}).setdefault(r["method"], []).append(100 * r["score"])
    for case, methods in by_case.items():
        yield f"\n| {case} | %, mean ± standard deviation | seeds |\n|---|--:|--:|"
        for method, scores in sorted(methods.items(), key=lambda item: -float(np.mean(item[1]))):
            spread = f" ± {np.std(scores, ddof=1):.1f}" if len(scores) > 1 else ""
            yield f"| {method} | {np.mean(scores):.1f}{spread} | {len(scores)} |"
        for row in PUBLISHED.get(case, ()):
            yield f"| published: {row.who} ({row.how}) | {row.score:.1f} | |"
    adaptive = [r for r in found if r["bench"] == ADAPTIVE]
    if adaptive:
        yield f"\nAn attack on {BUDGET:.0%} of the edges that knows the method:\n"
        yield "| case | seed | method | clean, % | attacked, % | a GCN there, % | + / - edges |"
        yield "|---|--:|---|--:|--:|--:|--:|"
    for r in adaptive:
        gcn = f"{100 * r['gcn']:.1f}" if "gcn" in r else "-"
        clean, after = 100 * r["clean"], 100 * r["score"]
        yield (
            f"| {r['case']} | {r['seed']} | {r['method']} | {clean:.1f} | {after:.1f} | {gcn} | "
            f"{r['added']} / {r['removed']} |"
        )


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("bench", choices=[*BENCHES, ADAPTIVE])
    parser.add_argument("folder", type=existing_folder, help="root of the data")
    parser.add_argument("--only", nargs="+", help="beginnings of names of cases")
    parser.add_argument("--seeds", type=count, default=10)
    parser.add_argument("--method", nargs="*", default=[DEFAULT], choices=list(METHODS))
    parser.add_argument("--rivals", nargs="*", help="names; all without it")
    parser.add_argument(
        "--out", type=output_file, required=True, help="file of records, JSON lines"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    folder, seeds, methods = arguments.folder, range(arguments.seeds), arguments.method
    listed = BENCHES.get(arguments.bench, attacks)(folder)
    cases = [
        (name, maker)
        for name, maker in listed
        if arguments.only is None or name.startswith(tuple(arguments.only))
    ]
    records = Records(arguments.out)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if arguments.bench == ADAPTIVE:
            clean = [(name, maker) for name, maker in cases if name.endswith("metattack 0%")]
            collect_adaptive(records, clean, seeds, methods)
        else:
            collect(records, arguments.bench, cases, seeds, methods, arguments.rivals)
    print("\n".join(overview(list(records.records.values()))))


if __name__ == "__main__":
    main()
