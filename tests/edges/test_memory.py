"""Whether all pairs fit into memory, against the sizes of the buffers themselves."""

import psutil
import pytest
import torch

from lds.edges.memory import all_pairs_bytes, check_all_pairs_fit, keeps_all_pairs, sparse_bytes
from lds.graphs.candidates import AllPairs

N = 300  # more than one tile
F32, CPU = torch.float32, torch.device("cpu")


@pytest.fixture
def available(monkeypatch):
    """Set the bytes of memory available."""

    def set_to(n_bytes: int) -> None:
        memory = psutil.virtual_memory()._replace(available=n_bytes)
        monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)

    return set_to


def test_all_pairs_need_two_buffers_and_the_numbers_that_the_network_keeps(available):
    available(12345)
    one = torch.empty(AllPairs(N).size)
    assert all_pairs_bytes(N, F32, CPU) == (2 * one.nbytes, 12345)
    assert all_pairs_bytes(N, F32, "cpu", 7)[0] == 9 * one.nbytes
    assert all_pairs_bytes(N, torch.float64, CPU)[0] == 2 * one.double().nbytes


@pytest.mark.parametrize("further", [0, 5])
def test_auto_keeps_all_pairs_up_to_a_quarter_of_the_memory(available, further):
    needed, _ = all_pairs_bytes(N, F32, CPU, further)
    for n_bytes, fits in ((4 * needed, True), (4 * needed - 1, False)):
        available(n_bytes)
        assert keeps_all_pairs("auto", N, F32, CPU, further) == fits
        assert keeps_all_pairs("all", N, F32, CPU, further)
        assert not keeps_all_pairs("sparse", N, F32, CPU, further)


def test_all_pairs_that_do_not_fit_are_refused(available):
    needed, _ = all_pairs_bytes(N, F32, CPU)
    available(needed)
    check_all_pairs_fit("all", N)
    available(needed - 1)
    message = (
        f"every pair of 300 nodes and needs {needed:,} bytes, but {needed - 1:,} are available"
    )
    with pytest.raises(ValueError, match=message):
        check_all_pairs_fit("all", N)
    for kind in ("sparse", "auto"):
        check_all_pairs_fit(kind, N)


def test_a_sparse_support_needs_memory_for_its_pairs_and_no_more_than_there_are():
    assert sparse_bytes(N, 25, F32) == 25 * N * (2 * 4 + 3 * 8)
    assert sparse_bytes(4, 25, torch.float64) == 6 * (2 * 8 + 3 * 8)
