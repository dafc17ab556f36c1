"""What the test rows say about a run, in one sentence. Imports nothing heavy."""

import math
from collections.abc import Mapping
from typing import Any

from lds._words import LEFT_AS_GIVEN, plural

Z = 1.96
"""Quantile of the normal distribution of a two-sided interval of 95 %."""

QUALITIES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced",
    "nll": "NLL, nats",
    "ece": "ECE",
}
"""Qualities of predictions on test rows (`structure.metrics.Quality`), with headings of columns."""

LOWER = ("nll", "ece")
"""Those of which lower is better."""

FROZEN = "frozen"
"""Name of the control that differs from a run only in that its graph is never updated."""


def accuracy_interval(accuracy: float, n_rows: int) -> tuple[float, float]:
    """Compute the 95 % interval of an accuracy.

    References:
        Wilson, 1927, https://doi.org/10.1080/01621459.1927.10502953

    Arguments:
        accuracy: share of right rows, in [0, 1].
        n_rows: 1 or more.
    """
    spread = Z * math.sqrt(accuracy * (1 - accuracy) / n_rows + Z**2 / (4 * n_rows**2))
    centre, scale = accuracy + Z**2 / (2 * n_rows), 1 + Z**2 / n_rows
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def gain_interval(gained: int, lost: int, n_rows: int) -> tuple[float, float]:
    """Compute the 95 % interval of the difference of two accuracies on the same rows.

    References:
        Agresti and Min, 2005, section 3, https://doi.org/10.1002/sim.1781

    Arguments:
        gained: rows that only the first classifier has right.
        lost: rows that only the second one has right.
        n_rows: of all, 1 or more.
    """
    more, less, n = gained + 0.5, lost + 0.5, n_rows + 2
    spread = Z * math.sqrt(more + less - (more - less) ** 2 / n) / n
    return (more - less) / n - spread, (more - less) / n + spread


def gain_of(summary: dict[str, Any], control: str = FROZEN) -> tuple[float, float, float] | None:
    """Compare a run with one of its controls on the test rows.

    Arguments:
        summary: of a run folder.
        control: name of the control.

    Returns:
        The difference of their accuracies and both ends of its 95 % interval; None: unknown.
    """
    pair, n_rows = summary.get("paired", {}).get(control), n_test(summary)
    if pair is None or not n_rows:
        return None
    gained, lost = pair
    return ((gained - lost) / n_rows, *gain_interval(gained, lost, n_rows))


def n_test(summary: dict[str, Any]) -> int:
    """Number of test rows of a run; 0: none, or unknown."""
    return int(summary.get("rows", {}).get("test", 0))


def points(share: float) -> str:
    """Write a difference of accuracies in percentage points, with its sign."""
    return f"{100 * share:+.1f}"


def verdict(summary: dict[str, Any]) -> str:
    """Say in a few sentences whether learning the graph helped, and how sure that is.

    Arguments:
        summary: of a run folder.
    """
    first = f"T{LEFT_AS_GIVEN[1:]}. " if summary.get("left_as_given") else ""
    return first + _measured(summary)


def _measured(summary: dict[str, Any]) -> str:
    """Say what the rows that measure a run say."""
    n_rows, accuracy = n_test(summary), summary["test_accuracy"]["lds"]
    if accuracy is None or not n_rows:
        measured = _on_left_out(summary)
        return measured or "There are no test rows, so nothing measures the predictions."
    rows = plural(n_rows, "test row")
    gain = gain_of(summary)
    if gain is None:
        low, high = (100 * end for end in accuracy_interval(accuracy, n_rows))
        return (
            f"Accuracy {100 * accuracy:.1f} % on {rows} (95 % interval {low:.1f} to {high:.1f} %); "
            f"no control was run to compare with. {_on_left_out(summary)}"
        ).rstrip()
    difference, low, high = gain
    measured = (
        f"{points(difference)} points of accuracy on {rows} (95 % interval {points(low)} to "
        f"{points(high)})"
    )
    if low > 0:
        sentence = f"Learning the graph helped: {measured} against the frozen graph."
    elif high < 0:
        sentence = f"Learning the graph did harm: {measured} against the frozen graph."
    else:
        sentence = f"No clear gain over the frozen graph: {measured}."
    return f"{sentence}{_better_control(summary)} {_on_left_out(summary)}".rstrip()


def _on_left_out(summary: dict[str, Any]) -> str:
    """Say what the graph adds on labels that were left out in turn; "": there are none."""
    gained, lost, n = summary.get("left_out") or (0, 0, 0)
    if not n:
        return ""
    low, high = gain_interval(gained, lost, n)
    measured = (
        f"{points((gained - lost) / n)} points of accuracy on {plural(n, 'label')} left out in "
        f"turn (95 % interval {points(low)} to {points(high)})"
    )
    if low > 0:
        return f"The graph helps: {measured} against the members without one."
    if high < 0:
        return f"The graph does harm: {measured} against the members without one."
    return f"No clear gain by the graph over the members without one: {measured}."


def _better_control(summary: dict[str, Any]) -> str:
    """Name the control that is clearly better than the run; "": there is none."""
    known = [(gain_of(summary, name), name) for name in summary["paired"] if name != FROZEN]
    better = [(gain[0], name) for gain, name in known if gain is not None and gain[2] < 0]
    if not better:
        return ""
    difference, name = min(better)
    trained = {"gcn_train": "train", "gcn_train_validation": "train and validation"}.get(name, name)
    return (
        f" A plain GCN on the starting graph and the {trained} labels is better, by "
        f"{-100 * difference:.1f} points."
    )


def best_of(qualities: Mapping[str, Any]) -> dict[str, float]:
    """Find the best of each quality (`QUALITIES`) of several methods.

    Arguments:
        qualities: by method: a record of those names or a dictionary; None: unknown.

    Returns:
        The best of each name; empty where fewer than two methods are known.
    """
    known = [q if isinstance(q, dict) else q.to_dict() for q in qualities.values() if q]
    if len(known) < 2:
        return {}
    return {name: (min if name in LOWER else max)(q[name] for q in known) for name in QUALITIES}


def quality_text(name: str, value: float | None) -> str:
    """Write a quality: nats with three digits, shares in per cent; "-" where it is unknown."""
    if value is None:
        return "-"
    return f"{value:.3f}" if name == "nll" else f"{100 * value:.1f} %"
