"""Checks of a run: finite values, no changes in place, trees of one structure."""

import inspect
import math
from collections.abc import Iterable, Iterator, Sequence
from numbers import Number
from typing import Any

import torch
from torch import Tensor

from lds._numbers import integer, real
from lds.bilevel.tensors import Traced, Tree, leaves, norm, paths, same_structure

DIVERGED = 1e4
"""Absolute value of a weight above which a loss that is not finite means that the run diverges."""

FEW = 8
"""Number of tensors up to which it is faster to check them one by one, on the CPU."""


class NonFiniteError(ArithmeticError):
    """A loss, state or gradient is not finite; the message names the step."""


def check_count(name: str, value: Any, least: int) -> int:
    """Return `value` as an int, if it is an integer of at least `least`.

    Raises:
        TypeError: it is no integer.
        ValueError: it is smaller.
    """
    number = integer(name, value)
    if number < least:
        raise ValueError(f"{name} must be at least {least}, got {number}")
    return number


def check_tol(value: Any) -> None:
    """Check that `inner_tol` is in [0, 1)."""
    if not 0 <= real("inner_tol", value, "a number in [0, 1)") < 1:
        raise ValueError(f"inner_tol must be in [0, 1), got {value}; 0 takes all steps")


def in_range(name: str, value: Any, *, below_one: bool = False) -> float:
    """Return `value` as a float, if it is a number in (0, ∞), or in [0, 1) with `below_one`.

    Raises:
        TypeError: it is no number.
        ValueError: it is out of range.
    """
    wanted = "in [0, 1)" if below_one else "positive and finite"
    number = real(name, value, f"a number, {wanted}")
    if not (0 <= number < 1 if below_one else 0 < number < math.inf):
        raise ValueError(f"{name} must be {wanted}, got {number:g}")
    return number


def check_function(name: str, value: Any, arguments: str) -> None:
    """Check that `value` is a function, or an object that is called like one.

    Raises:
        TypeError: it is not, or it is a class.
    """
    if not callable(value) or isinstance(value, type):
        hint = "; did you mean to call it?" if isinstance(value, type) else ""
        raise TypeError(f"{name} must be a function of {arguments}, got {kind_of(value)}{hint}")


def kind_of(value: Any) -> str:
    """Describe a value of a wrong type: "the class Adam", "the function <lambda>", "float"."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    name = getattr(value, "__name__", None)
    return f"the function {name}" if callable(value) and name else type(value).__name__


def is_maker(value: Any, module: str) -> bool:
    """Return whether `value` is a function of `module` that makes functions, and was not called."""
    inner = "<locals>" in getattr(value, "__qualname__", "<locals>")
    return getattr(value, "__module__", None) == f"lds.bilevel.{module}" and not inner


def check_scalar(name: str, value: Any, of: str = "") -> None:
    """Check that an objective returned a floating point tensor of shape ().

    Arguments:
        name: of the objective.
        value: what it returned.
        of: end of the sentence about the shape.

    Raises:
        ValueError: it has another shape, or is no tensor.
        TypeError: it has another dtype.
    """
    if not isinstance(value, Tensor) or value.dim() != 0:
        got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(
            f"{name} must return a scalar tensor of shape (){of}, got {got}; sum or average it"
        )
    if not value.is_floating_point():
        way_out = (
            "value.real or value.abs() is" if value.is_complex() else "an integer has no slope"
        )
        raise TypeError(
            f"{name} must return a real floating point number, got {value.dtype}; {way_out}"
        )


def check_hyper(hyper: Tree) -> None:
    """Check that every leaf of hyper can be differentiated, or owns its gradient by `record()`."""
    for path, leaf in zip(paths(hyper), leaves(hyper), strict=True):
        if not isinstance(leaf, Tensor) and not hasattr(leaf, "record"):
            raise TypeError(f"hyper{path} must be a tensor, got {kind_of(leaf)}{_hint(leaf)}")
        _refuse_inference(f"hyper{path}", leaf)


def check_leaves(name: str, tree: Tree, *, trained: bool = False) -> None:
    """Check that every leaf is a tensor; if `trained`, that there is one, and all are floating."""
    if trained and not leaves(tree):
        raise ValueError(
            f"{name} must hold a tensor to train, got {tree!r}; without an inner problem, "
            "torch.optim minimises the outer objective alone"
        )
    for path, leaf in zip(paths(tree), leaves(tree), strict=True):
        if not isinstance(leaf, Tensor):
            raise TypeError(
                f"{name}{path} must be a tensor, got {type(leaf).__name__}{_hint(leaf)}"
            )
        _refuse_inference(f"{name}{path}", leaf)
        if trained and not leaf.is_floating_point():
            raise TypeError(
                f"{name}{path} must be floating point, got {leaf.dtype}; what is not trained "
                "belongs into the objective, or into hyper"
            )


def _refuse_inference(name: str, leaf: Any) -> None:
    """Refuse a tensor that was made under torch.inference_mode()."""
    if isinstance(leaf, Tensor) and leaf.is_inference():
        raise ValueError(
            f"{name} was made under torch.inference_mode() and cannot be differentiated; "
            "clone() it outside, or use torch.no_grad() there"
        )


def check_tuned(hyper: Tree) -> None:
    """Check that there is something real to differentiate by, and nothing complex.

    Raises:
        TypeError: a leaf of `hyper` is complex.
        ValueError: every leaf is an integer.
    """
    given = leaves(hyper)
    for k, leaf in enumerate(given):
        if isinstance(leaf, Tensor) and leaf.is_complex():
            raise TypeError(
                f"hyper{paths(hyper)[k]} must be real, got {leaf.dtype}; torch.view_as_real makes "
                "a real tensor of it, and torch.view_as_complex turns it back in the objectives"
            )
    if all(isinstance(leaf, Tensor) and not leaf.is_floating_point() for leaf in given):
        kinds = ", ".join(sorted({str(leaf.dtype) for leaf in given})) or "nothing"
        raise ValueError(
            f"hyper must hold a floating point tensor to differentiate by, got {kinds}; "
            "torch.tensor(1.0) is one"
        )


def check_mode() -> None:
    """Check that torch can differentiate here.

    Raises:
        RuntimeError: under torch.inference_mode().
    """
    if torch.is_inference_mode_enabled():
        raise RuntimeError(
            "a hypergradient was asked for under torch.inference_mode(), where nothing can be "
            "differentiated; call it outside of it (torch.no_grad() is harmless)"
        )


def refuse_options(made: object, unknown: Iterable[str], known: Iterable[str]) -> None:
    """Refuse options that a dynamics does not have.

    Arguments:
        made: the dynamics.
        unknown: names given.
        known: names of options that every dynamics has; its class may have others.

    Raises:
        TypeError: a name was given.
    """
    own = inspect.signature(type(made).__init__).parameters.values()
    named = [p.name for p in own if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    for name in unknown:
        raise TypeError(
            f"{type(made).__name__} has no option {name!r}; it has "
            f"{', '.join(dict.fromkeys([*named[1:], *known]))}"
        )


def _hint(leaf: Any) -> str:
    """Return the advice for a leaf that is no tensor."""
    if leaf is None:
        return "; {} holds no hyperparameters"
    if isinstance(leaf, Number):
        return f"; torch.tensor({leaf!r}) is one"
    if isinstance(leaf, torch.nn.Module):
        return "; apply, params = bilevel.functional(module) makes params of a module"
    if isinstance(leaf, Iterator):
        return "; dict(...) or list(...) makes a tree of an iterator"
    return ""


_IN_PLACE = (
    "in place; it must leave its arguments as they are and return new tensors "
    "(w - lr * g, not w.sub_(lr * g))"
)


class unchanged:  # noqa: N801 (a context manager, as a class: quick)
    """Check that a block changes no tensor of some trees in place.

    Arguments:
        what: name of the block in the message.
        trees: trees by name, or what traces them.

    Raises:
        RuntimeError: it did; the message names the path.
    """

    __slots__ = ("_before", "_trees", "_what")

    def __init__(self, what: str, **trees: Tree | Traced) -> None:
        self._what, self._trees = what, trees

    def __enter__(self) -> None:
        """Note how often each tensor has been changed."""
        self._before = [
            (name, tree, held, _versions(held))
            for name, tree in self._trees.items()
            for held in [tree.given if type(tree) is Traced else leaves(tree)]
        ]

    def __exit__(self, kind: type[BaseException] | None, error: Any, trace: Any) -> None:
        """Compare."""
        if kind is None:
            for name, tree, held, before in self._before:
                after = _versions(held)
                if after != before:
                    k = next(k for k, old in enumerate(before) if after[k] != old)
                    path = paths(tree.tree if type(tree) is Traced else tree)[k]
                    raise RuntimeError(f"{self._what} changed {name}{path} {_IN_PLACE}")
        elif issubclass(kind, RuntimeError) and "leaf Variable that requires grad" in str(error):
            # torch refuses to change a traced argument, without its name
            raise RuntimeError(f"{self._what} changed one of its arguments {_IN_PLACE}") from error


def _versions(held: list[Any]) -> list[int]:
    return [
        leaf._version if isinstance(leaf, Tensor) and not leaf.is_inference() else 0
        for leaf in held
    ]


def check_state(new: Tree, old: Tree, t: int) -> list[Tensor]:
    """Check that Φ_t returned a state like the one it got; return its leaves.

    Raises:
        ValueError: it has another structure, shape or dtype; the message names the path.
    """
    if not same_structure(new, old):
        raise ValueError(
            f"the dynamics must return a state of the structure it was given, got {paths(new)} "
            f"instead of {paths(old)} at step {t}"
        )
    found = leaves(new)
    for k, (a, b) in enumerate(zip(found, leaves(old), strict=True)):
        if not isinstance(a, Tensor):
            raise TypeError(
                f"every leaf of a state must be a tensor, got {type(a).__name__} at "
                f"state{paths(new)[k]} after step {t}"
            )
        if a.shape != b.shape or a.dtype != b.dtype:
            raise ValueError(
                f"the dynamics must keep the shape and dtype of state{paths(new)[k]}, "
                f"{tuple(b.shape)} {b.dtype}, got {tuple(a.shape)} {a.dtype} after step {t}"
            )
    return found


def check_step(loss: Tensor | None, old: Tree, new: Tree, t: int) -> None:
    """Check that the inner loss of step `t` is finite, or without one the new state.

    Raises:
        NonFiniteError: it is not; the message names the step, and the leaf or the loss.
    """
    if loss is None:
        check_finite("state", new, f"after step {t}")
    else:
        check_loss(loss, old, t)


def check_loss(loss: Tensor, state: Tree, t: int) -> None:
    """Check that the inner loss at `state`, before step `t`, is finite.

    Raises:
        NonFiniteError: it is not; the message names the step, and the leaf or the loss.
    """
    if not math.isfinite(float(loss)):
        check_finite("state", state, f"before step {t}")
        entries = [leaf for leaf in leaves(state) if _is_float(leaf) and leaf.numel()]
        largest = max((float(leaf.abs().max()) for leaf in entries), default=0.0)
        if t > 0 and largest > DIVERGED:
            raise NonFiniteError(
                f"the inner loss is {float(loss)} at step {t}, where the weights have grown to "
                f"{largest:.2g}: the inner run diverges; a smaller lr of the dynamics, or "
                "max_grad_norm=, may help"
            )
        raise NonFiniteError(
            f"the inner loss is {float(loss)} at step {t}, at a finite state; "
            "the loss itself, or a hyperparameter in it, is out of range"
        )


def check_finite(name: str, tree: Tree, when: str) -> None:
    """Check that every entry of `tree` is finite.

    Raises:
        NonFiniteError: one is not; the message names the path of the leaf.
    """
    if all_finite([leaf for leaf in leaves(tree) if _is_float(leaf)]):
        return
    for path, leaf in zip(paths(tree), leaves(tree), strict=True):
        if _is_float(leaf) and not bool(torch.isfinite(leaf).all()):
            bad = leaf[~torch.isfinite(leaf)].flatten()[0]
            raise NonFiniteError(
                f"{name}{path} holds {float(bad)} {when}; a smaller step size of the inner or "
                "outer loop may help"
            )


def all_finite(tensors: Sequence[Tensor]) -> bool:
    """Return whether the norms of floating point tensors are finite; False says to look closer."""
    if len(tensors) > FEW or any(tensor.device.type != "cpu" for tensor in tensors):
        return math.isfinite(norm(tensors))
    return all(
        math.isfinite(tensor.item() if tensor.dim() == 0 else torch.linalg.vector_norm(tensor))
        for tensor in (tensor.detach() for tensor in tensors)
    )


def check_adjoint(adjoint: Sequence[Any], state: Tree, t: int) -> None:
    """Check that the adjoint before step `t` is finite.

    Raises:
        NonFiniteError: it is not; the message names the step and the leaf of the state.
    """
    if not math.isfinite(norm(adjoint)):
        filled = [torch.zeros(()) if a is None else a for a in adjoint]
        for path, leaf in zip(paths(state), filled, strict=True):
            check_finite(f"the derivative of the outer value by state{path}", leaf, f"at step {t}")


def _is_float(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and leaf.is_floating_point()
