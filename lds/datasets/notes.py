"""What is to be said of a table: faults in one error, each kind of guess in one warning."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NoReturn

SHOWN = 8
"""Columns, or cells, that a sentence names at most."""


@dataclass
class Notes:
    """Faults and guesses, collected."""

    faults: list[str] = field(default_factory=list)
    guesses: dict[str, list[str]] = field(default_factory=dict)

    def guess(self, sentence: str, about: str) -> None:
        """Note something; `sentence` has {} where all it is about goes."""
        self.guesses.setdefault(sentence, []).append(about)

    def say(self) -> None:
        """Raise the faults, else warn of the guesses."""
        if self.faults:
            self.fail()
        for sentence, about in self.guesses.items():
            warnings.warn(sentence.format(listed(about)), UserWarning, stacklevel=4)

    def fail(self) -> NoReturn:
        """Raise the faults."""
        if len(self.faults) == 1:
            raise ValueError(self.faults[0])
        raise ValueError(
            f"the table has {len(self.faults)} faults: " + "; ".join(self.faults[: 3 * SHOWN])
        )


def listed(names: Sequence[str]) -> str:
    """Names with commas between them, the first few."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
