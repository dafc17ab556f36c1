"""Set our numbers beside the thesis's. Imports nothing heavy."""

import statistics
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

VERDICTS = {
    "within": "the mean is within the tolerance of the thesis's number",
    "above": "better than the thesis's number by more than the tolerance",
    "below": "worse than the thesis's number by more than the tolerance",
    "holds": "what the thesis says holds; where two methods are compared, with p < 0.05",
    "leans": "the mean differs as the thesis says, but p is 0.05 or more (paired t)",
    "fails": "what the thesis says does not hold",
    "beside": "another data set or size than the thesis's: the numbers stand beside each other",
    "not run": "no row of it was run",
}
"""What a comparison can come to."""

GREEN = frozenset({"within", "above", "holds", "beside"})
"""Verdicts that are as the thesis says, or as near to it as the data allows."""

ALPHA = 0.05
"""Level of the paired t-test, that of Table 9.2."""


@dataclass(frozen=True)
class Comparison:
    """One number or statement of the thesis beside ours.

    Attributes:
        what: is compared.
        thesis: its number or statement.
        ours: our number, with what it is a mean of.
        verdict: one of `VERDICTS`.
        reason: why, where it is below, leans, fails or stands beside.
    """

    what: str
    thesis: str
    ours: str
    verdict: str
    reason: str = ""

    def because(self, reasons: Mapping[str, str]) -> "Comparison":
        """Return the comparison with its reason, if there is one.

        Arguments:
            reasons: by `what`, in which * stands for any text; the first that fits counts.
        """
        fitting = (text for what, text in reasons.items() if fnmatchcase(self.what, what))
        return replace(self, reason=next(fitting, self.reason))


def near(
    what: str,
    thesis: float,
    ours: Collection[float],
    tolerance: float,
    *,
    unit: float = 100.0,
    lower_is_better: bool = False,
) -> Comparison:
    """Compare the mean of some runs with a number of the thesis.

    Arguments:
        what: is compared.
        thesis: its number.
        ours: values of our runs.
        tolerance: largest difference that counts as none, in the units of `thesis`.
        unit: factor of our values, 100 for percent.
        lower_is_better: True for errors and losses.
    """
    if not ours:
        return Comparison(what, f"{thesis:g}", "-", "not run")
    gap = round(unit * statistics.fmean(ours) - thesis, 9)  # 56.4 is 2 below 58.4, not more
    if abs(gap) <= tolerance:
        verdict = "within"
    else:
        verdict = "above" if (gap > 0) != lower_is_better else "below"
    reason = _chance(unit, ours, abs(gap)) if verdict == "below" else ""
    return Comparison(what, f"{thesis:g}", shown(ours, unit), verdict, reason)


def _chance(unit: float, ours: Collection[float], gap: float) -> str:
    """Say so where a gap is within two standard errors of our mean; "": it is larger."""
    if len(ours) < 2:
        return "a single run"
    error = unit * statistics.stdev(ours) / len(ours) ** 0.5
    return f"within chance: the standard error is {error:.1f}" if gap <= 2 * error else ""


def beside(what: str, thesis: str, ours: Collection[float], unit: float = 100.0) -> Comparison:
    """Set values beside the thesis's, where data or sizes differ too much for a verdict."""
    return Comparison(what, thesis, shown(ours, unit), "beside" if ours else "not run")


def holds(what: str, thesis: str, ours: str, true: bool | None) -> Comparison:
    """Judge a statement; None: nothing was run."""
    verdict = "not run" if true is None else "holds" if true else "fails"
    return Comparison(what, thesis, ours, verdict)


def higher(
    what: str,
    better: Mapping[Any, float],
    worse: Mapping[Any, float],
    thesis: str,
) -> Comparison:
    """Judge whether one method is above another on the same seeds, by a paired t-test.

    Gaps are in per cent.

    Arguments:
        what: is compared.
        better, worse: values by seed (or by split); seeds that both have count.
        thesis: what the thesis says.
    """
    shared = sorted(set(better) & set(worse), key=repr)
    if not shared:
        return Comparison(what, thesis, "-", "not run")
    gaps = [100 * (better[seed] - worse[seed]) for seed in shared]
    p = p_paired(gaps)
    mean = statistics.fmean(gaps)
    n = f"n = {len(gaps)}"
    text = f"{mean:+.2f} ({n})" if p is None else f"{mean:+.2f} ({n}, p = {p:.3f})"
    if mean <= 0:
        chance = p is None or p >= ALPHA
        return Comparison(what, thesis, text, "fails", "within chance" if chance else "")
    if p is not None and p < ALPHA:
        return Comparison(what, thesis, text, "holds")
    return Comparison(what, thesis, text, "leans", "too few runs to tell from chance")


def p_paired(gaps: Collection[float]) -> float | None:
    """Two-sided p of the paired t-test on differences; None: fewer than two, or all equal."""
    values = [round(gap, 9) for gap in gaps]  # in floats, 82 - 81.7 and 81 - 80.7 differ
    if len(values) < 2 or len(set(values)) == 1:
        return None
    from scipy.stats import ttest_1samp  # slow to import, and the list needs none

    return float(ttest_1samp(values, 0.0).pvalue)


def p_shown(gaps: Collection[float]) -> str:
    """Write the p of `p_paired`, 1 where all gaps are 0; "" where there is none."""
    p = p_paired(gaps)
    if p is None:
        return "" if any(gaps) else " (p = 1.000)"
    return f" (p = {p:.3f})"


def shown(values: Iterable[float], unit: float = 100.0) -> str:
    """Write mean ± standard deviation over runs, with their number."""
    found = [unit * value for value in values]
    if not found:
        return "-"
    if len(found) == 1:
        return f"{found[0]:.4g} (n = 1)"
    mean, spread = statistics.fmean(found), statistics.pstdev(found)
    digits = 1 if abs(mean) >= 1 else 4
    return f"{mean:.{digits}f} ± {spread:.{digits}f} (n = {len(found)})"
