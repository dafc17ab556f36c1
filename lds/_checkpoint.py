"""Checkpoints of an outer loop: written whole or not at all, read without unpickling code.

A file is `MAGIC`, a CRC-32 of the rest, and the rest, which is torch's own format: that one holds
checksums, too, but torch does not look at them when it reads.
"""

import io
import warnings
import zlib
from pathlib import Path
from typing import Any

import torch

from lds._files import scratch_prefix, write_atomically

MAGIC = b"lds checkpoint 2"
N_CHECK = 4
NAME = "checkpoint.pt"
BEFORE = "checkpoint.before.pt"


def discard(folder: str | Path) -> None:
    """Delete the checkpoint in a folder, and the one before it."""
    for name in (NAME, BEFORE):
        (Path(folder) / name).unlink(missing_ok=True)


class Checkpoint:
    """The latest state of a run in a folder, and the one before it.

    Arguments:
        folder: made if it is not there.
        fingerprint: what must be the same for a run to go on, as plain values.
    """

    def __init__(self, folder: str | Path, fingerprint: dict[str, Any]) -> None:
        self.folder = Path(folder)
        self.fingerprint = fingerprint
        self._refused = False  # whether the latest file there is one that `load` could not use

    @property
    def paths(self) -> tuple[Path, Path]:
        """Of the latest, and of the one before it."""
        return self.folder / NAME, self.folder / BEFORE

    def save(self, state: dict[str, Any]) -> None:
        """Write `state`, of tensors and plain values, atomically."""
        self.folder.mkdir(parents=True, exist_ok=True)
        payload = io.BytesIO()
        torch.save({"fingerprint": self.fingerprint, "state": state}, payload)
        latest, before = self.paths
        with payload.getbuffer() as whole:
            check = zlib.crc32(whole).to_bytes(N_CHECK, "big")
            write_atomically(
                latest,
                lambda file: file.writelines((MAGIC, check, whole)),
                before=None if self._refused else before,  # a good one before it stays
            )
        self._refused = False

    def load(self) -> dict[str, Any] | None:
        """The latest state that can be read; None where there is none yet.

        Where the latest is damaged, or of another run, the one before it is taken, with a warning.

        Raises:
            ValueError: every file there is damaged, or of another run, with what is wrong.
        """
        self._sweep()
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
                self._refused = True
                warnings.warn(f"{wrong[0]}; going on from {path}", UserWarning, stacklevel=4)
            return state
        if wrong:
            raise ValueError("; ".join(wrong))
        return None

    def begin(self, resume: bool) -> dict[str, Any] | None:
        """What a run begins with: `load`'s state to resume, or None in a folder without one.

        Raises:
            ValueError: without `resume` the folder holds a checkpoint, which the new run would
                write over; as `load` with it.
        """
        if resume:
            return self.load()
        self._sweep()
        if any(path.exists() for path in self.paths):
            raise ValueError(
                f"checkpoint={str(self.folder)!r} holds the checkpoint of an earlier run, which "
                "this one would write over; give resume=True to go on with it, or another folder "
                f"(or delete {self.paths[0].name} and {self.paths[1].name} there)"
            )
        return None

    def _sweep(self) -> None:
        """Remove what a process that was killed while it wrote left behind."""
        for path in self.folder.glob(f"{scratch_prefix(self.paths[0])}*"):
            path.unlink(missing_ok=True)

    def _read(self, path: Path) -> dict[str, Any]:
        raw = path.read_bytes()
        head, whole = raw[: len(MAGIC) + N_CHECK], memoryview(raw)[len(MAGIC) + N_CHECK :]
        if not head.startswith(MAGIC):
            found = "it is empty" if not raw else "it does not begin as one of this version"
            raise ValueError(f"checkpoint {path} is damaged or of another format ({found})")
        if head[len(MAGIC) :] != zlib.crc32(whole).to_bytes(N_CHECK, "big"):
            raise ValueError(f"checkpoint {path} is damaged (its checksum does not fit)")
        try:
            stored = torch.load(io.BytesIO(whole), map_location="cpu", weights_only=True)
            theirs, state = stored["fingerprint"], dict(stored["state"])
        except Exception as error:  # zipfile, pickle and torch each raise their own
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ValueError(f"checkpoint {path} cannot be read ({reason})") from error
        if theirs != self.fingerprint:
            differs = [
                f"{key}: {theirs.get(key)!r} there, {self.fingerprint.get(key)!r} here"
                for key in theirs | self.fingerprint
                if theirs.get(key) != self.fingerprint.get(key)
            ]
            raise ValueError(f"checkpoint {path} is of another run ({'; '.join(differs)})")
        return state
