"""The option `--class-weight` of `lds fit`."""

from collections.abc import Sequence
from typing import Annotated, Literal

import typer

BALANCED: Literal["balanced"] = "balanced"

ClassWeight = Annotated[
    list[str] | None,
    typer.Option(
        metavar="TEXT",
        help="What the rows of a class count in every loss and score: CLASS=NUMBER, 1 where not "
        "given, may be repeated; or balanced: every class counts alike in total.",
    ),
]


def read_class_weight(texts: Sequence[str] | None) -> dict[str, float] | Literal["balanced"] | None:
    """Read the option.

    Arguments:
        texts: as typed.

    Returns:
        "balanced", weights by the name of the class, or None where the option is not given.

    Raises:
        ValueError: a text is neither of the two forms, or a class is given twice.
    """
    if not texts:
        return None
    if list(texts) == [BALANCED]:
        return BALANCED
    found: dict[str, float] = {}
    for text in texts:
        name, equals, number = text.rpartition("=")
        try:
            weight = float(number)
        except ValueError:
            weight = -1.0
        if not equals or not 0 < weight < float("inf"):
            raise ValueError(
                f"--class-weight must be balanced alone, or CLASS=NUMBER with a number above 0, "
                f"got {text!r}"
            )
        if name in found:
            raise ValueError(f"--class-weight must name a class once, got {name!r} twice")
        found[name] = weight
    return found
