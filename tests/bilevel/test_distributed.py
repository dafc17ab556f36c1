"""Two gloo processes with half of the rows each, against one process with all rows."""

import functools
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from lds import bilevel

CLOSE = {"rtol": 1e-12, "atol": 1e-12}
N, D = 12, 3
HALVES = [slice(0, N // 2), slice(N // 2, N)]
THIRDS = [slice(0, N // 3), slice(N // 3, N)]
WHOLE = slice(None)
METHODS = {
    "reverse": bilevel.Reverse(),
    "checkpoints": bilevel.Reverse(checkpoint=2),
    "truncated": bilevel.Reverse(truncation=3),
    "forward": bilevel.Forward(),
    "forward by columns": bilevel.Forward(chunk=1),
    "conjugate gradient": bilevel.ConjugateGradient(5),
    "differences": bilevel.ConjugateGradient(3, differences=True),
    "Nyström": bilevel.ConjugateGradient(2, rank=2, ridge=0.1),
    "fixed point": bilevel.FixedPoint(10),
    "stochastic": bilevel.FixedPoint(5, stochastic=True),
    "SOBA": bilevel.SOBA(0.1),
    "F2SA": bilevel.F2SA(penalty=10.0),
}
# Gradients are divided by a step of the cube root of the machine precision.
LOOSE = {"differences": 1e-8}


def data() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(0)
    X, X_val = (torch.randn(N, D, generator=g, dtype=torch.float64) for _ in range(2))
    noise = torch.randn(2, N, generator=g, dtype=torch.float64)
    w = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    return X, (X @ w + noise[0]).sigmoid(), X_val, (X_val @ w + noise[1]).sigmoid()


def objectives(rows: slice):
    """A loss that is not quadratic: a decay a weight, a weight an example, a shared slope."""
    X, y, X_val, y_val = data()

    def inner(w, hyper):
        fit = ((X[rows] @ w["w"]).sigmoid() - y[rows] + w["b"]).square()
        weights = hyper["weights"][rows].exp()
        return (weights * fit).mean() + (hyper["decay"].exp() * w["w"].square()).sum() + w["b"] ** 2

    def outer(w, hyper):
        fit = ((hyper["slope"] * X_val[rows] @ w["w"]).sigmoid() - y_val[rows] + w["b"]).square()
        return fit.mean()

    return inner, outer


def start():
    w = {"w": torch.zeros(D, dtype=torch.float64), "b": torch.zeros((), dtype=torch.float64)}
    hyper = {
        "weights": torch.linspace(-1, 1, N, dtype=torch.float64),
        "decay": torch.full((D,), -2.0, dtype=torch.float64),
        "slope": torch.tensor(1.1, dtype=torch.float64),
    }
    return w, hyper


def by_method(rows: slice, wrap, methods: dict[str, object]) -> dict[str, list[Tensor]]:
    """Value and hypergradient by each method."""
    inner, outer = (wrap(objective) for objective in objectives(rows))
    w, hyper = start()
    found = {}
    for name, method in methods.items():
        phi = bilevel.Momentum(inner, lr=0.3, momentum=0.5)
        result = bilevel.hypergradient(phi, outer, w, hyper, 5, method)
        found[name] = [result.value, *result.grad.values()]
    return found


def results(rows: slice, wrap) -> dict[str, list[Tensor]]:
    """What each method finds, the end of a loop, and a run with running statistics."""
    found = by_method(rows, wrap, METHODS)
    inner, outer = (wrap(objective) for objective in objectives(rows))
    w, hyper = start()
    solution = bilevel.solve(
        bilevel.Adam(inner, lr=0.05), outer, w, hyper, 3, n_outer=4, warm_start="state"
    )
    found["solve"] = [*solution.params.values(), *solution.hyper.values()]
    found["statistics"] = statistics(rows, wrap)
    return found


def of_loaders(rank: int | None) -> list[Tensor]:
    """A module and loaders: batches of 2 rows in each of two processes, or of 4 in one."""
    X, y, X_val, y_val = data()

    def loader(*tensors: Tensor) -> DataLoader:
        rows = TensorDataset(*tensors)
        if rank is None:
            return DataLoader(rows, batch_size=4)
        return DataLoader(rows, 2, sampler=DistributedSampler(rows, 2, rank, shuffle=False))

    def wrap(objective):
        return objective if rank is None else bilevel.data_parallel(objective)

    training = bilevel.Training(
        nn.Linear(D, 1).double(),
        lambda out, target: (out[:, 0] - target).square().mean(),
        loader(X, y),
        lambda objective: bilevel.Momentum(wrap(objective), lr=lambda hyper: hyper),
    )
    params = {name: torch.ones_like(leaf) for name, leaf in training.params.items()}
    result = bilevel.hypergradient(
        training.dynamics,
        wrap(training.judged_by(loader(X_val, y_val))),
        params,
        torch.tensor(0.1, dtype=torch.float64),
        5,
    )
    return [result.value, result.grad]


def statistics(rows: slice, wrap) -> list[Tensor]:
    """The running means of a module, which normalises by them in both modes."""
    X, y, X_val, y_val = data()
    module = Centred().double()
    apply, params = bilevel.functional(module)

    def inner(p, hyper):
        out = apply.train(p, X[rows])
        return ((out - y[rows]).square().mean()) + hyper * p["w"].square().sum()

    def outer(p, hyper):
        return (apply.eval(p, X_val[rows]) - y_val[rows]).square().mean()

    phi = bilevel.GradientDescent(wrap(inner), lr=0.1)
    hyper = torch.tensor(0.1, dtype=torch.float64)
    result = bilevel.hypergradient(phi, wrap(outer), params, hyper, 4)
    at = phi.params(result.state)
    return [result.value, result.grad, at.buffers["mean"], at.buffers["count"]]


class Centred(nn.Module):
    """A linear model of data that is centred by a running mean, whose weights it depends on."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor([0.1, 0.2, 0.3]))
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("count", torch.tensor(0))

    def forward(self, X: Tensor) -> Tensor:
        out = X @ self.w - self.mean
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * out.mean()
            self.count = self.count + 1
        return out


def process(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    found = results(HALVES[rank], bilevel.data_parallel)
    rows = THIRDS[rank]
    shares = functools.partial(bilevel.data_parallel, rows=len(range(N)[rows]))
    found["loaders"] = of_loaders(rank)
    found["thirds"] = by_method(rows, shares, {"reverse": METHODS["reverse"]})["reverse"]
    torch.save(found, folder / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory) -> list[dict[str, list[Tensor]]]:
    folder = tmp_path_factory.mktemp("ranks")
    mp.spawn(process, (folder,), nprocs=2)
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


@pytest.fixture(scope="module")
def whole() -> dict[str, list[Tensor]]:
    found = results(WHOLE, lambda objective: objective)
    return found | {"thirds": found["reverse"], "loaders": of_loaders(None)}


@pytest.mark.parametrize("name", [*METHODS, "solve", "statistics", "loaders", "thirds"])
def test_two_processes_get_the_result_of_one(name, ranks, whole):
    close = CLOSE | {"atol": LOOSE.get(name, 1e-12)}
    for rank in ranks:
        for found, expected in zip(rank[name], whole[name], strict=True):
            torch.testing.assert_close(found, expected, **close)
    for one, other in zip(ranks[0][name], ranks[1][name], strict=True):
        assert torch.equal(one, other)


def test_a_process_group_is_needed():
    with pytest.raises(RuntimeError, match="init_process_group"):
        bilevel.data_parallel(lambda w, lam: w)
