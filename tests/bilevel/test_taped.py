"""A step that keeps its tape against one that applies Φ_t again: the same numbers, bit for bit."""

import torch

from lds import bilevel
from lds.bilevel.step import Step
from lds.bilevel.taped import TapedStep


def step(kind: type[Step], calls: list[int]) -> Step:
    """One Adam step on a loss with random noise inside, by (params, scale)."""
    x = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))

    def loss(w, hyper):
        calls.append(1)
        noise = torch.rand(3)
        return ((x @ (w * noise)).tanh() * hyper["scale"]).square().mean()

    dynamics = bilevel.Adam(loss, lr=lambda hyper: hyper["lr"])
    hyper = {"scale": torch.tensor(0.7), "lr": torch.tensor(0.1)}
    state = dynamics.start(torch.tensor([1.0, -2.0, 0.5]), hyper)
    state = Step(dynamics, state, hyper, 0, 5).run()[0]  # buffers that are not 0
    calls.clear()
    return kind(dynamics, state, hyper, 1, 6)


def test_it_gives_the_same_state_loss_and_products_with_one_application():
    once: list[int] = []
    twice: list[int] = []
    taped, plain = step(TapedStep, once), step(Step, twice)
    (state, loss), (expected, expected_loss) = taped.run(), plain.run()
    assert torch.equal(loss, expected_loss)
    for name, value in expected.items():
        assert torch.equal(state[name], value)
        assert not state[name].requires_grad
    assert not loss.requires_grad
    adjoint = [torch.tensor([0.3, -1.0, 2.0]), None, torch.ones(3)]
    ours, theirs = taped.vjp(adjoint), plain.vjp(adjoint)
    assert (len(once), len(twice)) == (1, 2)
    assert all(any(g is not None for g in group) for group in theirs)
    for mine, other in zip(ours, theirs, strict=True):
        for a, b in zip(mine, other, strict=True):
            assert a is b is None or torch.equal(a, b)


def test_the_tape_is_freed_by_the_product_which_can_still_be_asked_for_again():
    calls: list[int] = []
    taped = step(TapedStep, calls)
    taped.run()
    adjoint = [torch.ones(3), torch.ones(3), torch.ones(3)]
    first, again = taped.vjp(adjoint), taped.vjp(adjoint)
    assert len(calls) == 2
    for mine, other in zip(first, again, strict=True):
        assert all(a is b is None or torch.equal(a, b) for a, b in zip(mine, other, strict=True))


def test_a_window_of_taped_steps_has_the_hypergradient_of_plain_ones():
    grads = []
    for kind in (TapedStep, Step):
        first = step(kind, [])
        method = bilevel.Reverse(truncation=3)
        memory, state = method.start(None), first.state
        for t in range(3):
            one = kind(first.dynamics, state, first.hyper, t + 1, t)
            method.observe(memory, one)
            state, _ = one.run()
        outer = bilevel.step.evaluate(
            first.dynamics, lambda w, hyper, t: (w**2).sum(), state, first.hyper, 4, 0
        )
        grads.append(method.gradient(memory, outer))
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))
    assert all(bool(g != 0) for g in grads[0])
