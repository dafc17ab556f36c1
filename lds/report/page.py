"""One self-contained HTML page from a run folder: no network, no other file."""

import io
import itertools
import re
import warnings
from collections.abc import Callable
from dataclasses import replace
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from lds._files import check_output_file, write_atomically
from lds._types import ROLES
from lds._verdict import QUALITIES, best_of, quality_text, verdict
from lds._words import CONTROLS, ending, plural, rows_by_role
from lds.estimators.evidence import Evidence, evidence_of
from lds.plots.graph import degrees_and_homophily, probability_histograms
from lds.plots.predictions import calibration, embedding
from lds.plots.style import INK
from lds.plots.training import expected_edges, group_probabilities, learning_curves
from lds.report.edges import edge_tables
from lds.report.neighbours import neighbourhoods, to_script
from lds.report.settings import settings_tables
from lds.report.why import reasons
from lds.run_folder import Run, as_run
from lds.structure.methods.registry import METHODS

PICTURES: dict[str, tuple[Callable[[Run], Figure], str]] = {
    "learning": (
        learning_curves,
        "Inner and outer loss are those of the last step of an outer iteration, on one drawn "
        "graph. {judges}",
    ),
    "edges": (expected_edges, "How many edges a drawn graph has on average."),
    "groups": (
        group_probabilities,
        "Means over all pairs of nodes. Classes count as known where the run could know them: on "
        "train, validation and stopping rows.",
    ),
    "histograms": (
        probability_histograms,
        "All known labels are used here, those of test rows too. A learned graph that helps gives "
        "pairs of one class more.",
    ),
    "degrees": (
        degrees_and_homophily,
        "Above: how many edges a node has on average. Below: how much of the weight of the edges "
        "at nodes of a class stays within it.",
    ),
    "embedding": (
        embedding,
        "Nodes near each other look alike to the classification layer. Colours are classes, of the "
        "prediction where the label is unknown.",
    ),
    "calibration": (
        calibration,
        "Where the bars meet the dashed line, a confidence of 80 % is right 80 times of 100.",
    ),
}

_SECTIONS = {
    "result": "Result",
    "explorer": "Neighbourhoods",
    "why": "Why this class?",
    "changes": "Edges",
    "unsure": "Unsure rows",
    "pictures": "Pictures",
    "settings": "Settings",
}
_LINKS = "".join(f'<a href="#{name}">{title}</a>' for name, title in _SECTIONS.items())
_NAV = f'<nav aria-label="Sections">{_LINKS}</nav>\n'


def write_report(
    run: Any,
    path: str | Path,
    *,
    values: bool = True,
    on_picture: Callable[[str, int, int], None] | None = None,
) -> None:
    """Write the page; the file is complete or not there.

    It holds the accuracy beside the controls, the pictures of `lds.plots`, the settings, what
    learning did to the edges, and for any node its most probable edges and why it got its class.

    Arguments:
        run: a run folder, a fitted classifier, a `LearnedStructure` or a `Learned`, or what
            `load_run` read.
        path: of the file, .html.
        values: False leaves out the cells of the rows, their identifiers, and the features in which
            rows differ. Settings never hold cells.
        on_picture: called before each picture is drawn with its name, how many are drawn, and how
            many there are.

    Raises:
        FileNotFoundError, ValueError: the folder does not hold a whole run, or `path` cannot be.
    """
    path, found = Path(path), as_run(run)
    check_output_file(path, "the report's file", (".html",))
    page = html(found, evidence_of(run), values=values, on_picture=on_picture)
    write_atomically(path, lambda file: file.write(page.encode()))


def html(
    run: Run,
    evidence: Evidence | None = None,
    *,
    values: bool = True,
    on_picture: Callable[[str, int, int], None] | None = None,
) -> str:
    """Make the page as text; see `write_report`."""
    evidence = evidence or Evidence()
    if not values:
        known = {k: v for k, v in run.predictions.items() if k != "identifiers"}
        run = replace(run, predictions=known)
    pictures = ""
    for k, (name, (draw, caption)) in enumerate(PICTURES.items()):
        if on_picture is not None:
            on_picture(name, k, len(PICTURES))
        drawn = svg(draw(run), name)
        text = escape(caption.replace("{judges}", _judges(run)))
        pictures += f'<figure id="{name}">{drawn}<figcaption>{text}</figcaption></figure>'
    data = neighbourhoods(run) | {"why": (why := reasons(run, evidence, values))}
    parts = {
        "title": escape(_title(run)),
        "verdict": escape(verdict(run.summary)),
        "n_test": plural(run.predictions["test_rows"].size, "test row"),
        "facts": _facts(run),
        "quality": _quality(run),
        "quality_headings": quality_headings(),
        "most_probable": str(max(b - a for a, b in itertools.pairwise(data["first"]))),
        "n_unsure": str(data["unsure"]),
        "search_label": f"Node, 0 to {len(data['label']) - 1}"
        + ("" if data["id"] is None else ", or identifier"),
        "left_out": _left_out(why, evidence, values),
        "edge_tables": edge_tables(run, evidence, data["id"]),
        "pictures": pictures,
        "settings": settings_tables(run.settings),
        "nav": _NAV,
        "scripts": f'<script type="application/json" id="data">{to_script(data)}</script>\n'
        f"<script>\n{_asset('page.js')}\n</script>\n",
    }
    return framed("page.html", "Learned graph", parts)


def _left_out(why: dict[str, Any], evidence: Evidence, values: bool) -> str:
    """Say which parts of the section on a node the page lacks; "" where it lacks none."""
    if not values:
        return '<p class="lead">The values of the rows were left out on request.</p>\n'
    held = {"votes": True, "members": bool(evidence.account.members)}
    held |= dict.fromkeys(("differences", "cells"), evidence.features is not None)
    names = [name for name in held if held[name] and why[name] is None]
    if not names:
        return ""
    listed = ", ".join(names)
    return f'<p class="lead">Left out, being too many for a page: {listed}.</p>\n'


def framed(template: str, kind: str, parts: dict[str, str]) -> str:
    """Make a page: the frame of all pages around a template.

    Arguments:
        template: name of the file of the main part.
        kind: of the page, above its title.
        parts: HTML by name of the place, in the template or in the frame.
    """
    main = _filled(template, parts)
    frame = {"css": _asset("page.css"), "kind": escape(kind), "nav": "", "scripts": ""}
    return _filled("frame.html", frame | parts | {"main": main})


def _filled(template: str, parts: dict[str, str]) -> str:
    """Put parts into the places of a template.

    In one pass: what was put in is not searched for further places.
    """
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], _asset(template))


def svg(figure: Figure, name: str) -> str:
    """A figure as inline SVG in the page's own text colour, its ids made unique by `name`."""
    buffer = io.StringIO()
    options: Any = {"svg.fonttype": "none", "svg.hashsalt": name, "text.parse_math": False}
    with mpl.rc_context(options), warnings.catch_warnings():
        # The browser has letters that matplotlib's font has not.
        warnings.filterwarnings("ignore", r"Glyph .* missing from", UserWarning)
        for patch in (figure.patch, *(axes.patch for axes in figure.axes)):
            patch.set_visible(False)  # the page's own colour shows
        # `figure.savefig` would draw the figure once more, for its layout alone.
        FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None})  # type: ignore[no-untyped-call]
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, count=1, flags=re.DOTALL)
    text = re.sub(r'\b(id=")', rf"\1{name}-", text)
    text = re.sub(r'(href="#|url\(#)', rf"\1{name}-", text)
    title = escape(", ".join(axes.get_title() for axes in figure.axes if axes.get_title()))
    text = text.replace("<svg", f'<svg role="img" aria-label="{title}"', 1)
    return text.replace(INK, "currentColor")


def _title(run: Run) -> str:
    settings = run.settings
    title = f"{Path(str(settings['data'])).name}, seed {settings['seed']}"
    if settings.get("retain") is not None:
        title += f", {settings['retain']:.0%} of the edges"
    return title


def _facts(run: Run) -> str:
    summary, labels = run.summary, run.predictions["labels"]
    facts = {
        "Nodes": f"{len(labels):,} ({_roles(run)})",
        "Classes": f"{len(run.settings['classes'])}",
        "Edges": f"{summary['starting_edges']:,.0f} expected before learning, "
        f"{summary['expected_edges']:,.0f} after it",
        "Run": _ending(run),
    }
    return "".join(f"<dt>{name}</dt><dd>{escape(fact)}</dd>" for name, fact in facts.items())


def _roles(run: Run) -> str:
    """Count the rows of each role, or the labels where each trains and judges."""
    return rows_by_role(
        {role: int(run.predictions[f"{role}_rows"].size) for role in ROLES},
        reads_roles=METHODS[run.settings["method"]].reads_roles,
        controls=any(name in run.summary["test_quality"] for name in CONTROLS),
    )


def _judges(run: Run) -> str:
    """Say which rows judge the iterations."""
    if not METHODS[run.settings["method"]].reads_roles:
        return "Every labelled row is left out in turn, and judges then."
    if run.n_iterations < len(run.metrics):
        return "The stopping rows judge each iteration; the refit is on the last one."
    return "The stopping rows choose the best iteration."


def _ending(run: Run) -> str:
    """How long the run was and how it ended."""
    summary = run.summary
    return ending(
        summary["reason"],
        run.n_iterations,
        summary["best_iteration"],
        refit=run.n_iterations < len(run.metrics),
        fixed_length=METHODS[run.settings["method"]].fixed_length,
        seconds=summary.get("seconds"),
    )


def _quality(run: Run) -> str:
    names = {"lds": METHODS[run.settings["method"]].title, **CONTROLS}
    found, rows = run.summary["test_quality"], []
    best = best_of(found)
    for name, quality in found.items():
        cells = quality_cells(quality or {}, best)
        rows.append(f'<tr><th scope="row">{escape(names.get(name, name))}</th>{cells}</tr>')
    return "".join(rows)


def quality_headings() -> str:
    """Write the headings of the columns of `quality_cells`."""
    titles = (text[0].upper() + text[1:] for text in QUALITIES.values())
    return "".join(f'<th scope="col">{title}</th>' for title in titles)


def quality_cells(found: dict[str, float | None], best: dict[str, float]) -> str:
    """Write the cells of a row with qualities; the best of each column is bold."""
    marks = {n: " class=best" if n in best and found.get(n) == best[n] else "" for n in QUALITIES}
    return "".join(f"<td{m}>{quality_text(n, found.get(n))}</td>" for n, m in marks.items())


def _asset(name: str) -> str:
    return files("lds.report").joinpath(name).read_text(encoding="utf-8")
