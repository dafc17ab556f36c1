"""Citation graphs on their public split (Yang et al., 2016; Kipf and Welling, 2017).

| name | nodes | words | classes | undirected edges | train / validation / stopping / test |
|---|---|---|---|---|---|
| cora | 2708 | 1433 | 7 | 5278 | 140 / 250 / 250 / 1000 |
| citeseer | 3327 | 3703 | 6 | 4552 | 120 / 250 / 250 / 1000 |
| pubmed | 19717 | 500 | 3 | 44324 | 60 / 250 / 250 / 1000 |

Source: github.com/kimiyoung/planetoid (MIT), read by `torch_geometric.datasets.Planetoid`.
"""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from lds._types import Split
from lds.datasets.base import NodeDataset
from lds.datasets.graph_arrays import symmetric
from lds.datasets.published import check_published, scratch
from lds.datasets.splits import halved

FOLDERS = {"cora": "Cora", "citeseer": "CiteSeer", "pubmed": "PubMed"}
"""Folders of the data sets, as PyG names them."""

PARTS = ("x", "tx", "allx", "y", "ty", "ally", "graph", "test.index")
"""Ends of the names of a data set's raw files, ind.cora.x and so on."""

SHA256 = {
    "ind.citeseer.allx": "2ac30345d95c9ec933a817ee0bdd6a5f077f8c184a20e696910192d534414668",
    "ind.citeseer.ally": "f704b2d986dde6c2669934de1f3ae5696a6cf9455c0f6b2646a2d135ea0a1c95",
    "ind.citeseer.graph": "d79a4ef9d3e7169aee8946145f6b7306e35bc79bffad26346cfb94e10e9912a7",
    "ind.citeseer.test.index": "2af990671580b6b2df5d158d1038f8292e30c9cd821b5453f399659b25b723d4",
    "ind.citeseer.tx": "539a8906a2da97628d212f2fdd668c109a8b3f0d36574b59e5d3fd5b5303da21",
    "ind.citeseer.ty": "55e5bd1ba1e733a04598753ad1a8d57957f4b8f89e74519f41f4f4938767e4ce",
    "ind.citeseer.x": "d20de19150741e555de0ed037195630fc194114ebc7fd72ced62810148aa22f6",
    "ind.citeseer.y": "8ba87e515d8e3ee3cf52f6d2c5b86aa73f11ecad825a808455209ec26cd54924",
    "ind.cora.allx": "9419ba2f26f5c35243db64aba110e0f35a04851609e0dc5433450676ca6b8543",
    "ind.cora.ally": "2b998f5cc7fedc86e7f97ca2498f47a1ffc1462c29e2d578b23bf3f62b6e7d71",
    "ind.cora.graph": "58f13302f39dde8852dad6fe6d15b89b077b6d7f837626bce671ef80344b383d",
    "ind.cora.test.index": "297ce89af2b51a6a194181c7dbe1796c6a1cf9cd9349a88383b1b1e227867875",
    "ind.cora.tx": "b9afbaa4a400df991f6f02ef677e1e44da55ffc04801fd02f9e673987829226a",
    "ind.cora.ty": "41f5ac76596a1699cc33f53084a2419e92961c42bb75f36fc38e616d348532ad",
    "ind.cora.x": "23cfa55d91c6f624233f5eb7b6e3f141f1bd2b2ae39608a63cf5d084bb27baab",
    "ind.cora.y": "94465c14eb53e04ca262198dcbb2521ee8af60fb3f3d546cd6ca24a511b0e7d1",
}
"""Checksums of the raw files of kimiyoung/planetoid @ af6abf4; those of Pubmed are not known."""


def load(name: str, seed: int, root: Path) -> NodeDataset:
    """Load a citation graph; the seed halves its 500 validation nodes.

    Features are word indicators (Pubmed: tf-idf), each row divided by its sum. The published
    classes have numbers and no names. CiteSeer has 15 nodes without a published record: they have
    no word and the label -1.

    Arguments:
        name: one of `FOLDERS`.
        seed: of the half of the validation nodes that serves the outer objective; the other half
            serves early stopping.
        root: folder that holds, or will hold, planetoid/Cora/raw and so on; or Cora/raw itself.

    Raises:
        FileNotFoundError: the raw files do not exist and cannot be downloaded.
        ValueError: a raw file of Cora or CiteSeer is not the published one.
    """
    folder = root if (root / FOLDERS[name] / "raw").is_dir() else root / "planetoid"
    data = _read(name, folder)
    masks = {key: data[f"{key}_mask"].numpy() for key in ("train", "val", "test")}
    labels = data.y.numpy().astype(np.int64)
    classes = tuple(str(c) for c in range(int(labels.max()) + 1))
    known = masks["test"].copy()  # test nodes come last; those in no mask have no record
    known[: int(masks["test"].argmax())] = True
    labels[~known] = -1
    train, validation, test = (np.flatnonzero(mask) for mask in masks.values())
    split = Split(train, *halved(validation, seed, labels, train), test)
    features = sp.csr_array(data.x.numpy(), dtype=np.float32)
    total = features.sum(axis=1, dtype=np.float64)
    features.data /= np.repeat(total, np.diff(features.indptr)).astype(np.float32)
    row, col = data.edge_index.numpy()
    graph = symmetric(row, col, labels.size)
    return NodeDataset(name, features, labels, classes, split, graph)


def _read(name: str, folder: Path) -> Any:
    """Read PyG's `Data`; write the raw files to `folder`, all at once, if one was missing."""
    from torch_geometric.datasets import Planetoid  # takes seconds to import

    raw = folder / FOLDERS[name] / "raw"
    there = all((raw / f"ind.{name}.{part}").is_file() for part in PARTS)
    with scratch() as place:

        class Verified(Planetoid):  # type: ignore[misc]  # PyG has no types
            raw_dir = str(raw) if there else f"{place}/raw"
            processed_dir = f"{place}/processed"

            def process(self) -> None:
                for path in self.raw_paths:  # before unpickling: a pickle can run code
                    way_out = "delete its folder and all are fetched anew"
                    check_published(Path(path), SHA256, way_out)
                super().process()

        try:
            data = Verified(place, FOLDERS[name])[0]
            if not there:
                shutil.copytree(f"{place}/raw", raw, dirs_exist_ok=True)
        except OSError as error:
            raise FileNotFoundError(
                f"{name} needs its files ind.{name}.* in {raw}, and fetching them there failed "
                f"({error}); data/README.md says where they come from"
            ) from error
        return data
