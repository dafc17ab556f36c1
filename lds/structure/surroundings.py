"""Settings of torch and scikit-learn that a caller may have changed around a fit."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from sklearn import config_context

CPU = torch.device("cpu")


@contextmanager
def own_settings() -> Iterator[None]:
    """Run a block as under the defaults of torch and scikit-learn.

    These are gradients, no inference mode, no autocast and the CPU as the default device of torch,
    and arrays as the output of scikit-learn's transformers. The settings of the caller come back
    after the block.
    """
    with ExitStack() as stack:
        stack.enter_context(config_context(transform_output="default"))
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        for kind in ("cpu", "cuda"):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        if torch.get_default_device() != CPU:  # a default device slows every call down
            stack.enter_context(CPU)
        yield
