"""How and where a run goes, besides its problem and its method."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from lds._numbers import check_flag
from lds.structure.iteration import Iteration
from lds.structure.options import check_jobs, check_seed

OnIteration = Callable[[Iteration], None]
OnMember = Callable[[int, int], None]

CPU = torch.device("cpu")


@dataclass(frozen=True)
class RunContext:
    """Seed, device, precision, callbacks, checkpoint and processes of a run; see `learn`."""

    seed: int = 0
    device: torch.device = CPU
    dtype: torch.dtype = torch.float32
    on_iteration: OnIteration | None = None
    on_member: OnMember | None = None
    checkpoint: str | Path | None = None
    resume: bool = False
    n_jobs: int | None = None

    def __post_init__(self) -> None:
        """Refuse a seed, number of processes or resumption that cannot be."""
        check_seed(self.seed)
        object.__setattr__(self, "seed", int(self.seed))  # folders keep it as JSON
        check_jobs(self.n_jobs)
        check_flag("resume", self.resume)
        if self.resume and self.checkpoint is None:
            raise ValueError(
                "resume=True needs checkpoint=: give the folder of the run to continue"
            )
