"""Implicit methods against dense linear algebra, and what they say about their solve."""

import warnings

import numpy as np
import pytest
import torch
from torch import Tensor

from lds import bilevel
from lds.bilevel.linear import conjugate_gradient, fixed_point
from tests.problems import scalar

# Two routes to one float64 number through systems of condition 20 at most.
CLOSE = {"rtol": 1e-9, "atol": 1e-12}


def spd(n: int, low: float, high: float, seed: int = 0) -> Tensor:
    """A symmetric matrix with eigenvalues spread from `low` to `high`."""
    rng = np.random.default_rng(seed)
    Q, _ = np.linalg.qr(rng.standard_normal((n, n)))
    return torch.tensor(Q @ np.diag(np.linspace(low, high, n)) @ Q.T)


def vector(n: int, seed: int) -> Tensor:
    return torch.tensor(np.random.default_rng(seed).standard_normal(n))


class Quadratic:
    """L = wᵀHw/2 - λᵀBw, E = cᵀw + w²/2: w* = H⁻¹Bᵀλ and ∇f = B H⁻¹ (c + w*)."""

    def __init__(self, n: int = 6, low: float = 0.5, high: float = 2.0) -> None:
        self.H, self.n = spd(n, low, high), n
        self.B = torch.tensor(np.random.default_rng(1).standard_normal((3, n)))
        self.c, self.lam = vector(n, 2), vector(3, 3)

    def inner(self, w: Tensor, lam: Tensor) -> Tensor:
        return 0.5 * w @ self.H @ w - lam @ self.B @ w

    def outer(self, w: Tensor, lam: Tensor) -> Tensor:
        return self.c @ w + 0.5 * w @ w

    def solution(self) -> Tensor:
        return torch.linalg.solve(self.H, self.B.T @ self.lam)

    def grad(self) -> Tensor:
        return self.B @ torch.linalg.solve(self.H, self.c + self.solution())

    def run(self, method, make=bilevel.GradientDescent, w=None, **options):
        w = self.solution() if w is None else w
        return bilevel.hypergradient(
            make(self.inner, 0.4), self.outer, w, self.lam, 0, method=method, **options
        )


@pytest.mark.parametrize("n", [1, 4, 9])
def test_conjugate_gradient_within_as_many_steps_as_weights(n):
    problem = Quadratic(n)
    result = problem.run(bilevel.ConjugateGradient(n_iter=n))
    torch.testing.assert_close(result.grad, problem.grad(), **CLOSE)
    assert result.info["n_iter"] <= n
    assert result.info["residual"] < 1e-9
    if n > 1:
        early = problem.run(bilevel.ConjugateGradient(n_iter=n - 1))
        assert float((early.grad - problem.grad()).norm()) > 1e-6, "one step less would do"


def test_conjugate_gradient_takes_as_many_steps_as_there_are_eigenvalues():
    problem = Quadratic(8)
    problem.H = torch.diag(torch.tensor([1.0, 1.0, 1.0, 3.0, 3.0, 3.0, 7.0, 7.0]).double())
    result = problem.run(bilevel.ConjugateGradient(n_iter=50, tol=1e-12))
    assert result.info["n_iter"] == 3
    torch.testing.assert_close(result.grad, problem.grad(), **CLOSE)


@pytest.mark.parametrize(
    "make",
    [bilevel.GradientDescent, bilevel.Momentum, bilevel.Adam, bilevel.RMSprop],
)
def test_conjugate_gradient_is_the_same_whatever_the_optimiser(make):
    problem = Quadratic()
    result = problem.run(bilevel.ConjugateGradient(n_iter=6), make)
    torch.testing.assert_close(result.grad, problem.grad(), **CLOSE)


@pytest.mark.parametrize("make", [bilevel.GradientDescent, bilevel.Momentum])
def test_the_fixed_point_through_buffers_too(make):
    problem = Quadratic()
    options = {} if make is bilevel.GradientDescent else {"momentum": 0.4}
    result = problem.run(
        bilevel.FixedPoint(n_iter=400, tol=1e-13), lambda L, lr: make(L, lr, **options)
    )
    torch.testing.assert_close(result.grad, problem.grad(), **CLOSE)
    assert result.info["n_iter"] < 400


def test_weights_that_are_one_tensor_twice_are_two():
    """E sees the second alone; their adjoints must not be mixed up."""
    w = scalar(0.0)

    def inner(w, lam):
        return 0.5 * (w[0] - lam) ** 2 + (w[1] - 2 * lam) ** 2

    for method in (bilevel.ConjugateGradient(4), bilevel.FixedPoint(200)):
        for k, slope in ((0, 1.0), (1, 2.0)):
            result = bilevel.hypergradient(
                bilevel.Momentum(inner, 0.3, 0.2),
                lambda w, lam, k=k: w[k],
                [w, w],
                scalar(0.0),
                0,
                method=method,
            )
            torch.testing.assert_close(result.grad, scalar(slope), **CLOSE)


# A dynamics of one's own: q (I - A) = b.


class Affine:
    """Φ(w, λ) = Aw + Bᵀλ, E = cᵀw: ∇f = B (I - Aᵀ)⁻¹ c."""

    def __init__(self, A: Tensor) -> None:
        self.A, n = A, len(A)
        self.B = torch.tensor(np.random.default_rng(1).standard_normal((2, n)))
        self.c, self.lam = vector(n, 2), vector(2, 3)
        self.dynamics = bilevel.Dynamics(
            lambda params, lam: params,
            lambda w, lam, t: self.A @ w + lam @ self.B,
            lambda w: w,
        )

    def grad(self) -> Tensor:
        identity = torch.eye(len(self.A), dtype=torch.float64)
        return self.B @ torch.linalg.solve(identity - self.A.T, self.c)

    def run(self, method, n_steps=0):
        w = torch.zeros_like(self.c)
        return bilevel.hypergradient(
            self.dynamics, lambda w, lam: self.c @ w, w, self.lam, n_steps, method=method
        )


def rotation(radius: float, angle: float) -> Tensor:
    c, s = np.cos(angle), np.sin(angle)
    return radius * torch.tensor([[c, -s], [s, c]])


def nonsymmetric(n: int = 5, radius: float = 0.7) -> Tensor:
    A = torch.tensor(np.random.default_rng(7).standard_normal((n, n)))
    return radius * A / torch.linalg.eigvals(A).abs().max()


@pytest.mark.parametrize("normal", [None, True])
def test_normal_equations_on_a_jacobian_that_is_not_symmetric(normal):
    problem = Affine(nonsymmetric())
    result = problem.run(bilevel.ConjugateGradient(n_iter=5, normal_equations=normal))
    # The normal equations square a condition of 10: some digits are lost in 5 steps.
    torch.testing.assert_close(result.grad, problem.grad(), rtol=1e-6, atol=1e-8)
    assert result.info["n_iter"] <= 5
    full = problem.run(bilevel.ConjugateGradient(n_iter=20, normal_equations=normal))
    torch.testing.assert_close(full.grad, problem.grad(), **CLOSE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bilevel.ContractionWarning)
        plain = problem.run(bilevel.ConjugateGradient(n_iter=20, normal_equations=False))
    assert float((plain.grad - problem.grad()).norm()) > 1e-3, "it is needed"


def test_the_symmetry_of_a_jacobian_is_seen_whatever_the_number_of_weights():
    """Φ of a momentum with decay, at its solution w = aλ / (a + ρ) of eigenvalues a."""
    n, rho = 10_000, 0.1
    a, lam = torch.linspace(0.5, 2, n).double(), scalar(0.5)
    dynamics = bilevel.Momentum(
        lambda w, lam: 0.5 * (a * (w - lam) ** 2).sum(), 0.3, 0.9, weight_decay=rho
    )
    ratio = a / (a + rho)
    result = bilevel.hypergradient(
        dynamics,
        lambda w, lam: 0.5 * ((w - 1) ** 2).mean(),
        ratio * lam,
        lam,
        0,
        method=bilevel.ConjugateGradient(60, tol=1e-10),
    )
    exact = ((ratio * lam - 1) * ratio).mean()
    torch.testing.assert_close(result.grad, exact, rtol=1e-6, atol=0)


def test_a_symmetric_jacobian_is_solved_without_normal_equations():
    """They would square the eigenvalues, and so merge 0.5 and -0.5 of I - A: fewer steps."""
    calls = []
    problem = Affine(spd(5, -0.3, 0.8))
    inner = problem.dynamics.step

    def counted(w, lam, t):
        calls.append(t)
        return inner(w, lam, t)

    problem.dynamics.step = counted
    result = problem.run(bilevel.ConjugateGradient(n_iter=5))
    torch.testing.assert_close(result.grad, problem.grad(), **CLOSE)
    forced = problem.run(bilevel.ConjugateGradient(n_iter=5, normal_equations=False))
    assert torch.equal(result.grad, forced.grad)


def test_weight_decay_of_adamw_moves_the_fixed_point():
    """w = (1-ηρ)w - η g/(…): CG must use I - ∂Φ/∂s. Against reverse mode run to convergence."""
    problem = Quadratic(3)

    def inner(w, lam):
        return problem.inner(w, lam[:3])

    dynamics = bilevel.AdamW(inner, 0.5, (0.3, 0.3), eps=1.0, weight_decay=0.3)
    args = (dynamics, problem.outer, torch.zeros(3, dtype=torch.float64), problem.lam, 120)
    exact = bilevel.hypergradient(*args).grad
    solved = bilevel.hypergradient(*args, method=bilevel.ConjugateGradient(60))
    assert solved.info["residual"] < 1e-8
    torch.testing.assert_close(solved.grad, exact, rtol=1e-6, atol=1e-9)
    iterated = bilevel.hypergradient(*args, method=bilevel.FixedPoint(120))
    torch.testing.assert_close(iterated.grad, exact, rtol=1e-6, atol=1e-9)


# What the solve says of itself.


def relative_residual(M: Tensor, q: Tensor, b: Tensor) -> float:
    return float((b - q @ M).norm() / b.norm())


@pytest.mark.parametrize("n_iter", [1, 2, 4, 30])
@pytest.mark.parametrize("begin", [False, True])
def test_residuals_are_those_of_the_solution(n_iter, begin):
    n = 6
    M, b = spd(n, 0.3, 1.4), vector(n, 4)
    A = torch.eye(n, dtype=torch.float64) - M
    start = [vector(n, 5)] if begin else None
    solved = conjugate_gradient(lambda q: [q[0] @ M], [b], start, n_iter, 0.0)
    expected = relative_residual(M, solved.q[0], b)
    assert solved.residual == pytest.approx(expected, rel=1e-6, abs=1e-14)
    before = fixed_point(lambda q: [q[0] @ A], [b], start, n_iter, 0.0)
    if n_iter > 1:  # that of the iterate before the last, known without a further product
        earlier = fixed_point(lambda q: [q[0] @ A], [b], start, n_iter - 1, 0.0)
        expected = relative_residual(M, earlier.q[0], b)
        assert before.residual == pytest.approx(expected, rel=1e-9)
        assert relative_residual(M, before.q[0], b) <= before.residual


@pytest.mark.parametrize("tol", [1e-2, 1e-6, 1e-10])
def test_a_tolerance_ends_the_solve_as_soon_as_it_is_met(tol):
    problem = Quadratic(12, 0.2, 2.0)
    for kind in (bilevel.ConjugateGradient, bilevel.FixedPoint):
        enough = problem.run(kind(n_iter=500, tol=tol))
        assert enough.info["residual"] <= tol
        n = enough.info["n_iter"]
        assert 1 < n < 500
        less = problem.run(kind(n_iter=n - 1))
        assert less.info["residual"] > tol


def test_an_outer_objective_that_does_not_see_the_weights_needs_no_solve():
    problem = Quadratic()
    problem.outer = lambda w, lam: lam @ lam + 0 * problem.inner(w, lam).detach()
    for method in (bilevel.ConjugateGradient(4), bilevel.FixedPoint(4)):
        result = problem.run(method)
        torch.testing.assert_close(result.grad, 2 * problem.lam, **CLOSE)
        assert result.info["residual"] == 0


def test_a_warm_start_needs_fewer_iterations_to_the_same_residual():
    problem = Quadratic(30, 0.05, 2.0)
    w = problem.solution()
    for kind in (bilevel.ConjugateGradient, bilevel.FixedPoint):
        method = kind(n_iter=2000, tol=1e-8)
        first = problem.run(method)
        again = problem.run(method, previous=first)
        assert again.info["n_iter"] <= 1
        near = problem.run(method, w=w + 1e-4, previous=first)
        cold = problem.run(method, w=w + 1e-4)
        assert near.info["n_iter"] < 0.8 * cold.info["n_iter"]
        assert near.info["residual"] <= 1e-8
        torch.testing.assert_close(near.grad, cold.grad, rtol=1e-5, atol=1e-6)
        off = problem.run(kind(n_iter=2000, tol=1e-8, warm_start=False), previous=first)
        assert off.info["n_iter"] == first.info["n_iter"]


@pytest.mark.parametrize("kind", [bilevel.ConjugateGradient, bilevel.FixedPoint])
def test_solve_warm_starts_and_reports_counts(kind):
    """Over outer steps the systems change little: fewer products for the same residual."""
    problem = Quadratic(30, 0.05, 2.0)
    counts = {}
    for warm in (True, False):
        solution = bilevel.solve(
            bilevel.GradientDescent(problem.inner, 0.9),
            problem.outer,
            problem.solution(),
            problem.lam,
            3,
            method=kind(n_iter=3000, tol=1e-6, warm_start=warm),
            n_outer=4,
            optimizer=lambda p: torch.optim.SGD(p, lr=1e-4),
        )
        assert all(record.info["residual"] <= 1e-6 for record in solution.history)
        counts[warm] = [record.info["n_iter"] for record in solution.history]
    assert counts[True][0] == counts[False][0]
    assert all(a < b for a, b in zip(counts[True][1:], counts[False][1:], strict=True)), counts


def test_negative_curvature_is_reported_with_its_number():
    def inner(w, lam):
        return 0.5 * (w[0] ** 2 - 3 * w[1] ** 2) + lam * w.sum()

    with pytest.warns(bilevel.ContractionWarning, match=r"curvature -1:.* not positive definite"):
        result = bilevel.hypergradient(
            bilevel.GradientDescent(inner),
            lambda w, lam: w.sum(),
            torch.zeros(2, dtype=torch.float64),
            scalar(1.0),
            0,
            method=bilevel.ConjugateGradient(4),
        )
    assert result.info["residual"] == 1


# Contraction.


def test_a_growing_fixed_point_iteration_is_reported_with_its_number():
    problem = Quadratic(low=0.5, high=2.0)
    with pytest.warns(bilevel.ContractionWarning, match=r"step 0: .* grows by 1\.5 a step"):
        result = problem.run(
            bilevel.FixedPoint(n_iter=60), lambda L, lr: bilevel.GradientDescent(L, 1.25)
        )
    assert result.info["contraction"] == pytest.approx(1.5, rel=1e-3)


@pytest.mark.parametrize("make", [bilevel.Adam, bilevel.RMSprop])
@pytest.mark.parametrize("n_iter", [5, 400])
def test_an_adaptive_optimiser_at_its_solution_is_no_matter_of_the_step_size(make, n_iter):
    """Whether the series overflows or only grows."""
    problem = Quadratic()
    message = rf"not a contraction.*{make.__name__} divides by .* no step size helps; use Conj"
    caught = (
        pytest.warns(bilevel.ContractionWarning, match=message)
        if n_iter == 5
        else pytest.raises(bilevel.NonFiniteError, match=message)
    )
    with caught:
        problem.run(
            bilevel.FixedPoint(n_iter), lambda L, lr: make(L, 1e-3), w=problem.solution() + 1e-6
        )


def test_a_contraction_is_reported_without_a_warning():
    problem = Quadratic(low=0.5, high=2.0)
    result = problem.run(bilevel.FixedPoint(n_iter=40))  # 1 - 0.4 · 0.5
    assert result.info["contraction"] == pytest.approx(0.8, rel=1e-2)


@pytest.mark.parametrize("n_iter", [2, 3, 5, 10, 40])
def test_no_false_alarm_where_the_jacobian_is_not_normal(n_iter):
    """Momentum's Jacobian, and turning ones, stretch some vectors before they contract."""
    problem = Quadratic(low=0.5, high=2.0)
    problem.run(
        bilevel.FixedPoint(n_iter=n_iter), lambda L, lr: bilevel.Momentum(L, 0.1, momentum=0.9)
    )
    skewed = torch.tensor([[0.6, 4.0], [-0.05, 0.6]]).double()  # |eigenvalues| = 0.75
    assert float(torch.linalg.eigvals(skewed).abs().max()) < 0.75
    Affine(skewed).run(bilevel.FixedPoint(n_iter=n_iter))


@pytest.mark.parametrize(
    ("A", "rho"),
    [
        (spd(6, 0.1, 0.9), 0.9),
        (spd(6, -1.3, 0.9), 1.3),
        (rotation(0.8, 0.7), 0.8),
        (rotation(1.1, 1.3), 1.1),
        (torch.block_diag(rotation(0.95, 0.4), spd(3, 0.1, 0.5)), 0.95),
        (torch.tensor([[0.5, 10.0], [0.0, 0.4]]).double(), 0.5),
        (nonsymmetric(5, 0.7), 0.7),
        (torch.zeros(3, 3, dtype=torch.float64), 0.0),
    ],
    ids=["spd", "indefinite", "turn", "turn-out", "turn-and-shrink", "sheared", "random", "zero"],
)
def test_the_contraction_constant_is_the_spectral_radius(A, rho):
    assert float(torch.linalg.eigvals(A).abs().max()) == pytest.approx(rho, abs=1e-12)
    problem = Affine(A)
    w = torch.zeros_like(problem.c)
    found = bilevel.contraction(problem.dynamics, w, problem.lam, n_iter=200)
    assert found == pytest.approx(rho, rel=1e-2)
    quick = bilevel.contraction(problem.dynamics, w, problem.lam)
    assert quick == pytest.approx(rho, rel=0.15)


def test_the_contraction_constant_is_taken_after_the_steps_and_of_the_built_in_dynamics():
    """Φ = w - 0.1 (w + w³): 0.9 - 0.3 w² at w, and its step may change with t."""
    dynamics = bilevel.GradientDescent(
        lambda w, lam: lam * (0.5 * w**2 + 0.25 * w**4), lambda lam, t: 0.1 / (1 + t)
    )
    w = scalar(1.0)
    assert bilevel.contraction(dynamics, w, scalar(1.0)) == pytest.approx(0.6)
    moved = 1.0 - 0.1 * 2
    expected = 1 - 0.05 * (1 + 3 * moved**2)
    assert bilevel.contraction(dynamics, w, scalar(1.0), 1) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bilevel.FixedPoint(0), r"FixedPoint\(n_iter\) must be at least 1, got 0"),
        (lambda: bilevel.ConjugateGradient(0), r"ConjugateGradient\(n_iter\) must be at least 1"),
        (lambda: bilevel.FixedPoint(tol=1.0), r"FixedPoint\(tol\) must be in \[0, 1\), got 1"),
        (lambda: bilevel.ConjugateGradient(tol=-1), r"\(tol\) must be in \[0, 1\), got -1"),
        (lambda: bilevel.Forward(0), r"Forward\(chunk\) must be None or at least 1, got 0"),
        (lambda: bilevel.contraction(None, None, None, n_iter=1), "n_iter must be at least 2"),
        (lambda: bilevel.contraction(None, None, None, -1), "n_steps must be at least 0"),
        (lambda: bilevel.Constants(1.0, 1, 1, 1, 1, 1, 1, 1), r"rho must be in \(0, 1\), got 1.0"),
        (lambda: bilevel.Constants(0.5, -1, 1, 1, 1, 1, 1, 1), "distance must be 0 or more"),
    ],
)
def test_options_out_of_range(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_nystrom_preconditioner_without_a_positive_eigenvalue_is_the_identity():
    inner = bilevel.GradientDescent(lambda w, lam: -0.5 * ((w - lam) ** 2).sum(), lr=0.1)
    found = []
    for rank in (0, 2):
        with pytest.warns(bilevel.ContractionWarning, match="curvature -1"):
            result = bilevel.hypergradient(
                inner,
                lambda w, lam: w.sum(),
                torch.ones(3),
                torch.zeros(3),
                5,
                method=bilevel.ConjugateGradient(rank=rank),
            )
        found.append(result.grad)
    assert torch.equal(*found)


METHODS = [
    bilevel.ConjugateGradient(8),
    bilevel.ConjugateGradient(8, rank=3),
    bilevel.ConjugateGradient(8, normal_equations=True),
]


@pytest.mark.parametrize("method", METHODS)
def test_a_state_with_a_counter_has_the_hypergradient_of_its_weights(method):
    """Φ moves w to λ; E = Σ (w - 2)²."""
    a = torch.tensor([0.5, 1.0, 1.5], dtype=torch.float64)
    dynamics = bilevel.Dynamics(
        lambda w, lam: {"k": torch.tensor(0), "w": w},
        lambda s, lam, t: {"k": s["k"] + 1, "w": s["w"] - a * (s["w"] - lam)},
        lambda s: s["w"],
    )
    lam = vector(3, 0)
    result = bilevel.hypergradient(
        dynamics, lambda w, lam: ((w - 2) ** 2).sum(), lam, lam, 1, method=method
    )
    torch.testing.assert_close(result.grad, 2 * (lam - 2), rtol=1e-8, atol=0)


@pytest.mark.parametrize("method", METHODS)
def test_a_number_of_another_dtype_among_the_weights(method):
    """L pulls all weights to λ; E = a + Σ (b - 2)²."""
    stiff = torch.tensor([0.5, 1.0, 1.5], dtype=torch.float64)
    lam = scalar(0.5)
    result = bilevel.hypergradient(
        bilevel.GradientDescent(
            lambda w, lam: (w["a"] - lam) ** 2 + (stiff * (w["b"] - lam) ** 2).sum(), 0.1
        ),
        lambda w, lam: w["a"] + ((w["b"] - 2) ** 2).sum(),
        {"a": torch.tensor(0.5), "b": lam.expand(3).clone()},
        lam,
        0,
        method=method,
    )
    assert float(result.grad) == pytest.approx(1 + 3 * 2 * (0.5 - 2), rel=1e-5)
