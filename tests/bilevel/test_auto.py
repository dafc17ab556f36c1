"""`method="auto"`: each branch of the cost model, and what it says."""

import re

import pytest
import torch

from lds import bilevel
from lds.bilevel.auto import choose
from tests.problems import scalar

STATE = {"params": torch.zeros(1000, dtype=torch.float64)}  # 8 kB
MANY = {"weights": torch.zeros(50, dtype=torch.float64), "n": torch.tensor(3)}
FEW = {"lr": torch.zeros(2, dtype=torch.float64), "n": torch.tensor(3)}


@pytest.mark.parametrize(
    ("hyper", "free", "method", "why"),
    [
        # half of the free memory is used; T = 400: all states 3.2 MB, 40 of them 0.32 MB
        (scalar(1.0), 1, bilevel.Forward(), "one hyperparameter: forward mode"),
        (MANY, 6_500_000, bilevel.Reverse(), r"all states fit \(3.20 MB\): one sweep"),
        (MANY, 6_300_000, bilevel.Reverse(checkpoint="sqrt"), r"need 3.20 MB, √T .* 0.32 MB"),
        (MANY, 700_000, bilevel.Reverse(checkpoint="sqrt"), "m = 50, T = 400, a state of 0.01 MB"),
        (FEW, 600_000, bilevel.Forward(), "√T checkpoints would need 0.32 MB, tangents 0.02 MB"),
    ],
)
def test_each_branch_and_its_reason(hyper, free, method, why):
    chosen, reason = choose(STATE, hyper, 400, free=free)
    assert chosen == method
    assert re.search(why, reason), reason


def test_nothing_fits():
    with pytest.raises(MemoryError, match=r"√T checkpoints need 0.32 MB, .* 0.40 MB .*truncation"):
        choose(STATE, MANY, 400, free=600_000)


class Owner:
    def record(self):
        return self


def test_a_leaf_that_owns_its_gradient_has_no_forward_mode():
    assert choose(STATE, [Owner()], 400, free=10**9)[0] == bilevel.Reverse()
    assert choose(STATE, [Owner(), scalar(1.0)], 400, free=10**9)[0] == bilevel.Reverse()
    with pytest.raises(MemoryError, match="no exact method fits"):
        choose(STATE, [Owner(), scalar(1.0)], 400, free=600_000)


def test_the_choice_and_the_reason_are_in_the_result():
    result = bilevel.hypergradient(
        bilevel.GradientDescent(lambda w, lam: 0.5 * (lam * w**2).sum()),
        lambda w, lam: w.sum(),
        torch.ones(3, dtype=torch.float64),
        torch.ones(3, dtype=torch.float64),
        4,
        method="auto",
    )
    assert result.info["method"] == repr(bilevel.Reverse())
    assert "m = 3, T = 4" in result.info["why"]
