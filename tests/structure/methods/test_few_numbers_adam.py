"""Adam on a few numbers: torch's class gives the same bits, and is not needed."""

import subprocess
import sys

import pytest
import torch

from lds.structure.methods.few_numbers_adam import Adam


def leaves():
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator).requires_grad_() for shape in ((5,), ())]


def move(optimizer, tensors, steps):
    for k in steps:
        optimizer.zero_grad()
        sum((each - k).square().sum() for each in tensors).backward()
        optimizer.step()


def test_it_is_the_one_of_torch_also_after_a_restart():
    mine, again, theirs = leaves(), leaves(), leaves()
    first = Adam(mine, 0.2)
    move(first, mine, range(4))
    with torch.no_grad():
        for each, now in zip(again, mine, strict=True):
            each.copy_(now)
    second = Adam(again, 0.2)
    second.restore(first.state())
    move(second, again, range(4, 9))
    move(torch.optim.Adam(theirs, lr=0.2), theirs, range(9))
    assert all(torch.equal(a, b) for a, b in zip(again, theirs, strict=True))


@pytest.mark.ci
def test_it_loads_no_compiler():
    code = """
import sys, torch
from lds.structure.methods.few_numbers_adam import Adam
x = torch.ones(2, requires_grad=True)
x.sum().backward()
Adam([x], 0.1).step()
assert "torch._dynamo" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
