"""Read from masks, columns of masks or lists which nodes train and which validate."""

import warnings
from collections.abc import Mapping
from numbers import Integral
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch_geometric.data import Data

from lds._arrays import refuse_masked
from lds.estimators.data_object import dense, tensor_of
from lds.estimators.labels import is_mask

OTHER_NAMES = {
    "train_mask": ("train_idx", "training_mask", "train_index"),
    "val_mask": ("val_idx", "valid_idx", "valid_mask", "validation_mask", "val_index"),
}
"""Names that others give to a mask."""

SplitChoice = int | Mapping[str, Any]
"""A column of the masks, or nodes by role, as OGB's `get_idx_split` returns them."""


def masked_nodes(
    data: Data, split: SplitChoice | None, values: NDArray[Any]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Find the train and the validation nodes; without a validation mask there are none.

    Arguments:
        data: its test_mask is read only where there is no train_mask: its nodes do not train.
        split: a column of the masks, or nodes by "train" and "valid" instead of the masks.
        values: `(n_nodes,)` labels; NaN or -1 is no label.

    Returns:
        Two ascending int64 arrays of node numbers, disjoint and labelled.

    Raises:
        TypeError: a mask is not a tensor.
        ValueError: masks are no masks of the nodes, share nodes, or hold unlabelled nodes.
    """
    n_nodes = values.size
    check_split(split)
    if isinstance(split, Mapping):
        val_name = "valid" if "valid" in split else "val"
        masks = {f"split[{key!r}]": split.get(key) for key in ("train", val_name)}
        masks = {k: None if v is None else _tensor(v, k) for k, v in masks.items()}
        column = None
    else:
        masks = {f"data.{name}": tensor_of(data, name) for name in ("train_mask", "val_mask")}
        column = split
        _say_unread(data)
        most = max(_n_splits(mask) or 0 for mask in masks.values())
        if column is not None and (most == 0 or (most == 1 and column != 0)):
            only = "0 or None" if most else "None"
            raise ValueError(f"split must be {only} where the masks hold one split, got {column}")
    (train_name, train), (val_name, val) = masks.items()
    none = np.empty(0, dtype=np.int64)
    training = none if train is None else _nodes(train, train_name, n_nodes, column)
    judging = none if val is None else _nodes(val, val_name, n_nodes, column)
    if train is None:
        labelled = np.flatnonzero((values == values) & (values != -1))
        if labelled.size == n_nodes:
            raise ValueError(
                f"{train_name} must mark the nodes whose labels may be read, got none; without it "
                "data.y must have unlabelled nodes (-1 or NaN)"
            )
        test = tensor_of(data, "test_mask") if split is None or column is not None else None
        apart = none if test is None else _nodes(test, "data.test_mask", n_nodes, column)
        training = np.setdiff1d(labelled, np.union1d(judging, apart))
        but = " that test_mask leaves" if apart.size else ""
        say(f"{train_name} is not there: the {training.size:,} labelled nodes{but} train")
    if not training.size:
        raise ValueError(f"{train_name} must have at least one node, got none")
    if judging.size == 1:
        raise ValueError(
            f"{val_name} must have at least two nodes, one to judge the edges and one to stop, "
            "got 1; without it validation nodes are taken from the training ones"
        )
    both = np.intersect1d(training, judging)
    if both.size:
        raise ValueError(
            f"{train_name} and {val_name} must not share nodes, got node {both[0]} in both"
        )
    for rows, name in ((training, train_name), (judging, val_name)):
        blank = (values[rows] != values[rows]) | (values[rows] == -1)
        if blank.any():
            node = rows[blank.argmax()]
            raise ValueError(
                f"data.y must label the nodes of {name}, got {values[node]:g} at node {node}, "
                "which means unlabelled; leave such nodes out of the mask, or give a class that "
                "is named -1 another number"
            )
    return training, judging


def check_split(split: object) -> None:
    """Refuse a choice of a split that is not valid.

    Raises:
        TypeError: it is neither None, an integer nor a mapping.
        ValueError: it is a mapping without "train", or with a role that there is not.
    """
    if isinstance(split, Mapping):
        other = [key for key in split if key not in ("train", "valid", "val", "test")]
        if "train" not in split or other or {"valid", "val"} <= set(split):
            raise ValueError(
                "split must map 'train' and 'valid' (or 'val') to nodes, got "
                f"{sorted(map(str, split))}"
            )
    elif split is not None and (not isinstance(split, Integral) or isinstance(split, bool)):
        raise TypeError(
            "split must be a column of the masks or a mapping of roles to nodes, "
            f"got {type(split).__name__}"
        )


def _tensor(nodes: Any, name: str) -> Tensor:
    refuse_masked(nodes, name)
    try:
        return dense(torch.as_tensor(nodes))
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(
            f"{name} must be node numbers or a mask, got {type(nodes).__name__} ({error})"
        ) from error


def _n_splits(mask: Tensor | None) -> int | None:
    return None if mask is None or mask.dim() != 2 else int(mask.shape[1])


def _nodes(mask: Tensor, name: str, n_nodes: int, column: int | None) -> NDArray[np.int64]:
    """Read the nodes of a mask, or of a list of nodes."""
    n_splits = _n_splits(mask)
    if n_splits == 1:
        mask = mask.squeeze(1)
    elif n_splits is not None and mask.shape[0] == n_nodes:
        if column is None or not 0 <= column < n_splits:
            got = "" if column is None else f", got {column}"
            raise ValueError(
                f"{name} holds {n_splits} splits: split=0 to {n_splits - 1} chooses one{got}"
            )
        mask = mask[:, column]
    wanted = f"{name} must be boolean of shape ({n_nodes},), or node numbers, got "
    what = f"{mask.dtype} of shape {tuple(mask.shape)}"
    found = mask.detach().cpu()
    if found.dim() != 1 or found.is_floating_point() or found.is_complex():
        raise ValueError(wanted + what)
    values = found.numpy()
    if is_mask(values):
        if values.size != n_nodes:
            raise ValueError(wanted + what)
        return np.flatnonzero(values)
    nodes, count = np.unique(values.astype(np.int64), return_counts=True)
    if nodes.size and not 0 <= nodes[0] <= nodes[-1] < n_nodes:
        bad = nodes[0] if nodes[0] < 0 else nodes[-1]
        raise ValueError(f"{wanted}node {bad} of 0 to {n_nodes - 1}")
    if (count > 1).any():
        raise ValueError(f"{wanted}node {nodes[count > 1][0]} more than once")
    return nodes


def _say_unread(data: Data) -> None:
    """Warn of what looks like a mask by its name, and is not read."""
    for role, names in OTHER_NAMES.items():
        for name in names:
            if name in data and role not in data:
                say(f"data.{name} is not read; data.{role} is, and is not there")


def say(text: str) -> None:
    """Warn of what was guessed."""
    warnings.warn(text, UserWarning, stacklevel=3)
