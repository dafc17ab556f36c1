"""A window of steps and its hypergradient, as the learner takes them."""

from lds.bilevel.reverse import Reverse
from lds.bilevel.step import Start, evaluate


def hypergradient(dynamics, objective, params, hyper, step_kind, seeds, outer_seed):
    """E after a step a seed, and the gradients by the leaves of `hyper` through all of them."""
    method = Reverse(truncation=len(seeds))
    start = Start(dynamics, params, hyper, 0)
    state, memory = start.run(), method.start(start)
    for t, seed in enumerate(seeds):
        step = step_kind(dynamics, state, hyper, t, seed)
        method.observe(memory, step)
        state, _ = step.run()
    outer = evaluate(
        dynamics, lambda w, lam, t: objective(w, lam), state, hyper, len(seeds), outer_seed
    )
    return outer.value, method.gradient(memory, outer)
