"""Entries of the tables of chapter 9: learning discrete structures. Imports nothing heavy."""

import statistics
from typing import Any

from lds.experiments.reproduce.entry import Entry, Found, Row
from lds.experiments.reproduce.grids import CITATION, grid
from lds.experiments.reproduce.verdicts import Comparison, beside, higher, holds, near

COLUMNS = ("wine", "breast_cancer", "digits", "citeseer", "cora", "20news10")
"""Data sets of Table 9.2 that can be had; FMA is the seventh."""

TABLE_9_2 = {
    "LogReg": (92.1, 93.3, 85.5, 62.2, 60.8, 42.7),
    "Linear SVM": (93.9, 90.6, 87.1, 58.3, 58.9, 40.3),
    "RBF SVM": (94.1, 91.7, 86.9, 60.2, 59.7, 41.0),
    "RF": (93.7, 92.1, 83.1, 60.7, 58.7, 40.0),
    "FFNN": (89.7, 92.9, 36.3, 56.7, 56.1, 38.6),
    "LP": (89.8, 76.6, 91.9, 23.2, 37.8, 35.3),
    "ManiReg": (90.5, 81.8, 83.9, 67.7, 62.3, 46.6),
    "SemiEmb": (91.9, 89.7, 90.9, 68.1, 63.1, 46.9),
    "Sparse-GCN": (63.5, 72.5, 13.4, 33.1, 30.6, 24.7),
    "Dense-GCN": (90.6, 90.5, 35.6, 58.4, 59.1, 40.1),
    "RBF-GCN": (90.6, 92.6, 70.8, 58.1, 57.1, 39.3),
    "kNN-GCN": (93.2, 93.8, 91.3, 68.3, 66.5, 41.3),
    "LDS (dense)": (97.5, 94.9, 92.1, 70.9, 70.9, 45.6),
    "LDS": (97.3, 94.4, 92.5, 71.5, 71.5, 46.4),
}
"""Test accuracy in % by method and column."""

TUNED = ("LDS", "LDS (dense)")
"""Methods whose settings are rows of their own."""

TOLERANCE = {"LDS": 1.0}
"""Points within which a mean counts as the thesis's; 2 for the other methods."""

FILES = {
    "cora": "planetoid/Cora/raw",
    "citeseer": "planetoid/CiteSeer/raw",
    "20news10": "20news10/20news10_tfidf.npz",
}
"""What the data sets read below the data root; the others come with scikit-learn."""

RETAINED = (0.25, 0.5, 0.75, 1.0)
CONTROLLED: dict[str, dict[str, Any]] = {
    "wine": {"n_neighbors": 20, "truncation": 10},
    "breast_cancer": {"metric": "euclidean", "truncation": 10, "outer_lr": 0.3},
    "digits": {"metric": "euclidean", "truncation": 10, "outer_lr": 0.3},
    "cora": {"weight_decay": 5e-5},
}
"""The settings that the early-stopping rows chose, which the controls share."""

BIG = {"support": "sparse"}
"""Settings of LDS on 20 newsgroups: all pairs of 9,607 rows are too slow on a CPU."""


def node_row(data: str, method: str, seed: int, retain: float = 0.0, **more: Any) -> Row:
    """Make a row of the task "classify"; only graphs have a share of edges retained."""
    where = {"retain": retain} if data in CITATION else {}
    return {"task": "classify", "data": data, **where, "method": method, "seed": seed, **more}


def lds_row(
    data: str, seed: int, setting: dict[str, Any], retain: float = 0.0, what: str = "lds"
) -> Row:
    """Make a row of LDS, or of its controls."""
    return node_row(data, "LDS", seed, retain, setting=setting, what=what)


def settings_of(data: str) -> list[dict[str, Any]]:
    """The grid of LDS on a column of Table 9.2."""
    return [BIG] if data == "20news10" else grid(data, 0.0)


def table_9_2_rows(budget: str) -> list[Row]:
    """Baselines first, small data sets first."""
    if budget == "tiny":
        names = [name for name in TABLE_9_2 if name not in TUNED]
        rows = [node_row("wine", name, seed) for name in names for seed in (0, 1)]
        rows += [lds_row("wine", 0, setting) for setting in grid("wine", 0.0)[:2]]
        return [*rows, node_row("wine", "LDS (dense)", 0, setting={})]
    rows = []
    seeds = range(5)
    for data in COLUMNS:
        rows += [
            node_row(data, name, seed) for name in TABLE_9_2 if name not in TUNED for seed in seeds
        ]
    for data in COLUMNS:
        few = budget == "cpu" and data in (*CITATION, "20news10")
        some = range(1 if data == "20news10" and few else 3 if few else 5)
        rows += [lds_row(data, seed, point) for point in settings_of(data) for seed in some]
        rows += [lds_row(data, seed, CONTROLLED.get(data, {}), what="controls") for seed in some]
        if data != "20news10":  # a dense matrix of 9,607 rows takes hours an inner run
            rows += [node_row(data, "LDS (dense)", seed, setting={}) for seed in some]
    return rows


def column_of(found: Found, method: str, data: str, column: str = "value") -> dict[Any, float]:
    """Accuracies by seed of a method on a data set; of the chosen setting for LDS."""
    if method not in TUNED:
        return found.values(column, data=data, method=method)
    more = {"what": "lds"} if method == "LDS" else {}
    chosen = found.best_setting(data=data, method=method, **more)
    return {record["row"]["seed"]: record[column] for record in chosen}


def check_table_9_2(found: Found) -> list[Comparison]:
    """Every number, and what the text says of kNN-LDS beside kNN-GCN."""
    rows = []
    for method, numbers in TABLE_9_2.items():
        for data, number in zip(COLUMNS, numbers, strict=True):
            ours = list(column_of(found, method, data).values())
            rows.append(near(f"{method}, {data}", number, ours, TOLERANCE.get(method, 2.0)))
    for data in COLUMNS:
        rows.append(
            higher(
                f"kNN-LDS above kNN-GCN, {data}",
                column_of(found, "LDS", data),
                column_of(found, "kNN-GCN", data),
                "significant on 4 of 7 data sets",
            )
        )
    for data in COLUMNS:
        equal = found.values(data=data, method="LDS", what="controls")
        rows.append(
            beside(
                f"control at equal labels: GCN trained on train + validation, {data}",
                "-",
                list(equal.values()),
            )
        )
    return rows


def citation_rows(budget: str, methods: tuple[str, ...]) -> list[Row]:
    """Both graphs at every share of edges."""
    rows: list[Row] = []
    names: tuple[str, ...] = ("cora", "citeseer")
    shares: tuple[float, ...] = RETAINED
    if budget == "tiny":
        shares, seeds, lds_seeds, names = (0.25,), range(2), range(1), ("cora",)
    else:
        seeds = range(5)
        lds_seeds = range(3 if budget == "cpu" else 5)
    for method in methods:
        rows += [
            lds_row(data, seed, {}, share)
            if method == "LDS"
            else node_row(data, method, seed, share)
            for data in names
            for share in shares
            for seed in (lds_seeds if method == "LDS" else seeds)
        ]
    return rows


def mean(values: dict[Any, float]) -> float:
    """Mean over seeds."""
    return statistics.fmean(values.values())


EDGES_9_1 = {
    "cora": ((1357, 2714, 4071, 5429), (3635.6, 4513.9, 5476.9, 6276.4)),
    "citeseer": ((1183, 2366, 3549, 4732), (3457.4, 4474.2, 7842.5, 6745.2)),
}
"""Edges at the start and expected edges as learned, by share of edges retained."""


def table_9_1_rows(budget: str) -> list[Row]:
    """Sizes of the graphs, and the runs of LDS of Figure 9.2."""
    names: tuple[str, ...] = ("cora", "citeseer")
    shares: tuple[float, ...] = RETAINED
    if budget == "tiny":
        names, shares = ("cora",), (0.25,)
    sizes = [node_row(data, "size", 0, share) for data in names for share in shares]
    return sizes + citation_rows(budget, ("LDS",))


def check_table_9_1(found: Found) -> list[Comparison]:
    """Edges at the start, and that learning adds edges."""
    rows = []
    for data, (initial, learned) in EDGES_9_1.items():
        for share, first, last in zip(RETAINED, initial, learned, strict=True):
            start = list(found.values(data=data, method="size", retain=share).values())
            what = f"edges at the start, {data}, {share:.0%}"
            rows.append(near(what, first, start, 0.04 * first, unit=1.0))
            ours = found.values("expected_edges", data=data, method="LDS", retain=share)
            more = holds(
                f"LDS adds edges, {data}, {share:.0%}",
                f"{first} to {last:g}",
                f"{start[0]:.0f} to {mean(ours):.0f}" if start and ours else "-",
                mean(ours) > start[0] if start and ours else None,
            )
            rows.append(more)
    return rows


NO_FMA = "FMA: its 140 audio features are in no package and not among the open data here."

ENTRIES = (
    Entry(
        "table-9.1",
        "Edges at the start and expected edges as learned",
        "§9.4.3, Table 9.1",
        "Edges of Cora and CiteSeer with 25, 50, 75 and 100 % retained, and Σθ at the best outer "
        "iteration of LDS (τ = 5, default settings).",
        table_9_1_rows,
        check_table_9_1,
        FILES,
        {"tiny": 0.1, "cpu": 180, "full": 300},
        departures=(
            "The published graphs list some edges twice: 5,278 and 4,552 distinct ones, where the "
            "thesis counts 5,429 and 4,732.",
        ),
    ),
    Entry(
        "table-9.2",
        "Test accuracy without a graph, 14 methods",
        "§9.4.3, Table 9.2",
        "Five splits a data set; every method's settings chosen on the early-stopping rows (half "
        "of the thesis's validation rows); training labels alone for the methods beside LDS.",
        table_9_2_rows,
        check_table_9_2,
        FILES,
        {"tiny": 0.5, "cpu": 420, "full": 4000},
        departures=(
            "Runs of LDS and its controls at the budget cpu were recorded by "
            "`lds.experiments.table` (examples/benchmarks/results/table.jsonl) at an "
            "earlier state of the code, in wall seconds; wine with seed 0, repeated, has the same "
            "test accuracy and another number of iterations.",
            "The thesis chooses by all validation rows; here the half that LDS learns from is left "
            "out of the choice for every method.",
            "At the budget cpu k is one of 2, 5, 10, 15, 20 and γ is 0.01 for methods with a kNN "
            "graph; full has the thesis's 2 to 20 and three γ.",
            "ManiReg is Laplacian regularised least squares in closed form (kernel up to 2,000 "
            "rows, linear above); the thesis trains a TensorFlow model.",
            "The random graph of Sparse-GCN has mean degree 10; the thesis gives no degree.",
            "LDS (dense) ends an inner run where the validation loss stalls, and 20news10 is left "
            "out of it; LDS on 20news10 has a sparse support at every budget.",
        ),
        missing=(NO_FMA,),
        reasons={
            "LogReg, breast_cancer": "four splits have 91 to 93 %, one has 85 % from its ten "
            "labelled rows",
            "FFNN, citeseer": "two of five seeds end after some 24 steps with a loss of log 6, 33 "
            "and 36 %: accuracy moves by chance before the loss falls, and early stopping waits 20 "
            "steps; the thesis's own FFNN has 36.3 ± 10.3 on digits",
            "LP, citeseer": "the thesis's number is the share of the largest class, 23.1; with "
            "Euclidean distance ours has 8 to 17 %, for 15 rows without a word are nearest to most "
            "others, and with an RBF kernel of γ up to 100 23 %; the cosine has no such rows",
            "ManiReg, c*": "no Laplacian model that was tried comes near: on CiteSeer linear and "
            "RBF kernels with squared loss and γ_I up to 1e6, and a linear softmax, reach 62 % at "
            "most, on Cora linear ones 58 %; the thesis does not describe its TensorFlow model",
            "SemiEmb, digits": "pixels go from 0 to 16, and the pull of neighbours outweighs the "
            "labels: on seeds 2 and 4, with weights 0.1 and 1, it has 8 to 21 %, and 75 to 82 % "
            "with pixels divided by 16",
            "SemiEmb, c*": "the weight of the pull, which the thesis does not give, decides: with "
            "10 instead of 1 seed 0 has 65 % on Cora and 66 % on CiteSeer, and seed 1 collapses to "
            "20 and 13 %, for the pull outweighs the labels before the loss falls",
            "RBF-GCN, cora": "the thesis gives no scale; scales of 30, 100, 300 and 1,000 give 53 "
            "to 54 % on seed 0",
            "LDS (dense), wine": "one setting is run, k = 10; with k = 20, cosine and τ = 10 the "
            "five seeds have 96.9 %, with Euclidean distance and τ = 5 96.6 %",
            "Sparse-GCN, *": "the thesis gives no degree, and a sparser graph blurs rows less: on "
            "CiteSeer mean degrees of 1, 2, 3, 5 and 10 give 37, 35, 31, 27 and 24 %",
            "kNN-LDS above kNN-GCN, wine": "kNN-GCN goes from 89 to 97 % over five splits of 148 "
            "test rows; the thesis has 4 points between them and does not say on which four data "
            "sets the gap is significant",
            "control at equal labels*": "the thesis has no such control",
        },
    ),
)
