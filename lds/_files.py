"""Files that are complete or not there."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO


def write_atomically(path: Path, fill: Callable[[BinaryIO], Any]) -> None:
    """Fill a temporary file beside `path`, then put it in its place in one step.

    Arguments:
        path: of the file; its folder must be there.
        fill: called with the temporary file, open for writing bytes.
    """
    descriptor, scratch = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            fill(file)
            file.flush()
            os.fsync(file.fileno())
        Path(scratch).chmod(0o644)  # mkstemp's files are for their owner alone
        Path(scratch).replace(path)
    except BaseException:
        Path(scratch).unlink(missing_ok=True)
        raise
