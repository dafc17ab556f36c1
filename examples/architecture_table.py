"""Architecture search on NAS-Bench-Graph: graph networks whose accuracies are in a table.

    pip install nas-bench-graph
    python examples/architecture_table.py [--data cora]

An architecture has one of 9 wirings of four layers, each of 9 kinds (graph convolutions, fully
connected, skip): 26,206 different ones, each trained by the authors of the table. The
hyperparameters are the logits of five Categoricals; their gradient is estimated by the score
function from the ranks of looked-up validation errors, so that no network is trained here. Beside
it, random search and evolution with as many different look-ups (one looked up before is free).

Each search returns the architecture of the lowest validation error that it has met.

References:
    Qin et al., 2022, https://arxiv.org/abs/2206.09166; evolution: Real et al., 2019, Algorithm 1,
    https://arxiv.org/abs/1802.01548
"""

import argparse
import contextlib
import functools
import statistics
from pathlib import Path
from typing import NamedTuple

import torch
from common import write
from nas_bench_graph.architecture import Arch, gnn_list, link_list
from nas_bench_graph.readbench import light_read
from torch import Tensor

from lds import bilevel, discrete

DATA = ("cora", "citeseer", "pubmed", "cs", "physics", "photo", "computers", "arxiv")
N_LAYERS = 4


class Budget(NamedTuple):
    """Different architectures that a search may look up, and searches."""

    n_lookups: int
    n_seeds: int


BUDGETS = {"tiny": Budget(20, 2), "full": Budget(200, 20)}


class SpentError(Exception):
    """All look-ups are spent."""


class Table:
    """Look-ups, counted; an architecture is a tensor of 5 choices, the wiring last."""

    def __init__(self, table: dict[int, dict[str, float]], n_lookups: int) -> None:
        self._table, self._n_lookups = table, n_lookups
        self.met: dict[int, dict[str, float]] = {}

    def error(self, choices: Tensor) -> float:
        """The validation error; 1 for the architecture that only skips."""
        *layers, wiring = choices.tolist()
        kinds = [gnn_list[k] for k in layers]
        if set(kinds) == {"skip"}:
            return 1.0
        key = Arch(list(link_list[wiring]), kinds).valid_hash()
        if key not in self.met:
            if len(self.met) == self._n_lookups:
                raise SpentError
            self.met[key] = self._table[key]
        return 1 - self.met[key]["valid_perf"]

    def best(self) -> dict[str, float]:
        return max(self.met.values(), key=lambda row: row["valid_perf"])


def drawn(generator: torch.Generator) -> Tensor:
    return torch.randint(len(gnn_list), (N_LAYERS + 1,), generator=generator)


def random_search(table: Table, generator: torch.Generator) -> None:
    while True:
        table.error(drawn(generator))


def evolution(table: Table, generator: torch.Generator, size: int = 20, sample: int = 10) -> None:
    """Replace the oldest of a population by a child of the best of a sample, one choice changed."""
    population = [(table.error(z), z) for z in (drawn(generator) for _ in range(size))]
    while True:
        chosen = torch.randperm(size, generator=generator)[:sample].tolist()
        child = min((population[k] for k in chosen), key=lambda one: one[0])[1].clone()
        place = int(torch.randint(len(child), (), generator=generator))
        child[place] = torch.randint(len(gnn_list), (), generator=generator)
        population = [*population[1:], (table.error(child), child)]


def score_function(table: Table, generator: torch.Generator) -> None:
    """Move the logits along the estimated gradient of the expected rank among ten draws."""

    def ranks(z: Tensor) -> Tensor:
        found = torch.tensor([table.error(one) for one in z.argmax(-1)])
        return found.argsort().argsort() / len(found)

    def estimate(logits: Tensor, _: int) -> tuple[float, Tensor]:
        distribution = discrete.Categorical.from_logits(logits)
        return 0.0, discrete.score_function(distribution, ranks, 10, generator=generator)

    bilevel.solve_black_box(
        estimate,
        torch.zeros(N_LAYERS + 1, len(gnn_list)),
        n_outer=2_000,
        keep="last",
        optimizer=functools.partial(torch.optim.Adam, lr=0.3),
        projection=bilevel.projections.box(-4, 4),
    )


SEARCHES = {"random": random_search, "evolution": evolution, "score function": score_function}


def main() -> None:
    """Print a line a data set and search."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", choices=DATA, default=["cora"])
    parser.add_argument("--budget", choices=tuple(BUDGETS), default="full")
    parser.add_argument("--out", type=Path, help="file to which rows are added as JSON lines")
    arguments = parser.parse_args()
    n_lookups, n_seeds = BUDGETS[arguments.budget]
    print(f"{'data':10s} {'search':15s} {'validation':>10s} {'± of mean':>9s} {'test':>7s}")
    for data in arguments.data:
        rows = light_read(data)
        for name, search in SEARCHES.items():
            found = []
            for seed in range(n_seeds):
                table = Table(rows, n_lookups)
                with contextlib.suppress(SpentError):
                    search(table, torch.Generator().manual_seed(seed))
                best = table.best()
                found.append((best["valid_perf"], best["perf"]))
                row = {"data": data, "search": name, "seed": seed, "lookups": len(table.met)}
                write(row | {"validation": found[-1][0], "test": found[-1][1]}, arguments.out)
            validation, test = zip(*found, strict=True)
            error = statistics.stdev(validation) / n_seeds**0.5
            print(
                f"{data:10s} {name:15s} {statistics.mean(validation):10.2%} {error:9.2%} "
                f"{statistics.mean(test):7.2%}",
                flush=True,
            )
        best = max(rows.values(), key=lambda row: row["valid_perf"])
        whole = "(best of all)"
        print(f"{data:10s} {whole:15s} {best['valid_perf']:10.2%} {'':9s} {best['perf']:7.2%}")


if __name__ == "__main__":
    main()
