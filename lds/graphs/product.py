"""H = Â Z, with the straight-through gradient by A kept as factors.

The gradient of E by Â through one product is H̄ Zᵀ, of the rank of Z. A product made while the
inner loss is differentiated is such a product too, so noting every one of them, forward and
backward, gives the whole of ∂E/∂Â as a product of thin matrices. The chain rule through the
normalisation D̃^-½(A+I)D̃^-½ adds one number a node:

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
        return times(graph.matrix, z)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        grad = grads[0]
        to_z = propagate(ctx.graph, grad) if ctx.needs_input_grad[0] else None  # Âᵀ = Â
        if to_z is not None and ctx.number is not None and not torch.is_grad_enabled():
            ctx.graph.products.swept[ctx.number] = grad, to_z
        return to_z, grad if ctx.needs_input_grad[1] else None, None


def propagate(graph: GraphBatch, z: Tensor) -> Tensor:
    """Â Z for all graphs of a batch at once.

    Arguments:
        graph: S graphs on N nodes.
        z: `(n_draws · n_nodes, n_features)`.

    Returns:
        The same shape; differentiable in `z` as often as asked, and in A through `graph.products`.
    """
    products = graph.products
    if products is None or not torch.is_grad_enabled():
        return _Propagate.apply(z, None, graph)  # type: ignore[no-any-return, no-untyped-call]
    probe = probe_of(z, *z.shape)
    h: Tensor = _Propagate.apply(z, probe, graph)  # type: ignore[no-untyped-call]
    products.note(probe, z.detach(), h.detach())
    return h


def probe_of(like: Tensor, *shape: int) -> Tensor:
    """Zeros of a shape, of the type and on the device of a tensor, to differentiate against."""
    return like.new_zeros([1] * len(shape)).expand(shape).requires_grad_()


@dataclass(frozen=True)
class FactoredGradient:
    """∂E/∂θ_ij = ∂E/∂A_ij + ∂E/∂A_ji of undirected pairs, as (left rightᵀ)_ij summed over parts.

    Attributes:
        left, right: equally many tensors `(n_nodes, rank)`; the sum of products is symmetric.
    """

    left: tuple[Tensor, ...]
    right: tuple[Tensor, ...]

    def __add__(self, other: "FactoredGradient") -> "FactoredGradient":
        return FactoredGradient(self.left + other.left, self.right + other.right)

    def factors(self) -> tuple[Tensor, Tensor]:
        """All parts side by side: two tensors `(n_nodes, total rank)`."""
        return torch.cat(self.left, 1), torch.cat(self.right, 1)


def factored_gradient(
    graph: GraphBatch, products: Products, grads: Sequence[Tensor | None]
) -> FactoredGradient | None:
    """The gradient by the undirected pairs from the gradients reaching the probes.

    Arguments:
        graph: the batch the products were made with.
        products: what `propagate` noted.
        grads: ∂E/∂H of each product; None where E does not depend on it.

    Returns:
        The gradient summed over the S graphs, or None where E depends on no product.
    """
    used = {k: grad for k, grad in enumerate(grads) if grad is not None}
    if not used:
        return None
    n_nodes, nodes = graph.n_nodes, None
    if products.part is not None:
        graph, nodes = products.part
    c = graph.scale.new_zeros(graph.scale.shape)
    to_h: list[Tensor] = []
    z: list[Tensor] = []
    for k, grad in used.items():
        swept = _products_with(grad, k, graph, products)
        parts = (_each(grad), _each(products.inputs[k]), _each(products.outputs[k]), swept)
        for u, v, h, back in zip(*parts, strict=True):
            c += torch.linalg.vecdot(u, h)
            c += torch.linalg.vecdot(v, back)
        to_h += parts[0]
        z += parts[1]
    scale = graph.scale.unsqueeze(1)
    u = _side_by_side(torch.cat(to_h, 1).mul_(scale), graph)
    v = _side_by_side(torch.cat(z, 1).mul_(scale), graph)
    c = _side_by_side(-0.5 * scale.square() * c.unsqueeze(1), graph).sum(1, keepdim=True)
    if nodes is not None:  # the others have no factors
        u, v, c = (x.new_zeros(n_nodes, x.shape[1]).index_copy_(0, nodes, x) for x in (u, v, c))
    one = torch.ones_like(c)
    return FactoredGradient((u, v, c, one), (v, u, one, c))


def _each(x: Tensor) -> tuple[Tensor, ...]:
    """What belongs to each product of one probe."""
    return x.unbind(0) if x.dim() == 3 else (x,)


def _products_with(
    grad: Tensor, number: int, graph: GraphBatch, products: Products
) -> Sequence[Tensor]:
    """Â H̄, which the way back has made already wherever it went through the product's input."""
    swept = products.swept.get(number)
    if swept is not None and swept[0] is grad:
        return _each(swept[1])
    return [times(graph.matrix, u) for u in _each(grad)]


def _side_by_side(x: Tensor, graph: GraphBatch) -> Tensor:
    """(S·N, r) as (N, S·r): a sum over graphs becomes a sum over columns."""
    if graph.n_draws == 1:
        return x
    return x.view(graph.n_draws, graph.n_nodes, -1).transpose(0, 1).reshape(graph.n_nodes, -1)
