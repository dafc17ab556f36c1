"""Write the page of the thesis from recorded runs.

    python -m lds.experiments.reproduce.page

reads examples/benchmarks/results/reproduce.jsonl and writes examples/docs/pages/thesis.md.
"""

import argparse
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from lds.experiments.reproduce.entry import BUDGETS, Entry, Found
from lds.experiments.reproduce.registry import ENTRIES
from lds.experiments.reproduce.store import Store
from lds.experiments.reproduce.verdicts import GREEN, VERDICTS, Comparison

RECORDS = Path("examples/benchmarks/results/reproduce.jsonl")
PAGE = Path("examples/docs/pages/thesis.md")
COMMAND = "python -m lds.experiments.reproduce.page"

ALGORITHMS = {
    "Algorithm 1, iterative optimisation": "lds/bilevel/step.py",
    "Algorithm 2, Reverse-HG": "lds/bilevel/reverse.py",
    "Algorithm 3, Forward-HG": "lds/bilevel/forward.py",
    "Algorithm 4, Fixed-point-HG": "lds/bilevel/implicit.py",
    "Algorithm 5, hyper-representation": "lds/experiments/reproduce/few_shot.py",
    "Algorithm 6, MARTHE": "lds/bilevel/online.py",
    "Algorithm 7, LDS": "lds/structure/restarts.py",
}
"""The file of each algorithm."""

EQUATIONS = {
    "(5.8), (5.9): f_T and its minimisation": "lds.bilevel.solve.solve",
    "(5.10): gradient descent with momentum": "lds.bilevel.descent.Momentum",
    "(5.15)-(5.19): the adjoint α_t": "lds.bilevel.reverse.Reverse",
    "(5.20): the tangent Z_t": "lds.bilevel.forward.Forward",
    "(5.23): real time, hyper-batches Δ": "lds.bilevel.online.solve_online",
    "(5.26)-(5.28): implicit differentiation": "lds.bilevel.implicit.FixedPoint",
    "(6.9): the contraction factor ρ": "lds.bilevel.diagnostics.contraction",
    "(6.12): bound of iterative differentiation": "lds.bilevel.diagnostics.iterative_bound",
    "(6.14): bound of the fixed point method": "lds.bilevel.diagnostics.fixed_point_bound",
    "(6.16): a convolutional equilibrium": "lds.experiments.reproduce.equilibrium.equilibrium",
    "(7.1), (7.2): episodes": "lds.bilevel.tasks.over_tasks",
    "(8.7), (8.8), (8.14), (8.15): RTHO, HD, MARTHE": "lds.bilevel.online.solve_online",
    "(9.1): inner objective": "lds.structure.task.Task",
    "(9.2): the GCN": "lds.nn.gcn.GCN",
    "(9.3)-(9.6): a Bernoulli variable a pair": "lds.edges.free.FreeEdges",
    "(9.7): mean over S graphs": "lds.structure.predict.predict_proba",
    "Appendix B: cross-validation": "lds.bilevel.tasks.k_folds",
    "Appendix D: straight-through": "lds.discrete.gradient_estimators.straight_through",
}
"""The function or class of each equation."""

NOT_HERE = {
    "Figures 1.1 to 5.1, 6.2, 9.1": "drawings, and surfaces of textbook examples",
    "Figure 6.6, Figure 7.4": "pictures without a number",
    "Table 7.2": "the two methods compared there are not ours, and the features are not here",
    "Tables 3.1 to 5.1": "lists of names",
}
"""Tables and figures without an entry, and why."""


def recorded(entry: Entry, store: Store) -> tuple[str, Found] | None:
    """The largest budget of which rows were run, with them; None: none were."""
    for budget in reversed(BUDGETS):
        found = store.found(entry, budget)
        if found.records:
            return budget, found
    return None


def comparisons(entry: Entry, found: Found) -> list[Comparison]:
    """What was compared, with reasons."""
    return [each.because(entry.reasons) for each in entry.check(found)]


def page(store: Store) -> str:
    """The text of the page."""
    return "\n".join([*_head(), *_overview(store), *_entries(store), *_rest()]) + "\n"


def _head() -> Iterator[str]:
    yield "# The thesis, table by table"
    yield ""
    yield f"<!-- Written by `{COMMAND}` from recorded runs; do not edit. -->"
    yield ""
    yield "Each table and figure of L. Franceschi, *A Unified Framework for Gradient-based"
    yield "Hyperparameter Optimization and Meta-learning*, that open data can give is one command,"
    yield "`lds reproduce NAME --budget tiny|cpu|full`; `lds reproduce` lists them. The thesis's"
    yield "numbers stand beside ours. Runs are kept row by row, so a command goes on where it was"
    yield "stopped."
    yield ""
    yield "## Algorithms and equations"
    yield ""
    yield "| thesis | file |"
    yield "|---|---|"
    for name, path in ALGORITHMS.items():
        yield f"| {name} | `{path}` |"
    yield ""
    yield "| thesis | function or class |"
    yield "|---|---|"
    for name, path in EQUATIONS.items():
        yield f"| {name} | `{path}` |"
    yield ""
    yield "## What a verdict says"
    yield ""
    for name, text in VERDICTS.items():
        yield f"- **{name}**: {text}."
    yield ""


def _overview(store: Store) -> Iterator[str]:
    yield "## All entries"
    yield ""
    yield "| entry | thesis | recorded | rows | CPU minutes | verdicts |"
    yield "|---|---|---|--:|--:|---|"
    for entry in ENTRIES.values():
        at = recorded(entry, store)
        link = f"[{entry.name}](#{entry.name.replace('.', '')})"
        if at is None:
            yield f"| {link} | {entry.place} | - | 0 | - | not run |"
            continue
        budget, found = at
        counted = Counter(each.verdict for each in comparisons(entry, found))
        verdicts = ", ".join(f"{counted[name]} {name}" for name in VERDICTS if counted[name])
        minutes = sum(record["seconds"] for record in found.records) / 60
        n_rows = len(entry.rows(budget))
        yield (
            f"| {link} | {entry.place} | {budget} | {len(found.records)} of {n_rows} "
            f"| {minutes:.1f} | {verdicts} |"
        )
    yield ""


def _entries(store: Store) -> Iterator[str]:
    for entry in ENTRIES.values():
        at = recorded(entry, store)
        yield f"## {entry.name}"
        yield ""
        yield f"**{entry.title}** ({entry.place}). {entry.protocol}"
        yield ""
        budget = "cpu" if at is None else at[0]
        yield f"`lds reproduce {entry.name} --budget {budget} --root DATA --out rows.jsonl`"
        yield ""
        if at is None:
            yield "No row of it is recorded."
            yield ""
        else:
            yield from _table(comparisons(entry, at[1]))
        for title, lines in (("Departures", entry.departures), ("Not to be had", entry.missing)):
            if lines:
                yield f"{title}:"
                yield ""
                yield from (f"- {line}" for line in lines)
                yield ""


def _table(compared: list[Comparison]) -> Iterator[str]:
    shown = [each for each in compared if each.verdict != "not run"]
    if shown:
        yield "| what | thesis | ours | verdict |"
        yield "|---|---|---|---|"
    for each in shown:
        reason = f": {each.reason}" if each.reason else ""
        verdict = each.verdict if each.verdict in GREEN else f"**{each.verdict}**"
        cells = (_cell(text) for text in (each.what, each.thesis, each.ours))
        yield f"| {' | '.join(cells)} | {verdict}{reason} |"
    if shown:
        yield ""
    left = [each.what for each in compared if each.verdict == "not run"]
    if left:
        yield f"Not run: {'; '.join(left)}."
        yield ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _rest() -> Iterator[str]:
    yield "## Tables and figures without an entry"
    yield ""
    for name, why in NOT_HERE.items():
        yield f"- {name}: {why}."


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=Path, default=RECORDS, help="of lds reproduce")
    parser.add_argument("--page", type=Path, default=PAGE, help="the page to write")
    arguments = parser.parse_args()
    arguments.page.write_text(page(Store(arguments.records)), encoding="utf-8")


if __name__ == "__main__":
    main()
