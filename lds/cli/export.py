"""`lds export`."""

from pathlib import Path
from typing import Annotated

import typer

from lds._files import check_output_file
from lds._run_files import check_finished
from lds.cli.console import Json, print_json, print_path

EXAMPLES = (
    "lds export runs/wine-0 wine.gexf --threshold 0.5    (opens in Gephi)\n\n"
    "lds export runs/cora-0 cora.graphml --top-k 5\n\n"
    "lds export runs/cora-0 cora.npz    (scipy.sparse.load_npz reads it)"
)


def export(
    run: Annotated[Path, typer.Argument(help="A run folder of `lds fit`.")],
    path: Annotated[Path, typer.Argument(help="A .graphml, .gexf, .csv or .npz file to write.")],
    threshold: Annotated[
        float | None, typer.Option(help="Keep edges of at least this probability, in (0, 1].")
    ] = None,
    top_k: Annotated[
        int | None, typer.Option(help="Keep an edge among the k most probable of one of its nodes.")
    ] = None,
    n_edges: Annotated[
        int | None, typer.Option(help="Keep this many edges, the most probable.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write the learned graph to a file; its suffix chooses the format.

    Without a rule all stored edges are written.

    GraphML and GEXF carry each node's label, prediction, confidence, split, entropy and mutual
    information, and each edge's probability with the one before learning; CSV has those of edges.
    """
    check_finished(run)  # a wrong path is refused before what takes seconds to import
    check_output_file(path, "PATH")

    import numpy as np

    from lds._types import ROLES, Split
    from lds.graphs.export import check_graph_path, node_attributes, save_graph
    from lds.graphs.interop import select_edges
    from lds.run_folder import load_run

    check_graph_path(path)
    stored = load_run(run)
    found = stored.predictions
    split = Split(*(found[f"{role}_rows"] for role in ROLES))
    more = {name: found[name] for name in ("entropy", "mutual_information")}
    if "identifiers" in found:
        more["id"] = found["identifiers"].tolist()
    classes = stored.settings["classes"]
    nodes = node_attributes(found["labels"], found["probabilities"], split, classes, **more)
    kept = select_edges(stored.edge_probs, threshold, top_k, n_edges)
    save_graph(path, kept, nodes, stored.start)
    counts = {"nodes": int(kept.shape[0]), "edges": int(np.count_nonzero(kept.data)) // 2}
    if as_json:
        print_json({"path": str(path), **counts})
    else:
        print_path(f"{counts['nodes']:,} nodes, {counts['edges']:,} edges", path)
