"""The data sets of the thesis's protocols, and tables of the user's own."""

from lds.datasets.base import NodeDataset
from lds.datasets.registry import data_root, load, names

__all__ = ["NodeDataset", "data_root", "load", "names"]
