"""Bounds of rounding: how far the same sums may lie apart on another processor."""

import torch
from torch import Tensor


def of_product(left: Tensor, right: Tensor) -> float:
    """The most by which two orders of the sums in `left @ right` may differ.

    Either is off by at most n/2 · ε · Σ|a||b|, for n terms (Higham, 2002, Accuracy and Stability of
    Numerical Algorithms, section 3.1). Relative to a sum that nearly cancels it has no bound.
    """
    n_terms, eps = left.shape[-1], torch.finfo(left.dtype).eps
    return n_terms * eps * float((left.abs() @ right.abs()).max())
