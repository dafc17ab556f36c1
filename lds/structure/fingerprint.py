"""What must be the same for a run to go on from a checkpoint, in names a person can read."""

import hashlib
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from lds._types import Features, Split
from lds._version import __version__
from lds.config import LDSConfig
from lds.edges.base import EdgeDistribution
from lds.graphs.candidates import AllPairs

ONLY_ENDS = ("max_iter", "patience")
"""Options that say no more than when a run ends: they may differ where it goes on."""


def fingerprint(
    features: Features,
    labels: NDArray[np.int64],
    split: Split,
    start: sp.csr_array | None,
    config: LDSConfig,
    edges: EdgeDistribution,
) -> dict[str, Any]:
    """Data, precision, options and version of a run; see `learner.learn` for the arguments.

    Arguments:
        edges: θ as it starts: whether it is on all pairs may have followed from the memory there.
    """
    options = {name: v for name, v in config.to_dict().items() if name not in ONLY_ENDS}
    return {
        "features": _name(features),
        "labels": _name(labels),
        **{f"{role} rows": _name(rows) for role, rows in vars(split).items()},
        "starting graph": "none" if start is None else _name(start),
        "dtype": str(edges.probs.dtype),
        **options,
        "lds version": __version__,
        "support": "all" if isinstance(edges.pairs, AllPairs) else "sparse",
    }


def _name(value: Any) -> str:
    """Shape, dtype and a digest of an array or sparse matrix."""
    sparse = sp.issparse(value)
    parts = [value.data, value.indices, value.indptr] if sparse else [value]
    found = hashlib.sha256()
    for part in parts:
        found.update(np.ascontiguousarray(part).tobytes())
    kind = f"{'sparse ' if sparse else ''}{value.dtype} of shape {tuple(value.shape)}"
    return f"{kind}, sha256 {found.hexdigest()[:12]}"
