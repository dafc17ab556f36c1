"""A handful of nodes for tests of networks."""

import numpy as np
import torch

from lds.graphs.batch import GraphBatch, graph_batch

N, F, H, C = 15, 8, 5, 3
CPU = torch.device("cpu")


def random_graph(seed: int) -> np.ndarray:
    upper = np.triu(np.random.default_rng(seed).random((N, N)) < 0.3, 1)
    upper[0] = False  # node 0 has no neighbour
    return (upper | upper.T).astype(float)


def batch_of(*graphs: np.ndarray) -> GraphBatch:
    stack = np.stack([np.triu(A, 1) for A in graphs])
    draw, row, col = (torch.from_numpy(index) for index in stack.nonzero())
    return graph_batch(draw, row, col, len(graphs), N, torch.float64)


def random_features(sparse: bool = False, n: int = N, seed: int = 7) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, F))
    return x * (rng.random((n, F)) < 0.2) if sparse else x
