"""What must be the same for a run to go on from a checkpoint, in names a person can read."""

import hashlib
from typing import Any

import numpy as np
import scipy.sparse as sp

from lds._types import ROLES
from lds._version import __version__
from lds.edges.base import EdgeDistribution
from lds.graphs.candidates import AllPairs
from lds.structure.options import Options
from lds.structure.problem import Problem

ONLY_ENDS = ("max_iter", "patience")
"""Options that only say when a run ends: a resumed run may have others."""


def fingerprint(
    problem: Problem,
    start: sp.csr_array | None,
    options: Options,
    seed: int,
    edges: EdgeDistribution,
) -> dict[str, Any]:
    """Return the data, precision, method, options, seed and version of a run.

    Arguments:
        problem: what is learned from.
        start: symmetric CSR of starting probabilities, given or found; None: there are none.
        options: of the method.
        seed: of the run.
        edges: θ at the start. The memory available may have decided whether it has all pairs.
    """
    kept = {name: v for name, v in options.to_dict().items() if name not in ONLY_ENDS}
    return {
        "features": _digest(problem.features),
        "labels": _digest(problem.labels),
        **{f"{role} rows": _digest(getattr(problem.split, role)) for role in ROLES},
        **({} if problem.weights is None else {"weights of rows": _digest(problem.weights)}),
        "starting graph": "none" if start is None else _digest(start),
        "dtype": str(edges.probs.dtype),
        "method": options.name,
        **kept,
        "seed": seed,
        "lds version": __version__,
        "support": "all" if isinstance(edges.pairs, AllPairs) else "sparse",
    }


def _digest(value: Any) -> str:
    """Return shape, dtype and a digest of an array or sparse matrix."""
    sparse = sp.issparse(value)
    parts = [value.data, value.indices, value.indptr] if sparse else [value]
    found = hashlib.sha256()
    for part in parts:
        found.update(np.ascontiguousarray(part).tobytes())
    kind = f"{'sparse ' if sparse else ''}{value.dtype} of shape {tuple(value.shape)}"
    return f"{kind}, sha256 {found.hexdigest()[:12]}"
