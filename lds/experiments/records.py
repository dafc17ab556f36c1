"""Keep records as JSON lines, so that no finished run is run again. Imports nothing heavy."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lds._files import dumps


def key(*values: Any) -> str:
    """Return the identity of a record from the values of its identifying fields."""
    return json.dumps(values, sort_keys=True)


class JsonLines:
    """Records of a file of JSON lines, by key; several commands may add to one file.

    Arguments:
        path: of the file; it need not exist.
        fields: names of the fields that identify a record.

    Attributes:
        records: by `key`, in the order in which they were added.

    Raises:
        ValueError: a line of the file is no record.
    """

    def __init__(self, path: Path, fields: Sequence[str]) -> None:
        self.path, self.fields = path, fields
        self.records: dict[str, dict[str, Any]] = {}
        self._lines = 0
        self._take(self._text().splitlines())

    def refresh(self) -> None:
        """Read what other commands have added since; a line that is being written is left."""
        self._take(self._text().split("\n")[:-1])

    def _text(self) -> str:
        return self.path.read_text(encoding="utf-8") if self.path.is_file() else ""

    def _take(self, lines: list[str]) -> None:
        """Read the lines that were not read before."""
        for number, line in enumerate(lines[self._lines :], self._lines + 1):
            if not line.strip():
                continue
            try:
                self._keep(json.loads(line))
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(
                    f"line {number} of {self.path} must be a record, one JSON object with "
                    f"{', '.join(self.fields)}, got {line[:60]!r}; remove that line"
                ) from error
        self._lines = len(lines)

    def _keep(self, record: dict[str, Any]) -> None:
        self.records[key(*(record[name] for name in self.fields))] = record

    def has(self, *values: Any) -> bool:
        """Say whether there is a record with these values of its identifying fields, in order."""
        return key(*values) in self.records

    def add(self, record: dict[str, Any]) -> None:
        """Keep one record."""
        self._keep(record)
        with self.path.open("a+b", buffering=0) as file:  # one write: lines do not mix
            if file.tell():
                file.seek(-1, os.SEEK_END)
            unended = file.read(1) not in (b"", b"\n")  # the last line, edited by hand
            file.write(f"{unended * chr(10)}{dumps(record)}\n".encode())
