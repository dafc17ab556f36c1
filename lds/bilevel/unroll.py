"""One hypergradient: run the dynamics, let the method watch, and ask it at the end."""

from collections.abc import Callable

from torch import Tensor

from lds.bilevel.dynamics import Dynamics, with_step
from lds.bilevel.method import AbstractHypergradient, Hypergradient
from lds.bilevel.reverse import Reverse
from lds.bilevel.step import Start, Step, evaluate, gradient_tree, mix
from lds.bilevel.tensors import Tree, detach


def hypergradient(
    dynamics: Dynamics,
    outer_objective: Callable[..., Tensor],
    params: Tree,
    hyper: Tree,
    n_steps: int,
    method: AbstractHypergradient | None = None,
    seed: int = 0,
) -> Hypergradient:
    """∇_λ E(w_T(λ), λ) through `n_steps` of the dynamics (eqs. 5.8, 5.9).

    Arguments:
        dynamics: Φ, from which w_T(λ) comes.
        outer_objective: E(params, hyper[, step]) -> scalar tensor.
        params: what Φ_0 starts from, a pytree of tensors.
        hyper: λ, a pytree of tensors (or of owners of their own gradient).
        n_steps: T >= 0, how many steps are taken.
        method: how the hypergradient is computed; None is `Reverse()`.
        seed: seeds the randomness inside Φ; the same seed draws the same, and nothing outside is
            disturbed.

    Returns:
        The value E, its gradient like `hyper`, and the state s_T.

    Raises:
        ValueError: `n_steps` is negative, or an objective is not scalar.

    Example:
        >>> import torch
        >>> from lds import bilevel
        >>> inner = bilevel.GradientDescent(lambda w, lam: 0.5 * lam * (w - 2) ** 2, lr=0.5)
        >>> result = bilevel.hypergradient(
        ...     inner, lambda w, lam: w, torch.tensor(0.0), torch.tensor(1.0), n_steps=1)
        >>> result.value, result.grad
        (tensor(1.), tensor(1.))
    """
    if n_steps < 0:
        raise ValueError(f"n_steps must be at least 0, got {n_steps}; 0 evaluates E at Φ_0")
    method = Reverse() if method is None else method
    params, hyper = detach(params), detach(hyper)
    start = Start(dynamics, params, hyper, mix(seed, 0, -1))
    memory = method.start(start)
    state = start.run()
    for t in range(n_steps):
        step = Step(dynamics, state, hyper, t, mix(seed, 0, t))
        method.observe(memory, step)
        state, _ = step.run()
    objective = with_step(outer_objective, 2)
    outer = evaluate(dynamics, objective, state, hyper, n_steps, mix(seed, 0, n_steps))
    return Hypergradient(outer.value, gradient_tree(hyper, method.gradient(memory, outer)), state)
