"""Types of the arguments of experiments: what does not fit is refused in a sentence."""

import argparse
from argparse import ArgumentTypeError
from collections.abc import Iterable
from pathlib import Path

from lds._files import check_output_file
from lds._sources import REGISTRY, registered
from lds._words import nearest


def count(text: str) -> int:
    """Read an integer of 1 or more."""
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"must be an integer of 1 or more, got {text!r}")
    return int(text)


def share(text: str) -> float:
    """Read a number in [0, 1]."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise ArgumentTypeError(f"must be a number in [0, 1], got {text!r}")
    return value


def data_set(text: str) -> str:
    """Read the name of a data set, as `REGISTRY` writes it."""
    name = registered(text)
    if name is None:
        known = ", ".join(REGISTRY)
        raise ArgumentTypeError(f"must be one of {known}, got {text!r}{nearest(text, REGISTRY)}")
    return name


def existing_folder(text: str) -> Path:
    """Read the path of a folder that is there."""
    if not Path(text).is_dir():
        raise ArgumentTypeError(f"must be a folder, and there is none at {text}")
    return Path(text)


def output_file(text: str) -> Path:
    """Read the path of a file that can be written."""
    try:
        check_output_file(Path(text), "the file")
    except (OSError, ValueError) as error:
        raise ArgumentTypeError(str(error)) from None
    return Path(text)


def check_retain(
    parser: argparse.ArgumentParser, retain: float | None, names: Iterable[str], used: Iterable[str]
) -> None:
    """Refuse `--retain` where a data set has no edges to keep.

    Arguments:
        parser: ends the program.
        retain: as given; None: it is not.
        names: of the data sets.
        used: those that it is for.
    """
    without = sorted(set(names) - set(used))
    if retain is not None and without:
        parser.error(
            f"argument --retain: is for {', '.join(sorted(used))}, got it for {', '.join(without)} "
            "too; leave it out, or run them apart"
        )
