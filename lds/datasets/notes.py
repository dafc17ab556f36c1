"""Collect what is wrong with a table (one error) and what was guessed (a warning a kind)."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NoReturn

SHOWN = 8
"""Most columns or cells that a sentence names."""


@dataclass
class Notes:
    """Faults and guesses of a table.

    Arguments:
        faults: sentences, for one error.
        guesses: for each sentence with a {}, what to put there.
    """

    faults: list[str] = field(default_factory=list)
    guesses: dict[str, list[str]] = field(default_factory=dict)

    def guess(self, sentence: str, about: str) -> None:
        """Note a guess: `sentence` has {} where the list of all its `about` goes."""
        self.guesses.setdefault(sentence, []).append(about)

    def say(self) -> None:
        """Raise the faults, or warn of the guesses if there are none."""
        if self.faults:
            self.fail()
        for sentence, about in self.guesses.items():
            warnings.warn(sentence.format(listed(about)), UserWarning, stacklevel=4)

    def fail(self) -> NoReturn:
        """Raise one error of all faults."""
        if len(self.faults) == 1:
            raise ValueError(self.faults[0])
        raise ValueError(
            f"the table has {len(self.faults)} faults: " + "; ".join(self.faults[: 3 * SHOWN])
        )


def listed(names: Sequence[str]) -> str:
    """Join the first few names with commas."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
