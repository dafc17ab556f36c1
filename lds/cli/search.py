"""`lds search`."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from lds._files import check_output_folder
from lds._sources import check_source
from lds._words import nearest
from lds.cli.console import Json, bar, log, out, percent, print_json, print_path, say_found
from lds.cli.method_options import Method, method_options
from lds.cli.options_file import Config, write_options
from lds.cli.progress import FitProgress
from lds.cli.table_options import (
    Drop,
    Encoding,
    Header,
    Identifier,
    Root,
    Separator,
    Target,
    TestSize,
    stem,
)
from lds.structure.methods.registry import DEFAULT, method_of
from lds.structure.options import check_jobs, check_names, check_seed, option_fields

if TYPE_CHECKING:
    from lds.estimators.trials import Trial

EXAMPLES = (
    "lds search wine\n\n"
    "lds search wine --try n-neighbors=15,30 --try metric=cosine,euclidean --jobs 4\n\n"
    "lds search cora --root data --method thesis --try outer-lr=0.3,1 --out searches/cora\n\n"
    "lds fit wine --config searches/wine-0/best.yaml    (a fit with what was found)"
)

DEFAULT_SPACE = ("n_neighbors=15,30", "weight_decay=0.0005,0.005")
"""What is tried without --try, of options that the method has."""


def search(
    name: Annotated[str, typer.Argument(help="A data set by name, or the path of a table.")],
    method: Method = DEFAULT,
    tried: Annotated[
        list[str] | None,
        typer.Option("--try", help="OPTION=VALUE,VALUE,...; once for each option."),
    ] = None,
    fixed: Annotated[
        list[str] | None,
        typer.Option("--set", help="OPTION=VALUE for every trial; once for each option."),
    ] = None,
    n_iter: Annotated[
        int | None,
        typer.Option(help="Number of settings drawn at random; default: the whole grid."),
    ] = None,
    seeds: Annotated[
        str, typer.Option(help="Seeds; each setting has one trial for each seed.")
    ] = "0,1,2",
    jobs: Annotated[int, typer.Option(help="Processes; each runs one trial at a time.")] = 1,
    batch: Annotated[
        int,
        typer.Option(help="Trials that one process runs side by side, for a GPU."),
    ] = 1,
    target: Target = None,
    separator: Separator = None,
    encoding: Encoding = None,
    header: Header = None,
    drop: Drop = None,
    identifier: Identifier = None,
    test_size: TestSize = None,
    unlabelled: Annotated[
        list[str] | None,
        typer.Option(metavar="TEXT", help="Text in the target that means no label; as of lds fit."),
    ] = None,
    retain: Annotated[
        float | None, typer.Option(help="Share of a graph's edges kept; default: all edges.")
    ] = None,
    root: Root = None,
    seed: Annotated[int, typer.Option(help="Seed of the split, and of the settings drawn.")] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")] = "cpu",
    out_folder: Annotated[
        Path | None, typer.Option("--out", help="Folder; default: searches/NAME-SEED.")
    ] = None,
    quiet: Annotated[bool, typer.Option(help="No progress bar.")] = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Choose options as the thesis does: by the mean early-stopping accuracy over seeds.

    Labels of test rows are not read. The folder keeps finished trials, so a search that was killed
    continues where it was. `lds fit --config` takes its file `best.yaml`.
    """
    check_source(name)
    if out_folder is not None:
        check_output_folder(out_folder, "--out")
    record = type(method_of(method))
    default = [text for text in DEFAULT_SPACE if text.split("=")[0] in option_fields(record)]
    given = _pairs("--try", tried or default, "VALUE,VALUE,... goes into one")
    space = {key: [_value(key, v) for v in text.split(",")] for key, text in given.items()}
    base = {key: _value(key, text) for key, text in _pairs("--set", fixed or ()).items()}
    check_names(record, {**base, **space})
    if both := sorted(space.keys() & base.keys()):
        raise ValueError(f"--try and --set must name different options, got {both[0]} in both")
    numbers = [_as(int, "--seeds", text) for text in seeds.split(",")]
    for number in numbers:
        check_seed(number, "--seeds")
        if numbers.count(number) > 1:
            raise ValueError(f"--seeds must be different seeds, got {number} twice")
    check_seed(seed, "--seed")
    check_jobs(jobs, "--jobs")
    for flag, number in (("--n-iter", n_iter), ("--batch", batch)):
        if number is not None and number < 1:
            raise ValueError(f"{flag} must be at least 1, got {number}")

    with bar(quiet) as progress:
        shown = FitProgress(progress, quiet)
        shown.say(f"reading {Path(name).name}")

        import numpy as np

        from lds.datasets.registry import load

        data = load(
            name,
            seed=seed,
            root=root,
            retain=retain,
            target=target,
            test_size=test_size,
            separator=separator,
            encoding=encoding,
            header=header,
            drop=drop or (),
            identifier=identifier,
            unlabelled=unlabelled or None,
        )
        if data.file is not None:
            say_found(data.name, data.file.found, quiet)
        shown.say("loading torch")

        from lds.estimators.search import LDSSearch, classifier_of

        folder = out_folder or Path("searches") / f"{stem(data.name)}-{seed}"
        split = data.split
        seen = split.learning
        x: Any = data.features
        y = np.full(data.n_nodes, -1, dtype=np.int64)
        y[seen] = data.labels[seen]
        given_roles = {"validation": split.validation, "stopping": split.stopping}
        found = LDSSearch(
            space,
            classifier_of(method)(device=device, **base),
            n_iter=n_iter,
            seeds=numbers,
            folder=folder,
            n_jobs=jobs,
            batch=batch,
            refit=False,
            random_state=seed % 2**32,
            verbose=_shown(shown),
        ).fit(x, y, adjacency=data.adjacency, **given_roles)
    best = folder / "best.yaml"
    # Trials trained a committee; without a word of it a fit may leave a table to learned views.
    more = {"tables": "committee"} if method == DEFAULT else {}
    write_options(best, {"method": method, **base, **found.best_params_, **more})
    if as_json:
        means = [mean._asdict() for mean in found.means_]
        chosen = {"best": found.best_params_, "score": found.best_score_}
        print_json({**chosen, "path": str(best), "settings": means})
        return
    table = Table(title=f"{data.name}: early-stopping rows, {_of_seeds(len(numbers))}")
    table.add_column("options")
    for column in ("accuracy", "loss, nats"):
        table.add_column(column, justify="right")
    for mean in sorted(found.means_, key=lambda mean: (-mean.accuracy, mean.loss)):
        text = ", ".join(f"{key}={value}" for key, value in mean.setting.items())
        failed = mean.error is not None
        table.add_row(
            text,
            "failed" if failed else percent(mean.accuracy),
            "-" if failed else f"{mean.loss:.3f}",
            style="bold" if mean.setting == found.best_params_ else None,
        )
    out.print(table)
    print_path("best options", best)


def _of_seeds(number: int) -> str:
    return "1 seed" if number == 1 else f"mean of {number} seeds"


def _shown(shown: FitProgress) -> "Callable[[Trial | None, int, int], None]":
    """Make a function that shows finished trials: on a bar, or in a log on a line each."""

    def show(trial: "Trial | None", n_done: int, n_trials: int) -> None:
        state = str(trial)
        if trial is None:  # before the first
            state = "finished before" if n_done else "the first trials run"
            shown.progress.reset(shown.task, total=n_trials)
        shown.progress.update(shown.task, completed=n_done, state=state)
        log(f"{n_done} of {n_trials}: {state}", shown.quiet)

    return show


def _pairs(flag: str, texts: Sequence[str], way_out: str = "give it once") -> dict[str, str]:
    """Split each OPTION=VALUE; return the texts of values by option.

    Raises:
        ValueError: an option is named twice; the message ends with `way_out`.
    """
    found: dict[str, str] = {}
    for key, value in (_pair(flag, text) for text in texts):
        if key in found:
            raise ValueError(f"{flag} must name an option once, got {key} twice; {way_out}")
        found[key] = value
    return found


def _pair(flag: str, text: str) -> tuple[str, str]:
    """Split OPTION=VALUE into the option's name and the text of its value."""
    key, equals, value = text.partition("=")
    key = key.strip().replace("-", "_")
    known = list(method_options())
    if not equals or key not in known:
        near = "" if key in known else nearest(key, known)
        raise ValueError(
            f"{flag} must be OPTION=VALUE, OPTION one of {', '.join(known)}, got {text!r}{near}"
        )
    return key, value


def _value(key: str, text: str) -> Any:
    """Convert the text of a value to the type of its option."""
    kind = method_options()[key].type
    if kind is bool:
        if text.strip().lower() not in ("true", "false"):
            raise ValueError(f"{key} must be true or false, got {text!r}")
        return text.strip().lower() == "true"
    return _as(kind, key, text) if kind in (int, float) else text.strip()


def _as(kind: Any, name: str, text: str) -> Any:
    try:
        return kind(text)
    except ValueError:
        wanted = "an integer" if kind is int else "a number"
        raise ValueError(f"{name} must be {wanted}, got {text!r}") from None
