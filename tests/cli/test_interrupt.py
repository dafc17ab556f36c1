"""Ctrl-C during a fit: what is said, what stops, what is kept."""

import signal
from pathlib import Path

import numpy as np
import pytest

from lds.cli.interrupt import Interrupts, StopNow
from lds.run_folder import load_run
from tests.cli.options import THESIS

ctrl_c = pytest.mark.skipif(
    signal.getsignal(signal.SIGINT) is not signal.default_int_handler,
    reason="Ctrl-C is ignored here, as in a background process",
)

FIT = ["fit", "iris", "--max-iter", "3", "--max-inner", "10", "--refit-steps", "4", "--quiet"]


def at(function, number):
    """Press Ctrl-C at the given calls of a function, numbered from 0."""
    calls = iter(range(1000))

    def pressing(*arguments, **options):
        if next(calls) in number:
            signal.raise_signal(signal.SIGINT)
        return function(*arguments, **options)

    return pressing


@ctrl_c
def test_the_first_ends_in_order_and_the_second_at_once(capsys):
    with Interrupts(Path("runs/a"), True, True) as interrupts:
        interrupts.phase = "learn"
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        said = capsys.readouterr().err
        assert "training the committee on what was learned, then saving it" in said
        assert "Ctrl-C again stops at once; to continue later: lds fit --resume runs/a" in said
        with pytest.raises(StopNow):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@ctrl_c
@pytest.mark.parametrize("phase", ["begin", "refit", "controls"])
def test_outside_the_outer_iterations_one_is_enough(phase):
    with Interrupts(Path("runs/a"), True, True) as interrupts:
        interrupts.phase = phase
        with pytest.raises(StopNow):
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("force", [(), ("--force",)])
def test_before_the_run_nothing_is_written(lds, tmp_path, monkeypatch, force):
    def pressed(*_):
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("lds.cli.fit._for_data", pressed)
    code, _, err = lds(*FIT, "--out", "run", *force)
    assert code == 130
    assert err == "interrupted before the run began; nothing was written\n"
    assert not list(tmp_path.iterdir())


def test_a_process_that_ignores_it_still_does():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Interrupts(Path("runs/a"), True, True):
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The run without an interruption, without its controls."""
    from typer.testing import CliRunner

    from lds.cli import app

    folder = tmp_path_factory.mktemp("whole") / "run"
    result = CliRunner().invoke(app, [*FIT, "--no-controls", "--out", str(folder)])
    assert result.exit_code == 0, result.output
    return load_run(folder)


def assert_same(ours, theirs):
    assert ours.metrics == theirs.metrics
    assert np.array_equal(ours.predictions["probabilities"], theirs.predictions["probabilities"])


@pytest.mark.ci
@ctrl_c
@pytest.mark.parametrize("presses", [{1}, {1, 2}], ids=["once", "twice"])
def test_an_interrupted_fit_is_resumed(lds, tmp_path, monkeypatch, whole, presses):
    """Ctrl-C in the second outer iteration, and perhaps again in the refit after it."""
    import lds.structure.inner_run as inner
    import lds.structure.methods.refit as refit

    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        iterate = inner.SequentialInnerRun.__call__
        patch.setattr(inner.SequentialInnerRun, "__call__", at(iterate, presses & {1}))
        patch.setattr(refit, "train_members", at(refit.train_members, presses - {1}))
        code, out, err = lds(*FIT, "--no-controls", "--out", run)
    assert code == 130
    assert err.startswith("no more outer iterations; training the committee")
    assert f"lds fit --resume {run}\n" in err
    assert "running the controls" not in err
    if len(presses) == 1:
        assert load_run(run).summary["reason"] == "interrupted"
        assert "1 outer iteration and the refit" in out
        assert "it was interrupted" in out
    else:
        assert not (run / "summary.json").exists()
        assert "interrupted before there was a result; its outer iterations are kept" in err
    assert lds("fit", "--resume", run, "--quiet")[0] == 0
    assert_same(load_run(run), whole)


@pytest.mark.ci
@ctrl_c
def test_an_interrupt_of_the_controls_keeps_what_was_learned(lds, tmp_path, monkeypatch, whole):
    import lds.structure.controls as controls

    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(controls, "fit_gcn", at(controls.fit_gcn, {0}))
        code, out, err = lds(*FIT, "--out", run)
    assert code == 130
    assert f"interrupted; to continue: lds fit --resume {run}" in err
    assert "LDS, the default" in out
    assert_same(load_run(run), whole)
    assert set(load_run(run).summary["test_accuracy"]) == {"lds"}
    assert lds("fit", "--resume", run, "--quiet")[0] == 0
    assert "frozen" in load_run(run).summary["test_accuracy"]


@ctrl_c
def test_the_method_of_the_thesis_saves_its_best(lds, tmp_path, monkeypatch):
    import lds.structure.inner_run as inner

    iterate = inner.SequentialInnerRun.__call__
    monkeypatch.setattr(inner.SequentialInnerRun, "__call__", at(iterate, {1}))
    arguments = ["fit", "iris", *THESIS, "--method", "thesis", "--no-checkpoint"]
    code, _, err = lds(*arguments, "--out", tmp_path / "run")
    assert code == 130
    assert err == "no more outer iterations; saving the best one. Ctrl-C again stops at once.\n"
    assert load_run(tmp_path / "run").summary["reason"] == "interrupted"
