"""The sentences that say how a run ended."""

import pytest

from lds._words import ending, nearest, plural


@pytest.mark.parametrize(
    ("number", "noun", "text"),
    [(0, "seed", "0 seeds"), (1, "seed", "1 seed"), (1234, "row", "1,234 rows")],
)
def test_plural(number, noun, text):
    assert plural(number, noun) == text


@pytest.mark.parametrize(
    ("reason", "n", "refit", "fixed", "text"),
    [
        ("max_iter", 5, True, True, "5 outer iterations and the refit in 3 s; complete"),
        ("max_iter", 1, True, True, "1 outer iteration and the refit in 3 s; complete"),
        (
            "patience",
            9,
            False,
            False,
            "9 outer iterations in 3 s; the best was number 2; early stopping ended it",
        ),
        (
            "max_iter",
            9,
            False,
            False,
            "9 outer iterations in 3 s; the best was number 2; max_iter ended it before early "
            "stopping",
        ),
        (
            "interrupted",
            2,
            True,
            True,
            "2 outer iterations and the refit in 3 s; it was interrupted",
        ),
        (
            "non-finite: loss",
            2,
            True,
            True,
            "2 outer iterations and the refit in 3 s; it ended early: non-finite: loss",
        ),
    ],
)
def test_ending(reason, n, refit, fixed, text):
    assert ending(reason, n, 1, refit=refit, fixed_length=fixed, seconds=3.2) == text


@pytest.mark.parametrize(
    ("name", "end"),
    [
        ("wnie", "; the nearest is 'wine'"),
        ("N-Neigbors", "; the nearest is 'n_neighbors'"),
        ("zebra", ""),
    ],
)
def test_nearest(name, end):
    assert nearest(name, ["wine", "n_neighbors", "iris"]) == end
