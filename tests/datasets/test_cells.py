"""Cells are read as numbers in the usual ways to write them."""

import math

import numpy as np
import pytest

from lds.datasets.cells import read_marked, read_numbers


@pytest.mark.parametrize(
    ("cell", "decimal", "value"),
    [
        ("12", ".", 12),
        ("-1.5", ".", -1.5),
        ("+2", ".", 2),
        (".5", ".", 0.5),
        ("5.", ".", 5),
        ("1e-3", ".", 1e-3),
        ("2E+4", ".", 2e4),
        ("1,234", ".", 1234),
        ("1,234,567.8", ".", 1234567.8),
        ("1 234", ".", 1234),
        ("1\u00a0234.5", ".", 1234.5),
        ("1'234", ".", 1234),
        ("$1.20", ".", 1.2),
        ("€ 5", ".", 5),
        ("5 €", ".", 5),
        ("-$3", ".", -3),
        ("$-3", ".", -3),
        ("£1,000", ".", 1000),
        ("12%", ".", 0.12),
        ("12.5 %", ".", 0.125),
        ("(5)", ".", -5),
        ("($1,234.50)", ".", -1234.5),
        ("\u22127", ".", -7),
        ("1.234,5", ",", 1234.5),
        ("0,5", ",", 0.5),
        ("1.234", ",", 1234),
        ("007", ".", 7),
        ("inf", ".", math.inf),
        ("-Infinity", ".", -math.inf),
    ],
)
def test_a_number_is_read_in_the_usual_ways_to_write_it(cell, decimal, value):
    found = read_numbers([cell], decimal)
    assert found.odd == []
    assert found.values[0] == pytest.approx(value, rel=1e-15)


@pytest.mark.parametrize(
    "cell",
    [
        "1.2.3",
        "1,2,3",
        "12,34,5",
        "0x10",
        "1_0",
        "a1",
        "5 kg",
        "--5",
        "(-5)",
        "$5€",
        "1,,234",
        "e5",
        "$",
        "%",
        "1 2",
        "٣",
    ],
)
def test_what_only_looks_like_a_number_is_none(cell):
    assert read_numbers([cell, "1.5", "2.5"], ".").odd == [0]


def test_a_number_larger_than_any_float_is_infinite() -> None:
    found = read_marked([10**400, None, -(10**400), 3], ".")
    np.testing.assert_array_equal(found.values, [np.inf, np.nan, -np.inf, 3])
