"""Rows of a fit among later rows."""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray


def known_rows(new: Any, fitted: Any) -> NDArray[np.int64]:
    """The first row of `fitted` equal to each row of `new`, -1 where there is none.

    Arguments:
        new, fitted: `(n, n_features)`, both dense or both CSR as of `canonical`.
    """
    numbers: dict[bytes, int] = {}
    for number, row in enumerate(_contents(fitted)):
        numbers.setdefault(row, number)
    return np.array([numbers.get(row, -1) for row in _contents(new)], dtype=np.int64)


def _contents(rows: Any) -> Iterator[bytes]:
    if not sp.issparse(rows):
        yield from (row.tobytes() for row in rows + rows.dtype.type(0))  # -0 becomes 0
        return
    x: Any = rows
    for start, stop in itertools.pairwise(x.indptr):
        yield x.indices[start:stop].astype(np.int64).tobytes() + x.data[start:stop].tobytes()
