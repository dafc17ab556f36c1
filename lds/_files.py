"""Check the paths of files, write files in one step, write JSON. Imports nothing heavy."""

import difflib
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
    """Write a temporary file beside `path`, then rename it to `path` in one step.

    Arguments:
        path: of the file; its folder must exist.
        fill: writes the content; called with the temporary file, open for bytes.
        before: new path of the old file at `path`, which is moved once the new file is complete;
            None deletes it.

    Raises:
        OSError: it cannot be written, such as on a full disk; the message names `path`.
    """
    descriptor, scratch = tempfile.mkstemp(prefix=scratch_prefix(path), dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            fill(file)
            file.flush()
            os.fsync(file.fileno())
        Path(scratch).chmod(0o644)  # mkstemp lets only the owner read
        if before is not None and path.exists():
            path.replace(before)
        Path(scratch).replace(path)
    except BaseException as error:
        Path(scratch).unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            reason = error.strerror or error
            raise OSError(f"{path} cannot be written ({reason})") from error
        raise


def check_input_file(path: Path, what: str) -> None:
    """Refuse a file that cannot be read because it does not exist.

    Arguments:
        path: of the file.
        what: noun for the file in messages, such as "table".

    Raises:
        FileNotFoundError: the file does not exist; the message names a file with a similar name.
        ValueError: it is a folder.
    """
    if path.is_dir():
        raise ValueError(f"{path} is a folder; name the {what} in it")
    if not path.is_file():
        near = difflib.get_close_matches(path.name, _files_beside(path), 1)
        hint = f"; there is {path.parent / near[0]}" if near else ""
        raise FileNotFoundError(f"there is no {what} at {path}{hint}")


def check_output_file(path: Path, what: str, suffixes: Collection[str] = ()) -> None:
    """Refuse a file that cannot be written, before any work.

    Arguments:
        path: of the file; its folder must exist.
        what: name of the file or the option in messages.
        suffixes: that its name may end in; () allows all.

    Raises:
        FileNotFoundError: its folder does not exist.
        ValueError: it has another suffix, it is a folder, or its folder allows no writing.
    """
    if suffixes and path.suffix not in suffixes:
        ends = f"one of {', '.join(suffixes)}" if len(suffixes) > 1 else next(iter(suffixes))
        raise ValueError(f"{what} must end in {ends}, got {path.name!r}")
    if path.is_dir():
        raise ValueError(f"{what} must name a file, got the folder {path}")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.parent} to write {path.name} into")
    check_output_folder(path.parent, what)


def check_output_folder(path: Path, what: str) -> None:
    """Refuse a folder that cannot be made or written into, before any work.

    Arguments:
        path: of the folder; it and folders above it need not exist.
        what: name of the folder or the option in messages.

    Raises:
        ValueError: it or a folder above it is a file, or allows no writing.
    """
    above = path
    while not above.exists() and above != above.parent:
        above = above.parent
    if not above.is_dir():
        raise ValueError(f"{what} {path} cannot be a folder: {above} is a file")
    if not os.access(above, os.W_OK):
        raise ValueError(f"{what} {path} cannot be written: {above} allows no writing")


def _files_beside(path: Path) -> list[str]:
    try:
        return [entry.name for entry in path.parent.iterdir()]
    except OSError:
        return []


def scratch_prefix(path: Path) -> str:
    """Return how the names of temporary files for `path` begin.

    A killed process leaves such files behind.
    """
    return f".{path.name}."


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically; numbers that are not finite become null."""
    text = dumps(value, indent=2) + "\n"
    write_atomically(path, lambda file: file.write(text.encode()))


def dumps(value: Any, indent: int | None = None) -> str:
    """Convert to JSON text; numbers that are not finite become null."""
    return json.dumps(_finite(value), indent=indent, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
