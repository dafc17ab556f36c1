"""Call functions in processes, side by side."""

from collections.abc import Callable, Iterable
from typing import Any

from joblib import Parallel, delayed


def in_processes(
    function: Callable[..., Any], arguments: Iterable[tuple[Any, ...]], n_jobs: int | None
) -> list[Any]:
    """Return ``function(*each)`` for each tuple of arguments, in their order.

    Arguments:
        function: the function; it may be a closure.
        arguments: positional arguments of each call.
        n_jobs: number of processes, as for `joblib.Parallel`.
    """
    calls = (delayed(function)(*each) for each in arguments)
    return list(Parallel(n_jobs=n_jobs, prefer="processes")(calls))
