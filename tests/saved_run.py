"""One tiny run in a folder, with names of classes that a page must escape."""

from pathlib import Path

import numpy as np
from typer.testing import CliRunner

from lds.cli import app

NAMES = ("</script><script>window.hurt = 1</script>", '$a_b$ & "co" <b>', "_plain")
"""A script, mathematics and quotes, and a name that matplotlib leaves out of legends."""

N_ROWS, N_LABELLED = 90, 80


def write_table(path: Path) -> None:
    """Write three separate classes, row by row in turn; the last rows are unlabelled."""
    rng = np.random.default_rng(0)
    kinds = np.arange(N_ROWS) % 3
    lines = ["a,b,c,kind"]
    for k, row in enumerate(rng.standard_normal((N_ROWS, 3)) + 2.2 * np.eye(3)[kinds]):
        quoted = NAMES[kinds[k]].replace('"', '""')
        lines.append(",".join([*map(str, row), f'"{quoted}"' if k < N_LABELLED else ""]))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def save(folder: Path, method: str) -> Path:
    """Fit a run of three outer iterations, with the controls, and return its folder."""
    table, run = folder / "pets.csv", folder / "run"
    write_table(table)
    options = "--target kind --max-iter 3 --max-inner 30 --metric euclidean --n-neighbors 5 --quiet"
    short = ["--refit-steps", "4", "--refits", "2"] if method == "default" else []
    where = ["--method", method, *short, "--out", str(run)]
    arguments = ["fit", str(table), *options.split(), *where]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return run
