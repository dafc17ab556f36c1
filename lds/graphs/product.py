"""H = Â Z, with the straight-through gradient by A kept as factors.

The gradient of E by Â through one product is H̄ Zᵀ, of the rank of Z. Differentiating the inner
loss makes further such products. Recording all of them, forward and backward, gives ∂E/∂Â as a
product of thin matrices. The chain rule through the normalisation D̃^-½(A+I)D̃^-½ adds one number
for each node:

    ∂E/∂A_ij = s_i s_j (U Vᵀ)_ij + c_i,   c = -½ s² ⊙ rowsum(U ⊙ ÂV + V ⊙ ÂU),   s = D̃^-½.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lds.graphs.batch import GraphBatch, Products, times


class _Propagate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, probe: Tensor | None, graph: GraphBatch) -> Tensor:
        ctx.graph = graph
        ctx.number = None if probe is None or graph.products is None else len(graph.products.probes)
        try:
            return times(graph.matrix, z)
        except (RuntimeError, IndexError) as error:
            rows = graph.n_draws * graph.n_nodes
            if z.dim() == 2 and z.shape[0] == rows:
                raise  # of another cause, such as too little memory
            raise ValueError(
                f"z must be (n_draws * n_nodes, k), here ({rows}, k), got {tuple(z.shape)}"
            ) from error

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        grad = grads[0]
        to_z = propagate(ctx.graph, grad) if ctx.needs_input_grad[0] else None  # Âᵀ = Â
        if ctx.number is None:
            return to_z, None, None
        to_h = grad.unsqueeze(0)
        if to_z is not None and not torch.is_grad_enabled():
            ctx.graph.products.of_gradients[ctx.number] = to_h, to_z.unsqueeze(0)
        return to_z, to_h, None


def propagate(graph: GraphBatch, z: Tensor) -> Tensor:
    """Compute Â Z for all graphs of a batch at once.

    Arguments:
        graph: S graphs on N nodes.
        z: `(n_draws · n_nodes, n_features)`.

    Returns:
        Â Z, in the shape of Z. It has derivatives of every order by `z`, and derivatives by A
        through `graph.products`.

    Raises:
        ValueError: `z` has another shape.
    """
    products = graph.products
    if products is None or not torch.is_grad_enabled():
        return _Propagate.apply(z, None, graph)  # type: ignore[no-any-return, no-untyped-call]
    probe = probe_of(z, 1)
    h: Tensor = _Propagate.apply(z, probe, graph)  # type: ignore[no-untyped-call]
    products.note(probe, z.detach().unsqueeze(0), h.detach().unsqueeze(0))
    return h


def probe_of(z: Tensor, n_products: int) -> Tensor:
    """Return a probe: zeros `(n_products, *z.shape)` whose gradient is that of the products."""
    return z.new_zeros((1, 1, 1)).expand(n_products, *z.shape).requires_grad_()


@dataclass(frozen=True)
class FactoredGradient:
    """∂E/∂θ_ij = ∂E/∂A_ij + ∂E/∂A_ji of undirected pairs, as Σ_k (left_k right_kᵀ)_ij.

    Attributes:
        left, right: equally many tensors `(n_nodes, rank)`; the sum of products is symmetric.
    """

    left: tuple[Tensor, ...]
    right: tuple[Tensor, ...]

    def __add__(self, other: "FactoredGradient") -> "FactoredGradient":
        return FactoredGradient(self.left + other.left, self.right + other.right)

    def factors(self) -> tuple[Tensor, Tensor]:
        """Concatenate the factors to two tensors `(n_nodes, total rank)`."""
        return torch.cat(self.left, 1), torch.cat(self.right, 1)


def factored_gradient(
    graph: GraphBatch, products: Products, grads: Sequence[Tensor | None]
) -> FactoredGradient | None:
    """Compute the gradient by the undirected pairs from the gradients of the probes.

    Arguments:
        graph: the batch that the products were made with.
        products: the record of the products.
        grads: ∂E/∂H for each probe; None where E does not depend on it.

    Returns:
        The gradient summed over the S graphs, or None where E depends on no product.
    """
    used = {k: grad for k, grad in enumerate(grads) if grad is not None}
    if not used:
        return None
    n_nodes, nodes = graph.n_nodes, None
    if products.subgraph is not None:
        graph, nodes = products.subgraph
    c = graph.scale.new_zeros(graph.scale.shape)
    to_h: list[Tensor] = []
    z: list[Tensor] = []
    for k, grad in used.items():
        parts = (grad, products.inputs[k], products.outputs[k])
        of_grad = _product_of_gradient(grad, k, graph, products)
        for u, v, h, product in zip(*parts, of_grad, strict=True):
            c += torch.linalg.vecdot(u, h)
            c += torch.linalg.vecdot(v, product)
            to_h.append(u)
            z.append(v)
    scale = graph.scale.unsqueeze(1)
    u = _side_by_side(torch.cat(to_h, 1).mul_(scale), graph)
    v = _side_by_side(torch.cat(z, 1).mul_(scale), graph)
    c = _side_by_side(-0.5 * scale.square() * c.unsqueeze(1), graph).sum(1, keepdim=True)
    if nodes is not None:  # nodes outside the subgraph have zero factors
        u, v, c = (x.new_zeros(n_nodes, x.shape[1]).index_copy_(0, nodes, x) for x in (u, v, c))
    one = torch.ones_like(c)
    return FactoredGradient((u, v, c, one), (v, u, one, c))


def _product_of_gradient(
    grad: Tensor, number: int, graph: GraphBatch, products: Products
) -> Tensor | list[Tensor]:
    """Return Â H̄, from the record if the backward pass computed it."""
    recorded = products.of_gradients.get(number)
    if recorded is not None and recorded[0] is grad:
        return recorded[1]
    return [times(graph.matrix, u) for u in grad]


def _side_by_side(x: Tensor, graph: GraphBatch) -> Tensor:
    """Reshape (S·N, r) to (N, S·r), which turns a sum over graphs into a sum over columns."""
    if graph.n_draws == 1:
        return x
    return x.view(graph.n_draws, graph.n_nodes, -1).transpose(0, 1).reshape(graph.n_nodes, -1)
