"""What the outer loops show of their progress, on a terminal, in a log and not at all."""

import functools
import io
import re

import pytest
import torch
from rich.console import Console

from lds import _progress, bilevel
from tests.problems import scalar

INNER = bilevel.GradientDescent(lambda w, lam: 0.5 * (w - lam) ** 2, lr=0.5)
RUN = (INNER, lambda w, lam: (w - 3) ** 2, scalar(0.0), scalar(0.0))
SGD = functools.partial(torch.optim.SGD, lr=0.25)


def solve(**options):
    return bilevel.solve(*RUN, 5, n_outer=4, optimizer=SGD, **options)


def online(**options):
    return bilevel.solve_online(*RUN, 8, interval=2, optimizer=SGD, **options)


def black_box(**options):
    return bilevel.solve_black_box(
        lambda lam, k: ((lam - 3) ** 2, 2 * (lam - 3)), scalar(0.0), n_outer=4, **options
    )


@pytest.mark.parametrize("loop", [solve, online, black_box])
def test_lines_where_there_is_no_terminal(loop, capsys, monkeypatch):
    monkeypatch.setattr(_progress, "SECONDS", 0.0)
    quiet = loop()
    assert capsys.readouterr() == ("", "")
    solution = loop(verbose=True)
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert [line.split(":")[0] for line in lines] == ["1/4", "2/4", "3/4", "4/4"]
    best = min(record.value for record in solution.history)
    for line, record in zip(lines, solution.history, strict=True):
        assert f"outer loss {record.value:.4g}" in line
    assert f"(best {best:.4g})" in lines[-1]
    assert all(re.search(r"\d+ s left$", line) for line in lines[:-1])
    assert torch.equal(quiet.hyper, solution.hyper)


def test_few_lines_of_a_fast_loop(capsys):
    solve(verbose=True, keep="last")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2, "the first and the last"
    assert lines[-1].startswith("4/4: outer loss")
    assert "best" not in lines[-1]


def test_the_value_of_evaluate_is_shown(capsys):
    solve(verbose=True, evaluate=lambda w, lam: 7.25)
    assert "evaluated 7.25 (best 7.25)" in capsys.readouterr().err


def test_a_run_that_is_resumed_counts_on(tmp_path, capsys):
    bilevel.solve(*RUN, 5, n_outer=2, optimizer=SGD, checkpoint=tmp_path / "c")
    solve(verbose=True, checkpoint=tmp_path / "c", resume=True)
    assert capsys.readouterr().err.splitlines()[0].startswith("3/4")


def test_the_callback_is_called_beside_it_and_ends_it(capsys):
    seen = []
    solution = solve(verbose=True, callback=lambda record: seen.append(record) or len(seen) == 2)
    assert solution.reason == "callback"
    assert len(seen) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("2/4")


@pytest.mark.parametrize("kind", ["terminal", "notebook"])
def test_a_bar(kind):
    stream = io.StringIO()
    console = Console(
        file=stream, force_terminal=kind == "terminal", force_jupyter=False, width=100
    )
    if kind == "notebook":
        console.is_jupyter = True
    shown = _progress.Shown(4, console=console)
    assert shown._bar is not None
    if kind == "notebook":
        return  # rich draws it by IPython's display
    with shown:
        shown.update(1, "outer loss 2")
        shown.update(4, "outer loss 0.5")
    text = stream.getvalue()
    assert "4/4" in text
    assert "outer loss 0.5" in text
    assert "left" in text
