"""K hops of personalised PageRank at once, against dense autograd hop by hop."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from lds.graphs.batch import Products
from lds.graphs.pagerank_product import pagerank_product
from lds.graphs.product import factored_gradient
from tests.graphs.test_product import CLOSE, WIDTH, N, normalize, random_graphs, random_tensor

ALPHA = 0.15
SEVERAL = pytest.mark.parametrize(("n_draws", "n_hops"), [(1, 1), (1, 4), (3, 2)])


def dense_walk(a_hat: Tensor, own: Tensor, n_hops: int) -> Tensor:
    z = own
    for _ in range(n_hops):
        z = (1 - ALPHA) * (a_hat @ z) + ALPHA * own
    return z


@SEVERAL
def test_it_and_three_derivatives_equal_the_dense_ones(n_draws, n_hops):
    batch, A = random_graphs(n_draws)
    a_hat = torch.block_diag(*normalize(A))
    directions = [random_tensor(n_draws * N, WIDTH, seed=seed) for seed in (2, 3)]

    def derivatives(along):
        own = random_tensor(n_draws * N, WIDTH).requires_grad_()
        found = [along(torch.tanh(own)).pow(3).sum()]
        for direction in directions:
            (grad,) = torch.autograd.grad(found[-1], own, create_graph=True)
            found += [grad, (torch.sin(grad) * direction).sum()]
        (last,) = torch.autograd.grad(found[-1], own)
        return [*found, last]

    ours = derivatives(lambda own: pagerank_product(batch, own, n_hops, ALPHA))
    dense = derivatives(lambda own: dense_walk(a_hat, own, n_hops))
    for got, expected in zip(ours, dense, strict=True):
        torch.testing.assert_close(got, expected, **CLOSE)


def through(along, w: Tensor, n_steps: int) -> Tensor:
    """A value after steps of descent whose gradients are differentiated too."""
    x = random_tensor(N, 4, seed=5)

    def loss(w: Tensor, power: int) -> Tensor:
        return torch.tanh(along(torch.tanh(x @ w))).pow(power).sum()

    for _ in range(n_steps):
        (grad,) = torch.autograd.grad(loss(w, 2), w, create_graph=True)
        w = w - 0.05 * grad
    return loss(w, 3)


@SEVERAL
@pytest.mark.parametrize("n_steps", [0, 1, 2])
def test_the_gradient_by_edges_equals_dense_autograd(n_draws, n_hops, n_steps):
    batch, A = random_graphs(n_draws)
    products = Products()
    traced = replace(batch, products=products)

    def along(own: Tensor) -> Tensor:
        flat = own.expand(n_draws, N, -1).reshape(n_draws * N, -1)
        return pagerank_product(traced, flat, n_hops, ALPHA).view(n_draws, N, -1)

    w = random_tensor(4, WIDTH, seed=4).requires_grad_()
    grads = torch.autograd.grad(through(along, w, n_steps), products.probes)
    assert len(grads) == 1 + 2 * n_steps, "of a way out and a way back one probe each"
    assert all(products.of_gradients[k][0] is grad for k, grad in enumerate(grads))
    swept = factored_gradient(batch, products, grads)
    copies = [grad.clone() for grad in grads]  # not what the way back came by
    made_anew = factored_gradient(batch, products, copies)

    A = A.requires_grad_()
    a_hat = normalize(A)
    value = through(lambda own: dense_walk(a_hat, own.expand(n_draws, N, -1), n_hops), w, n_steps)
    (grad,) = torch.autograd.grad(value, A)
    expected = (grad + grad.transpose(1, 2)).sum(0)
    off_diagonal = ~torch.eye(N, dtype=torch.bool)
    for gradient in (swept, made_anew):
        left, right = gradient.factors()
        torch.testing.assert_close((left @ right.T)[off_diagonal], expected[off_diagonal], **CLOSE)
