"""K hops Z_k = (1 - α) Â Z_{k-1} + α Z_0 as one operation, with the straight-through gradient by A.

Told hop by hop, autograd would take longer over a small graph than the hops do. The way out and the
way back are linear and each the adjoint of the other, so one is the derivative of the other however
often it is taken; and of the gradients that the products H = Â Z of a way wait for, the products of
its adjoint are made, in reverse order.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from lds.graphs.batch import GraphBatch, times
from lds.graphs.product import probe_of

Made = list[tuple[Tensor, Tensor]]
"""Z and Â Z of every product, in the order in which they were made."""


@dataclass(frozen=True)
class _Way:
    """Out, from Z_0 to Z_K, or back, from the gradient reaching Z_K to that reaching Z_0."""

    graph: GraphBatch
    n_hops: int
    teleport: float
    back: bool = False

    def go(self, x: Tensor, made: Made | None) -> Tensor:
        """Where it leads from x; the products on it are added to `made`."""
        return self._back(x, made) if self.back else self._out(x, made)

    def _out(self, own: Tensor, made: Made | None) -> Tensor:
        z, fresh = own, self.teleport * own
        for _ in range(self.n_hops):
            h = times(self.graph.matrix, z)
            if made is not None:
                made.append((z, h))
            z = ((1 - self.teleport) * h).add_(fresh)
        return z

    def _back(self, grad: Tensor, made: Made | None) -> Tensor:
        own = torch.zeros_like(grad)
        for _ in range(self.n_hops):
            own.add_(self.teleport * grad)
            to_h = (1 - self.teleport) * grad
            grad = times(self.graph.matrix, to_h)
            if made is not None:
                made.append((to_h, grad))
        return own.add_(grad)


class _Walk(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, probe: Tensor | None, way: _Way, made: Made | None) -> Tensor:
        products, ctx.way = way.graph.products, way
        ctx.number = None if probe is None or products is None else len(products.probes)
        return way.go(x, made)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        adjoint = replace(ctx.way, back=not ctx.way.back)
        if torch.is_grad_enabled():
            return _along(adjoint, grads[0]), None, None, None
        made: Made | None = None if ctx.number is None else []
        to_x, to_products = adjoint.go(grads[0], made), None
        if made is not None:
            to_products, swept = (torch.stack(part) for part in zip(*reversed(made), strict=True))
            adjoint.graph.products.swept[ctx.number] = to_products, swept
        return to_x, to_products, None, None


def walk(graph: GraphBatch, own: Tensor, n_hops: int, teleport: float) -> Tensor:
    """Z_K of Z_k = (1 - α) Â Z_{k-1} + α Z_0, for all graphs of a batch at once.

    References:
        Gasteiger, Bojchevski and Günnemann, 2019, eq. 4, https://arxiv.org/abs/1810.05997

    Arguments:
        graph: S graphs on N nodes.
        own: Z_0, `(n_draws · n_nodes, n_features)`.
        n_hops: K >= 1.
        teleport: α in [0, 1].

    Returns:
        The same shape; differentiable in `own` as often as asked, and, once, in A through
        `graph.products`.
    """
    return _along(_Way(graph, n_hops, teleport), own)


def _along(way: _Way, x: Tensor) -> Tensor:
    products = way.graph.products
    if products is None or not torch.is_grad_enabled():
        return _Walk.apply(x, None, way, None)  # type: ignore[no-any-return, no-untyped-call]
    made: Made = []
    probe = probe_of(x, way.n_hops)
    end: Tensor = _Walk.apply(x, probe, way, made)  # type: ignore[no-untyped-call]
    products.note(probe, *(torch.stack(part).detach() for part in zip(*made, strict=True)))
    return end
