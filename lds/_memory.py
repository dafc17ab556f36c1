"""Measure free memory, write sizes in messages, and keep freed memory for reuse."""

import psutil
import torch


def host_bytes() -> int:
    """Return how many bytes can still be allocated in main memory."""
    return int(psutil.virtual_memory().available)


def available_bytes(device: torch.device | str = "cpu") -> int | None:
    """Return how many bytes can still be allocated on a device; None where that is unknown."""
    device = torch.device(device)
    if device.type == "cpu":
        return host_bytes()
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return None


def gigabytes(n_bytes: float) -> str:
    """Write a number of bytes in GB or MB."""
    return f"{n_bytes / 1e9:.2f} GB" if n_bytes >= 1e7 else f"{n_bytes / 1e6:.2f} MB"


def keep_freed_pages() -> None:
    """Make the C library keep freed memory for the next tensors instead of returning it.

    glibc returns freed blocks above a threshold to the system. The threshold grows with the largest
    block freed so far, up to 32 MB. While it is small, the memory of a step's tensors is returned
    and mapped again in every step, which takes a sixth of the time of a reverse sweep. Freeing one
    large block raises the threshold; no page of that block is used, so it costs no memory.
    """
    torch.empty(31 << 20, dtype=torch.uint8)
