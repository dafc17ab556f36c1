"""Personalised PageRank, K hops Z_k = (1 - α) Â Z_{k-1} + α Z_0, as one differentiable operation.

On small graphs autograd's overhead for each hop exceeds the hop itself, so K hops are one autograd
function. The map from Z_0 to Z_K is a polynomial of Â, which is symmetric, so it is its own adjoint
and its own derivative, to any order. The straight-through gradient by A needs the gradient H̄ that
reaches each product H = Â Z, and Â H̄: where it is wanted, the adjoint goes through the hops in
reverse order.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from lds.graphs.batch import GraphBatch, times
from lds.graphs.product import probe_of

ProductList = list[tuple[Tensor, Tensor]]
"""Z and Â Z of every product, in the order in which they are computed."""


@dataclass(frozen=True)
class _Hops:
    """The linear map from Z_0 to Z_K, or its adjoint, from ∂E/∂Z_K to ∂E/∂Z_0."""

    graph: GraphBatch
    n_hops: int
    teleport: float
    adjoint: bool = False

    def apply(self, x: Tensor, made: ProductList | None) -> Tensor:
        """Apply the map to x; append the products to `made` where it is given."""
        if made is None:
            return self._spread(x)
        return self._backward(x, made) if self.adjoint else self._forward(x, made)

    def _spread(self, own: Tensor) -> Tensor:
        """Compute Z_K, one operation a hop."""
        z, alpha = own, self.teleport
        for _ in range(self.n_hops):
            z = torch.addmm(own, self.graph.matrix, z, beta=alpha, alpha=1 - alpha)
        return z

    def _forward(self, own: Tensor, made: ProductList) -> Tensor:
        z, from_own = own, self.teleport * own
        for _ in range(self.n_hops):
            h = times(self.graph.matrix, z)
            made.append((z, h))
            z = ((1 - self.teleport) * h).add_(from_own)
        return z

    def _backward(self, grad: Tensor, made: ProductList) -> Tensor:
        own = torch.zeros_like(grad)
        for _ in range(self.n_hops):
            own.add_(self.teleport * grad)
            to_h = (1 - self.teleport) * grad
            grad = times(self.graph.matrix, to_h)
            made.append((to_h, grad))
        return own.add_(grad)


class _PageRankProduct(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, probe: Tensor | None, hops: _Hops, made: ProductList | None
    ) -> Tensor:
        products, ctx.hops = hops.graph.products, hops
        ctx.number = None if probe is None or products is None else len(products.probes)
        return hops.apply(x, made)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        adjoint = replace(ctx.hops, adjoint=not ctx.hops.adjoint)
        if torch.is_grad_enabled():
            return _apply(adjoint, grads[0]), None, None, None
        made: ProductList | None = None if ctx.number is None else []
        to_x, to_products = adjoint.apply(grads[0], made), None
        if made is not None:
            to_products, of_grads = (
                torch.stack(part) for part in zip(*reversed(made), strict=True)
            )
            adjoint.graph.products.of_gradients[ctx.number] = to_products, of_grads
        return to_x, to_products, None, None


def pagerank_product(graph: GraphBatch, own: Tensor, n_hops: int, teleport: float) -> Tensor:
    """Compute Z_K of Z_k = (1 - α) Â Z_{k-1} + α Z_0 for all graphs of a batch at once.

    References:
        Gasteiger, Bojchevski and Günnemann, 2019, eq. 4, https://arxiv.org/abs/1810.05997

    Arguments:
        graph: S graphs on N nodes.
        own: Z_0, `(n_draws · n_nodes, n_features)`.
        n_hops: K >= 1.
        teleport: α in [0, 1].

    Returns:
        Z_K, in the shape of Z_0. It has derivatives of every order by `own`, and first ones by A
        through `graph.products`.
    """
    return _apply(_Hops(graph, n_hops, teleport), own)


def _apply(hops: _Hops, x: Tensor) -> Tensor:
    """Apply the map; record its products where a gradient by A is wanted."""
    products = hops.graph.products
    if products is None or not torch.is_grad_enabled():
        return _PageRankProduct.apply(x, None, hops, None)  # type: ignore[no-any-return, no-untyped-call]
    made: ProductList = []
    probe = probe_of(x, hops.n_hops)
    end: Tensor = _PageRankProduct.apply(x, probe, hops, made)  # type: ignore[no-untyped-call]
    products.note(probe, *(torch.stack(part).detach() for part in zip(*made, strict=True)))
    return end
