"""Compare S graphs evaluated as one batch with a loop over S single graphs.

    python examples/benchmarks/predict.py --data cora --root DATA --threads 1

Both sides draw S graphs of the distribution after `--hypersteps` (1) from its start and average the
network's softmax over them (eq. 9.7); they take turns, and the seconds are medians.
"""

import argparse
import json
import time

import hyperstep
import torch


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    hyperstep.add_problem_options(parser)
    parser.add_argument("--n-draws", type=int, default=16)
    parser.add_argument("--hypersteps", type=int, default=1, help="at least 1")
    parser.add_argument("--repeats", type=int, default=15)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    from lds.structure.predict import predict_proba

    run = hyperstep.lds_side(*hyperstep.problem(arguments), arguments)
    task, edges = run.restarts.task, run.restarts.variables.edges
    for step in range(arguments.hypersteps):
        params = run(step).params
    s = arguments.n_draws

    def batch(seed: int) -> torch.Tensor:
        return predict_proba(task, params, edges, s, seed)

    def loop(seed: int) -> torch.Tensor:
        each = [predict_proba(task, params, edges, 1, s * seed + k) for k in range(s)]
        return torch.stack(each).mean(0)

    seconds: dict[str, list[float]] = {"batch": [], "loop": []}
    for seed in range(arguments.repeats):
        for name, predict in (("batch", batch), ("loop", loop)):
            started = time.perf_counter()
            predict(seed)
            seconds[name].append(time.perf_counter() - started)
    report = {name: sorted(values)[len(values) // 2] for name, values in seconds.items()}
    print(json.dumps(report | {"n_draws": s, "ratio": report["loop"] / report["batch"]}))


if __name__ == "__main__":
    main()
