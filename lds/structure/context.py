"""How and where a run goes, besides its problem and its method."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from lds.structure.iteration import Iteration

OnIteration = Callable[[Iteration], None]
OnMember = Callable[[int, int], None]

CPU = torch.device("cpu")


@dataclass(frozen=True)
class RunContext:
    """Seed, device, precision, callbacks and checkpoint of a run; see `learn` for each."""

    seed: int = 0
    device: torch.device = CPU
    dtype: torch.dtype = torch.float32
    on_iteration: OnIteration | None = None
    on_member: OnMember | None = None
    checkpoint: str | Path | None = None
    resume: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        if isinstance(self.seed, bool) or not isinstance(self.seed, int):
            raise TypeError(f"seed must be an integer, got {self.seed!r}")
        if self.seed < 0:
            raise ValueError(f"seed must be 0 or more, got {self.seed!r}")
        if self.resume and self.checkpoint is None:
            raise ValueError("resume=True needs checkpoint=, the folder to go on from")
