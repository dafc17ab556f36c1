from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse as sp

from lds.datasets.newsgroups import CLASSES
from lds.datasets.registry import load


@pytest.mark.data
def test_sizes_and_roles(shared_data: Path) -> None:
    data = load("20news10", root=shared_data)
    assert isinstance(data.features, sp.csr_array)
    assert data.features.shape == (9607, 236)
    assert data.features.dtype == np.float32
    assert data.classes == CLASSES
    split = data.split
    sizes = [part.size for part in (split.train, split.validation, split.stopping, split.test)]
    assert sizes == [200, 200, 200, 9007]
    for part in (split.train, split.validation, split.stopping, split.test):
        assert set(data.labels[part].tolist()) == set(range(10))


def test_posts_from_the_fetcher_become_tfidf(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A word in every post has idf 1, one in half of them 1 + ln 2; rows have length 1."""
    words = ["the apple banana", "apple"]

    def fetch(**options: object) -> SimpleNamespace:
        assert options["subset"] == "all"
        assert options["categories"] == CLASSES
        assert options["data_home"] == str(tmp_path)
        labels = np.arange(1000) % 10
        posts = [words[(row // 10) % 2] for row in range(1000)]
        return SimpleNamespace(data=posts, target=labels, target_names=list(CLASSES))

    monkeypatch.setattr("sklearn.datasets.fetch_20newsgroups", fetch)
    data = load("20news10", root=tmp_path)
    rare = 1 + np.log(2)
    first = np.array([1, rare]) / np.hypot(1, rare)
    np.testing.assert_allclose(data.features[[0]].toarray(), [first], rtol=1e-6)
    np.testing.assert_allclose(data.features[[10]].toarray(), [[1, 0]], rtol=1e-6)
    assert data.classes == CLASSES


def test_posts_that_cannot_be_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(**options: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr("sklearn.datasets.fetch_20newsgroups", fetch)
    with pytest.raises(FileNotFoundError, match=r"20news10 needs .* failed \(no network"):
        load("20news10", root=tmp_path)
