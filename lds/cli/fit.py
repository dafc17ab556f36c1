"""`lds fit`: begin a run, or resume one."""

import itertools
import os
import warnings
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lds._files import check_output_folder
from lds._run_files import PREDICTIONS, check_replaceable, check_run
from lds._sources import check_source
from lds._verdict import verdict
from lds.cli.claim import Earlier, TakenError, claimed, is_empty
from lds.cli.class_weight import ClassWeight, read_class_weight
from lds.cli.console import Json, bar, err, line, print_json, say_found
from lds.cli.fit_output import print_next, print_summary
from lds.cli.fit_run import Plan, Run
from lds.cli.interrupt import Interrupts, before_the_run
from lds.cli.method_options import Method, chosen_method, with_method_options
from lds.cli.options_file import Config
from lds.cli.progress import FitProgress
from lds.cli.table_options import (
    Drop,
    Edges,
    Encoding,
    Header,
    Identifier,
    Root,
    Separator,
    Target,
    TestSize,
    absolute,
    stem,
)
from lds.structure.methods.registry import DEFAULT, method_of
from lds.structure.options import check_jobs, check_seed

if TYPE_CHECKING:
    from lds.datasets.base import NodeDataset

EXAMPLES = (
    "lds fit digits\n\n"
    "lds fit cora --retain 0.5 --root data --seed 1 --out runs/cora50\n\n"
    "lds fit table.csv --target label    (rows with a blank label get predicted)\n\n"
    "lds fit nodes.csv --edges edges.csv --target label    (also .graphml, .gexf, .npz)\n\n"
    "lds fit raw.data --target -1 --id 0    (no header: columns by position)\n\n"
    "lds fit wine --config options.toml --seed 2\n\n"
    "lds fit --resume runs/cora50    (after a crash, a kill or Ctrl-C)\n\n"
    "lds fit --resume runs/cora50 --max-iter 400"
)

MAY_CHANGE = ("max_iter", "patience", "device", "controls", "quiet", "as_json", "resume", "jobs")
"""Parameters that --resume may change; all others stay as the run was begun."""


@with_method_options
def fit(
    context: typer.Context,
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="A data set by name, or the path of a table or graph."),
    ] = None,
    method: Method = DEFAULT,
    target: Target = None,
    separator: Separator = None,
    encoding: Encoding = None,
    header: Header = None,
    drop: Drop = None,
    identifier: Identifier = None,
    edges: Edges = None,
    test_size: TestSize = None,
    unlabelled: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TEXT",
            help="Text in the target that means no label, besides a blank cell; may be repeated. "
            "With '' alone, all other text is the name of a class.",
        ),
    ] = None,
    class_weight: ClassWeight = None,
    retain: Annotated[
        float | None, typer.Option(help="Share of a graph's edges kept; default: all edges.")
    ] = None,
    root: Root = None,
    out_folder: Annotated[
        Path | None, typer.Option("--out", help="Run folder; default: runs/NAME-SEED.")
    ] = None,
    force: Annotated[bool, typer.Option(help="Write over the run in an existing folder.")] = False,
    resume: Annotated[
        Path | None, typer.Option(help="Continue the run of this folder, to the same result.")
    ] = None,
    checkpoint: Annotated[
        bool, typer.Option(help="Keep the state after every outer iteration.")
    ] = True,
    controls: Annotated[bool, typer.Option(help="Run the three controls too.")] = True,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")] = "cpu",
    jobs: Annotated[
        int | None,
        typer.Option(help="Processes for folds of a table, networks of a graph; -1: all cores."),
    ] = None,
    quiet: Annotated[bool, typer.Option(help="No progress bar.")] = False,
    config: Config = None,
    as_json: Json = False,
    seed: Annotated[int, typer.Option(help="Of the split and everything random.")] = 0,
    **options: Any,
) -> None:
    """Learn a graph and classify the rows; train three controls on the same split and seed.

    The run folder keeps settings, history, edge probabilities, weights, predictions, and the state
    after every outer iteration. `--resume` continues from that state; on a CPU its result is equal,
    bit for bit, to that of a run without interruption.
    """
    check_jobs(jobs, "--jobs")
    if out_folder is not None:
        check_output_folder(out_folder, "--out")
        _check_empty(out_folder, force)
    if resume is not None:
        plan = _resumed(context, resume, {"controls": controls, "device": device, **options})
    else:
        if name is None:
            raise ValueError(
                "NAME must be a data set by name or a file, got none; `lds datasets` lists them, "
                "and --resume goes on with a run"
            )
        chosen = chosen_method(method, options)
        check_seed(seed, "--seed")
        check_source(name)
        source = {
            "name": absolute(name),
            "seed": seed,
            "root": None if root is None else str(root.resolve()),
            "retain": retain,
            "test_size": test_size,
            "target": target,
            "separator": separator,
            "encoding": encoding,
            "header": header,
            "identifier": identifier,
            "drop": list(drop or ()),
            "unlabelled": unlabelled or None,
            "edges": None if edges is None else str(edges.resolve()),
        }
        weight = read_class_weight(class_weight)
        plan = Plan(chosen, seed, source, weight, controls, device)
    folder = resume or out_folder
    with bar(quiet) as progress, ExitStack() as held:
        with before_the_run():
            if folder is not None:
                held.enter_context(claimed(folder))
                if resume is None:
                    _check_empty(folder, force)
            shown = FitProgress(progress, quiet)
            data = _read(plan, shown)
            if folder is None:
                folder = _run_folder(data, seed, force, held)
            plan = _for_data(plan, data, shown)
            earlier = held.enter_context(Earlier(folder)) if force else None
            interrupts = Interrupts(folder, checkpoint, plan.method.name == DEFAULT)
            run = Run(folder, plan, data, interrupts, shown, earlier, resume is not None)
        report, summary = run.learn(jobs)
    written = folder / PREDICTIONS
    if as_json:
        predictions = {"predictions": str(written) if written.exists() else None}
        found = {"verdict": verdict(summary), **summary}
        print_json({"folder": str(folder), "data": data.name, **predictions, **found})
    else:
        print_summary(report, summary)
        print_next(data, folder, written)
    if interrupts.count or report.result.reason == "interrupted":
        if interrupts.kept:
            line(f"interrupted; to continue: {interrupts.way_on}", err)
        raise typer.Exit(130)


def _read(plan: Plan, shown: FitProgress) -> "NodeDataset":
    """Load the data, and say what was guessed about a file."""
    shown.say(f"reading {Path(plan.source['name']).name}")

    from lds._labels import counted
    from lds.datasets.registry import load

    with warnings.catch_warnings(record=True) as found:
        data = load(**plan.source)  # before torch, which takes seconds to import
    for warning in found:
        _warn(warning, plan)
    if data.file is not None:
        n_labelled = int((data.labels >= 0).sum())
        labelled = f"{n_labelled:,} of {data.n_nodes:,} rows have a label"
        shares = counted(data.labels, data.classes)
        say_found(data.name, [*data.file.found, f"{labelled}, {shares}"], shown.quiet)
    return data


def _warn(warning: warnings.WarningMessage, plan: Plan) -> None:
    """Pass a warning about the data on; say whom it concerns, if it is not the method."""
    from lds.datasets.splits import RolesWarning

    message, roles = str(warning.message), issubclass(warning.category, RolesWarning)
    if roles and not plan.method.reads_roles:
        if not plan.controls:
            return
        message += "; this concerns the controls alone: every label trains and judges in turn"
    warnings.warn(message, warning.category, stacklevel=2)


def _for_data(plan: Plan, data: "NodeDataset", shown: FitProgress) -> Plan:
    """Choose the options that depend on the data."""
    shown.say("loading torch")

    import torch

    from lds.experiments.fit import problem_of

    if "OMP_NUM_THREADS" not in os.environ:  # on small tensors threads only wait for each other
        torch.set_num_threads(1)
    return replace(plan, method=plan.method.for_problem(problem_of(data, plan.class_weight)))


def _resumed(context: typer.Context, folder: Path, given: dict[str, Any]) -> Plan:
    """Read what an earlier run was made of, with the changes that `MAY_CHANGE` allows.

    Arguments:
        context: of the command.
        folder: of the run.
        given: the controls, the device and the options of the method.
    """
    explicit = {
        name
        for name in context.params
        if (where := context.get_parameter_source(name)) is not None
        and where.name not in ("DEFAULT", "ENVIRONMENT")
    }
    if fixed := sorted(explicit - set(MAY_CHANGE)):
        raise ValueError(
            f"--resume goes on with a run as it was begun, but for {', '.join(MAY_CHANGE[:4])}; "
            f"got {', '.join(fixed)} too"
        )
    check_run(folder)
    from lds.run_folder import load_settings

    settings = load_settings(folder)
    if "source" not in settings:
        raise ValueError(f"--resume {folder} is not of `lds fit`: it does not say what data it had")
    check_source(settings["source"]["name"])
    changed = {name: given[name] for name in ("max_iter", "patience") if name in explicit}
    method = method_of(settings["method"], **settings["options"] | changed)
    kept = {
        name: given[name] if name in explicit else settings[name] for name in ("controls", "device")
    }
    same = {name: settings[name] for name in ("seed", "source", "class_weight")}
    return Plan(method=method, **same, **kept)


def _check_empty(folder: Path, force: bool) -> None:
    """Refuse a folder that is not empty, unless it may be written over and no file is lost."""
    if force:
        check_replaceable(folder)
    elif not is_empty(folder):
        raise ValueError(
            f"--out {folder} is not empty; name another folder, or add --force; --resume "
            f"{folder} goes on with a run there"
        )


def _run_folder(data: "NodeDataset", seed: int, force: bool, held: ExitStack) -> Path:
    """Choose a folder by the name of the data, a new one unless it may be written over; keep it."""
    base = Path("runs") / f"{stem(data.name)}-{seed}"
    if force:
        held.enter_context(claimed(base))
        _check_empty(base, force)
        return base
    for k in itertools.count(1):
        folder = base if k == 1 else base.with_name(f"{base.name}-{k}")
        if folder.is_file():
            continue
        with ExitStack() as kept:
            try:
                kept.enter_context(claimed(folder))
            except TakenError:
                continue
            if is_empty(folder):
                held.enter_context(kept.pop_all())
                break
    if folder != base:
        line(f"{base} holds a run; this one goes to {folder}", err)
    return folder
