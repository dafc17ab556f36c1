"""How the pictures look: one style, colours that stay apart, axes without clutter."""

import colorsys
import functools
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Concatenate, ParamSpec

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator

from lds.run_folder import Run, as_run

INK = "#2e3440"
"""Colour of text and axes; the report puts the page's own in its place."""

PALETTE = (
    "#4477aa",
    "#ee6677",
    "#228833",
    "#ccbb44",
    "#66ccee",
    "#aa3377",
    "#8c6d5a",
    "#ee8833",
    "#44aa99",
    "#9988dd",
)
"""Colours of classes: told apart by most eyes, on white and on black (after Paul Tol's)."""

BETWEEN = "#ff00ff"
"""Colour of edges between classes: like none of the palette."""

BLUE, RED, GREEN, GREY = PALETTE[0], PALETTE[1], PALETTE[2], "#8a8f98"
LONGEST = 28
"""Letters of a class's name that fit a legend."""

_STYLE: Any = {
    "figure.figsize": (6.4, 3.6),
    "figure.constrained_layout.use": True,
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.15,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.6,
    "text.parse_math": False,  # a class may be called $x$
    "axes.unicode_minus": False,
    **dict.fromkeys(
        (
            "text.color",
            "axes.edgecolor",
            "axes.labelcolor",
            "axes.titlecolor",
            "xtick.color",
            "ytick.color",
            "grid.color",
        ),
        INK,
    ),
}

P = ParamSpec("P")


def styled(draw: Callable[Concatenate[Run, P], Figure]) -> Callable[Concatenate[Any, P], Figure]:
    """Draw in the style above, from whatever `as_run` takes.

    Matplotlib's settings stay as they were.
    """

    @functools.wraps(draw)
    def drawn(run: Any, /, *args: P.args, **kwargs: P.kwargs) -> Figure:
        with styled_figure():
            figure = draw(as_run(run), *args, **kwargs)
            for axes in figure.axes:
                for axis in (axes.xaxis, axes.yaxis):  # their first tick is the others' model
                    axis.get_major_ticks(1)
                    axis.get_minor_ticks(1)
            return figure

    return drawn


def styled_figure() -> AbstractContextManager[None]:
    """Draw in the style above within a `with` block."""
    return mpl.rc_context(_STYLE)


def class_colours(n_classes: int) -> list[str]:
    """A colour for each class; beyond the palette, hues around the wheel."""
    if n_classes <= len(PALETTE):
        return list(PALETTE[:n_classes])
    wheel = (colorsys.hls_to_rgb(c / n_classes, 0.5, 0.6) for c in range(n_classes))
    return ["#" + "".join(f"{round(255 * part):02x}" for part in rgb) for rgb in wheel]


def class_names(run: Run) -> list[str]:
    """Names short enough for a legend, none that matplotlib would leave out of it."""
    names = [str(name) for name in run.settings["classes"]]
    return [
        legend_name(name if len(name) <= LONGEST else name[: LONGEST - 1] + "…") for name in names
    ]


def legend_name(name: str) -> str:
    """Return a name that a legend shows: matplotlib leaves out those that begin with "_"."""
    return f" {name}" if name.startswith("_") else name


def series(run: Run, name: str) -> np.ndarray:
    """Collect one number of each record; NaN where it was not finite."""
    values = (record[name] for record in run.metrics)
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def over_iterations(axes: Axes, run: Run) -> np.ndarray:
    """Label the axis of outer iterations, mark the best, and return their numbers from 1.

    The record of a refit, if there is one, follows the outer iterations.
    """
    best, refit = run.summary["best_iteration"], run.n_iterations < len(run.metrics)
    label = "the refit" if best == run.n_iterations else "best by stopping rows"
    axes.axvline(best + 1, color=GREY, linewidth=1, linestyle=":", label=label)
    axes.set_xlabel("outer iteration; the refit is the last point" if refit else "outer iteration")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return np.arange(1, len(run.metrics) + 1)


def log_axis(axes: Axes) -> None:
    """A logarithmic vertical axis with plain numbers, after what is drawn on it is there."""
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    plain = FuncFormatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_major_formatter(plain)
    axes.yaxis.set_minor_formatter(plain if high < 8 * low else FuncFormatter(lambda *_: ""))
    if 8 * low <= high < 200 * low:
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 3)))


def beside(axes: Axes) -> None:
    """A legend to the right of the axes, where it hides no curve."""
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))


def role_rows(run: Run, roles: Sequence[str]) -> np.ndarray:
    """Rows of these roles."""
    rows = [run.predictions[f"{role}_rows"] for role in roles]
    found: np.ndarray = np.concatenate(rows).astype(np.int64)
    return found
