"""Products of chosen pairs of rows, held against the dense product, twice differentiated."""

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from lds.graphs.pairwise import Pattern, pair_products, weighted_sums

N, M, WIDTH = 9, 7, 3


def problem(n_pairs: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Pairs with repetitions, their columns in any order; rows and columns without a pair."""
    draws = torch.Generator().manual_seed(n_pairs)
    row = torch.randint(N - 1, (n_pairs,), generator=draws).sort().values
    col = torch.randint(M - 1, (n_pairs,), generator=draws)
    left, right = (
        torch.randn(size, WIDTH, dtype=torch.float64, generator=draws).requires_grad_()
        for size in (N, M)
    )
    return row, col, left, right


@pytest.mark.parametrize("n_pairs", [0, 1, 40])
def test_every_pair_has_the_entry_of_the_dense_product(n_pairs: int) -> None:
    row, col, left, right = problem(n_pairs)
    found = pair_products(left, right, Pattern.of(row, col, (N, M)))
    torch.testing.assert_close(found, (left @ right.t())[row, col], rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("n_pairs", [0, 1, 40])
def test_first_and_second_derivatives_are_those_of_finite_differences(n_pairs: int) -> None:
    row, col, left, right = problem(n_pairs)
    pattern = Pattern.of(row, col, (N, M))
    curved = lambda u, v: pair_products(u, v, pattern).exp().sum()  # noqa: E731
    assert gradcheck(curved, (left, right))
    assert gradgradcheck(curved, (left, right))


def test_third_derivatives_are_those_of_the_dense_product() -> None:
    row, col, left, right = problem(40)

    def third(values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        total = values.exp().sum()
        for _ in range(3):
            grads = torch.autograd.grad(total, (left, right), create_graph=True)
            total = sum((grad.square().sum() for grad in grads), torch.zeros(()).double())
        return grads

    ours = third(pair_products(left, right, Pattern.of(row, col, (N, M))))
    for found, expected in zip(ours, third((left @ right.t())[row, col]), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


def test_a_symmetric_pattern_is_its_own_transpose():
    generator = torch.Generator().manual_seed(5)
    dense = (torch.rand(9, 9, generator=generator) < 0.4).triu(1)
    row, col = (dense | dense.T).nonzero().unbind(1)
    general = Pattern.of(row, col, (9, 9))
    ours = Pattern.symmetric(general.crow, general.col, general.order.int())
    for name in ("crow", "col", "order", "crow_t", "col_t", "order_t"):
        assert torch.equal(getattr(ours, name).long(), getattr(general, name).long()), name
    weight = torch.rand(len(row), generator=generator, dtype=torch.float64)
    right = torch.rand(9, 2, generator=generator, dtype=torch.float64).requires_grad_()
    by_column = weight.index_select(0, ours.order)
    found = weighted_sums(weight, right, ours, by_column)
    matrix = torch.zeros(9, 9, dtype=torch.float64).index_put((row, col), weight)
    torch.testing.assert_close(found, matrix @ right)
    (gradient,) = torch.autograd.grad(found.square().sum(), right)
    torch.testing.assert_close(gradient, 2 * matrix.T @ (matrix @ right.detach()))
