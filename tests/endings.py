"""How a call on bad input may end: in success, or in an error that this library documents."""

import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck

OPEN: dict[str, Any] = {
    "deadline": None,
    "database": None,
    "derandomize": True,
    "suppress_health_check": list(HealthCheck),
}
"""Settings of a fuzz: the same cases in every run."""

DOCUMENTED = (TypeError, ValueError, ArithmeticError, OSError, ImportError)
OURS = ("/lds/", "/sklearn/")


def ends_well(call: Callable[[], Any]) -> Any:
    """What the call returns, None after a documented error; anything else is raised.

    A documented error is raised by a `raise` of this library or of scikit-learn, with a sentence:
    not by Python, NumPy, torch, scipy or pandas on the way. Warnings to the user are allowed, those
    of arithmetic or about deprecated calls are not.
    """
    caught = None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", UserWarning)
        try:
            return call()
        except DOCUMENTED as error:
            caught = error
    last = traceback.extract_tb(caught.__traceback__)[-1]
    by = f"{last.filename}:{last.lineno} ({last.line})"
    assert any(part in Path(last.filename).as_posix() for part in OURS), f"{by} raised {caught!r}"
    assert (last.line or "").startswith("raise "), f"{by} raised {caught!r}"
    assert len(str(caught)) > 10, f"{by}: {caught!r} says nothing"
    return None
