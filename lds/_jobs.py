"""Call functions in processes, side by side."""

import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any

from joblib import Parallel, delayed
from threadpoolctl import threadpool_limits

from lds._warn_once import raise_again, recorded


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


def one_thread_each(
    function: Callable[..., Any], arguments: list[tuple[Any, ...]], n_jobs: int | None
) -> list[Any]:
    """Return ``function(*each)`` for each tuple, the same bits whatever the number of processes.

    Each call has one thread of BLAS and OpenMP, in this process too. If a process is killed, the
    calls are made once more. Arrays are passed once: as files that all processes map, under loky.
    Warnings of other processes are raised again in this one.

    Arguments:
        function: of a module, so that other processes can import it.
        arguments: positional arguments of each call.
        n_jobs: as for `joblib.Parallel`; None is that of `joblib.parallel_config`, else 1.

    Raises:
        RuntimeError: processes were killed twice.
    """
    calls = [delayed(_one_thread)(os.getpid(), function, *each) for each in arguments]
    # Copy on write: libraries refuse arrays that cannot be written to, or warn of them.
    pool: dict[str, Any] = {"n_jobs": n_jobs, "prefer": "processes", "mmap_mode": "c"}
    try:
        return _results(Parallel(**pool)(calls))
    except BrokenProcessPool:
        warnings.warn(
            "a process was killed, perhaps because memory ran out; its work starts again",
            RuntimeWarning,
            stacklevel=2,
        )
    try:
        return _results(Parallel(**pool)(calls))
    except BrokenProcessPool as error:
        raise RuntimeError(
            f"processes were killed twice with n_jobs={n_jobs}, perhaps because memory ran out; "
            "a lower n_jobs needs less memory; n_jobs=1 shows the original error"
        ) from error


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Run a block with one thread of torch: sums in several are ordered and rounded otherwise."""
    import torch  # here, so that processes whose work does not need it start in half the time

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _one_thread(parent: int, function: Callable[..., Any], *arguments: Any) -> Any:
    with threadpool_limits(1):
        if os.getpid() == parent:  # warnings are this process's, and threads share their filters
            return function(*arguments), []
        return recorded(function, *arguments)


def _results(done: Iterable[tuple[Any, list[Any]]]) -> list[Any]:
    """Raise the warnings of other processes, and return the results."""
    results = []
    for result, warned in done:
        raise_again(warned)
        results.append(result)
    return results
