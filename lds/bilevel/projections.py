"""Euclidean projections of hyperparameters onto convex sets.

Each function here makes a projection; `solve` applies it to the first hyperparameters and after
every outer step. A projection made here takes a tensor, or a tree of them, leaf by leaf.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from lds._numbers import real
from lds._projections import box as clip
from lds._projections import simplex as onto_simplex
from lds.bilevel.checks import in_range
from lds.bilevel.tensors import Tree, tree_map

Projection = Callable[[Tree], Tree]


def box(lower: float | Tensor = 0.0, upper: float | Tensor = 1.0) -> Projection:
    """Make the projection onto {x: lower <= x_i <= upper}.

    Arguments:
        lower, upper: numbers (±inf for none), or tensors that broadcast to the leaf.

    Raises:
        ValueError: a lower bound is above its upper one.
    """
    for name, bound in (("lower", lower), ("upper", upper)):
        if not isinstance(bound, Tensor):
            real(f"box: {name}", bound, "a number or a tensor")
    if bool((torch.as_tensor(lower) > torch.as_tensor(upper)).any()):
        raise ValueError(f"box: lower must nowhere be above upper, got {lower} and {upper}")
    if isinstance(lower, Tensor) or isinstance(upper, Tensor):
        return _leafwise(lambda x: clip(x, lower, upper))
    return _leafwise(lambda x: x.clamp(lower, upper))  # in a third of the time


def non_negative() -> Projection:
    """Make the projection onto {x: x_i >= 0}, the max of Algorithm 6."""
    return _leafwise(lambda x: x.clamp(min=0))


def simplex(total: float = 1.0) -> Projection:
    """Make the projection onto {x: x_i >= 0, Σ x_i = total} in the last dimension.

    Arguments:
        total: positive and finite.
    """
    in_range("simplex: total", total)
    return _leafwise(lambda x: onto_simplex(x, total))


def symmetric_non_negative() -> Projection:
    """Make the projection onto square matrices with C = Cᵀ and entries of 0 or more (§7.1.1).

    It averages C with its transpose and then sets negative entries to 0. The second projection
    keeps the symmetry, so the result is the nearest matrix in both sets.
    """
    return _leafwise(lambda x: (0.5 * (x + _transposed(x))).clamp(min=0))


def l1_ball(radius: float = 1.0) -> Projection:
    """Make the projection onto {x: Σ |x_i| <= radius} over all entries of a leaf.

    Arguments:
        radius: positive and finite.

    References:
        Duchi et al., 2008, https://dl.acm.org/doi/10.1145/1390156.1390191
    """
    in_range("l1_ball: radius", radius)

    def project(x: Tensor) -> Tensor:
        if float(x.abs().sum()) <= radius:
            return x.clone()
        size = onto_simplex(x.abs().reshape(-1), radius)
        return x.sign() * size.view(x.shape)

    return _leafwise(project)


def spectral_ball(radius: float = 1.0) -> Projection:
    """Make the projection onto matrices whose singular values are at most `radius`.

    A leaf may have batch dimensions in front.

    Arguments:
        radius: positive and finite.
    """
    in_range("spectral_ball: radius", radius)

    def project(x: Tensor) -> Tensor:
        if x.dim() < 2:
            raise ValueError(f"spectral_ball: a leaf must be a matrix, got {tuple(x.shape)}")
        return _clipped(x, radius)

    return _leafwise(project)


def convolution_ball(size: tuple[int, int], radius: float = 1.0) -> Projection:
    """Make a map to kernels whose circular convolution has singular values up to `radius` (§6.3.4).

    The Fourier transform makes a circular convolution block diagonal: each frequency has one small
    matrix from input to output channels, whose singular values are clipped. The clipped operator
    has a kernel as large as the image. It is cut to the size of the given kernel, and scaled down
    if that exceeds the radius. So every result lies in the ball, close to the projection.

    References:
        Sedghi, Gupta and Long, 2019, https://arxiv.org/abs/1805.10408

    Arguments:
        size: height and width of the images.
        radius: positive and finite.
    """
    in_range("convolution_ball: radius", radius)

    def project(kernel: Tensor) -> Tensor:
        h, w = kernel.shape[-2:] if kernel.dim() == 4 else (math.inf, math.inf)
        if h > size[0] or w > size[1]:
            raise ValueError(
                "convolution_ball: a kernel must be (out, in, height, width), no larger than the "
                f"images, {size}, got {tuple(kernel.shape)}"
            )
        clipped = _clipped(_frequencies(kernel, size), radius)
        cut: Tensor = (
            torch.fft.ifft2(clipped.permute(2, 3, 0, 1)).real[..., :h, :w].to(kernel.dtype)
        )
        largest = float(torch.linalg.svdvals(_frequencies(cut, size)).max())
        return cut.contiguous() if largest <= radius else cut * (radius / largest)

    return _leafwise(project)


def _frequencies(kernel: Tensor, size: tuple[int, int]) -> Tensor:
    """Compute the operator of each frequency, `(height, width, out, in)`."""
    found: Tensor = torch.fft.fft2(kernel, s=size).permute(2, 3, 0, 1)
    return found


def _clipped(x: Tensor, radius: float) -> Tensor:
    """Compute the nearest matrices without a singular value above `radius`."""
    u, s, vh = torch.linalg.svd(x, full_matrices=False)
    found: Tensor = (u * s.clamp(max=radius).unsqueeze(-2)) @ vh
    return found


def _leafwise(project: Callable[[Tensor], Tensor]) -> Projection:
    """Apply `project` to each floating point leaf; integer ones stay as they are."""

    def apply(tree: Tree) -> Tree:
        return tree_map(lambda x: project(x) if x.is_floating_point() else x, tree)

    return apply


def _transposed(x: Tensor) -> Tensor:
    if x.dim() < 2 or x.shape[-1] != x.shape[-2]:
        raise ValueError(
            f"symmetric_non_negative: a leaf must be a square matrix, got {tuple(x.shape)}"
        )
    return x.mT
