"""Complete the docstrings of classifiers: options of the method, and what all classifiers share."""

import inspect
import re
import textwrap
from collections.abc import Callable
from typing import Any, TypeVar

from lds.structure.options import Options, option_fields

T = TypeVar("T", bound=type[Any])

WIDTH = 96
"""Width of a line without the indentation of the docstring, in characters."""

SHARED = """
Arguments:
    class_weight: what the labelled rows of each class count: a mapping from classes to weights
        (1 where a class is left out); "balanced": every class counts alike in total; None:
        every row counts alike. `sample_weight` of `fit` multiplies it.
    categorical_features: columns of categories, as in `HistGradientBoostingClassifier`: their
        names, their positions, or a mask; "from_dtype": the columns with pandas' dtype
        category; None: no column.
    random_state: None, an int or a RandomState; with an int, fits repeat bit for bit.
    checkpoint: folder for the state after every outer iteration; None keeps none. A folder
        with the state of an earlier fit is refused, unless that fit is resumed.
    resume: True continues from the state in the folder; without one, `fit` begins. On a CPU the
        result is equal, bit for bit, to that of a fit without interruption. Data, options and
        an int `random_state` must be the same; max_iter and patience may differ.
    device: "cpu", "cuda", ...
    verbose: True prints a line after each outer iteration.

Attributes:
    classes_: `(n_classes,)`.
    transduction_: `(n_rows,)`, the predicted class of every row of `fit`.
    label_distributions_: `(n_rows, n_classes)`, class probabilities: means over drawn graphs.
    entropy_: `(n_rows,)`, nats, of `label_distributions_`: the whole uncertainty of a row.
    mutual_information_: `(n_rows,)`, nats: the part of the entropy that the uncertainty of the
        graph causes (see `lds.structure.metrics.mutual_information`).
    edge_probabilities_: symmetric CSR `(n_rows, n_rows)`; entries <= 1e-4 are dropped.
    dropped_probability_: the sum of the dropped entries, in expected undirected edges.
    learned_: the result, see `lds.structure.result.Learned`.
    split_: the roles of the labelled rows.
    history_: one record for each outer iteration.
    n_iter_: records in `history_`.
    n_features_in_: number of columns of X; `feature_names_in_`: their names, if X has names.
"""
"""Arguments and attributes of every classifier."""


def documented(method: type[Options]) -> Callable[[T], T]:
    """Make a decorator that completes the docstring of a class.

    The docstring has what the class alone has, or describes otherwise; the rest is inserted: the
    options of the method, and what all classifiers share.
    """

    def decorate(cls: T) -> T:
        if cls.__doc__ is None:  # python -OO drops docstrings
            return cls
        own = inspect.cleandoc(cls.__doc__)
        known = _entries(SHARED, "Arguments") | _options(method) | _entries(own, "Arguments")
        arguments = [known[name] for name in inspect.signature(cls).parameters]
        attributes = _entries(SHARED, "Attributes") | _entries(own, "Attributes")
        head = re.split(r"^(?:Arguments|Attributes|Examples):", own, flags=re.M)[0].rstrip()
        examples = "Examples:" + own.partition("\nExamples:")[2]
        sections = {"Arguments": arguments, "Attributes": attributes.values()}
        parts = [f"{name}:\n" + "\n".join(lines) for name, lines in sections.items()]
        cls.__doc__ = "\n\n".join([head, *parts, examples])
        return cls

    return decorate


def _entries(text: str, section: str) -> dict[str, str]:
    """Read the lines of each entry of a section, by name; none if there is no such section."""
    lines = text.partition(f"\n{section}:\n")[2].partition("\n\n")[0].rstrip()
    entries = re.split(r"\n(?=    \w)", lines) if lines else []
    return {entry.partition(":")[0].strip(): entry for entry in entries}


def _options(method: type[Options]) -> dict[str, str]:
    """Write the entry of each option of a method, by name."""
    found = {}
    for name, field in option_fields(method).items():
        known = field.metadata
        within = f" ({known['within'].words})" if known["within"] is not None else ""
        text = f"{name}: {known['help']}{within}."
        found[name] = textwrap.fill(text, WIDTH, initial_indent=4 * " ", subsequent_indent=8 * " ")
    return found
