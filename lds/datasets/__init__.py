"""Data sets of the thesis's protocols, and tables of the user's own."""

from lds.datasets.base import NodeDataset, data_root, load, names

__all__ = ["NodeDataset", "data_root", "load", "names"]
