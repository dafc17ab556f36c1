"""Entries of chapters 5 and 6, and of Appendix D: the framework and its analysis.

Imports nothing heavy.
"""

import itertools

from lds.experiments.reproduce.entry import Entry, Found, Row
from lds.experiments.reproduce.verdicts import Comparison, beside, higher, holds

MNIST = {"mnist": "mnist/mnist.npz"}
OMNIGLOT = {"omniglot": "omniglot/omniglot28.npz"}


def modes_rows(budget: str) -> list[Row]:
    """Both modes by number of hyperparameters, at one width."""
    width = {"tiny": 20, "cpu": 100, "full": 200}[budget]
    counts = (2, 5) if budget == "tiny" else (2, 5, 10, 20)
    return [
        {"task": "modes", "data": "mnist", "method": m, "n_hyper": n, "width": width, "seed": 0}
        for m in ("forward", "reverse")
        for n in counts
    ]


def check_modes(found: Found) -> list[Comparison]:
    """Seconds of forward mode grow with the hyperparameters, those of reverse mode do not."""
    rows = []
    for method, claim in (("forward", "linear"), ("reverse", "constant")):
        seconds = found.values(by="n_hyper", method=method)
        if len(seconds) < 2:
            rows.append(Comparison(f"time of {method} mode", claim, "-", "not run"))
            continue
        low, high = min(seconds), max(seconds)
        ratio = seconds[high] / seconds[low]
        text = f"{ratio:.1f} times from {low} to {high} hyperparameters"
        # Forward mode also runs the steps themselves, so it grows by less than the count.
        true = ratio > 0.4 * high / low if method == "forward" else ratio < 1.5
        rows.append(holds(f"time of {method} mode", claim, text, true))
    kept = found.values("kept", by="n_hyper", method="reverse")
    text = "numbers kept by the definition of both: T states, or a tangent a hyperparameter"
    rows.append(holds("space", "T states against one", text, True if kept else None))
    return rows


HORIZONS = (1, 4, 16, 64, 256, 0)


def horizon_rows(budget: str) -> list[Row]:
    """T, and 0 for the exact problem."""
    chosen = {"tiny": (1, 4, 0), "cpu": (1, 4, 16, 64, 0), "full": HORIZONS}[budget]
    return [{"task": "horizon", "data": "omniglot", "T": n, "seed": 0} for n in chosen]


def check_figure_6_3(found: Found) -> list[Comparison]:
    """Outer objectives approach the exact one as T grows; a small T has the best test accuracy."""
    outer = found.values("outer", by="T")
    test = found.values(by="T")
    if 0 not in outer or len(outer) < 3:
        return [Comparison("f_T approaches f", "as T grows", "-", "not run")]
    horizons = sorted(n for n in outer if n)
    gaps = [abs(outer[n] - outer[0]) for n in horizons]
    text = ", ".join(f"T = {n}: {gap:.4g}" for n, gap in zip(horizons, gaps, strict=True))
    falls = all(a >= b for a, b in itertools.pairwise(gaps))
    best = max(horizons, key=lambda n: test[n])
    scores = ", ".join(f"{n or 'exact'}: {100 * test[n]:.1f} %" for n in [*horizons, 0])
    return [
        holds("|f_T - f| at the end falls with T", "yes", text, falls),
        holds(
            "test accuracy best below the largest T",
            "T = 4 or 16 above 256 and exact",
            f"best at T = {best} ({scores})",
            test[best] > test[0] and best < horizons[-1],
        ),
    ]


TABLE_6_1 = {1: 60, 4: 119, 16: 356, 64: 1344, 256: 5532, 0: 320}


def check_table_6_1(found: Found) -> list[Comparison]:
    """Seconds by T, on another machine; what can be compared is the ratio to T = 1."""
    seconds = found.values("solve_seconds", by="T")
    rows = [
        beside(
            f"seconds, T = {n or 'exact'}",
            f"{number} s on a GPU",
            [seconds[n]] if n in seconds else [],
            1.0,
        )
        for n, number in TABLE_6_1.items()
    ]
    known = sorted(n for n in seconds if n)
    if len(known) > 1:
        ratio = seconds[known[-1]] / seconds[known[0]]
        text = f"{ratio:.1f} times from T = {known[0]} to {known[-1]}"
        what = "time grows with T, at most linearly"
        rows.append(holds(what, "yes", text, 1 < ratio <= 1.5 * known[-1] / known[0]))
    return rows


def scalar_rows(budget: str) -> list[Row]:
    """Both halves of the figure."""
    horizons = (5, 50) if budget == "tiny" else (5, 10, 20, 30, 40, 50)
    return [
        {"task": "scalar", "T": n, "tune": tuned, "seed": 0}
        for tuned in (False, True)
        for n in horizons
    ]


def check_figure_6_4(found: Found) -> list[Comparison]:
    """λ → 0 with a fixed η; with η tuned it leaves 0 for T up to 40, and η goes to 0."""
    rows = []
    fixed, tuned = (found.values(by="T", tune=tune) for tune in (False, True))
    eta = found.values("eta", by="T", tune=True)
    what = "η fixed: gap |λ| smallest at the largest T"
    gaps = ", ".join(f"T = {n}: {fixed[n]:.3g}" for n in sorted(fixed))
    smallest = len(fixed) > 1 and min(fixed, key=lambda n: fixed[n]) == max(fixed)
    rows.append(holds(what, "yes", gaps or "-", smallest if len(fixed) > 1 else None))
    for n in sorted(tuned):
        leaves = tuned[n] > 0.1
        text = f"|λ| = {tuned[n]:.3g}, η = {eta[n]:.3g}"
        what = f"η tuned, T = {n}"
        claim = "λ does not reach 0, η → 0" if n <= 40 else "λ → 0"
        true = leaves and eta[n] < 0.01 if n <= 40 else not leaves
        rows.append(holds(what, claim, text, true))
    return rows


STEPS = [1, 2, 5, 10, 20, 50, 100, 200]


def bounds_rows(budget: str) -> list[Row]:
    """Two condition numbers, four methods."""
    spreads, seeds = ((10.0,), (0,)) if budget == "tiny" else ((10.0, 100.0), (0, 1, 2))
    return [
        {"task": "bounds", "method": m, "spread": spread, "seed": seed, "T": STEPS[:6]}
        for m in ("reverse", "fixed point", "CG", "truncated")
        for spread in spreads
        for seed in seeds
    ]


def check_bounds(found: Found) -> list[Comparison]:
    """Errors below both bounds, and the fixed point method's bound below that of reverse mode."""
    rows = []
    for method, place in (("reverse", "Theorem 6.3.4"), ("fixed point", "Theorem 6.3.5")):
        records = found.where(method=method)
        slack = max((record["value"] for record in records), default=None)
        rows.append(
            holds(
                f"error below the bound at every T, {method}",
                place,
                f"at most {slack:.3g} of the bound ({len(records)} problems)" if slack else "-",
                slack <= 1 if slack is not None else None,
            )
        )
    reverse, fixed = found.where(method="reverse"), found.where(method="fixed point")
    if reverse and fixed:
        pairs = [
            (a, b)
            for one, other in zip(reverse, fixed, strict=False)
            for a, b in zip(one["bounds"], other["bounds"], strict=True)
        ]
        below = sum(b <= a for a, b in pairs)
        text = f"in {below} of {len(pairs)} places"
        what = "bound of the fixed point method below that of reverse mode (K = T)"
        rows.append(holds(what, "always", text, below == len(pairs)))
    cg = found.where(method="CG")
    if cg and fixed:
        at = STEPS.index(20)
        smaller = sum(a["errors"][at] <= b["errors"][at] for a, b in zip(cg, fixed, strict=False))
        text = f"in {smaller} of {len(cg)} problems"
        what = "CG no further off than the fixed point method after 20 products"
        rows.append(holds(what, "Grazzi et al., 2020", text, smaller == len(cg)))
    return rows


METHODS = ("reverse", "fixed point", "CG")


def equilibrium_rows(budget: str) -> list[Row]:
    """Every method, with and without the projection, at each step size."""
    rates = {"tiny": (0.1,), "cpu": (0.05, 0.1), "full": (0.02, 0.05, 0.1, 0.2)}[budget]
    seeds = {"tiny": 1, "cpu": 3, "full": 5}[budget]
    return [
        {
            "task": "equilibrium",
            "data": "mnist",
            "method": method,
            "projected": projected,
            "rate": rate,
            "seed": seed,
        }
        for seed in range(seeds)
        for method in METHODS
        for projected in (True, False)
        for rate in rates
    ]


def check_figure_6_5(found: Found) -> list[Comparison]:
    """All methods alike in the ball; outside, implicit ones lose to reverse mode."""
    rows = []
    inside = {m: found.values(by="seed", method=m, projected=True, rate=0.1) for m in METHODS}
    if all(inside.values()):
        means = {m: sum(v.values()) / len(v) for m, v in inside.items()}
        spread = 100 * (max(means.values()) - min(means.values()))
        text = ", ".join(f"{m} {100 * value:.1f} %" for m, value in means.items())
        what = "in the ball all methods perform equally well"
        rows.append(holds(what, "yes", text, spread < 2))
    outside = {m: found.values(by="seed", method=m, projected=False, rate=0.1) for m in METHODS}
    for method in METHODS[1:]:
        what = f"outside the ball reverse mode above {method}"
        rows.append(higher(what, outside["reverse"], outside[method], "clearly outperformed"))
    loss = found.values("seconds", by="seed", projected=True, method="fixed point", rate=0.1)
    cg = found.values("seconds", by="seed", projected=True, method="CG", rate=0.1)
    if loss and cg:
        a, b = (sum(v.values()) / len(v) for v in (loss, cg))
        what = "the fixed point method is faster than CG on the normal equations"
        rows.append(holds(what, "yes", f"{a:.0f} s against {b:.0f} s", a < b))
    return rows or [Comparison("in the ball all methods alike", "yes", "-", "not run")]


FUNCTIONS = ("(az - b)²/2", "products of edges", "GCN on 5 nodes", "3-step training")


def estimators_rows(budget: str) -> list[Row]:
    """The straight-through estimator on four functions."""
    seeds = 1 if budget == "tiny" else 5
    return [
        {"task": "estimators", "function": f, "estimator": "straight_through", "seed": seed}
        for f in FUNCTIONS
        for seed in range(seeds)
    ]


def check_appendix_d(found: Found) -> list[Comparison]:
    """Biased on the square; exact where each variable enters linearly."""
    rows = []
    for function in FUNCTIONS:
        exact = function == "products of edges"
        bias = list(found.values(function=function).values())
        true = None if not bias else (max(bias) < 1e-9) == exact
        text = f"norm of the bias at most {max(bias):.2g}" if bias else "-"
        claim = "no bias" if exact else "biased"
        rows.append(holds(f"straight-through on {function}", claim, text, true))
    return rows


ENTRIES = (
    Entry(
        "figure-6.1",
        "Time and space of forward and reverse mode",
        "§6.1.1, Figure 6.1",
        "One hypergradient of a three-layer network on digits with momentum; the learning rate, "
        "the momentum and weights of groups of examples are hyperparameters.",
        modes_rows,
        check_modes,
        MNIST,
        {"tiny": 0.05, "cpu": 2, "full": 120},
        departures=("Space is counted, not measured; fewer steps than the thesis's 1,000.",),
    ),
    Entry(
        "figure-6.3",
        "The effect of T: outer objective and test accuracy",
        "§6.2.1, Figure 6.3",
        "A linear feature map for ridge regression of 100 Omniglot characters, three drawings each "
        "to train and to validate; T steps of gradient descent against the closed form.",
        horizon_rows,
        check_figure_6_3,
        OMNIGLOT,
        {"tiny": 0.05, "cpu": 1, "full": 300},
        departures=(
            "Features are principal components of the pictures (64 at cpu), not those of a network "
            "trained on episodes; fourteen test drawings a class, for there are twenty in all.",
        ),
        reasons={
            "|f_T - f| at the end falls with T": "from T = 4 on the gap falls; one step leaves w "
            "near 0, whose loss of 1 is by chance near f = 1.16, which does not move because the "
            "exact w undoes any invertible H where µ is as small as 0.1"
        },
    ),
    Entry(
        "table-6.1",
        "Execution times by T",
        "§6.2.1, Table 6.1",
        "CPU seconds of the runs of Figure 6.3.",
        horizon_rows,
        check_table_6_1,
        OMNIGLOT,
        {"tiny": 0, "cpu": 0, "full": 0},
        departures=("A CPU core and smaller sizes: seconds stand beside, ratios are compared.",),
        reasons={
            "seconds, *": "a CPU core, 64 features and 300 outer iterations in place of a GPU, 256 "
            "features and as many iterations as the figure shows"
        },
    ),
    Entry(
        "figure-6.4",
        "Tuning the learning rate with too short a horizon",
        "§6.2.2, Figure 6.4",
        "The scalar problem (6.4)-(6.5), λ alone and λ with η, Forward-HG, w_0 = 1, η = 0.1.",
        scalar_rows,
        check_figure_6_4,
        minutes={"tiny": 0.1, "cpu": 3, "full": 15},
        departures=("The outer step size and w_0 are ours: the thesis gives neither.",),
        reasons={
            "η tuned, T = 50": "the hypergradient of η is 0.07 at the start, and with our outer "
            "step size of 0.05 η reaches 0 before λ settles; the thesis does not give its own"
        },
    ),
    Entry(
        "bounds",
        "Errors of hypergradients against their bounds",
        "§6.3, Theorems 6.3.4 and 6.3.5",
        "Ridge-like quadratics in 20 dimensions whose constants are known; errors at T = K up to "
        "50 beside the bounds.",
        bounds_rows,
        check_bounds,
        minutes={"tiny": 0.05, "cpu": 1, "full": 1},
        departures=("The thesis states the theorems and shows no figure of them.",),
    ),
    Entry(
        "figure-6.5",
        "Equilibrium models with and without contraction",
        "§6.3.4, Figure 6.5",
        "Convolutional equilibrium models on digits, T = K = 20, Nesterov momentum; reverse mode, "
        "fixed point and CG, with and without the projection.",
        equilibrium_rows,
        check_figure_6_5,
        MNIST,
        {"tiny": 0.3, "cpu": 30, "full": 6000},
        departures=(
            "At cpu 200 digits and 20 outer iterations (the thesis: 5,000 and 1,500).",
            "Outside the ball reverse mode breaks down as well once ρ is far above 1.",
        ),
    ),
    Entry(
        "appendix-d",
        "The straight-through estimator",
        "Appendix D",
        "Expectations over all outcomes of up to ten Bernoulli variables, probabilities drawn from "
        "[0.1, 0.9].",
        estimators_rows,
        check_appendix_d,
        minutes={"tiny": 0.02, "cpu": 0.2, "full": 0.2},
    ),
)
