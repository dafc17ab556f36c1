"""The `lds` command, a file for each subcommand. Heavy packages are imported in functions."""

import sys
import warnings
from typing import Annotated, Any

import typer

from lds._version import __version__
from lds.cli import datasets, doctor, export, fit, predict, report, reproduce, runs, search
from lds.cli.console import err, line, out
from lds.cli.flags import Command

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


for _module in (fit, predict, search, report, runs, export, datasets, reproduce, doctor):
    _name = _module.__name__.rpartition(".")[2]  # of the module, its function and the command
    _epilog = f"{_module.EXAMPLES}\n\n{EXIT_CODES}"
    app.command(_name, cls=Command, epilog=_epilog)(getattr(_module, _name))


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
            line(f"error: {error}", err, "red")
            sys.exit(2)


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    """Print a warning on one line."""
    line(f"warning: {message}", err, "yellow")
