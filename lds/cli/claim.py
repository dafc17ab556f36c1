"""Keep a run folder for one command, and what `--force` replaces until the new run begins."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from shutil import rmtree

from filelock import FileLock, Timeout

from lds._run_files import CHECKPOINTS, CONTROLS

ASIDE = ".earlier."
"""Prefix of the folder into which `--force` moves the checkpoints of an earlier run."""

LOCK = ".lock"
"""Name of the file that a command locks in its folder; the lock of a killed process is void."""


class TakenError(ValueError):
    """Another command works in the folder."""


def is_empty(folder: Path) -> bool:
    """Whether a folder is not there or holds nothing but a lock."""
    return not folder.exists() or all(each.name == LOCK for each in folder.iterdir())


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Make a folder and keep other commands out of it; remove it at the end if it is empty.

    Raises:
        TakenError: another command has it.
    """
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise TakenError(
            f"{folder} is in use by another `lds fit`; wait until it ends, or name another folder"
        ) from None
    try:
        for aside in folder.glob(f"{ASIDE}*"):  # of a --force that was killed
            _move(aside, folder)
            rmtree(aside, ignore_errors=True)
        yield
    finally:
        (folder / LOCK).unlink(missing_ok=True)
        lock.release()
        with suppress(OSError):  # one of them holds something
            for each in made:
                each.rmdir()


class Earlier:
    """The checkpoints of an earlier run, moved aside until the run that replaces it begins.

    As a context manager, it moves them back at the end, unless `discard` was called.

    Arguments:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self._aside = folder, Path(tempfile.mkdtemp(prefix=ASIDE, dir=folder))
        _move(folder, self._aside)

    def __enter__(self) -> "Earlier":
        return self

    def __exit__(self, *_: object) -> None:
        if self._aside.exists():
            _move(self._aside, self.folder)
            self.discard()

    def discard(self) -> None:
        """Delete them."""
        rmtree(self._aside, ignore_errors=True)


def _move(source: Path, to: Path) -> None:
    """Move the checkpoints that are not there."""
    for name in (*CHECKPOINTS, *(f"{CONTROLS}/{each}" for each in CHECKPOINTS)):
        if (source / name).is_file() and not (to / name).exists():
            (to / name).parent.mkdir(exist_ok=True)
            (source / name).replace(to / name)
