import numpy as np
import pytest

from lds.datasets.splits import halved, stratified, three_way


def labels_of(*counts: int) -> np.ndarray:
    """Shuffled labels with so many rows of each class."""
    labels = np.repeat(np.arange(len(counts)), counts)
    return np.random.default_rng(99).permutation(labels)


def assert_divides(parts: tuple[np.ndarray, ...], rows: np.ndarray) -> None:
    together = np.concatenate(parts)
    assert np.unique(together).size == together.size
    np.testing.assert_array_equal(np.sort(together), np.sort(rows))
    for part in parts:
        assert part.dtype == np.int64
        assert (np.diff(part) > 0).all()


def test_a_seed_beyond_32_bits_draws() -> None:
    labels = labels_of(60, 30)
    large = stratified(labels, [10], seed=2**40 + 3)
    for one, two in zip(large, stratified(labels, [10], seed=3), strict=True):
        np.testing.assert_array_equal(one, two)


def test_stratified_sizes_and_shares() -> None:
    labels = labels_of(60, 30, 10)
    parts = stratified(labels, [10, 20, 30], seed=0)
    assert_divides(parts, np.arange(100))
    assert [part.size for part in parts] == [10, 20, 30, 40]
    for part in parts:
        np.testing.assert_array_equal(
            np.bincount(labels[part]), part.size * np.array([6, 3, 1]) / 10
        )


def test_stratified_follows_the_seed() -> None:
    labels = labels_of(50, 50)
    first, again, other = (stratified(labels, [10, 10], seed)[0] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_stratified_refuses_fewer_rows_than_classes() -> None:
    with pytest.raises(ValueError, match="number of classes"):
        stratified(labels_of(20, 20, 20), [2], seed=0)


@pytest.mark.parametrize("counts", [(3, 3), (4, 5, 3), (3, 300), (7, 11, 5, 30), (3,) * 10])
@pytest.mark.parametrize("seed", range(5))
def test_three_way_is_even_and_stratified(counts: tuple[int, ...], seed: int) -> None:
    labels = labels_of(*counts)
    parts = three_way(labels, np.arange(labels.size), seed)
    assert_divides(parts, np.arange(labels.size))
    sizes = [part.size for part in parts]
    assert max(sizes) - min(sizes) <= 1
    for part in parts:
        share = np.array(counts) / 3
        got = np.bincount(labels[part], minlength=len(counts))
        assert (np.floor(share) <= got).all()
        assert (got <= np.ceil(share)).all()


def test_three_way_divides_only_the_rows_given() -> None:
    labels = np.where(np.arange(90) % 3 == 0, np.arange(90) % 2, -1)
    rows = np.flatnonzero(labels >= 0)
    assert_divides(three_way(labels, rows, seed=0), rows)


def test_three_way_follows_the_seed() -> None:
    labels = labels_of(20, 20)
    rows = np.arange(40)
    first, again, other = (three_way(labels, rows, seed)[0] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    np.testing.assert_array_equal(first, three_way(labels, rows, np.random.default_rng(0))[0])


@pytest.mark.parametrize("counts", [(2, 40), (1, 1, 20), (1, 2, 2), (1,) * 8 + (2,)])
@pytest.mark.parametrize("seed", range(5))
def test_three_way_keeps_rare_classes_in_train(counts: tuple[int, ...], seed: int) -> None:
    labels = labels_of(*counts)
    with pytest.warns(UserWarning, match=f"3 of each class, and the smallest has {min(counts)}"):
        parts = three_way(labels, np.arange(labels.size), seed)
    assert_divides(parts, np.arange(labels.size))
    assert min(part.size for part in parts) >= 1
    n_train = min(max(-(-labels.size // 3), len(counts)), labels.size - 2)
    assert parts[0].size == n_train
    assert np.unique(labels[parts[0]]).size == min(len(counts), n_train)


def test_three_way_of_four_rows_trains_on_two_classes() -> None:
    for labels in ([0, 1, 1, 1], [1, 0, 0, 1]):
        with pytest.warns(UserWarning, match="cannot be split by class"):
            train, validation, stopping = three_way(np.array(labels), np.arange(4), seed=0)
        assert sorted(labels[row] for row in train) == [0, 1]
        assert validation.size == stopping.size == 1


@pytest.mark.parametrize(
    ("labels", "got"),
    [
        ([], "no labelled row"),
        ([0, 1, 0], "2 of class 0 and 1 of class 1"),
        ([1] * 9, "9 of class 1"),
    ],
)
def test_three_way_wants_four_rows_of_two_classes(labels: list[int], got: str) -> None:
    with pytest.raises(ValueError, match=f"at least 4 of two classes or more .*, got {got}"):
        three_way(np.array(labels, dtype=np.int64), np.arange(len(labels)), seed=0)


def test_a_class_of_validation_rows_alone_is_learned() -> None:
    """Class 2 has no training row: by chance both of its rows would stop."""
    labels = np.array([0, 1, 0, 0, 1, 1, 2, 2])
    train, rows = np.arange(2), np.arange(2, 8)
    moved = 0
    for seed in range(30):
        dealt = np.random.default_rng(seed).permutation(rows)
        validation, stopping = halved(rows, seed, labels, train)
        assert_divides((validation, stopping), rows)
        assert 2 in labels[validation]
        if set(dealt[3:]) >= {6, 7}:
            assert set(validation) == {*dealt[:3], 6}
            moved += 1
        else:
            assert set(validation) == set(dealt[:3]), "any other division is as it was"
    assert moved


def test_the_last_stopping_row_stays() -> None:
    validation, stopping = halved(np.array([2]), 0, np.array([0, 1, 2]), np.arange(2))
    assert (validation.size, stopping.tolist()) == (0, [2])
