"""Tables at equal labels: the classifiers beside what a practitioner would use.

    python -m lds.experiments.tables DATA/tables --per 10 30 --seeds 3 --out tables.jsonl

Each run is one table, a number of labels a class (at most 60 % of a class) and a seed. Every method
gets the same labels and all features, standardised. `cv_pick` is the rival with the best accuracy
in 3-fold cross-validation on the same labels. Every finished run is a line of the output file; a
run found there is not run again. Larger tables are cut to 4,000 rows. TabPFN and TabICL, which many
would try first, are not among the rivals; `--rival module:Class` adds any classifier.
"""

import argparse
import json
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.stats import ttest_rel
from sklearn.base import clone
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis, QuadraticDiscriminantAnalysis
from sklearn.ensemble import (
    ExtraTreesClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler
from sklearn.semi_supervised import LabelSpreading, SelfTrainingClassifier
from sklearn.svm import SVC

from lds.estimators.classifier import LDSClassifier
from lds.estimators.labels import split_roles
from lds.estimators.views_classifier import ViewsLDSClassifier
from lds.structure.learn import learn
from lds.structure.methods.views import Views
from lds.structure.metrics import quality
from lds.structure.problem import Problem

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


def case(path: Path, per: int, seed: int) -> tuple[NDArray[np.float64], Labels, Labels, Labels]:
    """Standardised features, classes, labelled rows and test rows."""
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
    return StandardScaler().fit_transform(x), y, rows, np.setdiff1d(np.arange(len(y)), rows)


def of_classifier(classifier: Any, x: Any, y: Labels, rows: Labels, test: Labels) -> dict[str, Any]:
    """Accuracy, NLL and ECE of a transductive classifier on the test rows."""
    known = np.full(len(y), -1)
    known[rows] = y[rows]
    found = classifier.fit(x, known)
    mine = quality(found.label_distributions_, np.searchsorted(found.classes_, y), test)
    return mine.to_dict() if mine else {}


def of_rivals(
    x: Any, y: Labels, rows: Labels, test: Labels, more: dict[str, Any]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Accuracy of every rival, and of the one that cross-validation picks."""
    folds = StratifiedKFold(3, shuffle=True, random_state=0)
    scores: dict[str, tuple[float, float]] = {}
    for name, (model, grid) in (RIVALS | {n: (m, {}) for n, m in more.items()}).items():
        search = GridSearchCV(model, grid, cv=folds, error_score=0.0)
        try:
            search.fit(x[rows], y[rows])
            scores[name] = float(search.best_score_), float(search.score(x[test], y[test]))
        except (ValueError, np.linalg.LinAlgError):  # too few rows for it: it guesses
            scores[name] = 0.0, float((y[test] == np.bincount(y[rows]).argmax()).mean())
        yield name, {"accuracy": scores[name][1]}
    yield CV_PICK, {"accuracy": max(scores.values())[1]}
    known = np.full(len(y), -1)
    known[rows] = y[rows]
    spread = LabelSpreading(kernel="knn", n_neighbors=7, max_iter=100).fit(x, known)
    yield "label spreading", {"accuracy": float((spread.transduction_[test] == y[test]).mean())}
    base = RandomForestClassifier(100, random_state=0)
    trained = SelfTrainingClassifier(base).fit(x, known)
    yield "self-training", {"accuracy": float(trained.score(x[test], y[test]))}


def of_ours(seed: int) -> dict[str, Callable[..., dict[str, Any]]]:
    """The library's classifiers by name, and learned views that are not learned."""

    def frozen(x: Any, y: Labels, rows: Labels, test: Labels) -> dict[str, Any]:
        known = np.full(len(y), -1, dtype=np.int64)
        known[rows] = y[rows]
        split = split_roles(known, np.unique(y), None, None, seed)
        found = learn(Problem(x, known, split), Views().frozen(), seed=seed)
        mine = quality(found.probabilities, y, test)
        return mine.to_dict() if mine else {}

    def of(classifier: Any) -> Callable[..., dict[str, Any]]:
        return lambda *data: of_classifier(clone(classifier), *data)

    return {
        "default": of(LDSClassifier(random_state=seed)),
        "views": of(ViewsLDSClassifier(random_state=seed)),
        "views, frozen": frozen,
    }


def collect(
    out: Path, folder: Path, names: Sequence[str], per: Sequence[int], seeds: int, more: Any
) -> list[dict[str, Any]]:
    """One record a run and method, those of the file before; new ones are added to it."""
    found = [json.loads(line) for line in out.read_text().splitlines()] if out.is_file() else []
    done = {(r["table"], r["per"], r["seed"], r["method"]) for r in found}
    keys = [(name, k, seed) for seed in range(seeds) for k in per for name in names]
    for name, k, seed in keys:
        x, y, rows, test = case(folder / f"{name}.csv.gz", k, seed)
        where = {"table": name, "per": k, "seed": seed, "rows": len(y)}

        def keep(method: str, scores: dict[str, Any], seconds: float, where: Any = where) -> None:
            record = {**where, "method": method, **scores, "seconds": seconds}
            found.append(record)
            with out.open("a") as file:
                file.write(json.dumps(record) + "\n")

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for method, run in of_ours(seed).items():
                if (name, k, seed, method) not in done:
                    started = time.process_time()
                    scores = run(x, y, rows, test)
                    keep(method, scores, time.process_time() - started)
            if (name, k, seed, CV_PICK) not in done:
                started = time.process_time()
                for method, scores in of_rivals(x, y, rows, test, more):
                    keep(method, scores, time.process_time() - started)
    return found


def overview(found: list[dict[str, Any]]) -> Iterator[str]:
    """Markdown: mean accuracy of each method over the runs that all have, and paired tests."""
    scores: dict[str, dict[Any, float]] = {}
    for r in found:
        by_run = scores.setdefault(r["method"], {})
        by_run[r["table"], r["per"], r["seed"]] = 100 * r["accuracy"]
    shared = sorted(set.intersection(*(set(runs) for runs in scores.values())))
    yield f"| method | mean accuracy of {len(shared)} runs, % | against {CV_PICK} (p, paired t) |"
    yield "|---|--:|--:|"
    picked = np.array([scores[CV_PICK][run] for run in shared])
    means = {method: np.array([runs[run] for run in shared]) for method, runs in scores.items()}
    for method, values in sorted(means.items(), key=lambda item: -item[1].mean()):
        apart = values - picked
        p = float(ttest_rel(values, picked)[1]) if apart.any() and len(apart) > 1 else 1.0
        yield f"| {method} | {values.mean():.1f} | {apart.mean():+.1f} (p = {p:.3f}) |"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="with NAME.csv.gz files")
    parser.add_argument("--tables", nargs="*", help="names; all of the folder without it")
    parser.add_argument("--per", type=int, nargs="+", default=[10, 30], help="labels a class")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rival", action="append", default=[], help="module:Class")
    parser.add_argument("--out", type=Path, required=True, help="file of records, JSON lines")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    names = arguments.tables or sorted(f.name[:-7] for f in arguments.folder.glob("*.csv.gz"))
    more = {}
    for text in arguments.rival:
        module, _, name = text.partition(":")
        more[name] = getattr(import_module(module), name)()
    per, seeds = arguments.per, arguments.seeds
    found = collect(arguments.out, arguments.folder, names, per, seeds, more)
    print("\n".join(overview(found)))


if __name__ == "__main__":
    main()
