"""Checkpoints of an outer loop: written whole or not at all, read without unpickling code."""

import io
import warnings
from pathlib import Path
from typing import Any

import torch

from lds._files import write_atomically

FORMAT = 1
NAME = "checkpoint.pt"
BEFORE = "checkpoint.before.pt"


class Checkpoint:
    """The latest state of a run in a folder, and the one before it.

    Arguments:
        folder: made if it is not there.
        fingerprint: what must be the same for a run to go on, as plain values.
    """

    def __init__(self, folder: str | Path, fingerprint: dict[str, Any]) -> None:
        self.folder = Path(folder)
        self.fingerprint = fingerprint

    def save(self, state: dict[str, Any]) -> None:
        """Write `state`, of tensors and plain values, atomically."""
        self.folder.mkdir(parents=True, exist_ok=True)
        latest = self.folder / NAME
        if latest.exists():
            latest.replace(self.folder / BEFORE)
        stored = {"format": FORMAT, "fingerprint": self.fingerprint, "state": state}
        write_atomically(latest, lambda file: torch.save(stored, file))

    def load(self) -> dict[str, Any] | None:
        """The latest state that can be read; None where there is none yet.

        Raises:
            ValueError: every file there is damaged, or of another run, with what is wrong.
        """
        wrong = []
        for path in (self.folder / NAME, self.folder / BEFORE):
            if not path.exists():
                continue
            try:
                stored = _read(path)
            except ValueError as error:
                wrong.append(str(error))
                continue
            state = self._state(stored, path)
            if wrong:
                warnings.warn(f"{wrong[0]}; going on from {path}", UserWarning, stacklevel=3)
            return state
        if wrong:
            raise ValueError("; ".join(wrong))
        return None

    def _state(self, stored: Any, path: Path) -> dict[str, Any]:
        if not isinstance(stored, dict) or stored.get("format") != FORMAT:
            raise ValueError(f"checkpoint {path} is not of format {FORMAT}")
        theirs = stored["fingerprint"]
        if theirs != self.fingerprint:
            differs = [
                f"{key}: {theirs.get(key)!r} there, {self.fingerprint.get(key)!r} here"
                for key in theirs | self.fingerprint
                if theirs.get(key) != self.fingerprint.get(key)
            ]
            raise ValueError(f"checkpoint {path} is of another run ({'; '.join(differs)})")
        state: dict[str, Any] = stored["state"]
        return state


def _read(path: Path) -> Any:
    """What a file holds, on the CPU.

    Raises:
        ValueError: it is damaged, or holds more than tensors and plain values.
    """
    try:
        return torch.load(io.BytesIO(path.read_bytes()), map_location="cpu", weights_only=True)
    except Exception as error:  # zipfile, pickle and torch each raise their own
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"checkpoint {path} is damaged ({reason})") from error
