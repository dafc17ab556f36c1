"""Dense references that share no code with the library: Â, networks, a window of Adam."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Weights = dict[str, Tensor]


def adjacency(graph) -> Tensor:
    """The 0/1 adjacency of a single drawn graph."""
    return (graph.matrix.to_dense() > 0).double().fill_diagonal_(0)


def normalize(a: Tensor) -> Tensor:
    """D̃^-½(A+I)D̃^-½, differentiable in A."""
    a = a + torch.eye(len(a), dtype=a.dtype)
    s = a.sum(1).rsqrt()
    return s[:, None] * a * s[None, :]


def straight_through(drawn: Tensor, row: Tensor, col: Tensor, theta: Tensor) -> Tensor:
    """A drawn graph whose entries at the pairs have the derivative of their probabilities."""
    slope = theta - theta.detach()
    moved = torch.zeros_like(drawn).index_put((row, col), slope)
    return drawn + moved + moved.T


def gcn(a_hat: Tensor, x: Tensor, w: Weights, keep: Tensor | float = 1.0) -> Tensor:
    """Â ReLU(Â X W1) W2; `keep` is the mask of the hidden layer."""
    return a_hat @ ((torch.relu(a_hat @ (x @ w["W1"])) * keep) @ w["W2"])


def pagerank(
    a_hat: Tensor, x: Tensor, w: Weights, keep: Tensor | float = 1.0, *, alpha: float, n_hops: int
) -> Tensor:
    """Z_k = (1-α) Â Z_{k-1} + α Z_0."""
    own = (torch.relu(x @ w["W1"] + w["b1"]) * keep) @ w["W2"] + w["b2"]
    return walk(a_hat, own, alpha, n_hops)


def sage(a: Tensor, x: Tensor, w: Weights) -> Tensor:
    """H W2 + M H V2 + b2, H = ReLU(X W1 + M X V1 + b1); M has the rows of A, of sum 1 at most."""
    mean = a / a.sum(1, keepdim=True).clamp(min=1)
    h = torch.relu(x @ w["W1"] + mean @ x @ w["V1"] + w["b1"])
    return h @ w["W2"] + mean @ h @ w["V2"] + w["b2"]


def walk(a_hat: Tensor, own: Tensor, alpha: float, n_hops: int) -> Tensor:
    """Z_k = (1-α) Â Z_{k-1} + α Z_0 for any Z_0."""
    z = own
    for _ in range(n_hops):
        z = (1 - alpha) * (a_hat @ z) + alpha * own
    return z


def adam(losses: Sequence[Callable[[Weights], Tensor]], params: Weights, lr: float) -> Weights:
    """Weights after a step on each loss, with history through all of them."""
    w = {name: leaf.clone().requires_grad_() for name, leaf in params.items()}
    m = {name: torch.zeros_like(leaf) for name, leaf in params.items()}
    v = {name: torch.zeros_like(leaf) for name, leaf in params.items()}
    for t, loss in enumerate(losses, start=1):
        grads = torch.autograd.grad(loss(w), list(w.values()), create_graph=True)
        for name, g in zip(list(w), grads, strict=True):
            m[name] = 0.9 * m[name] + 0.1 * g
            v[name] = 0.999 * v[name] + 0.001 * g**2
            safe = torch.where(v[name] > 0, v[name], 1.0)  # the root has no slope at 0
            root = torch.where(v[name] > 0, safe.sqrt(), 0.0) / (1 - 0.999**t) ** 0.5
            w[name] = w[name] - lr * m[name] / (1 - 0.9**t) / (root + 1e-8)
    return w
