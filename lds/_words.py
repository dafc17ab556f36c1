"""Words for people: numbers, names that were meant, how a run ended. Imports nothing heavy."""

import difflib
from collections.abc import Iterable, Mapping
from html import escape

ENDINGS = {
    "patience": "early stopping ended it",
    "max_iter": "max_iter ended it before early stopping",
    "interrupted": "it was interrupted",
}
"""Why a run ended, by the reason in its summary; other reasons are sentences themselves."""

CONTROLS = {
    "gcn_train": "GCN, starting graph, train labels",
    "gcn_train_validation": "GCN, starting graph, train + validation (A) labels",
    "frozen": "the run's schedule, graph never updated",
}
"""Names of the controls of a run, and their titles in tables."""

GROUPS = {
    "same": "one class",
    "different": "two classes",
    "unknown": "a class unknown",
    "held_out": "held-out edges",
}
"""Groups of pairs of nodes, and their names in plots."""

LEFT_AS_GIVEN = "the given edges were left as they are: they join unlike nodes and tell classes"
"""What the default method says of such a graph."""


def plural(number: int, noun: str) -> str:
    """Write a number with its noun, such as "1 row" or "1,200 rows".

    Arguments:
        number: 0 or more.
        noun: in the singular; an s makes its plural.
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def rows_by_role(sizes: Mapping[str, int], *, reads_roles: bool, controls: bool = False) -> str:
    """Count the rows of each role, or the labels where each trains and judges.

    Arguments:
        sizes: rows of each role by its name, "test" last.
        reads_roles: of the method, see `structure.methods.base.Method`.
        controls: whether controls, which read them, were run too.
    """
    listed = [f"{size:,} {role}" for role, size in sizes.items()]
    if reads_roles:
        return ", ".join(listed)
    test = sizes["test"]
    text = f"{plural(sum(sizes.values()) - test, 'labelled row')} train, and each judges in turn"
    if controls:
        text += f"; the controls divide them into {', '.join(listed[:-1])}"
    return f"{text}; {plural(test, 'test row')}"


def nearest(name: str, known: Iterable[str]) -> str:
    """Write the known name that is most like an unknown one, such as "; the nearest is 'wine'".

    Arguments:
        name: that is unknown; upper case, "-" and "_" do not matter.
        known: names.

    Returns:
        The end of a sentence; "" where no name is like it.
    """
    plain = {_plain(one): one for one in known}
    near = difflib.get_close_matches(_plain(name), plain, 1)
    return f"; the nearest is {plain[near[0]]!r}" if near else ""


def _plain(name: str) -> str:
    return name.lower().replace("-", "_").strip("_ ")


def facts_html(title: str, facts: dict[str, str]) -> str:
    """Make a small HTML table for notebooks.

    Arguments:
        title: of the table.
        facts: by name.
    """
    cells = "".join(
        f'<tr><th style="text-align:left">{escape(name)}</th>'
        f'<td style="text-align:left">{escape(fact)}</td></tr>'
        for name, fact in facts.items()
    )
    caption = f'<caption style="text-align:left"><b>{escape(title)}</b></caption>'
    return f"<table>{caption}<tbody>{cells}</tbody></table>"


def ending(
    reason: str,
    n_iterations: int,
    best: int,
    *,
    refit: bool,
    fixed_length: bool,
    seconds: float | None = None,
) -> str:
    """Write how long a run was and how it ended.

    Arguments:
        reason: "patience", "max_iter", "interrupted" or "non-finite: ...".
        n_iterations: outer iterations, without the refit.
        best: number of the best record, from 0.
        refit: whether a refit followed; its record is then the best one.
        fixed_length: whether the method usually runs for `max_iter` outer iterations.
        seconds: that the run took; None: unknown.
    """
    took = "" if seconds is None else f" in {seconds:,.0f} s"
    parts = [plural(n_iterations, "outer iteration") + (" and the refit" if refit else "") + took]
    if not refit:
        parts.append(f"the best was number {best + 1}")
    if reason == "max_iter" and fixed_length:
        parts.append("complete")
    else:
        parts.append(ENDINGS.get(reason, f"it ended early: {reason}"))
    return "; ".join(parts)
