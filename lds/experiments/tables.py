"""Tables at equal labels: the classifiers beside what a practitioner would use.

    python -m lds.experiments.tables DATA/tables --per 10 30 --seeds 3 --out tables.jsonl
    python -m lds.experiments.tables DATA/tables --noise 40 --ours --out noise.jsonl

Each run is one table, a number of labels a class (at most 60 % of a class) and a seed. Every method
gets the same labels and all features, standardised. `cv_pick` is the rival with the best accuracy
in 3-fold cross-validation on the same labels, the first of equals. NLL and ECE of a rival are those
of its probabilities after sigmoid calibration by 3-fold cross-validation. "later rows" is `predict`
on half of the test rows, which that fit has not seen, and "same rows" what the default says of them
when it has. Every finished run is a line of the output file; a run found there is not run again.
Larger tables are cut to 4,000 rows. TabPFN and TabICL, which many would try first, are not among
the rivals, because their weights cannot be had everywhere; `--rival module:Class` adds any
classifier.
"""

import argparse
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from importlib import import_module
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.calibration import CalibratedClassifierCV
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis, QuadraticDiscriminantAnalysis
from sklearn.ensemble import (
    ExtraTreesClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler
from sklearn.semi_supervised import LabelSpreading, SelfTrainingClassifier
from sklearn.svm import SVC

from lds.estimators.classifier import LDSClassifier
from lds.estimators.labels import split_roles
from lds.experiments.arguments import count, existing_folder, output_file
from lds.experiments.labels import only_labels
from lds.experiments.records import JsonLines
from lds.experiments.reproduce.verdicts import p_shown
from lds.structure.learn import learn
from lds.structure.methods.committee import Committee
from lds.structure.methods.views import Views
from lds.structure.methods.views_run import without_graph
from lds.structure.metrics import quality
from lds.structure.problem import Problem
from lds.structure.result import Learned

MOST_ROWS = 4000
"""Rows of a table that are used."""

CV_PICK = "cv_pick"
"""Name of the rival that cross-validation picks."""

RIVALS: dict[str, tuple[Any, dict[str, list[Any]]]] = {
    "logistic regression": (LogisticRegression(max_iter=2000), {"C": [0.01, 0.1, 1, 10, 100]}),
    "SVM": (SVC(), {"C": [0.3, 1, 10, 100], "gamma": ["scale", 0.01, 0.1]}),
    "random forest": (RandomForestClassifier(300, random_state=0), {}),
    "extra trees": (ExtraTreesClassifier(300, random_state=0), {}),
    "LDA": (LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto"), {}),
    "QDA": (QuadraticDiscriminantAnalysis(), {"reg_param": [0.01, 0.1, 0.5]}),
    "kNN": (KNeighborsClassifier(), {"n_neighbors": [1, 3, 5, 9]}),
    "naive Bayes": (GaussianNB(), {}),
    "boosting": (HistGradientBoostingClassifier(random_state=0), {}),
}
"""Classifiers of scikit-learn and the settings that cross-validation chooses from."""

Labels = NDArray[np.int64]


def read(path: Path) -> tuple[NDArray[np.float64], Labels]:
    """Features and class numbers of a CSV file whose column "class" or "target" has the labels."""
    frame = pd.read_csv(path, sep=None, engine="python")
    target = "class" if "class" in frame else "target"
    classes = np.unique(frame[target].to_numpy(), return_inverse=True)[1]
    return frame.drop(columns=target).to_numpy(np.float64), classes.astype(np.int64)


def case(
    path: Path, per: int, seed: int, noise: int = 0
) -> tuple[NDArray[np.float64], Labels, Labels, Labels]:
    """Standardised features, classes, labelled rows and test rows.

    Arguments:
        path: of the table.
        per: labels a class.
        seed: of the labelled rows, and of the columns of noise.
        noise: columns of standard normal noise that are added.
    """
    x, y = read(path)
    rng = np.random.RandomState(seed)
    if len(y) > MOST_ROWS:
        kept = np.sort(rng.permutation(len(y))[:MOST_ROWS])
        x, y = x[kept], np.unique(y[kept], return_inverse=True)[1].astype(np.int64)
    labelled = [
        rng.permutation(np.flatnonzero(y == c))[: min(per, int((y == c).sum() * 0.6))]
        for c in np.unique(y)
    ]
    rows = np.concatenate(labelled)
    x = np.hstack([x, rng.standard_normal((len(x), noise))])
    x = StandardScaler().set_output(transform="default").fit_transform(x)
    return x, y, rows, np.setdiff1d(np.arange(len(y)), rows)


def scores_of(probabilities: Any, y: Labels, rows: Labels) -> dict[str, float]:
    """Accuracy, balanced accuracy, NLL and ECE of class probabilities on some rows."""
    found = quality(probabilities, y, rows)
    assert found is not None
    balanced = balanced_accuracy_score(y[rows], probabilities[rows].argmax(1))
    return {**found.to_dict(), "balanced": float(balanced), "n_rows": len(rows)}


def of_rivals(
    x: Any, y: Labels, rows: Labels, test: Labels, more: dict[str, Any]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Scores of every rival, and the accuracy of the one that cross-validation picks."""
    folds = StratifiedKFold(3, shuffle=True, random_state=0)
    picked: dict[str, tuple[float, float]] = {}
    for name, (model, grid) in (RIVALS | {n: (m, {}) for n, m in more.items()}).items():
        search = GridSearchCV(model, grid, cv=folds, error_score=0.0)
        scores: dict[str, float] = {"n_rows": len(test)}
        try:
            search.fit(x[rows], y[rows])
            says = search.predict(x[test])
            best = float(search.best_score_)
        except (ValueError, np.linalg.LinAlgError):  # too few rows for it: it guesses
            best, says = 0.0, np.full(len(test), np.bincount(y[rows]).argmax())
        else:
            scores |= _calibrated(search.best_estimator_, x, y, rows, test, folds)
        scores["accuracy"] = float((says == y[test]).mean())
        scores["balanced"] = float(balanced_accuracy_score(y[test], says))
        picked[name] = best, scores["accuracy"]
        yield name, scores
    chosen = max(picked.values(), key=itemgetter(0))  # the first of equals: no test label decides
    yield CV_PICK, {"accuracy": chosen[1], "n_rows": len(test)}
    known = only_labels(y, rows)
    spread = LabelSpreading(kernel="knn", n_neighbors=7, max_iter=100).fit(x, known)
    yield "label spreading", {"accuracy": float((spread.transduction_[test] == y[test]).mean())}
    base = RandomForestClassifier(100, random_state=0)
    trained = SelfTrainingClassifier(base).fit(x, known)
    yield "self-training", {"accuracy": float(trained.score(x[test], y[test]))}


def _calibrated(
    model: Any, x: Any, y: Labels, rows: Labels, test: Labels, folds: StratifiedKFold
) -> dict[str, float]:
    """Return NLL and ECE of a rival after calibration; nothing where a class has too few rows."""
    calibrated = CalibratedClassifierCV(model, method="sigmoid", cv=folds)
    try:
        probabilities = calibrated.fit(x[rows], y[rows]).predict_proba(x)
    except (ValueError, np.linalg.LinAlgError):
        return {}
    found = scores_of(probabilities, y, test)
    return {name: found[name] for name in ("nll", "ece")}


def of_ours(seed: int) -> dict[str, Callable[..., dict[str, Any]]]:
    """The default by name, it without learning and without a graph, and on rows it has not seen."""
    fits: dict[bool, Learned] = {}

    def fitted(update: bool, x: Any, y: Labels, rows: Labels) -> Learned:
        if update not in fits:
            known = only_labels(y, rows)
            split = split_roles(known, np.unique(y), None, None, seed)
            method = Views() if update else Views().frozen()
            fits[update] = learn(Problem(x, known, split), method, seed=seed)
        return fits[update]

    def learned(x: Any, y: Labels, rows: Labels, test: Labels) -> dict[str, Any]:
        return scores_of(fitted(True, x, y, rows).probabilities, y, test)

    def frozen(x: Any, y: Labels, rows: Labels, test: Labels) -> dict[str, Any]:
        return scores_of(fitted(False, x, y, rows).probabilities, y, test)

    def alone(x: Any, y: Labels, rows: Labels, test: Labels) -> dict[str, Any]:
        return scores_of(without_graph(fitted(True, x, y, rows)), y, test)

    def halves(y: Labels, test: Labels) -> tuple[Labels, Labels]:
        later = np.random.default_rng(seed).permutation(test)[: len(test) // 2]
        return np.setdiff1d(np.arange(len(y)), later), np.sort(later)

    def later_rows(x: Any, y: Labels, rows: Labels, test: Labels) -> dict[str, Any]:
        seen, later = halves(y, test)
        classifier = LDSClassifier(random_state=seed).fit(x[seen], only_labels(y, rows)[seen])
        return scores_of(classifier.predict_proba(x[later]), y[later], np.arange(len(later)))

    def same_rows(x: Any, y: Labels, rows: Labels, test: Labels) -> dict[str, Any]:
        return scores_of(fitted(True, x, y, rows).probabilities, y, halves(y, test)[1])

    def committee(x: Any, y: Labels, rows: Labels, test: Labels) -> dict[str, Any]:
        known = only_labels(y, rows)
        split = replace(split_roles(known, np.unique(y), None, None, seed), dealt=False)
        found = learn(Problem(x, known, split), Committee(), seed=seed)
        return scores_of(found.probabilities, y, test)

    return {
        "default": learned,
        "default, frozen": frozen,
        "default, no graph": alone,
        "default, later rows": later_rows,
        "default, same rows": same_rows,
        "committee": committee,
    }


def collect(
    out: Path,
    folder: Path,
    names: Sequence[str],
    per: Sequence[int],
    seeds: int,
    more: dict[str, Any],
    *,
    noise: int = 0,
    rivals: bool = True,
    leave: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """One record a run and method, those of the file before; new ones are added to it."""
    lines = JsonLines(out, ("table", "per", "seed", "noise", "method"))
    keys = [(name, k, seed) for seed in range(seeds) for k in per for name in names]
    for name, k, seed in keys:
        x, y, rows, test = case(folder / f"{name}.csv.gz", k, seed, noise)
        where = {"table": name, "per": k, "seed": seed, "noise": noise, "rows": len(y)}

        def keep(method: str, scores: dict[str, Any], seconds: float, where: Any = where) -> None:
            lines.add({**where, "method": method, **scores, "seconds": seconds})

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for method, run in of_ours(seed).items():
                if method not in leave and not lines.has(name, k, seed, noise, method):
                    started = time.process_time()
                    scores = run(x, y, rows, test)
                    keep(method, scores, time.process_time() - started)
            if rivals and not lines.has(name, k, seed, noise, CV_PICK):
                started = time.process_time()
                for method, scores in of_rivals(x, y, rows, test, more):
                    keep(method, scores, time.process_time() - started)
                    started = time.process_time()
    return list(lines.records.values())


PAIRS = (
    ("default", "default, frozen"),
    ("default", "default, no graph"),
    ("default, later rows", "default, same rows"),
)
"""Pairs of methods compared on all runs that both have."""


def overview(found: list[dict[str, Any]]) -> Iterator[str]:
    """Markdown: means of each method over the runs that all have, paired tests, single tables."""
    by_method: dict[str, dict[Any, dict[str, Any]]] = {}
    for r in found:
        by_method.setdefault(r["method"], {})[r["table"], r["per"], r["seed"]] = r
    shared = sorted(set.intersection(*(set(runs) for runs in by_method.values())))
    against = CV_PICK if CV_PICK in by_method else "default"

    def values(method: str, name: str = "accuracy") -> NDArray[np.float64]:
        runs = by_method[method]
        return np.array([100 * runs[run].get(name, np.nan) for run in shared])

    yield f"| method | accuracy, % | against {against} | balanced, % | NLL, nats | ECE, % |"
    yield "|---|--:|--:|--:|--:|--:|"
    for method in sorted(by_method, key=lambda method: -values(method).mean()):
        apart = difference(values(method), values(against))
        cells = (values(method, n).mean() for n in ("accuracy", "balanced", "nll", "ece"))
        accuracy, balanced, nll, ece = (f"{v:.1f}" if np.isfinite(v) else "" for v in cells)
        nll = nll and f"{float(values(method, 'nll').mean()) / 100:.3f}"
        yield f"| {method} | {accuracy} | {apart} | {balanced} | {nll} | {ece} |"
    yield f"\nMeans over {len(shared)} runs; p of a paired t-test.\n"
    for one, other in PAIRS:
        if one in by_method and other in by_method:
            yield f"{one} against {other}: {difference(values(one), values(other))}\n"
    if against != CV_PICK:
        return
    rivals = np.array([values(name) for name in RIVALS if name in by_method])
    best = rivals.max(0).mean()
    yield f"The best rival of each run in hindsight, by its test labels: {best:.1f}\n"
    yield f"| table | default | {CV_PICK} | difference |"
    yield "|---|--:|--:|--:|"
    mine, theirs = values("default"), values(CV_PICK)
    for table in dict.fromkeys(run[0] for run in shared):
        of = np.array([run[0] == table for run in shared])
        a, b = mine[of].mean(), theirs[of].mean()
        yield f"| {table} | {a:.1f} | {b:.1f} | {a - b:+.1f} |"


def difference(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> str:
    """Format the mean difference of paired values, and its p where it has one."""
    apart = ours - theirs
    return f"{apart.mean():+.2f}{p_shown(apart.tolist())}"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=existing_folder, help="with NAME.csv.gz files")
    parser.add_argument("--tables", nargs="*", help="names; all of the folder without it")
    parser.add_argument("--per", type=count, nargs="+", default=[10, 30], help="labels a class")
    parser.add_argument("--seeds", type=count, default=3)
    parser.add_argument("--noise", type=int, default=0, help="columns of noise that are added")
    parser.add_argument("--ours", action="store_true", help="leave the rivals out")
    parser.add_argument("--leave", nargs="*", default=[], help="methods of ours to leave out")
    parser.add_argument("--rival", action="append", default=[], help="module:Class")
    parser.add_argument(
        "--out", type=output_file, required=True, help="file of records, JSON lines"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    names = arguments.tables or sorted(f.name[:-7] for f in arguments.folder.glob("*.csv.gz"))
    if missing := [each for each in names if not (arguments.folder / f"{each}.csv.gz").is_file()]:
        parser.error(f"argument --tables: {arguments.folder} has no {missing[0]}.csv.gz")
    if not names:
        parser.error(f"argument folder: {arguments.folder} must have NAME.csv.gz files, got none")
    more = {}
    for text in arguments.rival:
        module, _, name = text.partition(":")
        more[name] = getattr(import_module(module), name)()
    per, seeds = arguments.per, arguments.seeds
    found = collect(
        arguments.out,
        arguments.folder,
        names,
        per,
        seeds,
        more,
        noise=arguments.noise,
        rivals=not arguments.ours,
        leave=arguments.leave,
    )
    mine = [record for record in found if record["noise"] == arguments.noise]
    print("\n".join(overview(mine)))


if __name__ == "__main__":
    main()
