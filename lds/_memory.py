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
