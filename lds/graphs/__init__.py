"""Graphs before and while they are learned: where they start, and how they are held."""

from lds.graphs.adjacency import check_adjacency, keep_edges, normalize
from lds.graphs.knn import knn_adjacency

__all__ = ["check_adjacency", "keep_edges", "knn_adjacency", "normalize"]
