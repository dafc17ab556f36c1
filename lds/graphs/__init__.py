"""Graphs: starting graphs, candidate pairs, batches of drawn graphs, and products with them."""

from lds.graphs.adjacency import check_adjacency, keep_edges, normalize
from lds.graphs.knn import knn_adjacency

__all__ = ["check_adjacency", "keep_edges", "knn_adjacency", "normalize"]
