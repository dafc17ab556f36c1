"""H = Â Z and the gradient by A as factors, against dense autograd.

The references build D̃^-½(A+I)D̃^-½ from a dense A that requires grad, by torch operations alone.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from lds.graphs.batch import GraphBatch, Products, graph_batch
from lds.graphs.pagerank_product import pagerank_product
from lds.graphs.product import FactoredGradient, factored_gradient, propagate

N, WIDTH = 17, 3
# Sums of a few hundred float64 products in another order.
CLOSE = {"rtol": 1e-11, "atol": 1e-13}


def random_graphs(n_draws: int, seed: int = 0) -> tuple[GraphBatch, Tensor]:
    """A batch and its dense 0/1 adjacency `(n_draws, N, N)`; node 0 has no edges in the first."""
    rng = np.random.default_rng(seed)
    upper = np.triu(rng.random((n_draws, N, N)) < 0.25, 1)
    upper[0, 0] = False
    draw, row, col = (torch.from_numpy(index) for index in upper.nonzero())
    dense = torch.from_numpy(upper | upper.transpose(0, 2, 1)).double()
    return graph_batch(draw, row, col, n_draws, N, torch.float64), dense


def normalize(A: Tensor) -> Tensor:
    """`(n_draws, N, N)`, differentiable in A; A_ij counts for the degree of row i alone.

    With A symmetric, ∂/∂A_ij + ∂/∂A_ji is then the derivative by the undirected edge.
    """
    looped = A + torch.eye(N, dtype=A.dtype)
    scale = looped.sum(2).rsqrt()
    return scale.unsqueeze(2) * looped * scale.unsqueeze(1)


def random_tensor(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("n_draws", [1, 3])
def test_the_product_equals_the_dense_one(n_draws):
    batch, A = random_graphs(n_draws)
    z = random_tensor(n_draws * N, WIDTH)
    expected = (normalize(A) @ z.view(n_draws, N, WIDTH)).view(-1, WIDTH)
    torch.testing.assert_close(propagate(batch, z), expected, **CLOSE)


@pytest.mark.parametrize("n_draws", [1, 3])
def test_first_and_second_derivatives_by_z_equal_the_dense_ones(n_draws):
    batch, A = random_graphs(n_draws)
    a_hat = torch.block_diag(*normalize(A))
    direction = random_tensor(n_draws * N, WIDTH, seed=2)

    def derivatives(product):
        z = random_tensor(n_draws * N, WIDTH).requires_grad_()
        value = product(torch.tanh(product(z))).pow(3).sum()
        (grad,) = torch.autograd.grad(value, z, create_graph=True)
        (curvature,) = torch.autograd.grad((grad * direction).sum(), z)
        return value, grad, curvature

    ours = derivatives(lambda z: propagate(batch, z))
    dense = derivatives(lambda z: a_hat @ z)
    for got, expected in zip(ours, dense, strict=True):
        torch.testing.assert_close(got, expected, **CLOSE)


def test_derivatives_equal_finite_differences():
    batch, _ = random_graphs(1)
    z = random_tensor(N, 1).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: propagate(batch, z), z)
    assert torch.autograd.gradgradcheck(lambda z: propagate(batch, z), z)


def through(product, w: Tensor, create_graph: bool = False) -> Tensor:
    """A value through a two-layer network, or through one step of descent on it.

    With `create_graph`, products of the inner gradient are products with the graph as well.
    """
    x = random_tensor(N, 4, seed=5)

    def loss(w: Tensor, power: int) -> Tensor:
        return product(torch.tanh(product(x @ w))).pow(power).sum()

    if create_graph:
        (grad,) = torch.autograd.grad(loss(w, 2), w, create_graph=True)
        w = w - 0.05 * grad
    return loss(w, 3)


def dense_gradient(A: Tensor, inner_step: bool) -> Tensor:
    """∂E/∂θ_ij = Σ_s ∂E/∂A_s,ij + ∂E/∂A_s,ji, a symmetric `(N, N)`."""
    A = A.clone().requires_grad_()
    n_draws = A.shape[0]
    a_hat = normalize(A)

    def product(z: Tensor) -> Tensor:
        return a_hat @ z

    w = random_tensor(4, WIDTH, seed=4).requires_grad_()
    value = through(product, w, inner_step)
    (grad,) = torch.autograd.grad(value, A)
    assert grad.shape == (n_draws, N, N)
    return (grad + grad.transpose(1, 2)).sum(0)


@pytest.mark.parametrize("inner_step", [False, True], ids=["value", "through-a-step"])
@pytest.mark.parametrize("n_draws", [1, 3])
def test_the_factored_gradient_equals_dense_autograd(n_draws, inner_step):
    batch, A = random_graphs(n_draws)
    products = Products()
    traced = replace(batch, products=products)

    def product(z: Tensor) -> Tensor:
        flat = z.expand(n_draws, N, -1).reshape(n_draws * N, -1)
        return propagate(traced, flat).view(n_draws, N, -1)

    w = random_tensor(4, WIDTH, seed=4).requires_grad_()
    value = through(product, w, inner_step)
    grads = torch.autograd.grad(value, products.probes, allow_unused=True)
    gradient = factored_gradient(batch, products, grads)
    left, right = gradient.factors()
    assert left.shape == right.shape
    assert left.shape[0] == N

    ours, expected = left @ right.T, dense_gradient(A, inner_step)
    off_diagonal = ~torch.eye(N, dtype=torch.bool)
    torch.testing.assert_close(ours[off_diagonal], expected[off_diagonal], **CLOSE)
    torch.testing.assert_close(ours, ours.T, **CLOSE)


def test_the_gradient_by_an_absent_edge_includes_the_normalisation():
    """The gradient by a pair without edge is not 0: adding it would change degrees and Â."""
    batch, A = random_graphs(1)
    products = Products()
    traced = replace(batch, products=products)
    z = random_tensor(N, WIDTH)
    value = propagate(traced, z).square().sum()
    grads = torch.autograd.grad(value, products.probes)
    left, right = factored_gradient(batch, products, grads).factors()
    i, j = (
        int(k[0]) for k in (A[0].triu(1) + torch.eye(N) + A[0].tril() == 0).nonzero(as_tuple=True)
    )

    def moved(h: float) -> Tensor:
        B = A.clone()
        B[0, i, j] += h
        B[0, j, i] += h
        return (normalize(B)[0] @ z).square().sum()

    h = 1e-6  # central differences: error h² times a third derivative of order 1
    slope = (moved(h) - moved(-h)) / (2 * h)
    assert A[0, i, j] == 0
    torch.testing.assert_close((left @ right.T)[i, j], slope, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("n_hops", [None, 3], ids=["propagate", "pagerank"])
def test_products_are_recorded_only_where_a_gradient_is_wanted(n_hops):
    def along(graph: GraphBatch, z: Tensor) -> Tensor:
        return pagerank_product(graph, z, n_hops, 0.15) if n_hops else propagate(graph, z)

    batch, _ = random_graphs(1)
    z = random_tensor(N, WIDTH).requires_grad_()
    products = Products()
    traced = replace(batch, products=products)
    with torch.no_grad():
        along(traced, z)
    assert not products.probes
    h = along(traced, z)
    assert len(products.probes) == len(products.inputs) == len(products.outputs) == 1
    for noted in (*products.probes, *products.inputs, *products.outputs):
        assert noted.shape == (n_hops or 1, N, WIDTH)
    torch.autograd.grad(h.sum(), z)  # a backward pass that is not differentiated itself
    assert len(products.probes) == 1
    assert batch.products is None


def test_probes_the_outcome_does_not_depend_on_are_left_out():
    batch, _ = random_graphs(1)
    products = Products()
    traced = replace(batch, products=products)
    used = propagate(traced, random_tensor(N, WIDTH))
    propagate(traced, random_tensor(N, 5))
    grads = torch.autograd.grad(used.square().sum(), products.probes, allow_unused=True)
    alone = Products(
        probes=products.probes[:1], inputs=products.inputs[:1], outputs=products.outputs[:1]
    )
    both = factored_gradient(batch, products, grads).factors()
    for got, expected in zip(
        both, factored_gradient(batch, alone, grads[:1]).factors(), strict=True
    ):
        assert torch.equal(got, expected)
    assert factored_gradient(batch, products, [None, None]) is None


def test_a_sum_of_factored_gradients_is_the_gradient_of_the_sum():
    parts = [
        FactoredGradient(
            (random_tensor(N, k, seed=k), random_tensor(N, 1, seed=7)),
            (random_tensor(N, k, seed=k + 10), random_tensor(N, 1, seed=8)),
        )
        for k in (2, 3)
    ]
    dense = [left @ right.T for left, right in (part.factors() for part in parts)]
    left, right = (parts[0] + parts[1]).factors()
    assert left.shape == (N, 2 + 1 + 3 + 1)
    torch.testing.assert_close(left @ right.T, dense[0] + dense[1], **CLOSE)


@pytest.mark.parametrize("shape", [(2, N, WIDTH), (N, WIDTH), (2 * N,)])
def test_another_shape_of_z_is_refused(shape):
    batch, _ = random_graphs(2)
    with pytest.raises(
        ValueError, match=r"z must be \(n_draws \* n_nodes, k\), here \(34, k\), got"
    ):
        propagate(batch, torch.zeros(shape, dtype=torch.float64))
