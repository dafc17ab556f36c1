from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from lds.datasets.registry import load


def _images(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Images whose first pixel is the row's number modulo 251, and their labels."""
    images = np.zeros((n, 28, 28), dtype=np.uint8)
    images[:, 0, 0] = np.arange(n) % 251
    return images, np.arange(n) % 10


@pytest.mark.data
def test_the_file_gives_5000_images(shared_data: Path) -> None:
    if not (shared_data / "mnist/mnist.npz").is_file():
        pytest.skip(f"{shared_data} has no mnist/mnist.npz")
    data = load("mnist", root=shared_data)
    assert data.features.shape == (5000, 784)
    assert 0 == data.features.min() < data.features.max() == 1
    for rows in (data.split.train, data.split.validation, data.split.stopping):
        assert np.bincount(data.labels[rows]).tolist() == [10] * 10
    assert data.split.test.size == 4700


@pytest.mark.parametrize("from_file", [True, False])
def test_the_same_images_for_every_seed_and_other_roles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, from_file: bool
) -> None:
    images, labels = _images(6000)
    if from_file:
        (tmp_path / "mnist").mkdir()
        np.savez(tmp_path / "mnist/mnist.npz", x_train=images, y_train=labels)
    else:

        def fetch(name: str, **options: object) -> SimpleNamespace:
            assert (name, options["data_home"]) == ("mnist_784", str(tmp_path))
            return SimpleNamespace(data=images.reshape(6000, -1), target=labels.astype(str))

        monkeypatch.setattr("sklearn.datasets.fetch_openml", fetch)
    first, second = (load("mnist", seed=seed, root=tmp_path) for seed in (0, 1))
    chosen = np.sort(np.random.default_rng(0).choice(6000, 5000, replace=False))
    pixel = (chosen % 251 / 255).astype(np.float32)
    for data in (first, second):
        np.testing.assert_array_equal(np.asarray(data.features)[:, 0], pixel)
        np.testing.assert_array_equal(data.labels, chosen % 10)
    assert not np.array_equal(first.split.train, second.split.train)


def test_no_file_and_no_network_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(name: str, **options: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr("sklearn.datasets.fetch_openml", fetch)
    with pytest.raises(FileNotFoundError, match=r"mnist needs .*mnist\.npz.*no network"):
        load("mnist", root=tmp_path)
