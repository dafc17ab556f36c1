"""Read the label column of a file: whole numbers, text, and blanks or marks as no label."""

import math
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lds._labels import (
    LEAST,
    LEAST_BY_ROLE,
    UNLABELLED,
    Labels,
    as_array,
    check_enough,
    is_missing,
    numbered,
    refuse_marks,
    refuse_two_marks,
    warn_of_classes,
)
from lds.datasets.cells import read_numbers, text_of
from lds.datasets.dtypes import decoded

WHOLE = {mark: re.compile(rf"[+-]?(0|[1-9]\d*)({re.escape(mark)}0*)?") for mark in ".,"}
"""A whole number as programs write it, by decimal mark; 007 is text, and so is 1.000 in a file with
decimal commas."""

LEAST_EQUAL = 20
"""Labelled rows from which on a column that equals the labels is no chance."""

MOSTLY = 0.9
"""Share of labels that are numbers from which on the column is one of numbers."""


def encode_column(
    column: Any,
    name: str,
    unlabelled: Sequence[str] | None = None,
    test_size: float = 0.0,
    decimal: str = ".",
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Turn the label column of a file into class numbers, and list the names of the classes.

    Where all labels are whole numbers, classes are numbers: 2 comes before 10, 1.0 is 1 (1,0 where
    the comma is the decimal mark), and -1 is no label. Otherwise classes are text, without white
    space at its ends; so are numbers with a mark between thousands.

    Arguments:
        column: text as written in a file, or values of a typed column.
        name: of the column.
        unlabelled: text that marks a row without a label, besides a blank cell. If given, even as
            "", any other text, -1 included, is the name of a class. None refuses text that often
            is such a mark.
        test_size: share in [0, 1) of the labelled rows that is held out.
        decimal: decimal mark of numbers written as text, "." or ",".

    Returns:
        int64 `(n_rows,)`, -1 where unlabelled; and the names of the classes in order.

    Raises:
        ValueError: labels are numbers with fractions, text may mark a missing label, there are too
            few labels, or one class only.
    """
    what = f"target column {name!r}"
    texts = [_text(value) for value in as_array(column)]
    _check_found(unlabelled, texts, what)
    marks = {"", *(mark.strip() for mark in unlabelled or ())}
    known = np.array([text not in marks for text in texts], dtype=bool)
    named = [text for text in texts if text not in marks]
    minus_one = False
    if all(map(WHOLE[decimal].fullmatch, named)):
        numbers = [int(text.split(decimal)[0]) for text in named]
        if unlabelled is None and UNLABELLED in numbers:
            minus_one = True
            if "" in texts:
                refuse_two_marks(
                    what, "say --unlabelled -1 if it means no label, or --unlabelled ''"
                )
            known[known] = [number != UNLABELLED for number in numbers]
            numbers = [number for number in numbers if number != UNLABELLED]
        values = np.array(numbers, dtype=object if numbers else np.int64)
    else:
        _refuse_quantity(named, what, decimal)
        if unlabelled is None:
            way_out = "say --unlabelled {} if it does, or --unlabelled '' if it is a class"
            refuse_marks(named, what, way_out)
        values = np.array(named, dtype=object)
    labels = Labels(known, values, minus_one)
    codes, classes = numbered(labels)
    _check_enough(codes, classes, labels, what, test_size)
    warn_of_classes(labels, codes, classes, what)
    return codes, tuple(map(str, classes))


def columns_equal_to(labels: Any, columns: Mapping[str, Any]) -> list[str]:
    """List the columns that hold the labels themselves.

    Arguments:
        labels: of labelled rows. With fewer than `LEAST_EQUAL` a column may equal them by chance.
        columns: cells of these rows by the name of the column.
    """
    known = np.asarray(labels)
    if len(known) < LEAST_EQUAL:
        return []
    text = known.astype(str)
    number = known.astype(np.float64) if known.dtype.kind in "biuf" else None
    found = []
    for name, column in columns.items():
        cells = np.asarray(column)
        if number is not None and cells.dtype.kind in "biuf":
            equal = np.array_equal(cells.astype(np.float64), number)
        else:
            equal = cells.dtype.kind in "OUT" and np.array_equal(cells.astype(str), text)
        if equal:
            found.append(name)
    return found


def _refuse_quantity(texts: Sequence[str], what: str, decimal: str) -> None:
    """Refuse a column of numbers, some with fractions, even if a few cells are no numbers."""
    cells = [text_of(text) for text in texts]
    there = [cell for cell in cells if cell is not None]
    found = read_numbers(there, decimal)
    numbers = found.values[~np.isnan(found.values)]
    if (
        len(numbers) < MOSTLY * max(1, len(there))
        or (np.isfinite(numbers) & (numbers == numbers.round())).all()
    ):
        return
    raise ValueError(
        f"{what} must hold classes, got {len(set(numbers))} different numbers with fractions "
        "(Unknown label type: continuous): a regression target; put them into classes, or name "
        "them with a letter, such as 'v1.5', if they are classes"
    )


def _text(value: Any) -> str:
    """Convert a label to text; "" where it is missing."""
    if is_missing(value):
        return ""
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(decoded(value)).strip()


def _check_found(unlabelled: Sequence[str] | None, texts: Sequence[str], what: str) -> None:
    """Warn of marks that are no label."""
    for mark in unlabelled or ():
        if mark.strip() and mark.strip() not in texts:
            warnings.warn(f"{what} has no label {mark!r} to leave out", UserWarning, stacklevel=4)


def _check_enough(
    codes: NDArray[np.int64], classes: NDArray[Any], labels: Labels, what: str, test_size: float
) -> None:
    """Refuse labels of which too few remain when the test rows are held out."""
    least = max(LEAST, math.floor(LEAST / (1 - test_size)) - 1)
    while least - math.ceil(test_size * least) < LEAST:
        least += 1
    held_out = f", the other {least - LEAST} for test_size={test_size}" if test_size else ""
    hint = "; -1 was read as no label: number the classes from 0, or say --unlabelled ''"
    check_enough(
        codes,
        classes.tolist(),
        f"{what} must label at least {least} rows of two classes or more "
        f"({LEAST_BY_ROLE}{held_out})",
        hint if labels.minus_one else "",
        least,
    )
