"""`lds fit`: begin a run, or resume one."""

import itertools
import os
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lds._files import check_output_folder
from lds._run_files import PREDICTIONS, check_run
from lds._sources import check_source
from lds._verdict import verdict
from lds._warn_once import once
from lds.cli.claim import Earlier, TakenError, claimed, is_empty
from lds.cli.class_weight import ClassWeight, read_class_weight
from lds.cli.console import Json, bar, err, line, print_json, say_found
from lds.cli.fit_output import print_next, print_summary
from lds.cli.interrupt import Interrupts, StopNow
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
    reading,
    stem,
)
from lds.structure.methods.registry import DEFAULT, method_of
from lds.structure.options import check_jobs, check_seed

if TYPE_CHECKING:
    from lds.datasets.base import NodeDataset
    from lds.experiments.fit import FitReport
    from lds.structure.iteration import Iteration

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
    force: Annotated[bool, typer.Option(help="Write over an existing run folder.")] = False,
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
    given = locals() | options
    check_jobs(jobs, "--jobs")
    if out_folder is not None:
        check_output_folder(out_folder, "--out")
        _check_empty(out_folder, force)
    plan = _new(given, options) if resume is None else _resumed(context, given, resume)
    with bar(quiet) as progress, ExitStack() as held:
        run, done, summary = _fit(plan, given, FitProgress(progress, quiet), held)
    written = run.folder / PREDICTIONS
    if as_json:
        predictions = {"predictions": str(written) if written.exists() else None}
        found = {"verdict": verdict(summary), **summary}
        print_json({"folder": str(run.folder), "data": done.dataset.name, **predictions, **found})
    else:
        print_summary(done, summary)
        print_next(done.dataset, run.folder, written)
    if run.count or done.result.reason == "interrupted":
        if run.kept:
            line(f"interrupted; to continue: {run.way_on}", err)
        raise typer.Exit(130)


def _fit(
    plan: dict[str, Any], given: dict[str, Any], shown: FitProgress, held: ExitStack
) -> tuple[Interrupts, "FitReport", dict[str, Any]]:
    """Read the data, learn, run the controls and save.

    Arguments:
        plan: of `_new` or `_resumed`.
        given: parameters of the command.
        shown: says what is done.
        held: keeps the folder for this command.

    Returns:
        How it was interrupted and in which folder; the report; the summary in the folder.
    """
    chosen, seed, source, quiet = plan["method"], plan["seed"], plan["source"], given["quiet"]
    resume, force, folder = given["resume"], given["force"], given["resume"] or given["out_folder"]
    if folder is not None:
        held.enter_context(claimed(folder))
        if resume is None:
            _check_empty(folder, force)
    shown.say(f"reading {Path(source['name']).name}")

    from lds._labels import counted
    from lds.datasets.registry import load

    data = load(**source)  # before torch, which takes seconds to import
    if data.file is not None:
        n_labelled = int((data.labels >= 0).sum())
        labelled = f"{n_labelled:,} of {data.n_nodes:,} rows have a label"
        shares = counted(data.labels, data.classes)
        say_found(data.name, [*data.file.found, f"{labelled}, {shares}"], quiet)
    if folder is None:
        folder = _run_folder(data, seed, force, held)
    shown.say("loading torch")

    import torch

    from lds.cli.run_folder import save
    from lds.experiments.fit import fit_dataset, problem_of
    from lds.run_folder import begin_run

    if "OMP_NUM_THREADS" not in os.environ:  # on small tensors threads only wait for each other
        torch.set_num_threads(1)

    chosen = chosen.for_problem(problem_of(data, plan["class_weight"]))
    settings = {
        "data": data.name,
        "source": source | {"test_size": _test_size(data, source["test_size"])},
        "retain": source["retain"],
        "method": chosen.name,
        "options": chosen.to_dict(),
        "seed": seed,
        "class_weight": plan["class_weight"],
        "controls": plan["controls"],
        "device": plan["device"],
    }
    begun, done = resume is not None, None
    earlier = held.enter_context(Earlier(folder)) if force else None
    checkpoint = folder if given["checkpoint"] else None
    interrupts = Interrupts(folder, checkpoint is not None, chosen.name == DEFAULT)

    def iterated(record: "Iteration") -> None:
        nonlocal begun
        if not begun:  # the input has been checked by now
            begin_run(folder, settings)
            begun = True
            if earlier is not None:
                earlier.discard()
        interrupts.phase = "learn"
        shown.iteration(record)

    def trained(n_done: int, n_members: int) -> None:
        interrupts.phase = "refit"
        shown.member(n_done, n_members)

    def learned(report: "FitReport") -> None:
        nonlocal done
        if earlier is not None:
            earlier.discard()
        save(folder, report, settings)  # before the controls, which may be interrupted
        done, interrupts.phase = report, "controls"
        if plan["controls"] and report.result.reason != "interrupted":
            shown.controls()

    shown.count("starting graph and first outer iteration", chosen.to_dict()["max_iter"])
    with interrupts, once():  # a control warns of what the method has warned of
        try:
            done = fit_dataset(
                data,
                chosen,
                seed=seed,
                class_weight=plan["class_weight"],
                controls=plan["controls"],
                device=plan["device"],
                on_iteration=iterated,
                on_member=trained,
                on_learned=learned,
                checkpoint=checkpoint,
                resume=resume is not None,
                n_jobs=given["jobs"],
            )
        except (KeyboardInterrupt, StopNow):
            if done is None:
                _say_unfinished(interrupts, begun)
                raise typer.Exit(130) from None
        return interrupts, done, save(folder, done, settings)


def _test_size(data: "NodeDataset", given: float | None) -> float | None:
    """Return the share of test rows, for the settings; None where the data have their own."""
    from lds.datasets.registry import TEST_SIZE

    return TEST_SIZE if given is None and data.file is not None else given


def _say_unfinished(interrupts: Interrupts, begun: bool) -> None:
    """Say what is kept of a run that was interrupted before its result."""
    text = "interrupted before there was a result: nothing to save"
    if begun and interrupts.kept:
        text = (
            "interrupted before there was a result; its outer iterations are kept; to continue: "
            f"{interrupts.way_on}"
        )
    line(text, err)


def _new(given: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """Collect what a new run is made of."""
    if given["name"] is None:
        raise ValueError(
            "NAME must be a data set by name or a file, got none; `lds datasets` lists them, and "
            "--resume goes on with a run"
        )
    chosen = chosen_method(given["method"], options)
    check_seed(given["seed"], "--seed")
    check_source(given["name"])
    source = {
        "name": absolute(given["name"]),
        "seed": given["seed"],
        "root": None if given["root"] is None else str(given["root"].resolve()),
        "retain": given["retain"],
        "test_size": given["test_size"],
        **reading(given),
        "unlabelled": given["unlabelled"] or None,
        "edges": None if given["edges"] is None else str(given["edges"].resolve()),
    }
    return {
        "method": chosen,
        "seed": given["seed"],
        "source": source,
        "class_weight": read_class_weight(given["class_weight"]),
        "controls": given["controls"],
        "device": given["device"],
    }


def _resumed(context: typer.Context, given: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Read what an earlier run was made of, with the changes that `MAY_CHANGE` allows."""
    explicit = {
        name
        for name in given
        if name != "context"
        and (where := context.get_parameter_source(name)) is not None
        and where.name not in ("DEFAULT", "ENVIRONMENT")
    }
    if fixed := sorted(explicit - set(MAY_CHANGE)):
        raise ValueError(
            f"--resume goes on with a run as it was begun, but for {', '.join(MAY_CHANGE[:4])}; "
            f"got {', '.join(fixed)} too"
        )
    check_run(folder)
    from lds.datasets.registry import TEST_SIZE
    from lds.run_folder import load_settings

    settings = load_settings(folder)
    if "source" not in settings:
        raise ValueError(f"--resume {folder} is not of `lds fit`: it does not say what data it had")
    check_source(settings["source"]["name"])
    if settings["source"]["test_size"] == TEST_SIZE:  # no data refuse it unless it is given
        settings["source"]["test_size"] = None
    changed = {name: given[name] for name in ("max_iter", "patience") if name in explicit}
    method = method_of(settings["method"], **settings["options"] | changed)
    kept = {
        name: given[name] if name in explicit else settings[name] for name in ("controls", "device")
    }
    same = {name: settings[name] for name in ("seed", "source", "class_weight")}
    return {"method": method, **same, **kept}


def _check_empty(folder: Path, force: bool) -> None:
    """Refuse a folder that is not empty, unless it may be written over."""
    if not is_empty(folder) and not force:
        raise ValueError(
            f"--out {folder} is not empty; name another folder, or add --force; --resume "
            f"{folder} goes on with a run there"
        )


def _run_folder(data: "NodeDataset", seed: int, force: bool, held: ExitStack) -> Path:
    """Choose a folder by the name of the data, a new one unless it may be written over; keep it."""
    base = Path("runs") / f"{stem(data.name)}-{seed}"
    if force:
        held.enter_context(claimed(base))
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
