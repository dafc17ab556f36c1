"""Single steps: replay, seeds, and the products by A_t, B_t and B_0 against whole Jacobians."""

import torch
from torch import Tensor

from lds import bilevel
from lds._random import mix, replayed
from lds.bilevel.step import Start, Step, evaluate, gradient_tree
from tests.problems import scalar

# The same float64 products summed in another order.
CLOSE = {"rtol": 1e-12, "atol": 1e-14}


def noisy(w: Tensor, lam: Tensor) -> Tensor:
    """A loss that draws: its gradient and curvature differ from seed to seed."""
    return (torch.rand(w.shape, dtype=w.dtype) * torch.sin(lam * w)).sum()


def make_step(seed: int = 5, t: int = 2) -> Step:
    dynamics = bilevel.Momentum(noisy, lr=lambda lam: 0.1 * lam, momentum=0.6)
    state = {
        "params": torch.tensor([0.3, -0.8, 1.1], dtype=torch.float64),
        "velocity": torch.tensor([0.2, 0.1, -0.4], dtype=torch.float64),
    }
    return Step(dynamics, state, scalar(1.3), t, seed)


def test_a_step_is_the_same_every_time_it_is_run_and_depends_on_its_seed():
    (first, loss), (again, loss_again) = make_step().run(), make_step().run()
    assert torch.equal(loss, loss_again)
    assert all(torch.equal(first[k], again[k]) for k in first)
    assert not any(leaf.requires_grad for leaf in [loss, *first.values()])
    other, _ = make_step(seed=6).run()
    assert not torch.equal(first["params"], other["params"])


def test_products_from_the_left_equal_those_with_the_jacobians():
    step = make_step()

    def apply(w: Tensor, v: Tensor, lam: Tensor) -> tuple[Tensor, Tensor]:
        with replayed(step.seed):
            new = step.dynamics.step({"params": w, "velocity": v}, lam, step.t)
        return new["params"], new["velocity"]

    jacobian = torch.autograd.functional.jacobian(apply, (*step.state.values(), step.hyper))
    alpha = [torch.tensor(a, dtype=torch.float64) for a in ([1.0, -2.0, 0.5], [0.3, 0.7, -1.0])]
    to_state, to_hyper = step.vjp(alpha)
    for j, got in enumerate([*to_state, *to_hyper]):
        expected = sum(alpha[i] @ jacobian[i][j] for i in range(2))
        torch.testing.assert_close(got, expected, **CLOSE)


def test_none_is_a_zero_that_was_never_formed():
    step = make_step()
    zero = torch.zeros(3, dtype=torch.float64)
    alpha = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    for short, full in (([alpha, None], [alpha, zero]), ([None, alpha], [zero, alpha])):
        for got, expected in zip(step.vjp(short)[0], step.vjp(full)[0], strict=True):
            torch.testing.assert_close(got, expected, **CLOSE)
    assert step.vjp([None, None]) == ([None, None], [None])


def test_the_product_by_the_start():
    """Φ_0(λ) = λ² + noise: B_0 = 2λ, whatever was drawn."""
    dynamics = bilevel.Adam(
        noisy, start=lambda params, lam: params + lam["s"] ** 2 + torch.rand_like(params)
    )
    lam = {"s": torch.tensor([2.0, -3.0], dtype=torch.float64), "other": scalar(1.0)}
    start = Start(dynamics, torch.zeros(2, dtype=torch.float64), lam, seed=8)
    assert torch.equal(start.run()["params"], start.run()["params"])
    alpha = [torch.tensor([1.0, 5.0], dtype=torch.float64), None, None]
    to_s, to_other = start.vjp(alpha)
    torch.testing.assert_close(to_s, torch.tensor([4.0, -30.0], dtype=torch.float64), **CLOSE)
    assert to_other is None


def test_the_identity_start_depends_on_no_hyperparameter():
    start = Start(bilevel.GradientDescent(noisy), scalar(1.0), scalar(2.0), seed=0)
    assert start.vjp([scalar(1.0)]) == [None]


def test_partial_derivatives_of_the_outer_objective():
    """E = tλΣw²: ∂E/∂w = 2tλw and ∂E/∂λ = tΣw²; E does not look at the velocity."""
    dynamics = bilevel.Momentum(noisy)
    state = make_step().state
    outer = evaluate(dynamics, lambda w, lam, t: t * lam * (w**2).sum(), state, scalar(0.7), 3, 0)
    w = state["params"]
    torch.testing.assert_close(outer.value, 2.1 * (w**2).sum(), **CLOSE)
    torch.testing.assert_close(outer.adjoint[0], 4.2 * w, **CLOSE)
    assert outer.adjoint[1] is None
    torch.testing.assert_close(outer.direct[0], 3 * (w**2).sum(), **CLOSE)
    assert not outer.value.requires_grad


def test_seeds_are_the_same_on_every_machine_and_tell_their_numbers_apart():
    assert mix(0) == 0xE220A8397B1DCDAF >> 1  # the published first output of splitmix64 from 0
    assert mix(1, 2, -3) == 7510213797696614745
    numbers = [mix(a, b, c) for a in range(12) for b in range(12) for c in range(-4, 12)]
    assert len(set(numbers)) == len(numbers)
    assert all(0 <= number < 1 << 63 for number in numbers)
    # A seed must move as a whole: neighbours differ in about half of the 63 bits.
    flips = [(mix(3, t) ^ mix(3, t + 1)).bit_count() for t in range(200)]
    assert 28 < sum(flips) / 200 < 35


def test_replayed_seeds_the_block_and_restores_the_outside():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    with replayed(7):
        first = torch.rand(3)
    assert torch.equal(torch.get_rng_state(), before)
    with replayed(7):
        assert torch.equal(torch.rand(3), first)


def test_gradients_that_were_never_formed_become_zeros_like_their_leaf():
    hyper = {"a": torch.ones(2, 3), "b": [scalar(1.0), scalar(2.0)]}
    grad = gradient_tree(hyper, [None, scalar(4.0), None])
    assert torch.equal(grad["a"], torch.zeros(2, 3))
    assert grad["b"] == [scalar(4.0), scalar(0.0)]
