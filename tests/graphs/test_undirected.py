"""Edges as people list them, against a dictionary filled in a loop."""

import warnings

import numpy as np
import pytest

from lds.graphs.undirected import undirected


def by_loop(row, col, weight, n):
    dense = np.zeros((n, n))
    for i, j, w in zip(row, col, weight, strict=True):
        if i != j:
            dense[i, j] = dense[j, i] = max(dense[i, j], w)
    return dense


def quietly(*arguments, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return undirected(*arguments, **options).toarray()


@pytest.mark.parametrize("seed", range(5))
def test_any_list_of_edges_is_the_graph_of_its_pairs(seed):
    rng = np.random.default_rng(seed)
    row, col = rng.integers(0, 9, (2, 60))
    weight = rng.random(60)
    found = quietly(row, col, weight, 9)
    np.testing.assert_array_equal(found, by_loop(row, col, weight, 9).astype(np.float32))
    scaled = by_loop(row, col, weight, 9) / weight[row != col].max()
    np.testing.assert_allclose(quietly(row, col, 7 * weight, 9), scaled, rtol=1e-6)
    np.testing.assert_allclose(
        quietly(row, col, 0.7 * weight, 9, weights="scale"), scaled, rtol=1e-6
    )
    np.testing.assert_array_equal(quietly(row, col, -weight, 9, weights="ignore"), scaled > 0)


ROW, COL = np.array([0, 1, 1, 2]), np.array([1, 0, 2, 1])


def test_both_directions_repeats_and_loops_are_silent():
    three, one = np.tile(ROW, 3), np.tile(COL, 3)
    weight = np.tile([0.5, 0.5, 0.25, 0.25], 3)
    found = undirected(np.r_[three, 1], np.r_[one, 1], np.r_[weight, np.nan], 3)
    assert found.toarray().tolist() == [[0, 0.5, 0], [0.5, 0, 0.25], [0, 0.25, 0]]
    assert undirected(ROW[:0], COL[:0], None, 3).nnz == 0
    rounded = np.array([0.1, np.float32(0.1), 0.2, 0.2])
    undirected(ROW, COL, rounded, 3, weights="given")


@pytest.mark.parametrize(
    ("kept", "weight", "message"),
    [
        ([0, 1, 2], None, "edge_index holds 1 of 2 edges in one direction only; each is taken"),
        ([0, 2], None, "edge_index holds 2 edges in one direction only; each is taken"),
        ([0], None, "edge_index holds 1 edge in one direction only"),
        ([0, 1, 2, 3], [3, 3, 1, 1], "edge_weight goes up to 3; each is divided by that"),
        (
            [0, 1, 2, 3],
            [0.1, 0.3, 1, 1],
            r"the pair \(0, 1\) with weights 0.1 and 0.3; the largest",
        ),
        ([0, 1, 2, 3], [0.1, 0.3, 1, 0], r"weights 0.1 and 0.3, and 1 more such pairs; the"),
        ([0, 1, 0, 1, 2, 3], [0.1, 0.1, 0.3, 0.3, 1, 1], r"pair \(0, 1\) with weights 0.1 and 0"),
    ],
)
def test_a_guess_is_said_once(kept, weight, message):
    with pytest.warns(UserWarning, match=message) as warned:
        undirected(ROW[kept], COL[kept], None if weight is None else np.array(weight), 3)
    assert len(warned) == 1


@pytest.mark.parametrize("bad", [-0.5, np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("weights", [None, "scale", "given"])
def test_no_probability_comes_of_such_a_weight(bad, weights):
    with pytest.raises(ValueError, match=rf"finite and 0 or more, got {bad:g} at edge \(1, 2\)"):
        undirected(ROW, COL, np.array([1, 1, bad, bad]), 3, weights=weights)


def test_weights_as_given_must_be_probabilities():
    with pytest.raises(ValueError, match=r"in \[0, 1\] .* got 3 at edge \(1, 2\); .*'scale'"):
        undirected(ROW, COL, np.array([1, 1, 3, 3]), 3, weights="given")
    with pytest.raises(ValueError, match=r"edge_weight must be None or one of .* got 'both'"):
        undirected(ROW, COL, None, 3, weights="both")


def test_weights_of_zero_are_no_edges_and_equal_ones_are_one():
    assert undirected(ROW, COL, np.zeros(4), 3, weights="scale").nnz == 0
    assert quietly(ROW, COL, np.full(4, 9), 3).tolist() == [[0, 1, 0], [1, 0, 1], [0, 1, 0]]
