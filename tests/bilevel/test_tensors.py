"""Pytrees of tensors, and the tracing of leaves."""

import pytest
import torch

from lds.bilevel.tensors import Traced, add, detach, devices, leaves, rebuild, tree_map, vjp
from tests.problems import scalar


def tree():
    return {"b": [scalar(1.0), (scalar(2.0),)], "a": torch.arange(3.0)}


def test_rebuild_undoes_leaves():
    old = tree()
    new = rebuild(old, [leaf + 1 for leaf in leaves(old)])
    assert list(new) == ["b", "a"]
    assert new["b"] == [scalar(2.0), (scalar(3.0),)]
    assert new["a"].tolist() == [1, 2, 3]


def test_rebuild_wants_as_many_leaves():
    with pytest.raises(ValueError, match="leaves"):
        rebuild(tree(), [scalar(1.0)])


def test_tree_map_goes_leaf_by_leaf():
    assert tree_map(lambda x, y: float((x * y).sum()), tree(), tree()) == {
        "b": [1.0, (4.0,)],
        "a": 5.0,
    }


def test_add_takes_none_for_a_zero():
    assert add([None, 1, None, 2], [None, None, 3, 4]) == [None, 1, 3, 6]
    with pytest.raises(ValueError, match="zip"):
        add([None], [None, None])


def test_detach_keeps_owners_as_they_are():
    owner = object()
    x = scalar(1.0).requires_grad_()
    out = detach({"x": 2 * x, "owner": owner})
    assert not out["x"].requires_grad
    assert out["owner"] is owner


def test_no_cuda_device_holds_a_tensor_of_the_cpu():
    assert devices(tree()) == []


def test_traced_leaves_are_fresh_and_share_their_values():
    x = scalar(1.0)
    traced = Traced({"x": x, "n": torch.tensor(2)})
    assert traced.tree["x"].requires_grad
    assert not traced.tree["n"].requires_grad, "integers have no derivative"
    assert not x.requires_grad
    assert traced.tree["x"] == x


def test_vjp_sorts_gradients_by_tree_and_leaf():
    """Outputs xy and z with cotangents 2 and 3: (2y, 2x) for one tree, (3, None) for the other."""
    left, right = Traced([scalar(5.0), scalar(7.0)]), Traced({"z": scalar(1.0), "u": scalar(1.0)})
    x, y = left.tree
    outputs = [x * y, right.tree["z"] * 1]
    to_left, to_right = vjp(outputs, [scalar(2.0), scalar(3.0)], [left, right])
    assert to_left == [scalar(14.0), scalar(10.0)]
    assert to_right == [scalar(3.0), None]


def test_vjp_passes_over_outputs_without_history_or_cotangent():
    traced = Traced([scalar(5.0)])
    outputs = [scalar(1.0), traced.tree[0] * 2]
    assert vjp(outputs, [scalar(1.0), None], [traced]) == [[None]]
    assert vjp([traced.tree[0]], [scalar(4.0)], [traced]) == [[scalar(4.0)]]


def test_a_tensor_in_two_places_has_a_gradient_in_each():
    x = scalar(3.0)
    traced = Traced([x, x])
    a, b = traced.tree
    assert vjp([a * a * b], [scalar(1.0)], [traced]) == [[scalar(18.0), scalar(9.0)]]


class Owner:
    """A leaf that hands out a number of traced copies of itself."""

    def __init__(self):
        self.copies = []

    def record(self):
        return Owner()

    def copy(self):
        self.copies.append(scalar(2.0).requires_grad_())
        return self.copies[-1]

    def inputs(self):
        return self.copies

    def gradient(self, grads):
        return [None if g is None else float(g) for g in grads]


def test_inputs_of_owners_are_counted_once_the_function_has_run():
    traced = Traced([scalar(3.0), Owner(), Owner(), scalar(4.0)])
    x, first, second, y = traced.tree
    out = x * first.copy() + second.copy() * y * first.copy()
    second.copy()  # made, and not used
    assert vjp([out], [scalar(1.0)], [traced]) == [[scalar(2.0), [3.0, 8.0], [8.0, None], 4.0]]
