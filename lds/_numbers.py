"""Integers of a user: those of Python, and those of NumPy and torch."""

import operator
from typing import Any


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
