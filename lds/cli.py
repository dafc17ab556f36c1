"""The `lds` command."""

import sys
from dataclasses import asdict, fields
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from lds._version import __version__
from lds.checkpoints import save_run
from lds.config import Estimator, LDSConfig
from lds.datasets.base import NodeDataset, load, names
from lds.experiments.fit import FitReport, fit_dataset
from lds.structure.baselines import CONTROLS
from lds.structure.learner import Iteration
from lds.structure.metrics import Quality, entropy

METHODS = ("lds",)
CUTOFF = 1e-4
"""Edge probabilities at or below this are not written to the run folder; their sum is."""

app = typer.Typer(
    help="Learn the graph a graph neural network should have had.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
out, err = Console(), Console(stderr=True)
default = LDSConfig()


@app.callback(invoke_without_command=True)
def root(
    show_version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Learn the graph a graph neural network should have had."""
    if show_version:
        out.print(__version__)
        raise typer.Exit


@app.command()
def datasets() -> None:
    """List the data sets `lds fit` knows by name."""
    for name in names():
        out.print(name)


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    out_file: Annotated[
        Path | None, typer.Option("--out", help="HTML file; default report.html in the folder.")
    ] = None,
) -> None:
    """Write a run as one HTML page: accuracy, pictures, settings, and any node's likely edges."""
    from lds.report.page import write_report  # matplotlib is an extra

    path = out_file or run / "report.html"
    write_report(run, path)
    out.print(f"report: {path}", soft_wrap=True)


@app.command()
def fit(
    name: Annotated[str, typer.Argument(help="A data set by name, or a .csv or .parquet file.")],
    method: Annotated[str, typer.Option(help="How the graph is learned: lds.")] = "lds",
    target: Annotated[str | None, typer.Option(help="Label column of a table.")] = None,
    test_size: Annotated[float, typer.Option(help="Share of a table's labels held out.")] = 0.2,
    retain: Annotated[float | None, typer.Option(help="Share of a graph's edges kept.")] = None,
    root: Annotated[Path | None, typer.Option(help="Folder of downloaded data.")] = None,
    out_folder: Annotated[
        Path | None, typer.Option("--out", help="Run folder; default runs/NAME-SEED.")
    ] = None,
    force: Annotated[bool, typer.Option(help="Write over an existing run folder.")] = False,
    controls: Annotated[bool, typer.Option(help="Run the three controls too.")] = True,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")] = "cpu",
    quiet: Annotated[bool, typer.Option(help="No progress bar.")] = False,
    seed: Annotated[int, typer.Option(help="Of the split and everything random.")] = default.seed,
    n_neighbors: Annotated[
        int, typer.Option(help="k of the kNN graph that starts a missing one.")
    ] = default.n_neighbors,
    metric: Annotated[str, typer.Option(help="Of the neighbour search.")] = default.metric,
    backbone: Annotated[
        str, typer.Option(help="Network: gcn, or a convolution of PyG such as GATv2Conv.")
    ] = default.backbone,
    hidden_channels: Annotated[
        int, typer.Option(help="Width of the hidden layer.")
    ] = default.hidden_channels,
    dropout: Annotated[float, typer.Option(help="In [0, 1).")] = default.dropout,
    weight_decay: Annotated[
        float, typer.Option(help="L2 on the first layer.")
    ] = default.weight_decay,
    inner_lr: Annotated[
        float, typer.Option(help="Step size of the inner Adam.")
    ] = default.inner_lr,
    learn_inner_lr: Annotated[
        float,
        typer.Option(help="Step with which log inner_lr follows its hypergradient; 0: fixed."),
    ] = default.learn_inner_lr,
    outer_lr: Annotated[
        float, typer.Option(help="First step size on the edge probabilities.")
    ] = default.outer_lr,
    outer_lr_decay: Annotated[
        float, typer.Option(help="Factor on it after each outer iteration.")
    ] = default.outer_lr_decay,
    truncation: Annotated[
        int, typer.Option(help="Inner steps a hypergradient sweeps over; 0: alternate.")
    ] = default.truncation,
    n_draws: Annotated[
        int, typer.Option(help="Graphs averaged for a prediction.")
    ] = default.n_draws,
    inner_tol: Annotated[
        float, typer.Option(help="Relative progress an inner step must make.")
    ] = default.inner_tol,
    inner_patience: Annotated[
        int, typer.Option(help="Inner steps without progress before a restart.")
    ] = default.inner_patience,
    max_inner: Annotated[int, typer.Option(help="Most inner steps of a run.")] = default.max_inner,
    patience: Annotated[
        int, typer.Option(help="Outer iterations without a better score before the end.")
    ] = default.patience,
    max_iter: Annotated[int, typer.Option(help="Most outer iterations.")] = default.max_iter,
    support: Annotated[
        Literal["all", "sparse", "auto"], typer.Option(help="Which pairs may become edges.")
    ] = default.support,
    pairs_per_node: Annotated[
        int, typer.Option(help="Pairs a node that a sparse support keeps at most.")
    ] = default.pairs_per_node,
    grow_every: Annotated[
        int, typer.Option(help="Hypersteps between growths of a sparse support; 0: never.")
    ] = default.grow_every,
    batch_nodes: Annotated[
        int, typer.Option(help="Labelled nodes a loss looks at, with a sparse support; 0: all.")
    ] = default.batch_nodes,
    connected: Annotated[
        bool, typer.Option(help="Complete every drawn graph to a connected one.")
    ] = default.connected,
    estimator: Annotated[
        Estimator, typer.Option(help="How gradients pass through drawn graphs.")
    ] = default.estimator,
) -> None:
    """Learn a graph and classify, with three honest controls on the same split and seed."""
    given = locals()
    options = {f.name: given[f.name] for f in fields(LDSConfig) if f.name in given}
    if method not in METHODS:
        raise ValueError(f"--method must be one of {', '.join(METHODS)}, got {method!r}")
    config = LDSConfig(**options)
    data = load(name, seed=seed, root=root, retain=retain, target=target, test_size=test_size)
    folder = _run_folder(out_folder, data, seed, force)

    with _bar(quiet) as progress:
        task = progress.add_task("", total=config.max_iter, state="")
        shown = _Shown(progress, task, quiet)

        def learned(report: FitReport) -> None:
            _save(folder, report, config, retain)  # an interrupt during the controls loses nothing
            shown.controls()

        try:
            report = fit_dataset(
                data,
                config,
                controls=controls,
                device=device,
                on_iteration=shown.iteration,
                on_learned=learned,
            )
        except KeyboardInterrupt:
            err.print("interrupted before the first outer iteration ended: nothing to save")
            raise typer.Exit(130) from None
    _save(folder, report, config, retain)
    _print_summary(report, config, folder)
    if report.result.reason == "interrupted":
        raise typer.Exit(130)


class _Shown:
    """What the progress bar says."""

    def __init__(self, progress: Progress, task: Any, quiet: bool) -> None:
        self.progress, self.task, self.quiet = progress, task, quiet
        self.best = 0.0

    def iteration(self, record: Iteration) -> None:
        if record.improved:
            self.best = record.stopping_accuracy
        state = (
            f"loss in {record.inner_loss:.3f} out {record.outer_loss:.3f}, "
            f"stopping {100 * record.stopping_accuracy:.1f} (best {100 * self.best:.1f}) %, "
            f"{record.expected_edges:,.0f} edges"
        )
        self.progress.update(self.task, completed=record.iteration + 1, state=state)
        if not (self.quiet or err.is_terminal):  # a log file gets a line each time, not a bar
            err.print(f"{record.iteration + 1}: {state}", soft_wrap=True, highlight=False)

    def controls(self) -> None:
        self.progress.update(self.task, state="running the controls")


def _bar(quiet: bool) -> Progress:
    return Progress(
        TextColumn("{task.completed}/{task.total}"),
        BarColumn(bar_width=10),
        TextColumn("{task.fields[state]}"),
        TimeElapsedColumn(),
        console=err,
        disable=quiet or not err.is_terminal,
    )


def _run_folder(wanted: Path | None, data: NodeDataset, seed: int, force: bool) -> Path:
    """A folder that holds no run yet, unless told to write over it."""
    if wanted is not None:
        if wanted.exists() and any(wanted.iterdir()) and not force:
            raise ValueError(f"--out {wanted} is not empty; name another folder or add --force")
        return wanted
    base = Path("runs") / f"{Path(data.name).stem}-{seed}"
    tries = [base, *(base.with_name(f"{base.name}-{k}") for k in range(2, 10_000))]
    return base if force else next(folder for folder in tries if not folder.exists())


def _save(folder: Path, report: FitReport, config: LDSConfig, retain: float | None) -> None:
    data, result = report.dataset, report.result
    edges = result.edges.to_csr(CUTOFF)
    kept = float(edges.sum()) / 2
    best = result.history[result.best]
    save_run(
        folder,
        settings={
            "data": data.name,
            "retain": retain,
            "method": "lds",
            "options": config.to_dict(),
            "classes": list(data.classes),
            "versions": {"lds": __version__, "torch": torch.__version__},
        },
        metrics=[asdict(record) for record in result.history],
        summary={
            "reason": result.reason,
            "best_iteration": result.best,
            "stopping_accuracy": best.stopping_accuracy,
            "test_accuracy": report.test_accuracy,
            "test_quality": {name: q and q.to_dict() for name, q in report.test_quality.items()},
            "starting_edges": report.starting_edges,
            "expected_edges": best.expected_edges,
            "edge_cutoff": CUTOFF,
            "expected_edges_below_cutoff": max(0.0, result.edges.expected_edges - kept),
            "seconds": report.seconds,
        },
        start=report.start,
        edge_probs=edges,
        weights=result.params,
        predictions={
            "probabilities": result.probabilities,
            "entropy": entropy(result.probabilities),
            "mutual_information": result.mutual_information,
            "hidden": result.hidden,
            "labels": data.labels,
            **{f"{role}_rows": rows for role, rows in vars(data.split).items()},
        },
    )
    if (data.labels < 0).any():
        _write_predictions(folder / "predictions.csv", report)


def _write_predictions(path: Path, report: FitReport) -> None:
    """The rows that had no label, with the predicted class and its probability."""
    rows = np.flatnonzero(report.dataset.labels < 0)
    probs = report.result.probabilities[rows]
    lines = ["row,prediction,probability"]
    for row, p in zip(rows, probs, strict=True):
        quoted = report.dataset.classes[int(p.argmax())].replace('"', '""')
        lines.append(f'{row},"{quoted}",{p.max():.6f}')
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _print_summary(report: FitReport, config: LDSConfig, folder: Path) -> None:
    result, test = report.result, report.test_quality
    best = result.history[result.best]
    table = Table(title=f"{report.dataset.name}, seed {config.seed}")
    table.add_column("method")
    table.add_column("early-stopping rows", justify="right")
    for column in ("test rows", "NLL, nats", "ECE"):
        table.add_column(column, justify="right")
    table.add_row("LDS", _percent(best.stopping_accuracy), *_cells(test["lds"]), style="bold")
    for letter, (name, control) in zip("abc", report.controls.items(), strict=False):
        label = f"({letter}) {CONTROLS[name]}"
        table.add_row(label, _percent(control.stopping_accuracy), *_cells(test[name]))
    out.print(table)
    out.print(
        f"{len(result.history)} outer iterations in {report.seconds:.0f} s, best "
        f"{result.best + 1}, ended by {result.reason}; expected edges "
        f"{report.starting_edges:,} -> {best.expected_edges:,.0f}"
    )
    out.print(f"run folder: {folder}", soft_wrap=True)


def _cells(found: Quality | None) -> tuple[str, str, str]:
    if found is None:
        return ("-", "-", "-")
    return _percent(found.accuracy), f"{found.nll:.3f}", _percent(found.ece)


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def main() -> None:
    """The entry point: 0 done, 2 a user's error in one sentence, 130 interrupted."""
    try:
        app(standalone_mode=True)
    except (ValueError, TypeError, ArithmeticError, OSError, ImportError) as error:
        err.print(f"error: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(2)
