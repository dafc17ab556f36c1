"""What a user says of a table or graph of their own."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

TEST_SIZE = 0.2
"""Share of the labelled rows of a table that are held out as test, where none is given."""


@dataclass(frozen=True, kw_only=True)
class TableOptions:
    """The arguments of `registry.load` that are of the user's own data; see there."""

    seed: int = 0
    target: str | int | None = None
    test_size: float | None = None
    separator: str | None = None
    encoding: str | None = None
    header: bool | None = None
    drop: Sequence[str] = ()
    identifier: str | int | None = None
    unlabelled: Sequence[str] | None = None
    edges: str | Path | None = None

    @property
    def share(self) -> float:
        """The share of the labelled rows held out as test."""
        return TEST_SIZE if self.test_size is None else self.test_size

    def check_share(self) -> None:
        """Refuse a share of test rows outside [0, 1)."""
        if not 0 <= self.share < 1:
            raise ValueError(
                f"test_size (share of the labelled rows) must be in [0, 1), got {self.share}"
            )

    def refuse(self, names: Sequence[str], what: str, data: str) -> None:
        """Refuse those of the options that are given, for they are of other data.

        Arguments:
            names: of the options.
            what: data that they are of.
            data: that they are given for.
        """
        for name in names:
            given = getattr(self, name)
            if given not in (None, (), []):
                raise ValueError(f"{name} is for {what}, got {given!r} for {data}; leave it out")
