"""5,000 of the MNIST digits with few labels, without a graph.

28 x 28 pixels divided by 255, into [0, 1]; 10 classes. The 5,000 images are the same for every
seed, a fixed sample of the 60,000 training images. The seed draws 10 rows of each class for each of
train, validation and stopping; the remaining rows are for test. Y. LeCun, C. Cortes and C. Burges;
they state no licence.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lds._types import Split
from lds.datasets.base import NodeDataset

N_IMAGES = 5000
"""Number of images in the sample."""

PER_CLASS = 10
"""Number of rows of each class in each of train, validation and stopping."""


def load(name: str, seed: int, root: Path) -> NodeDataset:
    """Load the images from `root`/mnist/mnist.npz, or through scikit-learn from OpenML.

    Arguments:
        name: "mnist".
        seed: of the split.
        root: folder of that file, or of scikit-learn's downloads.

    Raises:
        FileNotFoundError: neither exists, and the download failed.
    """
    path = root / name / f"{name}.npz"
    images, labels = _read(path) if path.is_file() else _fetch(path, root)
    chosen = np.sort(np.random.default_rng(0).choice(len(images), N_IMAGES, replace=False))
    features = (images[chosen].reshape(N_IMAGES, -1) / 255).astype(np.float32)
    labels = labels[chosen]
    rng = np.random.default_rng(seed)
    roles: list[NDArray[np.int64]] = []
    deals = [rng.permutation(np.flatnonzero(labels == digit)) for digit in range(10)]
    for k in range(3):
        part = slice(k * PER_CLASS, (k + 1) * PER_CLASS)
        roles.append(np.sort(np.concatenate([rows[part] for rows in deals])).astype(np.int64))
    test = np.setdiff1d(np.arange(N_IMAGES), np.concatenate(roles)).astype(np.int64)
    classes = tuple(str(digit) for digit in range(10))
    return NodeDataset(name, features, labels, classes, Split(roles[0], roles[1], roles[2], test))


def _read(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    with np.load(path, allow_pickle=False) as stored:
        return stored["x_train"], stored["y_train"].astype(np.int64)


def _fetch(path: Path, root: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    from sklearn.datasets import fetch_openml  # slow to import, and needed for a download only

    try:
        found = fetch_openml("mnist_784", version=1, data_home=str(root), as_frame=False)
    except OSError as error:
        raise FileNotFoundError(
            f"mnist needs {path}, or OpenML's copy, and fetching it failed ({error}); "
            "data/README.md says where it comes from"
        ) from error
    return found.data[:60000].astype(np.uint8), found.target[:60000].astype(np.int64)
