"""Learn the graph and the network of a problem, by any method."""

from pathlib import Path

import torch

from lds._warn_once import once
from lds.structure.checks import check_device
from lds.structure.context import OnIteration, OnMember, RunContext
from lds.structure.methods.base import Method
from lds.structure.methods.committee import Committee
from lds.structure.methods.registry import implementation
from lds.structure.problem import Problem
from lds.structure.result import Learned
from lds.structure.surroundings import own_settings


def learn(
    problem: Problem,
    method: Method | None = None,
    *,
    seed: int = 0,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    on_iteration: OnIteration | None = None,
    on_member: OnMember | None = None,
    checkpoint: str | Path | None = None,
    resume: bool = False,
    n_jobs: int | None = None,
) -> Learned:
    """Learn the distribution of edges and the network of a problem.

    Arguments:
        problem: features, labels, roles, and perhaps a graph.
        method: with its options; None is the default, `methods.committee.Committee()`. It may leave
            the problem to another (`Method.for_problem`); the result names the one that learned.
        seed: 0 or more; everything random follows from it.
        device, dtype: where and in what precision networks compute.
        on_iteration: called after each outer iteration, before its checkpoint is written.
        on_member: called by the default method before it trains its committee, and each time that
            members are trained, with how many are trained and how many there will be.
        checkpoint: folder that keeps the state after every outer iteration; None keeps none. One
            that holds an earlier run's is refused, unless that is resumed.
        resume: True goes on from there, on a CPU to bitwise the same result as without the
            interruption; without a checkpoint there yet, it begins. `max_iter` and `patience` may
            differ from those it was begun with.
        n_jobs: processes for work that can be done side by side, as for `joblib.Parallel`: -1 is
            one a core, None that of `joblib.parallel_config` and 1 without one. Results do not
            depend on it. Learned views use it for their folds, the default for the
            networks of its committee.

    A warning that folds or restarts repeat is given once.

    Raises:
        TypeError: the seed or n_jobs is no integer.
        ValueError: an option does not fit the problem, more memory is needed than there is, the
            device is not there, a checkpoint is in the way, or it and the one before it are damaged
            or of another run.
        NonFiniteError: a loss is not finite before the first outer iteration ended.

    Examples:
        >>> import numpy as np
        >>> from lds._types import Split
        >>> rng, labels = np.random.default_rng(0), np.arange(40) % 2
        >>> X = rng.standard_normal((40, 3)) + 3 * labels[:, None]
        >>> split = Split(*(np.arange(8 * k, 8 * k + 8) for k in range(3)), np.arange(24, 40))
        >>> found = learn(Problem(X, labels, split), Committee(max_inner=20, refit_steps=20))
        >>> found.probabilities.shape
        (40, 2)
    """
    context = RunContext(
        seed, check_device(device), dtype, on_iteration, on_member, checkpoint, resume, n_jobs
    )
    chosen = (Committee() if method is None else method).for_problem(problem)
    with once(), own_settings():
        return implementation(chosen).learn(chosen, problem, context)
