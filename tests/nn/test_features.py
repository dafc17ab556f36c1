"""Dense and sparse features: the same product and the same distribution of dropout."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from lds.nn.features import SPARSE_BELOW, DenseFeatures, SparseFeatures, drop, node_features
from tests.rounding import of_product

CPU = torch.device("cpu")


def matrix(density: float, shape=(30, 12), seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.standard_normal(shape) * (rng.random(shape) < density)


def random_weight(n: int = 12) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(n, 4, dtype=torch.float64, generator=generator)


# drop


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_drop_zeroes_a_share_p_and_scales_the_others(p, dtype):
    n = 100_000
    torch.manual_seed(0)
    x = torch.full((n,), 2.0, dtype=dtype)
    y = drop(x, p)
    assert y.dtype == dtype
    kept = y != 0
    error = abs(float(kept.double().mean()) - (1 - p))
    assert error <= 4 * (p * (1 - p) / n) ** 0.5
    torch.testing.assert_close(y[kept], torch.full_like(y[kept], 2 / (1 - p)))
    # So the mean stays, within the same four standard errors.
    assert abs(float(y.double().mean()) - 2) <= 2 / (1 - p) * 4 * (p * (1 - p) / n) ** 0.5


def test_nothing_is_dropped_or_drawn_at_zero():
    state = torch.get_rng_state()
    x = torch.randn(5, generator=torch.Generator().manual_seed(0))
    assert drop(x, 0.0) is x
    assert torch.equal(torch.get_rng_state(), state)


def test_the_mask_follows_torchs_random_state():
    x = torch.ones(100)
    torch.manual_seed(1)
    first, second = drop(x, 0.5), drop(x, 0.5)
    torch.manual_seed(1)
    assert torch.equal(drop(x, 0.5), first)
    assert not torch.equal(first, second)


def test_drop_passes_gradients_through_its_mask():
    x = torch.ones(50, dtype=torch.float64, requires_grad=True)
    torch.manual_seed(2)
    y = drop(x, 0.3)
    (grad,) = torch.autograd.grad(y.sum(), x)
    assert torch.equal(grad, y.detach())


# Dense and sparse


@pytest.mark.parametrize("density", [0.0, 0.1, 0.9])
def test_both_forms_give_the_product_with_the_weight(density):
    x, w = matrix(density), random_weight()
    dense = torch.from_numpy(x)
    close = {"rtol": 0, "atol": of_product(dense, w)}
    for features in (
        DenseFeatures(dense),
        SparseFeatures(sp.csr_array(x), torch.float64, CPU),
    ):
        assert features.shape == (30, 12)
        assert (features.dtype, features.device) == (torch.float64, CPU)
        torch.testing.assert_close(features.matmul(w), dense @ w, **close)


def test_the_sparse_product_is_differentiable_twice():
    features = SparseFeatures(sp.csr_array(matrix(0.2)), torch.float64, CPU)
    w = random_weight().requires_grad_()
    assert torch.autograd.gradcheck(features.matmul, w)
    assert torch.autograd.gradgradcheck(features.matmul, w)


def test_gradients_of_the_sparse_product_use_the_mask_of_its_value():
    """With dropout, Xᵀ in the backward pass is the transpose of the X that was drawn."""
    x = matrix(0.2)
    features = SparseFeatures(sp.csr_array(x), torch.float64, CPU)
    torch.manual_seed(3)
    drawn = features.matmul(torch.eye(12, dtype=torch.float64), 0.5)  # the masked X itself
    w = random_weight().requires_grad_()
    torch.manual_seed(3)
    product = features.matmul(w, 0.5)
    close = {"rtol": 0, "atol": of_product(drawn, w.detach())}
    torch.testing.assert_close(product.detach(), drawn @ w.detach(), **close)
    cotangent = torch.from_numpy(matrix(1.0, (30, 4), seed=4))
    (grad,) = torch.autograd.grad(product, w, cotangent)
    close = {"rtol": 0, "atol": of_product(drawn.T, cotangent)}
    torch.testing.assert_close(grad, drawn.T @ cotangent, **close)


def test_dropout_on_sparse_features_has_the_distribution_of_that_on_dense_ones():
    """Stored entries are kept or zeroed and scaled; the others stay 0."""
    x = np.where(matrix(0.2, (200, 50)) != 0, 3.0, 0.0)
    features = SparseFeatures(sp.csr_array(x), torch.float64, CPU)
    torch.manual_seed(5)
    drawn = features.matmul(torch.eye(50, dtype=torch.float64), 0.4).numpy()
    assert not drawn[x == 0].any()
    stored = drawn[x != 0]
    kept = stored[stored != 0]
    np.testing.assert_allclose(kept, 5.0, rtol=1e-12)
    assert abs(len(kept) / len(stored) - 0.6) <= 4 * (0.6 * 0.4 / len(stored)) ** 0.5


def test_unsorted_rows_and_stored_zeros_are_accepted_and_not_changed():
    indices, data = np.array([3, 0, 2, 1]), np.array([1.0, 2.0, 0.0, 4.0])
    x = sp.csr_array((data, indices, np.array([0, 2, 2, 4])), shape=(3, 4))
    expected = torch.from_numpy(x.toarray())
    features = SparseFeatures(x, torch.float64, CPU)
    assert torch.equal(features.matmul(torch.eye(4).double()), expected)
    assert indices.tolist() == [3, 0, 2, 1], "the caller's arrays must stay as they are"
    assert data.tolist() == [1.0, 2.0, 0.0, 4.0]


# The choice between them


def test_storage_depends_on_the_share_of_non_zero_entries_alone():
    few, many = matrix(SPARSE_BELOW / 2), matrix(0.9)
    for form in (np.asarray, sp.csr_array, sp.csr_matrix):
        assert isinstance(node_features(form(few)), SparseFeatures)
        assert isinstance(node_features(form(many)), DenseFeatures)


@pytest.mark.parametrize("density", [0.1, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_features_have_the_requested_dtype(density, dtype):
    x = matrix(density)
    features = node_features(x, dtype)
    product = features.matmul(random_weight().to(dtype))
    assert features.dtype == product.dtype == dtype
    rtol = 1e-5 if dtype == torch.float32 else 1e-13  # the precision of the product
    torch.testing.assert_close(
        product.double(), torch.from_numpy(x) @ random_weight(), rtol=rtol, atol=rtol
    )


def test_dense_features_are_a_copy():
    x = matrix(1.0)
    features = node_features(x, torch.float64)
    before = features.matmul(random_weight())
    x[:] = 0
    assert torch.equal(features.matmul(random_weight()), before)


def test_repeated_entries_are_summed():
    plain = sp.csr_array(matrix(0.2))
    parts = np.repeat(plain.data / 2, 2), np.repeat(plain.indices, 2), plain.indptr * 2
    repeated = sp.csr_array(parts, shape=plain.shape)
    wanted = torch.tensor(plain.toarray())
    for x in (SparseFeatures(repeated, torch.float64, CPU), node_features(repeated, torch.float64)):
        assert isinstance(x, SparseFeatures)
        assert x.share == plain.nnz / wanted.numel()
        torch.testing.assert_close(x.dense(), wanted)
        torch.testing.assert_close(x.column_squares(), wanted.square().sum(0))
    assert repeated.nnz == 2 * plain.nnz
