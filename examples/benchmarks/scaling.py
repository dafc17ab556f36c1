"""How the cost of a hyperstep on a sparse support grows with the number of nodes.

Every size runs `hyperstep.py` in a process of its own, the sizes in turns over several rounds, so
that a busy machine slows all sizes alike. Pairs a node, degree, features and classes stay the same.
The result for each size is its least CPU time over the rounds, for hypersteps and growths apart.

    python examples/benchmarks/scaling.py --sizes 20000,40000,80000,160000 --rounds 3
"""

import argparse
import itertools
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

HYPERSTEP = Path(__file__).with_name("hyperstep.py")


def main() -> None:
    """Print a table with the ratio of times per doubling, and one JSON object with --json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", default="20000,40000,80000,160000", help="nodes, comma between")
    parser.add_argument("--features", type=int, default=128)
    parser.add_argument("--classes", type=int, default=40)
    parser.add_argument("--degree", type=float, default=14)
    parser.add_argument("--pairs-per-node", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3, help="hypersteps a process")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    sizes = sorted(int(size) for size in arguments.sizes.split(","))
    rounds: dict[int, list[dict[str, float]]] = {size: [] for size in sizes}
    for _ in range(arguments.rounds):
        for size in sizes:
            found = measure(size, arguments)
            rounds[size].append(found)
            times = f"{found['cpu_seconds']:.3f} s, growth {found['growth_seconds']:.3f} s"
            print(f"{size:,} nodes: {times}", file=sys.stderr, flush=True)
    rows = [least(size, rounds[size]) for size in sizes]
    for before, row in itertools.pairwise(rows):
        doublings = math.log2(row["nodes"] / before["nodes"])
        for name in ("cpu_seconds", "growth_seconds"):
            if min(row[name], before[name]) > 0:  # a difference of times, it may drown in noise
                row[f"ratio_{name}"] = (row[name] / before[name]) ** (1 / doublings)
    if arguments.json:
        print(json.dumps(rows))
        return
    print(
        "| nodes | pairs | hyperstep, CPU s | a doubling | growth, CPU s | a doubling | peak MB |"
    )
    print("|---:|---:|---:|---:|---:|---:|---:|")
    for row in rows:
        ratios = [
            f"{row[name]:.2f}" if name in row else ""
            for name in ("ratio_cpu_seconds", "ratio_growth_seconds")
        ]
        print(
            f"| {row['nodes']:,} | {row['pairs']:,} | {row['cpu_seconds']:.2f} | {ratios[0]} | "
            f"{row['growth_seconds']:.2f} | {ratios[1]} | {row['peak_mb']:,.0f} |"
        )


def measure(size: int, arguments: argparse.Namespace) -> dict[str, float]:
    """What `hyperstep.py` reports of one size."""
    command = [sys.executable, str(HYPERSTEP), "--nodes", str(size), "--support", "sparse"]
    for name in ("features", "classes", "degree", "pairs_per_node", "threads", "repeats"):
        command += [f"--{name.replace('_', '-')}", str(getattr(arguments, name))]
    result = subprocess.run([*command, "--no-dense", "--json"], capture_output=True, text=True)
    if result.returncode:
        sys.exit(result.stderr)
    measured: dict[str, float] = json.loads(result.stdout)["lds"]
    return measured


def least(size: int, rounds: list[dict[str, float]]) -> dict[str, Any]:
    """The least times over the rounds; the memory of the last."""
    row: dict[str, Any] = {"nodes": size, **rounds[-1]}
    for name in ("cpu_seconds", "growth_seconds"):
        row[name] = min(found[name] for found in rounds)
    return row


if __name__ == "__main__":
    main()
