"""Why each row got its class: votes, members, differences and cells, small enough for a page.

Parts that would make the page large are left out, and the page says so.
"""

from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from lds._types import Features
from lds.estimators.cells import cells, units
from lds.estimators.evidence import Evidence
from lds.estimators.explanation import spreads
from lds.run_folder import Run

MOST = 150_000
"""Numbers of a part in a page: about 0.5 MB. Parts with more are left out."""

DIFFERENCES = 3
"""Features listed in which a row differs from its neighbours."""


def reasons(run: Run, evidence: Evidence, values: bool) -> dict[str, Any]:
    """Collect what the page says about a row beside its edges, as plain lists.

    Arguments:
        run: the record of the fit.
        evidence: features, their encoding and the members.
        values: False leaves out what tells cells: the cells and the differences of features.

    Returns:
        Parts by name; a part that is left out is null. With n rows and C classes:

        - "votes": "start" and "learned", each n · C percentages, row by row;
        - "members": "names", "weights" (percent) and "says": for each member n numbers, 101 times
          its class plus the percentage that it gives it;
        - "differences": "names" and "spreads" of features, and "of": n times `DIFFERENCES` triples
          of a feature's number (-1: none), the row's value and the mean of its neighbours;
        - "cells": "names" of columns and "columns", each either "values", n of them, or "known"
          values and their n "codes" (-1: missing); or for sparse features the entries that are not
          0: "first" as in CSR, "gap" to the column of the entry before (the first of a row: its
          column), and "known" values with the "codes" of the entries; "names" of the columns if
          they are not their numbers.
    """
    labels, probabilities = run.predictions["labels"], run.predictions["probabilities"]
    shown = np.where(labels >= 0, labels, probabilities.argmax(1))
    n_rows, n_classes = probabilities.shape
    votes = None
    if n_rows * n_classes <= MOST:
        graphs = {"start": run.start, "learned": run.edge_probs}
        votes = {name: _votes(graph, shown, n_classes) for name, graph in graphs.items()}
    features = evidence.features if values else None
    return {
        "votes": votes,
        "members": _members(evidence, n_rows),
        "differences": None if features is None else _differences(run, evidence, features),
        "cells": None if features is None else _cells(features, evidence),
    }


def _votes(graph: sp.csr_array, shown: NDArray[np.int64], n_classes: int) -> list[int]:
    one = np.eye(n_classes)[shown]
    sums = np.asarray(graph @ one, dtype=np.float64)
    shares = sums / np.maximum(sums.sum(1, keepdims=True), 1e-12)
    found: list[int] = np.rint(100 * shares).astype(np.int64).ravel().tolist()
    return found


def _members(evidence: Evidence, n_rows: int) -> dict[str, Any] | None:
    members = evidence.account.members
    if not members or len(members) * n_rows > MOST:
        return None
    order = sorted(members, key=lambda name: -members[name][0])
    says = []
    for name in order:
        each = members[name][1].astype(np.float16).astype(np.float64)  # as a folder keeps them
        says.append((101 * each.argmax(1) + np.rint(100 * each.max(1)).astype(int)).tolist())
    weights = [round(100 * members[name][0]) for name in order]
    return {"names": order, "weights": weights, "says": says}


def _differences(run: Run, evidence: Evidence, features: Features) -> dict[str, Any] | None:
    n_rows, n_features = features.shape
    if n_rows * DIFFERENCES * 3 > MOST or n_rows * n_features > 100 * MOST:
        return None
    degree = np.asarray(run.edge_probs.sum(axis=1, dtype=np.float64)).ravel()
    spread = spreads(features)
    inverse = np.divide(1, spread, out=np.zeros_like(spread), where=spread > 0)
    scale, centre = np.ones(n_features), np.zeros(n_features)
    names = [str(k) for k in range(n_features)]
    if evidence.encoding is not None:
        names = evidence.encoding.feature_names
        scale, centre = units(evidence.encoding)
    found: list[Any] = []
    for first in range(0, n_rows, 500):  # a block at a time: means are dense
        rows = slice(first, first + 500)
        of_rows = features[rows]
        value = np.asarray(of_rows.toarray() if sp.issparse(of_rows) else of_rows, dtype=np.float64)
        sums = run.edge_probs[rows].astype(np.float64) @ features
        mean = np.asarray(sums.toarray() if sp.issparse(sums) else sums, dtype=np.float64)
        mean /= np.maximum(degree[rows, None], 1e-12)
        gap = np.abs(value - mean) * inverse
        most = np.argsort(-gap, axis=1, kind="stable")[:, :DIFFERENCES]
        for i, features_of_row in enumerate(most):
            for k in features_of_row.tolist():
                if degree[first + i] > 0 and gap[i, k] > 0:
                    pair = [v[i, k] * scale[k] + centre[k] for v in (value, mean)]
                    found += [k, *(_short(number) for number in pair)]
                else:
                    found += [-1, 0, 0]
            found += [-1, 0, 0] * (DIFFERENCES - len(features_of_row))
    used = {k for k in found[::3] if k >= 0}
    units_of = [_short(spread[k] * scale[k]) if k in used else 0 for k in range(n_features)]
    return {"names": names, "spreads": units_of, "of": found}


def _short(number: float) -> float | int:
    """Round to three digits."""
    short = float(f"{number:.3g}")
    return int(short) if short == int(short) else short


def _cells(features: Features, evidence: Evidence) -> dict[str, Any] | None:
    encoding, n_rows = evidence.encoding, features.shape[0]
    if sp.issparse(features):
        if features.nnz > MOST:
            return None
        entries = sp.csr_array(features)
        entries.sort_indices()
        gap = np.diff(entries.indices, prepend=0)
        starts = entries.indptr[:-1][np.diff(entries.indptr) > 0]
        gap[starts] = entries.indices[starts]
        known, codes = np.unique(entries.data, return_inverse=True)
        return {
            "first": entries.indptr.tolist(),
            "gap": gap.tolist(),
            "known": [_short(float(value)) for value in known],
            "codes": codes.tolist(),
            **({} if encoding is None else {"names": encoding.feature_names}),
        }
    n_columns = features.shape[1] if encoding is None else len(encoding.columns)
    if n_rows * n_columns > MOST:
        return None
    found = cells(features, encoding)
    return {"names": list(found), "columns": [_column(column) for column in found.values()]}


def _column(values: list[Any]) -> dict[str, Any]:
    """Store texts once each, numbers as they are."""
    texts = {value for value in values if isinstance(value, str | bool)}
    if not texts:
        return {"values": values}
    known = sorted(texts, key=str)
    number = {value: k for k, value in enumerate(known)} | {None: -1}
    return {"known": [str(value) for value in known], "codes": [number[value] for value in values]}
