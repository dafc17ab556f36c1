"""Benchmark graphs, as PyG publishes them or as .npz files of heterophilous-graphs.

Co-purchase (Amazon) and co-author graphs (Shchur et al., 2018): 20 train and 30 validation rows a
class, drawn by the seed. WikiCS (Mernyei and Cangea, 2020): split seed % 20, early-stopping rows
are left out. WebKB, Actor (Pei et al., 2020), filtered Chameleon and Squirrel and the graphs of
Platonov et al. (2023): split seed % 10. The seed halves the validation rows, one half for the outer
objective and one for early stopping. `lds._sources` has the sizes, data/README.md the sources.

A file `root`/graphs/NAME.npz is read if it exists, without pickle; otherwise PyG reads, or fetches,
its raw files in the folder of the registry.
"""

from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from lds.datasets.base import NodeDataset
from lds.datasets.graph_arrays import GraphArrays, read_arrays, symmetric
from lds.datasets.published import check_published, scratch


class PyGClass(NamedTuple):
    """A data set of PyG.

    Arguments:
        name: of the class in `torch_geometric.datasets`.
        folder: under the root, that the class gets as its own root.
        options: of the class.
    """

    name: str
    folder: str
    options: dict[str, str]


CLASSES = {
    "amazon_computers": PyGClass("Amazon", "amazon", {"name": "Computers"}),
    "amazon_photo": PyGClass("Amazon", "amazon", {"name": "Photo"}),
    "coauthor_cs": PyGClass("Coauthor", "coauthor", {"name": "CS"}),
    "coauthor_physics": PyGClass("Coauthor", "coauthor", {"name": "Physics"}),
    "wikics": PyGClass("WikiCS", "wikics", {}),
    "cornell": PyGClass("WebKB", "webkb", {"name": "Cornell"}),
    "texas": PyGClass("WebKB", "webkb", {"name": "Texas"}),
    "wisconsin": PyGClass("WebKB", "webkb", {"name": "Wisconsin"}),
    "actor": PyGClass("Actor", "actor", {}),
    **{
        name: PyGClass("HeterophilousGraphDataset", "heterophilous", {"name": name})
        for name in ("roman_empire", "amazon_ratings", "minesweeper", "tolokers", "questions")
    },
}
"""Classes of PyG by the name of the data set; filtered Chameleon and Squirrel have none."""

COLLECTION = "github.com/yandex-research/heterophilous-graphs"
"""Where the files graphs/NAME.npz come from, its folder data/."""

SHA256 = {
    "chameleon_filtered.npz": "bf46f07e1fb5249280447e5fe3100f3e82fc4b93ad1e13ffcfdec924b6ac0bb5",
    "minesweeper.npz": "e664c8dacf1e8ac466c2c09ed4b237bd2c5541f47a6eae9c6092cb87f16412b3",
    "texas.npz": "b164b99e6c3d43e4ab07488ec59bd8c815f90cbc1bd4cf425ce587d2b534d844",
    "wisconsin.npz": "2543c89838cfc75f737f7c4664cc1d097f8268602c20b2d1bd4f21407df9c074",
}
"""Checksums of the files of `COLLECTION` @ a431395 that are known."""


def load(name: str, seed: int, root: Path) -> NodeDataset:
    """Load a benchmark graph; see the module for its splits.

    Arguments:
        name: one of `CLASSES`, "chameleon_filtered" or "squirrel_filtered".
        seed: of the split.
        root: folder of graphs/NAME.npz or of PyG's folders.

    Raises:
        FileNotFoundError: the files do not exist and cannot be fetched.
        ValueError: a file is damaged, or not the published one where its checksum is known.
    """
    path = path_of(name, root)
    if path.is_file():
        check_published(path, SHA256, f"fetch data/{path.name} of {COLLECTION} anew")
        arrays = read_arrays(path)
    elif name in CLASSES:
        arrays = _read(name, root)
    else:
        raise FileNotFoundError(
            f"{name} needs {path}; the file is data/{path.name} of {COLLECTION}"
        )
    return arrays.dataset(name, seed)


def of_data(data: Any) -> GraphArrays:
    """Convert PyG's `Data` with x, y, edge_index and perhaps masks; sparse where most x are 0."""
    x = np.asarray(data.x.to_dense() if data.x.layout != data.y.layout else data.x)
    features = sp.csr_array(x) if np.count_nonzero(x) < x.size // 10 else x
    labels = data.y.reshape(-1).numpy().astype(np.int64)
    row, col = data.edge_index.numpy()
    masks: list[NDArray[np.bool_]] = []
    for role in ("train", "val", "test"):
        mask = getattr(data, f"{role}_mask", None)
        if mask is not None:
            masks.append(mask.numpy().astype(bool).reshape(labels.size, -1))
    given = tuple(masks) if len(masks) == 3 else None
    return GraphArrays(features, labels, symmetric(row, col, labels.size), given)


def _read(name: str, root: Path) -> GraphArrays:
    chosen = CLASSES[name]
    # Takes seconds to import, and is needed for these data sets only.
    made: Any = getattr(import_module("torch_geometric.datasets"), chosen.name)
    with scratch() as place:
        reader = type(made.__name__, (made,), {"processed_dir": place})
        try:
            data = reader(str(root / chosen.folder), **chosen.options)[0]
        except (OSError, EOFError) as error:
            raise FileNotFoundError(
                f"{name} needs {path_of(name, root)}, or PyG's raw files in "
                f"{root / chosen.folder}, and fetching them there failed ({error}); "
                "data/README.md says where they come from"
            ) from error
    arrays = of_data(data)
    if name == "wikics" and arrays.masks is not None:  # one test mask for twenty splits
        train, validation, test = arrays.masks
        arrays = replace(arrays, masks=(train, validation, np.tile(test, train.shape[1])))
    return arrays


def path_of(name: str, root: Path) -> Path:
    """Return the .npz file that is read in place of PyG's."""
    return root / "graphs" / f"{name}.npz"
