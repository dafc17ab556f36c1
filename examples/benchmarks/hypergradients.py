"""Adapters of `lds.bilevel` for a program that compares libraries of hypergradients.

The program (`bench_peers.py`, not part of this project) imports this file with --plugin. A problem
`p` has weights, losses of (weights, hyper), settings lr(h), mu(h), and fresh hyperparameters;
an adapter returns the gradients by these.
"""

from typing import Any

from lds import bilevel


def _adapter(name: str, suites: tuple[str, ...], method: Any) -> Any:
    def adapter(p: Any, n_steps: int) -> Any:
        dynamics = bilevel.Momentum(p.inner_loss, lr=p.lr, momentum=p.mu)
        return bilevel.hypergradient(
            dynamics, p.outer_loss, p.w0, p.hparams(), n_steps, method=method
        ).grad

    adapter.suites = suites  # type: ignore[attr-defined]
    adapter.__name__ = name
    return adapter


def _implicit(method: Any) -> Any:
    def adapter(p: Any, n_steps: int) -> Any:  # at a solution that is given
        dynamics = bilevel.GradientDescent(p.inner_loss, lr=0.1)
        return bilevel.hypergradient(
            dynamics, p.outer_loss, p.solution(), p.hparams(), n_steps=0, method=method
        ).grad

    adapter.suites = ("implicit", "implicit64")  # type: ignore[attr-defined]
    return adapter


adapter_lds = _adapter("lds", ("reverse",), bilevel.Reverse())
adapter_lds_tape = _adapter("lds_tape", ("reverse",), bilevel.Reverse(tape=True))
adapter_lds_sqrt = _adapter("lds_sqrt", ("reverse",), bilevel.Reverse(checkpoint="sqrt"))
adapter_lds_forward = _adapter("lds_forward", ("forward",), bilevel.Forward())
adapter_lds_cg = _implicit(bilevel.ConjugateGradient(n_iter=20))
adapter_lds_fixed_point = _implicit(bilevel.FixedPoint(n_iter=20))
