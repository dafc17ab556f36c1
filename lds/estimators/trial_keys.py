"""The key of a trial: a digest of the data, the parameters, the seed and the version."""

import hashlib
import json
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import clone

from lds._version import __version__
from lds.estimators.base import BaseLDSClassifier
from lds.estimators.labels import split_roles
from lds.estimators.reading import read
from lds.estimators.row_order import check_index
from lds.estimators.trials import ALONE

FIT_PARAMS = ("adjacency", "validation", "stopping", "sample_weight")

OF_DATA = ("categorical_features", "class_weight")
"""Parameters that say how data are read; those of the estimator are in the digest of the data."""


def of_space(name: str) -> str:
    """Name the values of a parameter for a message."""
    return f"param_space[{name!r}]"


def plain(what: str, value: Any) -> Any:
    """Convert a parameter to a JSON value, so that a trial has one key on every machine.

    Arguments:
        what: it is, in the message.
        value: of it; a device becomes its text.
    """
    value = value.item() if isinstance(value, np.generic) else value
    value = str(value) if isinstance(value, torch.device) else value
    if value is not None and not isinstance(value, bool | int | float | str):
        raise TypeError(f"{what} must hold numbers or strings, got {value!r}")
    return value


def key_of(data: str, estimator: BaseLDSClassifier, setting: dict[str, Any], seed: int) -> str:
    """Make the key of a trial: a digest of data, parameters that matter, seed and version."""
    options = {
        name: plain(of_space(name) if name in setting else f"the estimator's {name}", value)
        for name, value in (estimator.get_params() | setting).items()
        if name not in ("random_state", "n_jobs", *OF_DATA, *ALONE)
    }
    own = {n: plain(of_space(n), setting[n]) for n in OF_DATA if n in setting}
    text = json.dumps([__version__, data, options, own, seed], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def digest(
    estimator: BaseLDSClassifier, X: ArrayLike, y: ArrayLike, fit_params: dict[str, Any]
) -> str:
    """Make a digest of the data, the same for every container; refuse what `fit` would."""
    if unknown := sorted(fit_params.keys() - FIT_PARAMS):
        raise TypeError(f"fit takes {', '.join(FIT_PARAMS)}, got {unknown[0]!r}")
    check_index(X, y=y, **fit_params)
    arguments = (fit_params.get(name) for name in ("adjacency", "sample_weight"))
    given = read(clone(estimator), X, y, *arguments)
    codes, classes = given.codes, given.classes
    roles = {name: fit_params.get(name) for name in ("validation", "stopping")}
    if any(role is not None for role in roles.values()):
        split_roles(codes, classes, **roles, seed=0)
    if "adjacency" in fit_params:
        fit_params = fit_params | {"adjacency": given.graph}
    parts = [*_arrays(given.features), codes, np.array([str(name) for name in classes])]
    if given.weights is not None:  # those of classes included
        parts.append(given.weights)
    for name in sorted(fit_params.keys() - {"sample_weight"}):
        value = fit_params[name]
        parts += [np.array(name), *([] if value is None else _arrays(value))]
    found = hashlib.sha256()
    for part in parts:
        array = np.ascontiguousarray(part)
        found.update(f"{array.dtype.str}{array.shape}".encode() + array.tobytes())
    return found.hexdigest()


def _arrays(value: Any) -> list[NDArray[Any]]:
    if not sp.issparse(value):
        return [np.asarray(value)]
    matrix: Any = value  # of any sparse format
    csr = matrix.tocsr(copy=True)
    csr.sum_duplicates()
    return [csr.data, csr.indices.astype(np.int64), csr.indptr.astype(np.int64)]
