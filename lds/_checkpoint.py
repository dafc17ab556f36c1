"""Save the state of a run so that it can be resumed after an interruption.

A state is a dict of tensors and plain values. A folder holds two files: the latest state, and the
one before it, for the case that the latest is damaged. A file is written whole or not at all, and
read without unpickling code. It consists of `MAGIC`, a CRC-32 checksum of the rest, and the rest in
the format of `torch.save`, whose own checksums torch does not verify when it reads.
"""

import io
import warnings
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lds._files import scratch_prefix, write_atomically
from lds._run_files import CHECKPOINTS

MAGIC = b"lds checkpoint 2"
"""First bytes of a file; the number is the version of the format."""

CHECKSUM_BYTES = 4
"""Bytes of a CRC-32."""

LATEST, PREVIOUS = CHECKPOINTS


class Checkpoint:
    """The latest saved state of a run, and the one before it, in a folder.

    Arguments:
        folder: where both files are; `save` creates it.
        fingerprint: settings of the run by name, as plain values. A file with other settings is
            refused.
    """

    def __init__(self, folder: str | Path, fingerprint: dict[str, Any]) -> None:
        self.folder = Path(folder)
        self.fingerprint = fingerprint
        self._latest_unusable = False  # `load` refused the latest file

    @property
    def paths(self) -> tuple[Path, Path]:
        """The files of the latest state and of the one before it."""
        return self.folder / LATEST, self.folder / PREVIOUS

    def save(self, state: dict[str, Any]) -> None:
        """Write a state atomically; the latest one becomes the previous one.

        Arguments:
            state: tensors and plain values by name.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        payload = io.BytesIO()
        torch.save(_plain({"fingerprint": self.fingerprint, "state": state}), payload)
        latest, previous = self.paths
        with payload.getbuffer() as whole:
            checksum = zlib.crc32(whole).to_bytes(CHECKSUM_BYTES, "big")
            write_atomically(
                latest,
                lambda file: file.writelines((MAGIC, checksum, whole)),
                # An unusable latest file must not replace a good previous one.
                before=None if self._latest_unusable else previous,
            )
        self._latest_unusable = False

    def load(self) -> dict[str, Any] | None:
        """Read the latest usable state; None if the folder holds no checkpoint.

        If the latest file is damaged or of another run, a warning says so and the previous one is
        read.

        Raises:
            ValueError: every file is damaged or of another run; the message says what is wrong.
        """
        self._remove_scratch()
        wrong = []
        for path in self.paths:
            if not path.exists():
                continue
            try:
                state = self._read(path)
            except ValueError as error:
                wrong.append(str(error))
                continue
            if wrong:
                self._latest_unusable = True
                warnings.warn(f"{wrong[0]}; going on from {path}", UserWarning, stacklevel=4)
            return state
        if wrong:
            if any("of another run" in one for one in wrong):
                wrong.append("give what that run began with, or begin another in another folder")
            raise ValueError("; ".join(wrong))
        return None

    def begin(self, resume: bool) -> dict[str, Any] | None:
        """Return the state to start a run from: that of `load` to resume, else None.

        Raises:
            ValueError: `resume` is False and the folder holds a checkpoint, which the new run
                would overwrite; or as for `load`.
        """
        if resume:
            return self.load()
        self._remove_scratch()
        if any(path.exists() for path in self.paths):
            raise ValueError(
                f"checkpoint={str(self.folder)!r} holds the checkpoint of an earlier run, which "
                "this one would write over; give resume=True to go on with it, or another folder "
                f"(or delete {self.paths[0].name} and {self.paths[1].name} there)"
            )
        return None

    def _remove_scratch(self) -> None:
        """Delete the unfinished files of a process that was killed while it wrote."""
        for path in self.folder.glob(f"{scratch_prefix(self.paths[0])}*"):
            path.unlink(missing_ok=True)

    def _read(self, path: Path) -> dict[str, Any]:
        theirs, state = _stored(path)
        if theirs != self.fingerprint:
            differs = [
                f"{key}: {theirs.get(key)!r} there, {self.fingerprint.get(key)!r} here"
                for key in theirs | self.fingerprint
                if theirs.get(key) != self.fingerprint.get(key)
            ]
            raise ValueError(f"checkpoint {path} is of another run ({'; '.join(differs)})")
        return state


def _plain(value: Any) -> Any:
    """Replace NumPy's numbers, which a safe reader refuses, by Python's."""
    if type(value) is dict:
        return {key: _plain(part) for key, part in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_plain(part) for part in value)
    return value.item() if isinstance(value, np.generic) else value


def saved_fingerprint(folder: str | Path) -> dict[str, Any]:
    """Return the fingerprint of the latest checkpoint of a folder that can be read; {} for none."""
    for path in Checkpoint(folder, {}).paths:
        with suppress(ValueError, OSError):
            return _stored(path)[0]
    return {}


def saved_iterations(folder: str | Path) -> int:
    """Count the outer iterations in the latest checkpoint of a folder that can be read."""
    for path in Checkpoint(folder, {}).paths:
        with suppress(ValueError, OSError):
            return len(_stored(path)[1].get("history", ()))
    return 0


def _stored(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read the fingerprint and the state of a file.

    Raises:
        ValueError: it is damaged.
    """
    raw = path.read_bytes()
    n_head = len(MAGIC) + CHECKSUM_BYTES
    head, whole = raw[:n_head], memoryview(raw)[n_head:]
    if not head.startswith(MAGIC):
        found = "it is empty" if not raw else "it does not begin as one of this version"
        raise ValueError(f"checkpoint {path} is damaged or of another format ({found})")
    if head[len(MAGIC) :] != zlib.crc32(whole).to_bytes(CHECKSUM_BYTES, "big"):
        raise ValueError(f"checkpoint {path} is damaged (its checksum does not fit)")
    try:
        stored = torch.load(io.BytesIO(whole), map_location="cpu", weights_only=True)
        theirs, state = stored["fingerprint"], dict(stored["state"])
    except Exception as error:  # zipfile, pickle and torch each raise their own
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"checkpoint {path} cannot be read ({reason})") from error
    return theirs, state
