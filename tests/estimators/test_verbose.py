"""Progress of a fit in a log, a terminal and a notebook."""

import io
import sys
from types import ModuleType, SimpleNamespace

import pytest
from rich.console import Console

from lds.estimators import verbose
from lds.estimators.verbose import fit_progress
from lds.structure.iteration import Iteration


def record(number: int) -> Iteration:
    return Iteration(
        iteration=number,
        inner_steps=10,
        inner_loss=0.5,
        outer_loss=0.25,
        stopping_accuracy=0.9,
        stopping_loss=0.3,
        expected_edges=1234.0,
        inner_lr=0.01,
        outer_lr=0.1,
        group_probs={},
        improved=True,
    )


@pytest.fixture
def clock(monkeypatch):
    """Seconds that the test moves."""
    now = SimpleNamespace(seconds=0.0)
    monkeypatch.setattr(verbose.time, "monotonic", lambda: now.seconds)
    return now


def test_silence_has_no_callbacks(capsys):
    with fit_progress(False, 5) as shown:
        assert shown == (None, None)
    assert capsys.readouterr().out == ""


def test_lines_in_a_log_say_what_is_done_and_the_time_left(clock, capsys):
    with fit_progress(True, 5) as shown:
        clock.seconds = 4.0
        shown.on_iteration(record(0))
        clock.seconds = 6.0
        shown.on_iteration(record(1))
        clock.seconds = 100.0
        shown.on_member(0, 21)
        clock.seconds = 107.0
        shown.on_member(7, 21)
        shown.on_member(21, 21)
    assert capsys.readouterr().out.splitlines() == [
        "1: inner 0.500, outer 0.250, stopping 90.0 %, 1,234 edges, about 16 s left",
        "2: inner 0.500, outer 0.250, stopping 90.0 %, 1,234 edges, about 9 s left",
        "refit, 0 of 21 members trained",
        "refit, 7 of 21 members trained, about 14 s left",
        "refit, 21 of 21 members trained",
    ]


def test_a_terminal_has_a_bar(monkeypatch, clock):
    screen = io.StringIO()
    monkeypatch.setattr(
        verbose, "Console", lambda: Console(file=screen, force_terminal=True, width=120)
    )
    with fit_progress(True, 2) as shown:
        clock.seconds = 3.0
        shown.on_iteration(record(0))
    assert "starting graph" in screen.getvalue() or "1: inner" in screen.getvalue()
    assert "about 3 s left" in screen.getvalue()
    assert "━" in screen.getvalue()


def test_a_notebook_replaces_one_output(monkeypatch, clock):
    states = []
    handle = SimpleNamespace(update=states.append)
    ipython, display = ModuleType("IPython"), ModuleType("IPython.display")
    ipython.get_ipython = lambda: SimpleNamespace(kernel=object())
    display.HTML = str

    def show(first, display_id):
        states.append(first)
        return handle

    display.display = show
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    with fit_progress(True, 2) as shown:
        clock.seconds = 3.0
        shown.on_iteration(record(0))
    assert states[0] == "starting graph and first outer iteration"
    assert states[1].startswith('<progress value="1" max="2"></progress> 1: inner 0.500')
    assert states[1].endswith("about 3 s left")


def test_iterations_before_a_resumption_took_none_of_this_time(clock, capsys):
    with fit_progress(True, 100) as shown:
        clock.seconds = 10.0
        shown.on_iteration(record(90))
    assert capsys.readouterr().out.endswith("about 90 s left\n")
