"""Fixtures of all tests: data sets that are not part of the project, a saved run, scripts."""

import os
import runpy
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

# Before torch is loaded, and for processes that tests start: their tensors are so small that
# threads only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch


def data_root() -> Path:
    """Find the data sets: LDS_DATA, or `shared/data` beside the repository."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    return Path(os.environ.get("LDS_DATA") or beside)


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of the data sets, whatever it holds."""
    return data_root()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of the data sets; tests that need it are skipped where it is absent."""
    root = data_root()
    parts = ("planetoid/Cora/raw", "planetoid/CiteSeer/raw", "20news10/20news10_tfidf.npz")
    missing = [part for part in parts if not (root / part).exists()]
    if missing:
        pytest.skip(
            f"{root} has no {', '.join(missing)}; data/README.md says how LDS_DATA is laid out"
        )
    return root


@pytest.fixture(scope="session", params=["default", "thesis"])
def run_folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one tiny run, see `tests/saved_run.py`; not to be written into."""
    from tests import saved_run

    return saved_run.save(tmp_path_factory.mktemp("saved"), request.param)


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages of reports have no pictures, whose drawing takes most of a second."""
    monkeypatch.setattr("lds.report.page.PICTURES", {})


@pytest.fixture
def run_script(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., str]]:
    """Run a script in this process, which has imported torch, and return what it prints."""
    threads = torch.get_num_threads()

    def run(script: Path, options: str, *more: str | Path) -> str:
        monkeypatch.syspath_prepend(script.parent)  # for what stands beside it
        monkeypatch.setattr(sys, "argv", [str(script), *options.split(), *map(str, more)])
        runpy.run_path(str(script), run_name="__main__")
        return capsys.readouterr().out

    yield run
    torch.set_num_threads(threads)
