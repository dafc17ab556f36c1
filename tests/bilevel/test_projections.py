"""Projections of hyperparameters: feasible, idempotent, and nearest by an independent solver."""

import functools
import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor

from lds import bilevel
from lds.bilevel import outer, projections


def points(*shape: int, seed: int = 0) -> Tensor:
    rng = np.random.default_rng(seed)
    return torch.tensor(2 * rng.standard_normal(shape))


PROJECTIONS = {
    "box": (projections.box(-0.5, 1), (3, 4)),
    "box-by-entry": (projections.box(torch.tensor([0.0, -1.0, -math.inf, 0.5]), 0.5), (3, 4)),
    "non-negative": (projections.non_negative(), (3, 4)),
    "simplex": (projections.simplex(2.0), (3, 4)),
    "symmetric": (projections.symmetric_non_negative(), (4, 4)),
    "l1": (projections.l1_ball(1.5), (3, 4)),
    "spectral": (projections.spectral_ball(0.8), (2, 3, 4)),
    "convolution": (projections.convolution_ball((5, 6), 0.8), (2, 3, 3, 3)),
}


@pytest.mark.parametrize("name", PROJECTIONS)
@pytest.mark.parametrize("seed", range(3))
def test_what_is_projected_stays_and_the_input_is_left_alone(name, seed):
    project, shape = PROJECTIONS[name]
    x = points(*shape, seed=seed)
    before = x.clone()
    once = project(x)
    torch.testing.assert_close(project(once), once, rtol=0, atol=1e-12)
    assert torch.equal(x, before)
    assert once.shape == x.shape
    assert once.dtype == x.dtype
    assert not torch.equal(once, x)


@pytest.mark.parametrize("name", [n for n in PROJECTIONS if n != "convolution"])
def test_no_feasible_point_is_nearer(name):
    """<x - p, q - p> <= 0 for feasible q is what a projection p of x onto a convex set is."""
    project, shape = PROJECTIONS[name]
    x = points(*shape, seed=5)
    p = project(x)
    for seed in range(50):
        q = project(points(*shape, seed=100 + seed))
        assert float(((x - p) * (q - p)).sum()) <= 1e-9


def by_quadratic_program(x: Tensor, constraints, bounds=None) -> Tensor:
    target = x.numpy().ravel()
    solved = minimize(
        lambda q: 0.5 * ((q - target) ** 2).sum(),
        np.zeros_like(target),
        jac=lambda q: q - target,
        constraints=constraints,
        bounds=bounds,
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    )
    return torch.tensor(solved.x.reshape(x.shape))


@pytest.mark.parametrize("seed", range(3))
def test_symmetric_matrices_and_the_l1_ball_by_a_quadratic_program(seed):
    x = points(3, 3, seed=seed)
    pairs = [(3 * i + j, 3 * j + i) for i in range(3) for j in range(i)]
    equal = [{"type": "eq", "fun": lambda q, a=a, b=b: q[a] - q[b]} for a, b in pairs]
    expected = by_quadratic_program(x, equal, [(0, None)] * 9)
    found = projections.symmetric_non_negative()(x)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    assert torch.equal(found, found.T)

    # |q| as a difference of two non-negative parts; with the slope exact, as one from differences
    # ends the search early where they round badly.
    y = points(5, seed=seed)
    target = y.numpy()
    split = np.hstack([np.eye(5), -np.eye(5)])
    solved = minimize(
        lambda q: 0.5 * ((split @ q - target) ** 2).sum(),
        np.full(10, 0.05),
        jac=lambda q: split.T @ (split @ q - target),
        constraints={"type": "ineq", "fun": lambda q: 1.2 - q.sum()},
        bounds=[(0, None)] * 10,
        method="SLSQP",
        options={"ftol": 1e-15, "maxiter": 1000},
    )
    expected = torch.tensor(split @ solved.x)
    # A loss within ftol of the least is within (2 ftol)^½ = 5e-8 of where it is least.
    torch.testing.assert_close(projections.l1_ball(1.2)(y), expected, rtol=0, atol=1e-6)


def test_the_l1_ball_by_bisection_on_the_threshold():
    """Σ max(|x_i| - τ, 0) = r."""
    for seed in range(5):
        x = points(4, 5, seed=seed)
        low, high = 0.0, float(x.abs().max())
        for _ in range(100):
            tau = (low + high) / 2
            if float((x.abs() - tau).clamp(min=0).sum()) > 1.5:
                low = tau
            else:
                high = tau
        expected = x.sign() * (x.abs() - low).clamp(min=0)
        torch.testing.assert_close(projections.l1_ball(1.5)(x), expected, rtol=0, atol=1e-12)
    inside = torch.tensor([0.5, -0.25])
    assert torch.equal(projections.l1_ball(1.0)(inside), inside)


def test_the_spectral_ball_clips_singular_values_and_keeps_their_vectors():
    rng = np.random.default_rng(0)
    U, _ = np.linalg.qr(rng.standard_normal((4, 3)))
    V, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    x = torch.tensor(U @ np.diag([3.0, 1.0, 0.2]) @ V.T)
    expected = torch.tensor(U @ np.diag([0.8, 0.8, 0.2]) @ V.T)
    torch.testing.assert_close(projections.spectral_ball(0.8)(x), expected, rtol=0, atol=1e-12)


def circulant(kernel: Tensor, size: tuple[int, int]) -> Tensor:
    """The matrix of the circular cross-correlation, column by column from unit images."""
    out, inp, kh, kw = kernel.shape
    columns = []
    for c in range(inp):
        for i in range(size[0]):
            for j in range(size[1]):
                image = torch.zeros(inp, *size, dtype=kernel.dtype)
                image[c, i, j] = 1
                result = torch.zeros(out, *size, dtype=kernel.dtype)
                for a in range(kh):
                    for b in range(kw):
                        moved = image.roll((-a, -b), (1, 2))
                        result += torch.einsum("oc,chw->ohw", kernel[:, :, a, b], moved)
                columns.append(result.reshape(-1))
    return torch.stack(columns, 1)


@pytest.mark.parametrize(("shape", "size"), [((2, 3, 3, 3), (4, 5)), ((3, 2, 2, 1), (3, 4))])
@pytest.mark.parametrize("radius", [0.5, 2.0])
def test_no_singular_value_of_a_convolution_is_above_the_radius(shape, size, radius):
    kernel = points(*shape, seed=1)
    project = projections.convolution_ball(size, radius)
    before = torch.linalg.svdvals(circulant(kernel, size))
    assert float(before.max()) > radius
    projected = project(kernel)
    after = torch.linalg.svdvals(circulant(projected, size))
    assert float(after.max()) <= radius * (1 + 1e-9)
    assert float(after.max()) > 0.9 * radius, "shrunk more than it must be"
    # It is near the projection, not it: at most a tenth farther than the plain rescaling.
    scaled = kernel * (radius / before.max())
    assert float((projected - kernel).norm()) <= 1.1 * float((scaled - kernel).norm())
    inside = 0.5 * scaled
    torch.testing.assert_close(project(inside), inside, rtol=0, atol=1e-12)


def test_a_kernel_as_large_as_the_image_is_projected_exactly():
    """Nothing is cut off: the singular values of the matrix are clipped, and that is all."""
    size = (3, 4)
    kernel = points(2, 2, *size, seed=2)
    found = projections.convolution_ball(size, 1.0)(kernel)
    U, s, Vh = torch.linalg.svd(circulant(kernel, size), full_matrices=False)
    expected = (U * s.clamp(max=1.0)) @ Vh
    torch.testing.assert_close(circulant(found, size), expected, rtol=0, atol=1e-10)


def test_trees_are_projected_leaf_by_leaf():
    tree = {"a": torch.tensor([-1.0, 2.0]), "b": [torch.tensor(-3.0)]}
    found = projections.non_negative()(tree)
    assert found["a"].tolist() == [0, 2]
    assert found["b"] == [torch.tensor(0.0)]


@pytest.mark.parametrize("name", PROJECTIONS)
def test_integer_leaves_stay_as_they_are(name):
    project, shape = PROJECTIONS[name]
    number = torch.tensor(5)
    found = project({"x": points(*shape), "n": number})
    assert torch.equal(found["x"], project(points(*shape)))
    assert found["n"] is number


@pytest.mark.parametrize("project", [projections.box(0, 1), lambda h: {n: h[n] * 0 for n in h}])
def test_averaged_hyperparameters_have_the_integers_given(project):
    """Also where a projection of one's own moves all leaves."""
    solution = bilevel.solve(
        bilevel.GradientDescent(lambda w, h: 0.5 * (w - h["x"] * h["n"]) ** 2, 0.5),
        lambda w, h: (w - 2) ** 2,
        torch.tensor(0.0),
        {"x": torch.tensor(0.3), "n": torch.tensor(5)},
        30,
        n_outer=2,
        keep="averaged",
        projection=project,
    )
    assert solution.hyper["n"] == 5
    torch.testing.assert_close(solution.params, 5 * solution.hyper["x"])


def test_a_projection_may_swap_leaves():
    ordered = lambda h: {"low": h["high"], "high": h["low"]} if h["low"] > h["high"] else h  # noqa: E731
    step = outer.OuterStep(
        {"low": torch.tensor(3.0), "high": torch.tensor(1.0)},
        functools.partial(torch.optim.SGD, lr=1.0),
        ordered,
    )
    assert step.hyper == {"low": 1.0, "high": 3.0}
    step.take({"low": torch.tensor(-4.0), "high": torch.tensor(0.0)}, 0.0)
    assert step.hyper == {"low": 3.0, "high": 5.0}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: projections.box(1.0, 0.0), "box: lower must nowhere be above upper, got 1.0"),
        (lambda: projections.simplex(0), "simplex: total must be positive and finite, got 0"),
        (lambda: projections.l1_ball(-1), "l1_ball: radius must be positive and finite, got -1"),
        (lambda: projections.spectral_ball(math.nan), "spectral_ball: radius must be positive"),
        (lambda: projections.convolution_ball((3, 3), 0), "convolution_ball: radius must be pos"),
        (
            lambda: projections.spectral_ball()(torch.zeros(3)),
            r"spectral_ball: a leaf must be a matrix, got \(3,\)",
        ),
        (
            lambda: projections.symmetric_non_negative()(torch.zeros(3, 2)),
            r"must be a square matrix, got \(3, 2\)",
        ),
        (
            lambda: projections.convolution_ball((2, 4))(torch.zeros(1, 1, 3, 3)),
            r"convolution_ball: a kernel must be .* no larger than the images, \(2, 4\), got",
        ),
        (
            lambda: projections.convolution_ball((4, 4))(torch.zeros(3, 3)),
            r"convolution_ball: a kernel must be \(out, in, height, width\)",
        ),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# The first λ is projected, so every λ that is evaluated or returned is feasible.


def loops():
    inner = bilevel.GradientDescent(
        lambda w, h: 0.5 * (w - h["d"]) ** 2, lr=lambda h: h["lr"], max_grad_norm=1.0
    )
    # Lowest at the start given, so that keep="best" would return it.
    outer = lambda w, h: (h["d"] + 3) ** 2 + (h["lr"] - 0.3) ** 2 + 0.01 * w**2  # noqa: E731
    start = {"d": torch.tensor(-3.0), "lr": torch.tensor(0.3), "n": torch.tensor(7)}
    estimate = lambda h, k: (outer(h["d"], h), {name: leaf * 0 for name, leaf in h.items()})  # noqa: E731
    w = torch.tensor(0.0)
    return {
        "solve": lambda **more: bilevel.solve(inner, outer, w, start, 3, n_outer=4, **more),
        "online": lambda **more: bilevel.solve_online(inner, outer, w, start, 4, **more),
        "black box": lambda **more: bilevel.solve_black_box(estimate, start, n_outer=4, **more),
    }, start


BOXES = {"d": projections.box(0, 1), "lr": projections.box(1e-4, 0.05), "n": None}


@pytest.mark.parametrize("loop", loops()[0])
@pytest.mark.parametrize("keep", ["best", "last", "averaged"])
@pytest.mark.parametrize("form", ["by leaf", "function"])
def test_the_first_hyperparameters_are_projected(loop, keep, form):
    runs, start = loops()
    project = BOXES
    if form == "function":
        project = lambda h: {n: p(h[n]) if p else h[n] for n, p in BOXES.items()}  # noqa: E731
    seen = []
    found = runs[loop](projection=project, keep=keep, callback=lambda r: seen.append(r.hyper))
    for hyper in [*seen, found.hyper, found.last.hyper]:
        assert 0 <= float(hyper["d"]) <= 1
        assert 1e-4 <= float(hyper["lr"]) <= 0.0500001
        assert int(hyper["n"]) == 7
    assert float(start["lr"]) == pytest.approx(0.3)  # the argument is left alone
    assert float(seen[0]["d"]) == 0


def test_no_objective_meets_a_start_outside():
    met = []

    def outer(w, h):
        met.append(float(h.detach()))
        return (w - h) ** 2

    inner = bilevel.GradientDescent(lambda w, h: (w - h) ** 2, 0.1)
    bilevel.solve(
        inner,
        outer,
        torch.tensor(0.0),
        torch.tensor(-3.0),
        2,
        n_outer=1,
        projection=projections.box(0.5, 1),
    )
    assert min(met) >= 0.5


def test_a_wrong_projection_is_refused_before_any_work():
    inner = bilevel.GradientDescent(lambda w, h: pytest.fail("work was done"), 0.1)
    with pytest.raises(ValueError, match="projection must keep the shape of hyper"):
        bilevel.solve(
            inner,
            lambda w, h: w,
            torch.tensor(0.0),
            torch.ones(3),
            2,
            projection=lambda h: h.sum(),
        )
