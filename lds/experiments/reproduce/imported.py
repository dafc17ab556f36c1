"""Take over runs of `lds.experiments.table`, which runs the same rows of LDS.

    python -m lds.experiments.reproduce.imported table.jsonl reproduce.jsonl

Each becomes a record of the budget cpu that names the file it comes from.
"""

import argparse
import json
from pathlib import Path

from lds.experiments.reproduce.chapter9_tables import lds_row
from lds.experiments.reproduce.classify import of_table
from lds.experiments.reproduce.store import Store


def take_over(source: Path, store: Store) -> int:
    """Add the runs of a file that the store lacks; return how many."""
    n = 0
    for line in source.read_text(encoding="utf-8").splitlines():
        found = json.loads(line)
        row = lds_row(
            found["data"], found["seed"], found["setting"], found["retain"], found["what"]
        )
        if store.has(row, "cpu"):
            continue
        kept = {"row": row, "budget": "cpu", "seconds": found["seconds"], "from": source.name}
        store.add(kept | of_table(found))
        n += 1
    return n


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="records of lds.experiments.table")
    parser.add_argument("out", type=Path, help="records of lds reproduce")
    arguments = parser.parse_args()
    n = take_over(arguments.source, Store(arguments.out))
    print(f"{n} runs of {arguments.source} added to {arguments.out}")


if __name__ == "__main__":
    main()
