"""A local Dask cluster for the tests of work over several machines."""

import pytest


@pytest.fixture
def dask_client(tmp_path):
    """A client of two workers of one thread each; the test is skipped without Dask."""
    distributed = pytest.importorskip("distributed")
    where = {"host": "127.0.0.1", "local_directory": str(tmp_path / "dask")}
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, **where
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client
