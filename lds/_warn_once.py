"""Give a warning once for a fit, however many folds, restarts and processes raise it."""

import re
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

_shown: ContextVar[set[tuple[type, str]] | None] = ContextVar("_shown", default=None)
_lock = threading.Lock()
_within, _plain = 0, warnings.showwarning

NUMBER = re.compile(r"\d+(?:\.\d+)?(?:e[-+]?\d+)?")
"""Numbers of a message, which may differ between folds where the warning is the same."""


@contextmanager
def once() -> Iterator[None]:
    """Show each warning that is raised within once; within another `once`, change nothing.

    Filters are those of the caller. Threads do not share what they have shown.
    """
    global _within, _plain
    if _shown.get() is not None:
        yield
        return
    token = _shown.set(set())
    with _lock:
        if _within == 0:
            _plain = warnings.showwarning
            warnings.showwarning = _show
        _within += 1
    try:
        yield
    finally:
        _shown.reset(token)
        with _lock:
            _within -= 1
            if _within == 0 and warnings.showwarning is _show:
                warnings.showwarning = _plain


def _show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
    shown, key = _shown.get(), (category, NUMBER.sub("#", str(message)))
    if shown is not None:
        if key in shown:
            return
        shown.add(key)
    _plain(message, category, *where, **more)


Raised = tuple[str, type[Warning], str, int]
"""A warning of another process: text, category, file and line."""


def recorded(function: Callable[..., Any], *arguments: Any) -> tuple[Any, list[Raised]]:
    """Call a function, and return its result with the warnings it raised, to be raised again."""
    with warnings.catch_warnings(record=True) as found:
        result = function(*arguments)
    return result, [(str(w.message), w.category, w.filename, w.lineno) for w in found]


def raise_again(found: list[Raised]) -> None:
    """Raise the warnings of another process in this one."""
    for each in found:
        warnings.warn_explicit(*each)
