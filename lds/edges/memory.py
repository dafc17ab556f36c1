"""Decide whether a run can afford a probability for every pair of nodes."""

import torch

from lds._memory import available_bytes, host_bytes
from lds.graphs.candidates import AllPairs

COPIES_OF_PROBS = 2
"""Buffers of the size of θ that a run keeps: θ and the best θ so far."""

LISTED_BYTES = 3 * 8
"""Bytes of a pair of a list besides its probabilities: row, column and key, each int64."""

AUTO_SHARE = 0.25
"""Share of the available memory, in (0, 1], that all pairs may need before "auto" is "sparse"."""


def check_all_pairs_fit(
    kind: str,
    n_nodes: int,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    numbers_per_pair: int = 0,
) -> None:
    """Refuse a support of all pairs that does not fit into memory.

    Arguments:
        kind: "all", "sparse" or "auto"; only "all" can be refused.
        n_nodes, dtype, device, numbers_per_pair: as of `all_pairs_bytes`.

    Raises:
        ValueError: with the bytes needed and available, and the option that needs fewer.
    """
    if kind != "all":
        return
    device = torch.device(device)
    needed, available = all_pairs_bytes(n_nodes, dtype, device, numbers_per_pair)
    if needed > available:
        raise ValueError(
            f"support='all' keeps a probability for every pair of {n_nodes} nodes and needs "
            f"{needed:,} bytes, but {available:,} are available on {device}; support='sparse' "
            "needs memory for its candidate pairs only"
        )


def keeps_all_pairs(
    kind: str,
    n_nodes: int,
    dtype: torch.dtype,
    device: torch.device | str,
    numbers_per_pair: int = 0,
) -> bool:
    """Whether every pair is a candidate: for "all" yes, for "sparse" no, for "auto" if it fits.

    Arguments:
        kind: "all", "sparse" or "auto".
        n_nodes, dtype, device, numbers_per_pair: as of `all_pairs_bytes`.
    """
    if kind != "auto":
        return kind == "all"
    needed, available = all_pairs_bytes(n_nodes, dtype, device, numbers_per_pair)
    return needed <= AUTO_SHARE * available


def all_pairs_bytes(
    n_nodes: int, dtype: torch.dtype, device: torch.device | str, numbers_per_pair: int = 0
) -> tuple[int, int]:
    """Bytes that a support of all pairs needs, and bytes available on the device.

    Arguments:
        n_nodes: N.
        dtype: of θ and of the further numbers.
        device: where they are kept.
        numbers_per_pair: that the network keeps for each pair besides.
    """
    copies = COPIES_OF_PROBS + numbers_per_pair
    needed = copies * AllPairs.bytes_needed(n_nodes, dtype.itemsize)
    available = available_bytes(device)
    return needed, host_bytes() if available is None else available


def sparse_bytes(n_nodes: int, pairs_per_node: int, dtype: torch.dtype) -> int:
    """Bytes of a sparse support that has grown to its budget.

    Arguments:
        n_nodes: N.
        pairs_per_node: pairs kept at most, times the number of nodes.
        dtype: of θ.
    """
    n_pairs = min(pairs_per_node * n_nodes, n_nodes * (n_nodes - 1) // 2)
    return n_pairs * (COPIES_OF_PROBS * dtype.itemsize + LISTED_BYTES)
