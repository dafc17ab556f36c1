"""Every entry of the thesis runs at the budget tiny, and a second command runs nothing."""

import pytest

from lds.experiments.reproduce import store as stores
from lds.experiments.reproduce.registry import ENTRIES
from lds.experiments.reproduce.store import Store, run_entry
from lds.experiments.reproduce.verdicts import VERDICTS
from tests.conftest import data_root

pytestmark = pytest.mark.ci


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Entries share rows, so they share a store, too."""
    return Store(tmp_path_factory.mktemp("reproduce") / "rows.jsonl")


@pytest.mark.data
@pytest.mark.parametrize("entry", ENTRIES.values(), ids=list(ENTRIES))
def test_an_entry_runs_at_a_tiny_budget(entry, store, monkeypatch):
    root, rows = data_root(), entry.rows("tiny")
    missing = {path for row in rows if (path := entry.lacks(row, root))}
    if missing:
        pytest.skip(f"{root} has no {', '.join(sorted(missing))}")
    ran = list(run_entry(entry, "tiny", root, store))
    assert all("value" in record and record["seconds"] >= 0 for record in ran)
    found = store.found(entry, "tiny")
    assert len(found.records) == len(rows)
    compared = entry.check(found)
    assert {each.verdict for each in compared} <= set(VERDICTS)
    assert any(each.verdict != "not run" for each in compared)
    monkeypatch.setattr(stores, "import_module", None)  # nothing is run again
    again = Store(store.path)
    assert list(run_entry(entry, "tiny", root, again)) == []
    assert again.found(entry, "tiny").records == found.records
