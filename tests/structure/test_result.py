"""A result in a folder: what is read back, what it predicts, and what is not fitted again."""

import dataclasses
import json

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from sklearn.decomposition import PCA
from sklearn.preprocessing import PowerTransformer, StandardScaler

from lds.edges.free import FreeEdges
from lds.graphs.candidates import PairList
from lds.nn.preparation import FeaturePreparation
from lds.run_folder import FORMAT
from lds.structure.learn import learn
from lds.structure.methods.thesis import Thesis
from lds.structure.result import EDGE_CUTOFF, Learned
from tests.structure import small
from tests.structure.blobs import blobs, words

DEFAULT = dataclasses.replace(small.DEFAULT, max_iter=1, max_inner=5, refit_steps=4)
THESIS = dataclasses.replace(small.THESIS, max_iter=2, max_inner=10)
METHODS = {
    "default": DEFAULT,
    "metric of rank 3": dataclasses.replace(DEFAULT, metric_rank=3),
    "thesis": THESIS,
    "thesis, sparse support": dataclasses.replace(THESIS, support="sparse", grow_every=2),
    "thesis, connected": dataclasses.replace(THESIS, connected=True),
}
KINDS = {"dense": blobs, "sparse": words}


@pytest.fixture(
    scope="module",
    params=[(method, kind) for method in METHODS for kind in KINDS],
    ids=lambda param: f"{param[0]}, {param[1]} X",
)
def saved(request, tmp_path_factory):
    """A result, the folder it was saved to, and new rows."""
    method, kind = request.param
    result = learn(KINDS[kind](), METHODS[method], seed=3)
    folder = tmp_path_factory.mktemp("saved")
    result.save(folder)
    new = KINDS[kind](60, seed=1).features[:9]
    return result, folder, new


def test_what_was_learned_is_read_back(saved):
    result, folder, _ = saved
    found = Learned.load(folder)
    assert (found.method, found.seed) == (result.method, 3)
    assert (found.best, found.reason) == (result.best, result.reason)
    assert repr(found.history) == repr(result.history), "a loss may be nan, which equals nothing"
    for name in ("probabilities", "mutual_information", "hidden"):
        assert np.array_equal(getattr(found, name), getattr(result, name)), name
    assert found.params.keys() == result.params.keys()
    assert all(torch.equal(found.params[name], leaf) for name, leaf in result.params.items())
    kept, theirs = found.edges.to_csr(), result.edges.to_csr(EDGE_CUTOFF)
    assert (kept != theirs).nnz == 0
    assert (found.start != result.start).nnz == 0
    assert found.starting_edges == result.starting_edges
    assert found.expected_edges == result.expected_edges
    assert found.n_restarts == result.n_restarts
    assert found.test_quality == result.test_quality
    assert repr(found) == repr(result)


def test_the_problem_is_read_back(saved):
    result, folder, _ = saved
    mine, theirs = Learned.load(folder).problem, result.problem
    assert sp.issparse(mine.features) == sp.issparse(theirs.features)
    difference = mine.features != theirs.features
    assert not (difference.nnz if sp.issparse(difference) else difference.any())
    assert mine.features.dtype == theirs.features.dtype
    assert np.array_equal(mine.labels, theirs.labels)
    for role, rows in vars(theirs.split).items():
        assert np.array_equal(getattr(mine.split, role), rows), role


def test_rows_of_the_fit_get_the_answer_of_the_fit(saved):
    result, folder, new = saved
    features = result.problem.features
    for each in (result, Learned.load(folder)):
        assert np.array_equal(
            each.predict_new(features[[4, 0, 50]]), result.probabilities[[4, 0, 50]]
        )
        stack = sp.vstack if sp.issparse(new) else np.vstack
        mixed = each.predict_new(stack([features[:2], new[:3]]))
        assert np.array_equal(mixed[:2], result.probabilities[:2])
        np.testing.assert_allclose(mixed[2:], each.predict_new(new[:3]), rtol=0, atol=1e-6)


def test_new_rows_are_predicted_as_before(saved):
    result, folder, new = saved
    np.testing.assert_allclose(result.predict_new(new).sum(1), 1, rtol=1e-5)
    assert np.array_equal(Learned.load(folder).predict_new(new), result.predict_new(new))


@pytest.mark.parametrize("method", [DEFAULT, THESIS])
def test_a_run_in_double_precision_is_read_back_and_predicts_as_before(method, tmp_path):
    result, new = learn(blobs(), method, dtype=torch.float64), blobs(seed=1).features[:9]
    result.save(tmp_path)
    found = Learned.load(tmp_path)
    assert found.edges.probs.dtype == torch.float64
    assert np.array_equal(found.predict_new(new), result.predict_new(new))


def test_an_edge_below_the_cutoff_is_drawn_for_no_new_row(thesis_fit):
    theta = thesis_fit.edges.to_csr()
    theta.data[:] = EDGE_CUTOFF / 2
    result = dataclasses.replace(thesis_fit, edges=FreeEdges(theta))
    assert result.stored_edges.expected_edges == 0 < result.edges.expected_edges


def test_nothing_is_fitted_again(saved, monkeypatch):
    _, folder, new = saved
    expected = Learned.load(folder).predict_new(new)

    def fit(self, *arguments, **options):
        raise AssertionError(f"{type(self).__name__} is fitted again")

    for kind in (PowerTransformer, StandardScaler, PCA):
        monkeypatch.setattr(kind, "fit", fit)
        monkeypatch.setattr(kind, "fit_transform", fit)
    monkeypatch.setattr(FeaturePreparation, "__init__", fit)
    assert np.array_equal(Learned.load(folder).predict_new(new), expected)


def test_what_was_read_can_be_saved_again(saved, tmp_path):
    _, folder, new = saved
    first = Learned.load(folder)
    first.save(tmp_path / "unused")
    expected = first.predict_new(new)
    first.save(tmp_path / "used")
    for name in ("unused", "used"):
        again = Learned.load(tmp_path / name)
        assert repr(again) == repr(first)
        assert (again.edges.to_csr() != first.edges.to_csr()).nnz == 0
        assert np.array_equal(again.predict_new(new), expected)


def test_a_result_is_shown_in_a_few_lines(saved):
    result, _, _ = saved
    shown = repr(result)
    assert len(shown.splitlines()) <= 20
    assert max(map(len, shown.splitlines())) <= 100
    assert f"method='{result.method.name}'" in shown
    assert "60 nodes" in shown


def test_the_record_counts_what_the_cutoff_leaves_out(saved):
    result, _, _ = saved
    run = result.as_run(settings={"data": "blobs"}, summary={"seconds": 1.5}, classes=["a", 2, "c"])
    theta = result.edges.to_csr().astype(np.float64)
    kept = theta.copy()
    kept.data[kept.data <= EDGE_CUTOFF] = 0
    below = (theta.sum() - kept.sum()) / 2
    summary = run.summary
    assert summary["edge_cutoff"] == EDGE_CUTOFF
    assert summary["expected_edges_below_cutoff"] == pytest.approx(below, abs=1e-4)
    assert summary["starting_edges"] == pytest.approx(result.start.sum() / 2)
    assert summary["seconds"] == 1.5
    assert run.settings["classes"] == ["a", 2, "c"]
    assert (run.settings["method"], run.settings["seed"]) == (result.method.name, 3)
    assert run.settings["options"] == result.method.to_dict()
    assert run.settings["data"] == "blobs"
    assert len(run.metrics) == len(result.history)
    assert summary["test_accuracy"]["lds"] == result.test_quality.accuracy


# Folders that are none


@pytest.fixture
def folder(thesis_fit, tmp_path):
    thesis_fit.save(tmp_path)
    return tmp_path


@pytest.mark.parametrize("older", [*range(1, FORMAT), None])
def test_a_folder_of_an_older_format_gets_one_sentence(folder, older):
    path = folder / "settings.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    settings["format"] = older
    if older is None:
        del settings["format"]
    path.write_text(json.dumps(settings), encoding="utf-8")
    with pytest.raises(ValueError, match=f"must be of run format {FORMAT}") as error:
        Learned.load(folder)
    sentence = str(error.value)
    assert len(sentence.splitlines()) == 1
    assert "settings.json" in sentence
    assert ("fit again with this one" in sentence) == (older is not None)


def test_a_folder_of_no_run_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError):
        Learned.load(tmp_path)


@pytest.mark.parametrize("name", ["features.npz", "weights.safetensors", "summary.json"])
def test_a_run_that_has_not_ended_is_refused(folder, name):
    (folder / name).unlink()
    with pytest.raises(
        FileNotFoundError, match=r"has not ended|is not the folder of a finished run"
    ):
        Learned.load(folder)


@pytest.mark.parametrize("name", ["features.npz", "predictions.npz", "edge_probs.npz"])
def test_a_damaged_file_is_named(folder, name):
    (folder / name).write_bytes(b"nothing")
    with pytest.raises(ValueError, match=f"{name} is damaged"):
        Learned.load(folder)


def test_an_earlier_run_in_the_folder_is_written_over_only_where_told(folder, alone_fit):
    before = (folder / "settings.json").read_bytes()
    with pytest.raises(FileExistsError, match=r"holds a run; .* or give overwrite=True"):
        alone_fit.save(folder)
    assert (folder / "settings.json").read_bytes() == before
    alone_fit.save(folder, overwrite=True)
    assert Learned.load(folder).method == small.ALONE


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("name", ["report.html", "features.npz", "settings.json"])
def test_a_file_that_is_of_no_run_is_not_lost(tmp_path, alone_fit, name, overwrite):
    (tmp_path / name).write_text('{"mine": 1}')
    (tmp_path / "notes.txt").write_text("mine as well")
    with pytest.raises(FileExistsError, match=r"holds a run|would be lost; name another"):
        alone_fit.save(tmp_path, overwrite=overwrite)
    assert (tmp_path / name).read_text() == '{"mine": 1}'
    (tmp_path / name).unlink()
    alone_fit.save(tmp_path, overwrite=overwrite)
    assert (tmp_path / "notes.txt").read_text() == "mine as well"


def test_a_method_of_the_thesis_has_nothing_fitted_in_its_folder(folder):
    assert not (folder / "preparation.npz").exists()
    assert isinstance(Learned.load(folder).method, Thesis)


def test_a_run_with_a_backbone_of_ones_own_says_where_to_enter_it(folder):
    path = folder / "settings.json"
    settings = json.loads(path.read_text())
    settings["options"]["backbone"] = "skip"
    path.write_text(json.dumps(settings))
    with pytest.raises(
        ValueError, match=r"backbone 'skip', which is not .*nn\.registry\.BACKBONES"
    ):
        Learned.load(folder)


def test_what_the_cutoff_left_out_is_not_lost_by_reading_and_writing(saved, tmp_path):
    result, _, _ = saved
    name = "expected_edges_below_cutoff"
    small = result.edges.to_csr(EDGE_CUTOFF) * np.float32(1.5e-4)  # most of it is below
    known = dataclasses.replace(result, edges=FreeEdges(small, candidates=PairList.of(small)))
    below = known.save(tmp_path / "one").summary[name]
    assert below > 0
    again = Learned.load(tmp_path / "one").save(tmp_path / "two").summary[name]
    assert again == pytest.approx(below, rel=1e-6)
