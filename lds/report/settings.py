"""The settings of a run as tables of a page that is made for sharing.

Only what is named here is shown: no path and no value of a cell of the user's table.
"""

from collections import Counter
from html import escape
from pathlib import Path
from typing import Any

from lds._words import plural
from lds.structure.methods.registry import METHODS

MOST_COLUMNS = 60
"""Columns of a table that are listed one by one; of more, only the kinds are counted."""

_SOURCE = {
    "retain": "share of the edges kept",
    "test_size": "share of the labels held out",
    "target": "column of labels",
    "identifier": "column of identifiers",
    "drop": "columns left out on request",
}

_FILE = {"separator": "separator", "encoding": "encoding", "decimal": "decimal mark"}


def settings_tables(settings: dict[str, Any]) -> str:
    """Make HTML of the data, the columns, the options and the versions of a run.

    Arguments:
        settings: of a run folder.
    """
    tables = {
        "Data": _data(settings),
        "Columns of the table": _columns(settings.get("table", [])),
        f"Options of method {settings['method']}": settings["options"],
        "Versions": settings.get("versions", {}),
    }
    return "".join(_table(title, rows) for title, rows in tables.items() if rows)


def _data(settings: dict[str, Any]) -> dict[str, Any]:
    """Name the data and how they were read."""
    source, file = settings.get("source", {}), settings.get("file", {})
    rows: dict[str, Any] = {
        "data": Path(str(settings["data"])).name,
        "method": METHODS[settings["method"]].title,
        "seed": settings["seed"],
    }
    if "device" in settings:
        rows["device"] = settings["device"]
    for names, known in ((_SOURCE, source), (_FILE, file)):
        rows |= {
            words: value
            for name, words in names.items()
            if (value := known.get(name)) not in (None, [], "")
        }
    if unlabelled := source.get("unlabelled"):
        rows["texts that mean no label"] = len(unlabelled)
    return rows


def _columns(columns: list[dict[str, Any]]) -> dict[str, Any]:
    """Count the columns by kind, and list them unless they are many."""
    if not columns:
        return {}
    kinds = Counter(str(column["kind"]) for column in columns)
    counted = ", ".join(f"{number:,} {kind}" for kind, number in kinds.most_common())
    n_features = sum(column["features"] for column in columns)
    whole = f"{plural(n_features, 'feature')} of {plural(len(columns), 'column')}: {counted}"
    rows: dict[str, Any] = {"all columns": whole}
    if len(columns) <= MOST_COLUMNS:
        rows |= {str(column["name"]): _column(column) for column in columns}
    return rows


def _column(column: dict[str, Any]) -> str:
    """Write what became of a column, see `TableEncoding.summary`."""
    if not column["features"]:
        return str(column["kind"])
    parts = [str(column["kind"]), plural(column["features"], "feature")]
    if column["missing"]:
        parts.append(f"{column['missing']:,} missing")
    return ", ".join(parts)


def _table(title: str, rows: dict[str, Any]) -> str:
    cells = "".join(
        f'<tr><th scope="row">{escape(str(name))}</th><td>{escape(_shown(value))}</td></tr>'
        for name, value in rows.items()
    )
    return f"<table><caption>{escape(title)}</caption><tbody>{cells}</tbody></table>"


def _shown(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return str(value)
