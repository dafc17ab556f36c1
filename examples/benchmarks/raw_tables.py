"""Compare `lds fit` on raw tables with scikit-learn pipelines on the same labels.

    python examples/benchmarks/raw_tables.py --root DATA/tables --seeds 2

Each file has no header, "?" for missing and coded text. 60 rows, drawn class by class, keep their
label; `lds fit FILE --target COLUMN [--method views]` predicts the others. A data frame of the same
cells in the method's classifier must give the same predictions. The pipelines impute (median, with
an indicator), standardise and one-hot encode, and get the same 60 labels; each is the best of its
settings by cross-validation. ± is two binomial standard errors.
"""

import argparse
import csv
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVC
from typer.testing import CliRunner

from lds.cli import app
from lds.estimators.search import classifier_of

FILES = {"raw-horse-colic": 23, "raw-german": 20, "raw-auto_imports": 6}
"""The column of labels: whether the lesion is surgical, good or bad credit, the body of the car."""

N_LABELS = 60
MODELS = {
    "logistic regression": (LogisticRegression(max_iter=5000), {"C": [0.01, 0.1, 1, 10]}),
    "RBF SVM": (SVC(), {"C": [0.3, 1, 10, 100]}),
    "random forest": (RandomForestClassifier(300, random_state=0), {"min_samples_leaf": [1, 3]}),
}


def pipeline(model: object, settings: dict[str, list[float]]) -> GridSearchCV:
    numbers = make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler())
    text = OneHotEncoder(handle_unknown="ignore")
    columns = make_column_transformer(
        (numbers, make_column_selector(dtype_include="number")),
        (text, make_column_selector(dtype_exclude="number")),
    )
    grid = {f"model__{name}": values for name, values in settings.items()}
    steps = make_pipeline(columns, model)
    steps.steps[-1] = ("model", model)
    return GridSearchCV(steps, grid, cv=StratifiedKFold(3, shuffle=True, random_state=0))


def number_or_text(column: pd.Series) -> pd.Series:
    try:
        return pd.to_numeric(column)
    except ValueError:
        return column


def from_shell(
    cells: pd.DataFrame, target: int, seed: int, method: str, folder: Path
) -> np.ndarray:
    """Predictions of `lds fit` for the rows whose label is blank."""
    path, run = folder / "table.csv", folder / f"run{seed}"
    cells.to_csv(path, index=False, header=False)
    command = f"fit {path} --target {target} --no-header --seed {seed} --out {run} --test-size 0"
    command += f" --method {method}"
    found = CliRunner().invoke(app, [*command.split(), "--no-controls", "--quiet"])
    if found.exit_code:
        raise SystemExit(found.output)
    with (run / "predictions.csv").open(newline="") as file:
        return np.array([row["prediction"] for row in csv.DictReader(file)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--method", default="default", choices=("default", "views"))
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    for name, target in FILES.items():
        cells = pd.read_csv(options.root / f"{name}.csv", header=None, dtype=str)
        truth = cells[target].str.strip().to_numpy()
        often = np.isin(truth, [c for c in set(truth) if (truth == c).sum() >= 8])
        cells, truth = cells[often].reset_index(drop=True), truth[often]
        X = cells.drop(columns=target).replace("?", np.nan)
        X = X.apply(number_or_text).rename(columns=str)
        for seed in range(options.seeds):
            known, test = train_test_split(
                np.arange(len(truth)), train_size=N_LABELS, stratify=truth, random_state=seed
            )
            test.sort()
            partly = cells.copy()
            partly.loc[test, target] = None
            with tempfile.TemporaryDirectory() as folder:
                ours = from_shell(partly, target, seed, options.method, Path(folder))
            frame = classifier_of(options.method)(random_state=seed).fit(
                partly.drop(columns=target), partly[target].to_numpy(dtype=object)
            )
            same = (frame.transduction_[test].astype(str) == ours).mean()
            right = (ours == truth[test]).mean()
            error = 2 * (right * (1 - right) / len(test)) ** 0.5
            print(f"{name}, seed {seed}: lds fit {100 * right:.1f} ± {100 * error:.1f} %, ", end="")
            print(f"as a frame the same in {100 * same:.1f} % of {len(test)} rows", flush=True)
            for model, (estimator, settings) in MODELS.items():
                fitted = pipeline(estimator, settings).fit(X.iloc[known], truth[known])
                score = (fitted.predict(X.iloc[test]) == truth[test]).mean()
                print(f"    {model}: {100 * score:.1f} %", flush=True)


if __name__ == "__main__":
    main()
