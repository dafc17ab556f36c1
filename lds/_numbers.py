"""Numbers and flags of a user: those of Python, and those of NumPy and torch."""

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def integer(name: str, value: Any) -> int:
    """Convert anything that is an integer to an `int`, such as ``np.int64(3)``.

    Arguments:
        name: of the argument, in the message.
        value: anything; a bool is no integer here.

    Raises:
        TypeError: it is no integer.
    """
    kind = str(getattr(value, "dtype", type(value).__name__))  # torch takes a bool tensor for one
    try:
        if "bool" not in kind:
            return operator.index(value)
    except TypeError:
        pass
    raise TypeError(f"{name} must be an integer, got {value!r}")


def real(name: str, value: Any, wanted: str = "a number") -> float:
    """Convert anything that is a real number to a `float`, such as ``np.float32(0.5)``.

    Arguments:
        name: of the argument, in the message.
        value: anything; a bool and a text are no numbers here, a tensor of shape () is one.
        wanted: what it must be, in the message.

    Raises:
        TypeError: it is no number.
    """
    kind = str(getattr(value, "dtype", type(value).__name__))
    try:
        if not ("bool" in kind or isinstance(value, str | bytes) or getattr(value, "shape", None)):
            return float(value)
    except (TypeError, ValueError, RuntimeError):
        pass
    text = repr(value)
    got = text if len(text) <= 60 and "\n" not in text else type(value).__name__
    raise TypeError(f"{name} must be {wanted}, got {got}")


def check_flag(name: str, value: Any, *, none: bool = False) -> None:
    """Check that `value` is True or False, or None where that has a meaning.

    Arguments:
        name: of the argument, in the message.
        value: anything.
        none: whether None is allowed.

    Raises:
        TypeError: it is not; a text such as "no" would count as True.
    """
    plain = type(value).__name__ in ("bool", "bool_")  # of Python and of NumPy
    if not (plain or (none and value is None)):
        wanted = "True, False or None" if none else "True or False"
        raise TypeError(f"{name} must be {wanted}, got {value!r}")


def unmerged(values: Sequence[Any], name: str) -> NDArray[Any]:
    """Convert values of one kind to an array.

    Arguments:
        values: texts, numbers or booleans.
        name: of the argument, in the message.

    Raises:
        ValueError: integers above 2^53 among floats would become other numbers.
    """
    found: NDArray[Any] = np.array(values)
    if found.dtype.kind == "f":
        plain = [value.item() if isinstance(value, np.generic) else value for value in values]
        for given, kept in zip(plain, found.tolist(), strict=True):
            if given != kept:
                raise ValueError(
                    f"{name} must hold numbers that float64 keeps apart, got {given}, which would "
                    f"be {int(kept)}; pass integers of 64 bits alone, or text"
                )
    return found
