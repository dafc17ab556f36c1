"""Integers of NumPy and torch are integers; bools and floats are none."""

import functools

import numpy as np
import pytest
import torch

from lds import bilevel
from tests.problems import scalar

INNER = bilevel.GradientDescent(lambda w, lam: 0.5 * (w - lam) ** 2, 0.5)
PROBLEM = INNER, lambda w, lam: (w - 3) ** 2, scalar(0.0), scalar(1.0)
KINDS = {"numpy": np.int64, "numpy-0-dim": np.array, "torch": torch.tensor}
TASK = *PROBLEM[:2], PROBLEM[2]

CALLS = {
    "solve": lambda n: bilevel.solve(*PROBLEM, n, n_outer=n, evaluate_every=1, seed=n).hyper,
    "evaluate_every": lambda n: (
        bilevel.solve(*PROBLEM, 3, n_outer=3, evaluate=lambda w, lam: w, evaluate_every=n).hyper
    ),
    "solve_online": lambda n: bilevel.solve_online(*PROBLEM, n, interval=n, seed=n).hyper,
    "solve_black_box": lambda n: (
        bilevel.solve_black_box(lambda lam, k: (lam**2, 2 * lam), scalar(1.0), n_outer=n).hyper
    ),
    "hypergradient": lambda n: bilevel.hypergradient(*PROBLEM, n, seed=n).grad,
    "check": lambda n: scalar(bilevel.check(*PROBLEM, n, n_directions=n, seed=n).ok),
    "run": lambda n: bilevel.run(INNER, *PROBLEM[2:], n, seed=n).params,
    "contraction": lambda n: scalar(bilevel.contraction(INNER, *PROBLEM[2:], n, n_iter=n, seed=n)),
    "separate_tasks": lambda n: bilevel.separate_tasks(lambda k: [TASK], n, seed=n)(scalar(1.0), 0)[
        1
    ],
    "stacked": lambda n: bilevel.stacked(scalar(1.0), n),
    "task_at": lambda n: bilevel.task_at(torch.arange(5), n),
    "k_folds": lambda n: bilevel.k_folds(4, n, seed=n)["train"],
    "batches": lambda n: bilevel.Batches([scalar(1.0), scalar(2.0)], seed=n)(1),
    "patience": lambda n: scalar(
        len(bilevel.solve(*PROBLEM, 2, stopping=bilevel.stopping.patience(n)).history)
    ),
}

METHODS = {
    "truncation": lambda n: bilevel.Reverse(n),
    "checkpoint": lambda n: bilevel.Reverse(checkpoint=n),
    "chunk": lambda n: bilevel.Forward(n),
    "fixed-point": lambda n: bilevel.FixedPoint(n),
    "cg": lambda n: bilevel.ConjugateGradient(n, rank=n),
    "f2sa": lambda n: bilevel.F2SA(n_iter=n),
    "saba": lambda n: bilevel.SABA(n_batches=n, n_outer_batches=n),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("call", CALLS)
def test_integers_of_other_libraries(call, kind):
    assert torch.equal(CALLS[call](KINDS[kind](3)), CALLS[call](3))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", METHODS)
def test_options_of_methods_become_ints(name, kind):
    """Their text, by which a checkpoint compares them, is that of ints."""
    assert repr(METHODS[name](KINDS[kind](3))) == repr(METHODS[name](3))


@pytest.mark.parametrize("bad", [2.5, True, np.float64(2), np.bool_(True), torch.tensor(True), "3"])
@pytest.mark.parametrize("call", [*CALLS, *METHODS])
def test_other_kinds_are_refused(call, bad):
    with pytest.raises(TypeError, match=r"must be (an integer|None, 'sqrt')"):
        (CALLS | METHODS)[call](bad)


def test_a_run_with_them_is_resumed(tmp_path):
    options = {"seed": np.int64(3), "checkpoint": tmp_path, "method": bilevel.Reverse(np.int64(2))}
    bilevel.solve(*PROBLEM, np.int64(3), n_outer=2, **options)
    options |= {"seed": 3, "method": bilevel.Reverse(2)}
    assert len(bilevel.solve(*PROBLEM, 3, n_outer=4, resume=True, **options).history) == 4


def test_numbers_of_numpy_in_a_checkpoint_are_read_again(tmp_path):
    """A file with scalars of NumPy is refused by torch as unsafe."""

    def run(number, n_outer, **options):
        optimizer = functools.partial(torch.optim.SGD, lr=number(0.1), momentum=number(0.5))
        scheduler = functools.partial(torch.optim.lr_scheduler.ExponentialLR, gamma=number(0.9))
        inner = bilevel.Adam(
            lambda w, lam: 0.5 * (w - lam) ** 2, number(0.5), max_grad_norm=number(3.0)
        )
        return bilevel.solve(
            inner,
            *PROBLEM[1:],
            2,
            n_outer=n_outer,
            inner_tol=number(1e-9),
            optimizer=optimizer,
            scheduler=scheduler,
            evaluate=lambda w, lam: number(float(w)),
            **options,
        )

    run(np.float64, 2, checkpoint=tmp_path)
    resumed = run(np.float64, 4, checkpoint=tmp_path, resume=True)
    assert torch.equal(resumed.last.hyper, run(float, 4).last.hyper)
