"""Digits and small pictures for the experiments of chapters 6 to 8."""

import functools
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def mnist(root: Path, sizes: Iterable[int], seed: int) -> list[tuple[Tensor, Tensor]]:
    """Draw disjoint random sets of digits.

    Arguments:
        root: folder with mnist/mnist.npz.
        sizes: of each set.
        seed: of the draw.

    Returns:
        Images `(n, 28, 28)` in [0, 1] and labels, for each size.

    Raises:
        FileNotFoundError: the file is not there.
    """
    images, labels = _mnist(root / "mnist" / "mnist.npz")
    order = np.random.default_rng(seed).permutation(len(labels))
    parts = np.split(order, np.cumsum(list(sizes)))[:-1]
    return [
        (torch.tensor(images[rows]).float() / 255, torch.tensor(labels[rows]).long())
        for rows in parts
    ]


@functools.cache
def _mnist(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    if not path.exists():
        raise FileNotFoundError(
            f"{path} is not there: --root or LDS_DATA names the folder of the data"
        )
    with np.load(path) as arrays:
        images = np.concatenate([arrays["x_train"], arrays["x_test"]])
        labels = np.concatenate([arrays["y_train"], arrays["y_test"]])
    return images, labels
