"""Files that are complete or not there, and JSON."""

import json
import math
import os
import tempfile
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, BinaryIO


def write_atomically(
    path: Path, fill: Callable[[BinaryIO], Any], before: Path | None = None
) -> None:
    """Fill a temporary file beside `path`, then put it in its place in one step.

    Arguments:
        path: of the file; its folder must be there.
        fill: called with the temporary file, open for writing bytes.
        before: where what was at `path` goes once the new file is whole; None drops it.
    """
    descriptor, scratch = tempfile.mkstemp(prefix=scratch_prefix(path), dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            fill(file)
            file.flush()
            os.fsync(file.fileno())
        Path(scratch).chmod(0o644)  # mkstemp's files are for their owner alone
        if before is not None and path.exists():
            path.replace(before)
        Path(scratch).replace(path)
    except BaseException:
        Path(scratch).unlink(missing_ok=True)
        raise


def check_path(path: Path, what: str, suffixes: Collection[str] = ()) -> None:
    """Refuse a file that cannot be written, before any work.

    Arguments:
        path: of the file.
        what: it is called in messages.
        suffixes: that its name may end in; none allows all.

    Raises:
        FileNotFoundError: its folder does not exist.
        ValueError: another suffix.
    """
    if suffixes and path.suffix not in suffixes:
        ends = f"one of {', '.join(suffixes)}" if len(suffixes) > 1 else next(iter(suffixes))
        raise ValueError(f"{what} must end in {ends}, got {path.name!r}")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.parent} to write {path.name} into")


def scratch_prefix(path: Path) -> str:
    """How the names of temporary files for `path` begin; a killed process leaves them behind."""
    return f".{path.name}."


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically; numbers that are not finite become null."""
    text = dumps(value, indent=2) + "\n"
    write_atomically(path, lambda file: file.write(text.encode()))


def dumps(value: Any, indent: int | None = None) -> str:
    """JSON text; numbers that are not finite become null."""
    return json.dumps(_finite(value), indent=indent, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
