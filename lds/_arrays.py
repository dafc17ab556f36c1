"""Arrays of a user: results depend on their values, and on nothing that a mask hides."""

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from lds._types import Features


def canonical(features: Features) -> Features:
    """Bring sparse features into one form; dense ones, and those in it, are returned themselves.

    CSR with sorted columns, no entry twice and no stored 0; integers become float64. Indices are
    int32 where they fit: scikit-learn's trees take no others.

    Arguments:
        features: `(n, n_features)`, not changed.
    """
    if not sp.issparse(features):
        return features
    wide = widened(features)
    found = wide if isinstance(wide, sp.csr_array) else sp.csr_array(wide)
    fits = max(found.nnz, *found.shape) < 2**31
    narrow = not fits or found.indices.dtype == found.indptr.dtype == np.int32
    if found.has_canonical_format and narrow and found.data.all():
        return found
    found = found.copy()
    found.sum_duplicates()  # sorts columns, too
    found.eliminate_zeros()
    if not narrow:
        parts = (found.data, found.indices.astype(np.int32), found.indptr.astype(np.int32))
        found = sp.csr_array(parts, shape=found.shape)
    return found


def widened(matrix: Any) -> Any:
    """Cast integers of a sparse matrix to float64, in which repeated entries do not overflow.

    Conversions between sparse formats sum them: 128 + 128 is 0 in uint8.

    Arguments:
        matrix: of scipy, not changed; anything else, and one of another type, is returned itself.
    """
    given: Any = matrix  # for mypy, what issparse finds has no dtype
    integers = sp.issparse(matrix) and given.dtype.kind in "iu"
    return given.astype(np.float64) if integers else given


def parts_of(matrix: sp.csr_array) -> dict[str, NDArray[Any]]:
    """Return a CSR matrix as arrays by name, for a file; `matrix_of` makes it again."""
    return {
        "data": matrix.data,
        "indices": matrix.indices,
        "indptr": matrix.indptr,
        "shape": np.array(matrix.shape),
    }


def matrix_of(parts: Mapping[str, NDArray[Any]]) -> sp.csr_array:
    """Make a CSR matrix of its `parts_of`.

    Raises:
        ValueError: they do not fit each other.
    """
    n_rows, n_cols = (int(n) for n in parts["shape"])
    arrays = (parts["data"], parts["indices"], parts["indptr"])
    return sp.csr_array(arrays, shape=(n_rows, n_cols))


def of_tensor(value: Any) -> Any:
    """Convert a tensor of any device, layout and precision to an array or a COO matrix.

    NumPy would refuse one that records gradients, half precision (it becomes float32) and a sparse
    one. Repeated entries of a sparse tensor stay apart.

    Arguments:
        value: a tensor; anything else is returned itself.
    """
    torch: Any = sys.modules.get("torch")  # files are read without it, and then hold no tensor
    if torch is None or not isinstance(value, torch.Tensor):
        return value
    value = value.detach().cpu()
    if value.dtype in (torch.float16, torch.bfloat16):
        value = value.float()
    if value.layout == torch.strided:
        return value.numpy()
    entries = value.to_sparse_coo()
    if entries.dense_dim():
        whole = not (entries.is_floating_point() or entries.is_complex())
        whole = whole and entries.dtype != torch.bool
        return (entries.long() if whole else entries).to_dense().numpy()
    place = tuple(entries._indices().numpy())
    return sp.coo_array((entries._values().numpy(), place), tuple(entries.shape))


def refuse_masked(value: Any, name: str) -> None:
    """Refuse an array with masked entries: NumPy and torch would read what the mask hides.

    Arguments:
        value: anything.
        name: of the argument, in the message.

    Raises:
        ValueError: it is an array of `numpy.ma` with masked entries.
    """
    n_masked = int(np.ma.getmaskarray(value).sum()) if isinstance(value, np.ma.MaskedArray) else 0
    if n_masked:
        raise ValueError(
            f"{name} must have no masked entries, got {n_masked}; {name}.filled(value) replaces "
            "them by a value"
        )
