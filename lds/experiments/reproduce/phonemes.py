"""A stand-in for the phoneme experiment (§7.1.2, Table 7.3, Figure 7.2): generated sequences.

TIMIT is not open. Here a hidden Markov chain moves among phone states; the state before and the
state itself place an articulation vector, which moves smoothly, and noisy frames are a nonlinear
function of it. As in the thesis, the primary task is the state of a frame (cross-entropy), the
auxiliary one a real vector that knows the context, here the clean articulation (squared error); one
network shares its layers; ρ (weight of the auxiliary loss), η and µ of momentum are tuned. What the
stand-in shows is how the methods compare, not an accuracy of speech.
"""

import functools
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.stats import norm
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import Matern, WhiteKernel
from torch import Tensor, nn

import lds.bilevel as bilevel
from lds._random import mix, replayed
from lds.bilevel.checks import NonFiniteError
from lds.experiments.reproduce.entry import Row


class Budget(NamedTuple):
    """Frames to train, states, units of a layer, steps of a training, trainings of a search."""

    n_frames: int
    n_states: int
    width: int
    n_steps: int
    n_trials: int
    interval: int  # Δ: steps of a hyper-batch
    outer_lr: float


BUDGETS = {
    "tiny": Budget(400, 6, 16, 60, 3, 10, 0.02),
    "cpu": Budget(4_000, 40, 64, 1_500, 15, 20, 0.01),
    "full": Budget(200_000, 183, 2_000, 30_000, 25, 200, 0.005),
}
WINDOW, CHANNELS, AUXILIARY = 11, 24, 16
BATCH = 200


class Frames(NamedTuple):
    """Windows `(n, WINDOW · CHANNELS)`, states `(n,)` and articulations `(n, AUXILIARY)`."""

    x: Tensor
    state: Tensor
    auxiliary: Tensor


def sequences(n_frames: int, n_states: int, seed: int) -> Frames:
    """Generate one long sequence; all share transitions, places and the map to frames.

    Arguments:
        n_frames: its length.
        n_states: phone states.
        seed: of the sequence and its noise.
    """
    shared, rng = np.random.default_rng(0), np.random.default_rng(seed)
    places = shared.standard_normal((n_states, AUXILIARY))
    context = 0.7 * shared.standard_normal((n_states, AUXILIARY))
    follow = shared.dirichlet(np.full(n_states, 0.2), n_states)
    first, second = shared.standard_normal((2, AUXILIARY, CHANNELS)) / AUXILIARY**0.5
    states = np.empty(n_frames, dtype=np.int64)
    goal = np.empty((n_frames, AUXILIARY))
    now = before = 0
    for t in range(n_frames):
        if rng.random() < 0.25:
            before, now = now, int(rng.choice(n_states, p=follow[now]))
        states[t], goal[t] = now, places[now] + context[before]
    smooth = np.empty_like(goal)
    held = goal[0]
    for t in range(n_frames):
        held = 0.5 * held + 0.5 * goal[t]
        smooth[t] = held
    frames = np.tanh(smooth @ first) + 0.5 * np.sin(2 * smooth @ second)
    frames += 0.8 * rng.standard_normal(frames.shape)
    half = WINDOW // 2
    padded = np.pad(frames, ((half, half), (0, 0)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, WINDOW, axis=0)
    x = torch.tensor(windows.reshape(n_frames, -1), dtype=torch.float32)
    return Frames(x, torch.from_numpy(states), torch.tensor(smooth, dtype=torch.float32))


class Network(nn.Module):
    """Two shared layers and two output layers (the thesis has four shared ones)."""

    def __init__(self, width: int, n_states: int) -> None:
        super().__init__()
        self.shared = nn.Sequential(
            nn.Linear(WINDOW * CHANNELS, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()
        )
        self.primary, self.secondary = nn.Linear(width, n_states), nn.Linear(width, AUXILIARY)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits of the states, and the auxiliary vectors."""
        h = self.shared(x)
        return self.primary(h), self.secondary(h)


class Problem(NamedTuple):
    """The network with first weights, and the rows of three roles."""

    apply: Callable[..., tuple[Tensor, Tensor]]
    params: Any
    rows: dict[str, Frames]

    def training(self, w: Any, hyper: dict[str, Tensor]) -> Tensor:
        """L_P + ρ L_S on a mini-batch."""
        data = self.rows["train"]
        some = torch.randint(len(data.x), (BATCH,))
        logits, vectors = self.apply(w, data.x[some])
        primary = F.cross_entropy(logits, data.state[some])
        return primary + hyper["rho"] * F.mse_loss(vectors, data.auxiliary[some])

    def validation(self, w: Any, hyper: Any) -> Tensor:
        """E: cross-entropy of the primary task on a mini-batch of validation frames."""
        data = self.rows["validation"]
        some = torch.randint(len(data.x), (BATCH,))
        return F.cross_entropy(self.apply(w, data.x[some])[0], data.state[some])

    @torch.no_grad()
    def accuracy(self, w: Any, role: str) -> float:
        """Share of frames whose state is right."""
        data = self.rows[role]
        return float((self.apply(w, data.x)[0].argmax(1) == data.state).float().mean())

    def dynamics(self) -> bilevel.Momentum:
        """Momentum whose settings are hyperparameters."""
        return bilevel.Momentum(
            self.training,
            lr=lambda hyper: hyper["eta"],
            momentum=lambda hyper: hyper["mu"],
        )


def problem(budget: Budget, seed: int) -> Problem:
    """The stand-in of a budget; the seed draws the sequences and the first weights."""
    sizes = {"train": budget.n_frames, "validation": budget.n_frames // 3, "test": 5_000}
    if budget.n_frames < 1_000:
        sizes["test"] = 500
    rows = {
        role: sequences(n, budget.n_states, mix(seed, k) % 2**32)
        for k, (role, n) in enumerate(sizes.items())
    }
    with replayed(mix(seed, 9)):
        net = Network(budget.width, budget.n_states)
    return Problem(*bilevel.functional(net), rows)


class Trained(NamedTuple):
    """Accuracies of the best weights by validation, and the hyperparameters at its records."""

    validation: float
    test: float
    course: list[dict[str, float]]


def train(p: Problem, hyper: dict[str, float], budget: Budget, seed: int) -> Trained:
    """Train with fixed hyperparameters, stopped early on validation accuracy."""
    dynamics, h = p.dynamics(), {k: torch.tensor(v) for k, v in hyper.items()}
    state, best, test, waited = dynamics.start(p.params, h), -1.0, 0.0, 0
    every = max(1, budget.n_steps // 20)
    with torch.no_grad():
        for t in range(budget.n_steps):
            with replayed(mix(seed, t, 5)):
                state = dynamics.step(state, h, t)
            if (t + 1) % every == 0:
                now = p.accuracy(dynamics.params(state), "validation")
                waited += 1
                if now > best:
                    best, test, waited = now, p.accuracy(dynamics.params(state), "test"), 0
                if waited == 5:
                    break
    return Trained(best, test, [])


def online(p: Problem, first: dict[str, float], budget: Budget, seed: int) -> Trained:
    """RTHO: hypergradients by forward mode while training goes on (eq. 5.23)."""
    hyper = {name: torch.tensor(value) for name, value in first.items()}
    course: list[dict[str, float]] = []
    best = {"validation": -1.0, "test": 0.0}

    def note(record: bilevel.Record) -> None:
        course.append({name: float(value) for name, value in record.hyper.items()})

    def judge(w: Any, h: Any) -> float:
        now = p.accuracy(w, "validation")
        if now > best["validation"]:
            best.update(validation=now, test=p.accuracy(w, "test"))
        return -now

    bilevel.solve_online(
        p.dynamics(),
        p.validation,
        p.params,
        hyper,
        budget.n_steps,
        discount=1.0,
        interval=budget.interval,
        optimizer=functools.partial(torch.optim.Adam, lr=budget.outer_lr),
        projection={
            "rho": bilevel.projections.non_negative(),
            "eta": bilevel.projections.non_negative(),
            "mu": bilevel.projections.box(0.0, 0.999),
        },
        callback=note,
        evaluate=judge,
        evaluate_every=4,
        seed=seed,
    )
    return Trained(best["validation"], best["test"], course)


def random_point(rng: np.random.Generator) -> dict[str, float]:
    """The distributions of random search: ρ ~ U(0, 4), η ~ Exp(0.1), µ ~ U(0, 1)."""
    return {
        "rho": float(rng.uniform(0, 4)),
        "eta": float(rng.exponential(0.1)),
        "mu": float(min(0.999, rng.uniform(0, 1))),
    }


def search(p: Problem, budget: Budget, seed: int, *, guided: bool) -> Trained:
    """Random search, or Bayesian optimisation by expected improvement after five points."""
    rng = np.random.default_rng(seed)
    points: list[NDArray[np.float64]] = []
    found: list[Trained] = []
    for trial in range(budget.n_trials):
        point = random_point(rng)
        if guided and trial >= min(5, budget.n_trials - 1):
            point = _expected_improvement(np.stack(points), found, rng)
        try:
            found.append(train(p, point, budget, mix(seed, trial)))
        except NonFiniteError:
            found.append(Trained(0.0, 0.0, []))
        points.append(_scaled(point))
    return max(found, key=lambda trained: trained.validation)


def _scaled(point: dict[str, float]) -> NDArray[np.float64]:
    """A point in [0, 1]³: ρ / 4, log η from 1e-5 to 1, µ."""
    log_eta = np.log10(max(point["eta"], 1e-5))
    return np.array([point["rho"] / 4, min(1.0, (log_eta + 5) / 5), point["mu"]])


def _expected_improvement(
    points: NDArray[np.float64], found: list[Trained], rng: np.random.Generator
) -> dict[str, float]:
    values = np.array([trained.validation for trained in found])
    model = GaussianProcessRegressor(
        Matern(nu=2.5) + WhiteKernel(1e-3), normalize_y=True, random_state=0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(points, values)
    candidates = rng.random((500, 3))
    mean, spread = model.predict(candidates, return_std=True)
    z = (mean - values.max()) / np.maximum(spread, 1e-9)
    gain = spread * (z * norm.cdf(z) + norm.pdf(z))
    rho, log_eta, mu = candidates[int(np.argmax(gain))]
    return {"rho": 4 * rho, "eta": 10 ** (5 * log_eta - 5), "mu": 0.999 * mu}


STARTS = {
    "RTHO": {"rho": 1.6, "eta": 0.075, "mu": 0.5},
    "RTHO-NT": {"rho": 0.0, "eta": 0.0, "mu": 0.0},
}
SINGLE = {"rho": 0.0, "eta": 0.075, "mu": 0.5}


def run(row: Row, budget: str, root: Path) -> dict[str, Any]:
    """Run one method of Table 7.3."""
    sizes, method, seed = BUDGETS[budget], row["method"], row["seed"]
    p = problem(sizes, seed)
    started = time.process_time()
    if method in STARTS:
        found = online(p, STARTS[method], sizes, seed)
    elif method == "STL":
        found = train(p, SINGLE, sizes, seed)
    else:
        found = search(p, sizes, seed, guided=method == "SMBO")
    course = found.course[:: max(1, len(found.course) // 40)]
    return {
        "value": found.test,
        "validation": found.validation,
        "solve_seconds": time.process_time() - started,
        "course": course,
    }
