"""Hypergradients that treat every inner gradient as a constant."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lds.bilevel.checks import check_state, unchanged
from lds.bilevel.dynamics import ObjectiveDynamics
from lds.bilevel.explain import explained
from lds.bilevel.method import AbstractHypergradient, Memory
from lds.bilevel.step import Outer, Start, Step
from lds.bilevel.tensors import Traced, Tree, add, detach, leaves, vjp


@dataclass
class _Updates(Memory):
    """The last state, with the history of all updates by λ and the first state."""

    start: Start | None = None
    hyper: Traced | None = None
    state: Tree = None


@dataclass(frozen=True)
class FirstOrder(AbstractHypergradient):
    """Reverse mode in which every ∇L is a constant: first-order MAML.

    λ acts through Φ_0 (MAML: λ is the start) and through the settings of the optimiser; what it
    does inside L is left out, which is a bias. For a start alone and gradient descent the
    hypergradient is ∂E/∂λ + ∂E/∂w_T ∂Φ_0/∂λ. Time: one application of ∇L a step and none on the way
    back, no second derivatives; memory: the history of the updates, which for gradient descent with
    a number as its learning rate holds no state. Buffers of a module are constants, too.

    References:
        Finn et al., 2017, §5.2, https://arxiv.org/abs/1703.03400; Nichol et al., 2018,
        https://arxiv.org/abs/1803.02999

    Raises:
        TypeError: in use, the dynamics is not made of an inner objective.
        ValueError: in use, a hyperparameter acts inside the inner objective alone.

    Examples:
        >>> import torch
        >>> from lds import bilevel
        >>> inner, outer = bilevel.over_tasks(
        ...     lambda w, start, goal: 0.5 * (w - goal) ** 2,
        ...     lambda w, start, goal: 0.5 * (w - goal) ** 2,
        ...     torch.tensor([1.0, 3.0]))
        >>> descent = bilevel.GradientDescent(
        ...     inner, 0.5, start=lambda params, start: bilevel.stacked(start, 2))
        >>> bilevel.hypergradient(
        ...     descent, outer, torch.zeros(2), torch.tensor(0.0), 1, bilevel.FirstOrder()).grad
        tensor(-1.)
    """

    def start(self, start: Start | None, n_steps: int | None = None) -> _Updates:
        """Make a memory; the first step applies Φ_0."""
        return _Updates(start=start)

    def observe(self, memory: _Updates, step: Step) -> tuple[Tree, Tensor | None]:
        """Take the step, and keep the history of its update."""
        self._begin(memory, step)
        assert memory.hyper is not None
        memory.state, loss = _advance(step, memory.state, memory.hyper.tree)
        return detach(memory.state), loss

    def gradient(self, memory: _Updates, outer: Outer) -> list[Any]:
        """Go back through the updates, and add ∂E/∂λ."""
        self._begin(memory, outer.step)
        assert memory.hyper is not None
        return add(outer.direct, vjp(leaves(memory.state), outer.adjoint, [memory.hyper])[0])

    def trace(self, step: Step) -> tuple[Traced, Tree]:
        """Apply the step at traced λ with a constant ∇L."""
        hyper = Traced(step.hyper)
        return hyper, _advance(step, step.state, hyper.tree)[0]

    def _begin(self, memory: _Updates, step: Step) -> None:
        """Apply Φ_0, or begin at the state of a run that continues; nothing if that is done."""
        if memory.hyper is not None:
            return
        if memory.start is None:
            memory.hyper, memory.state = Traced(step.hyper), step.state
        else:
            memory.hyper, memory.state = memory.start.traced()


def _advance(step: Step, state: Tree, hyper: Tree) -> tuple[Tree, Tensor]:
    """Apply Φ_t with a constant ∇L; return s_t with the history of the update, and the loss.

    Arguments:
        step: the step, at the values of `state` and `hyper`.
        state, hyper: traced.

    Raises:
        TypeError: the dynamics is not made of an inner objective.
    """
    phi = step.dynamics
    if not isinstance(phi, ObjectiveDynamics):
        raise TypeError(
            "FirstOrder needs a dynamics made of an inner objective, such as GradientDescent, "
            f"Momentum or Adam, got {type(phi).__name__}; use Reverse()"
        )
    what = f"step {step.t} of the dynamics"
    values = detach(state)
    with explained(what), step.replay(), unchanged(what, state=values, hyper=step.hyper):
        with torch.no_grad():
            loss, grads, buffers = phi.value_and_grad(
                values["params"], values.get("buffers", []), step.hyper, step.t
            )
        with torch.enable_grad():
            new = phi.update(state, grads, hyper, step.t)
    check_state(new, {name: values[name] for name in new}, step.t)
    return new | {"buffers": buffers} if buffers else new, loss.detach()
