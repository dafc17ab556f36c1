"""The `lds` command, a file for each subcommand. Heavy packages are imported in functions."""

import sys
import warnings
from typing import Annotated, Any

import typer

from lds._version import __version__
from lds.cli.console import err, out
from lds.cli.datasets import EXAMPLES as DATASETS
from lds.cli.datasets import datasets
from lds.cli.doctor import EXAMPLES as DOCTOR
from lds.cli.doctor import doctor
from lds.cli.export import EXAMPLES as EXPORT
from lds.cli.export import export
from lds.cli.fit import EXAMPLES as FIT
from lds.cli.fit import fit
from lds.cli.flags import Command
from lds.cli.predict import EXAMPLES as PREDICT
from lds.cli.predict import predict
from lds.cli.report import EXAMPLES as REPORT
from lds.cli.report import report
from lds.cli.reproduce import EXAMPLES as REPRODUCE
from lds.cli.reproduce import reproduce
from lds.cli.runs import EXAMPLES as RUNS
from lds.cli.runs import runs
from lds.cli.search import EXAMPLES as SEARCH
from lds.cli.search import search

EXIT_CODES = (
    "Exit codes: 0 done; 1 a fault of lds; 2 a user's error, in one sentence; 130 interrupted "
    "(`lds fit --resume` goes on)."
)

app = typer.Typer(
    help="Learn the graph a graph neural network should have had.",
    epilog=(
        "Begin with:  lds fit digits\n\n"
        "then:  lds report runs/digits-0 --out digits.html\n\n"
        "Each command has examples in its own --help.\n\n" + EXIT_CODES
    ),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def root(
    show_version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Learn the graph a graph neural network should have had."""
    if show_version:
        out.print(__version__)
        raise typer.Exit


for _name, _command, _examples in (
    ("fit", fit, FIT),
    ("predict", predict, PREDICT),
    ("search", search, SEARCH),
    ("report", report, REPORT),
    ("runs", runs, RUNS),
    ("export", export, EXPORT),
    ("datasets", datasets, DATASETS),
    ("reproduce", reproduce, REPRODUCE),
    ("doctor", doctor, DOCTOR),
):
    app.command(_name, cls=Command, epilog=f"{_examples}\n\n{EXIT_CODES}")(_command)


def main(arguments: list[str] | None = None) -> None:
    """Run the command and exit with one of `EXIT_CODES`.

    Arguments:
        arguments: of the command; None takes those of the process.
    """
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        try:
            app(arguments, standalone_mode=True)
        except (ValueError, TypeError, ArithmeticError, OSError, ImportError) as error:
            err.print(f"error: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
            sys.exit(2)


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    """Print a warning on one line."""
    err.print(f"warning: {message}", style="yellow", markup=False, highlight=False, soft_wrap=True)
