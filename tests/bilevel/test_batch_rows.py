"""E over an epoch counts each batch by its rows, whatever the form of its inputs and targets."""

import functools

import numpy as np
import pytest
import torch
from torch import nn

from lds import bilevel
from lds.bilevel.batches import count_rows

X = torch.linspace(-2, 3, 30, dtype=torch.float64).view(10, 3).sin()
Y = torch.linspace(0, 4, 10, dtype=torch.float64).exp().view(10, 1)
BATCHES = [slice(0, 4), slice(4, 8), slice(8, 10)]


class Net(nn.Module):
    """A layer that finds its rows in a tensor, a dict, a tuple, or a list of rows."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(3, 1).double()

    def forward(self, given):
        if isinstance(given, dict):
            given = given["x"]
        elif isinstance(given, tuple):
            given = given[0]
        elif isinstance(given, list):
            given = torch.stack(given)
        return self.layer(given)


def loss(outputs, targets, *others):
    if isinstance(targets, dict):
        targets = targets["y"]
    elif isinstance(targets, list):
        targets = torch.tensor(targets, dtype=torch.float64).view(-1, 1)
    return (outputs - torch.as_tensor(targets)).square().mean()


FORMS = {
    "tensors": lambda x, y: (x, y),
    "dict": lambda x, y: ({"x": x}, y),
    "dict of two": lambda x, y: ({"x": x, "scale": torch.tensor(2.0)}, y),
    "tuple": lambda x, y: ((x, x), y),
    "dicts": lambda x, y: ({"x": x}, {"y": y}),
    "dict of another length": lambda x, y: ({"x": x, "further": torch.ones(7)}, {"y": y}),
    "numbers": lambda x, y: ({"x": x}, y.view(-1).tolist()),
    "array": lambda x, y: ((x, x), y.numpy()),
    "rows": lambda x, y: (list(x), y),
    "rows and numbers": lambda x, y: (list(x), list(y.view(-1))),
    "target of no rows": lambda x, y: ({"x": x}, None, y),
}


@pytest.mark.parametrize("form", FORMS)
def test_batches_count_by_their_rows(form):
    made = [FORMS[form](X[rows], Y[rows]) for rows in BATCHES]
    judge = loss
    if form == "target of no rows":
        judge = lambda outputs, none, targets: loss(outputs, targets)  # noqa: E731
    training = bilevel.Training(
        Net(), judge, made, functools.partial(bilevel.GradientDescent, lr=0.1)
    )
    found = training.judged_by(made)(training.params, torch.tensor(0.0), 0)
    torch.testing.assert_close(found, loss(Net()(X), Y), rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("batch", "expected"),
    [
        ((torch.ones(2, 5), torch.ones(10)), 10),  # a mean over targets
        ((torch.ones(2, 5), torch.tensor(3.0)), 2),
        ((["a", "b", "c"], None), 3),
        (([torch.ones(3, 4, 4), torch.ones(3, 5, 5)], [{"box": torch.ones(4, 4)}, {}]), 2),
        (([torch.ones(5, 2), torch.ones(7, 2)], [torch.ones(6), torch.ones(8)]), 2),
        (({"x": torch.ones(6, 2)}, np.float64(1.0)), 6),
        ([[torch.ones(6, 2), torch.ones(6)], [torch.ones(6), torch.ones(6, 1)]], 6),
    ],
)
def test_rows_of_other_forms(batch, expected):
    assert count_rows(batch) == expected


@pytest.mark.parametrize(
    "batch",
    [
        ({"a": torch.ones(2), "b": torch.ones(3)}, None),
        ({"name": "x"}, object()),
        ((torch.ones(4, 2), torch.ones(7)), (torch.ones(4), torch.ones(4))),  # 4 rows or 2
    ],
)
def test_batches_whose_rows_nothing_tells_are_refused_unless_they_count_alike(batch):
    with pytest.raises(TypeError, match=r"a batch must have tensors .* n_batches=len"):
        count_rows(batch)
    training = bilevel.Training(
        Net(), lambda outputs, _: outputs.mean(), [batch, batch], bilevel.GradientDescent
    )
    with pytest.raises(TypeError, match=r"a batch must have tensors .* n_batches=len"):
        training.judged_by([batch, batch])(training.params, torch.tensor(0.0), 0)


def test_a_loss_that_takes_more_than_the_batches_of_judged_by_give_is_named():
    def weighted(outputs, targets, index, hyper):
        return (hyper[index] * (outputs - targets) ** 2).mean()

    training = bilevel.Training(Net(), weighted, [(X, Y, torch.arange(10))])
    hyper = torch.ones(10, dtype=torch.float64)
    with pytest.raises(
        TypeError, match=r"\(outputs, targets, index, hyper\), and batches of 2 .* judged_by\(valid"
    ):
        training.judged_by([(X, Y)])(training.params, hyper, 0)
    found = training.judged_by([(X, Y)], nn.functional.mse_loss)(training.params, hyper, 0)
    assert found.shape == ()


def test_another_type_error_of_a_loss_is_left_as_it_is():
    training = bilevel.Training(Net(), lambda outputs, targets: outputs + "a", [(X, Y)])
    with pytest.raises(TypeError, match="unsupported operand"):
        training.judged_by([(X, Y)])(training.params, torch.tensor(0.0), 0)
