"""How much memory there is, and how to say it."""

import psutil
import torch


def available_bytes(device: torch.device | str = "cpu") -> int | None:
    """Bytes that can still be allocated on a device; None where this cannot be told."""
    device = torch.device(device)
    if device.type == "cpu":
        return int(psutil.virtual_memory().available)
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return None


def gigabytes(n_bytes: float) -> str:
    """A number of bytes as people say it."""
    return f"{n_bytes / 1e9:.2f} GB" if n_bytes >= 1e7 else f"{n_bytes / 1e6:.2f} MB"


def keep_freed_pages() -> None:
    """Make the C library keep freed memory for the next tensors instead of returning it.

    glibc returns free memory to the system above a threshold that grows with the largest block
    freed so far, up to 32 MB. While it is small, the tensors of every step are given back and
    faulted in again: a sixth of the time of a reverse sweep. So a large block is freed here, of
    which no page was ever touched.
    """
    torch.empty(31 << 20, dtype=torch.uint8)
