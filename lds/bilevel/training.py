"""A module, a loss and a data loader as a dynamics Φ; and a plain training with any dynamics."""

import inspect
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lds._numbers import integer
from lds._random import START, mix
from lds.bilevel.batches import Batches, as_batches, count_rows
from lds.bilevel.checks import (
    check_count,
    check_finite,
    check_function,
    check_hyper,
    check_leaves,
    check_mode,
    check_step,
    check_tol,
    kind_of,
    unchanged,
)
from lds.bilevel.descent import Momentum
from lds.bilevel.dynamics import Dynamics
from lds.bilevel.modules import Apply, functional
from lds.bilevel.signatures import with_step
from lds.bilevel.step import Start, Step
from lds.bilevel.summary import summary
from lds.bilevel.tensors import Tree, detach, leaves
from lds.bilevel.unroll import check_dynamics, of_torch, rests


class Training:
    """A module trained by a loss on the batches of a loader.

    Attributes:
        dynamics: Φ, for `solve`, `hypergradient`, `run` and `check`.
        params: first weights and buffers: those of the module.
        apply: the module as a function: apply(params, inputs) or apply.eval(params, inputs).

    Arguments:
        module: runs in training mode; frozen parameters are constants, buffers are part of the
            state, and the module itself does not change.
        loss: loss(outputs, targets[, hyper]) -> scalar tensor, a function or a module. A batch is
            (inputs, targets), or (inputs, one, two, ...) for loss(outputs, one, two, ...[, hyper]).
            An argument with a default gets the hyperparameters only if its name is `hyper`. The
            parameters of a module are constants, and it must not change its buffers.
        loader: a `DataLoader`, a sequence of batches, or a function of the step.
        optimizer: optimizer(inner_objective) -> Dynamics, such as
            ``functools.partial(bilevel.Adam, lr=lambda hyper: hyper["lr"])``.
        autocast: dtype of mixed precision (torch.bfloat16), or None.

    Raises:
        TypeError: an argument is of another kind, such as an optimiser of `torch.optim`.
        ValueError: the module has nothing to train, or a tensor without a shape.

    Examples:
        >>> import functools, torch
        >>> from lds import bilevel
        >>> data = torch.utils.data.TensorDataset(torch.randn(40, 3), torch.randint(2, (40,)))
        >>> loader = torch.utils.data.DataLoader(data, batch_size=10, shuffle=True)
        >>> training = bilevel.Training(
        ...     torch.nn.Linear(3, 2), torch.nn.functional.cross_entropy, loader,
        ...     functools.partial(bilevel.Momentum, lr=lambda hyper: hyper["lr"]))
        >>> result = bilevel.hypergradient(
        ...     training.dynamics, training.judged_by(loader), training.params,
        ...     {"lr": torch.tensor(0.1)}, n_steps=8)
        >>> list(result.grad)
        ['lr']
    """

    def __init__(
        self,
        module: nn.Module,
        loss: Callable[..., Tensor],
        loader: Any,
        optimizer: Callable[..., Dynamics] = Momentum,
        *,
        autocast: torch.dtype | None = None,
    ) -> None:
        self.apply: Apply
        self.apply, self.params = functional(module)
        check_function("loss", loss, "(outputs, targets[, hyper])")
        _notice_parameters(loss)
        if not (autocast is None or isinstance(autocast, torch.dtype)):
            raise TypeError(
                f"autocast must be a dtype such as torch.bfloat16, or None, got {autocast!r}"
            )
        self._loss, self._autocast = loss, autocast
        batches = as_batches(loader)

        def inner_objective(params: Tree, hyper: Tree, step: int) -> Tensor:
            batch = batches(step)
            with _kept_as_it_is(batches, batch):
                return self._on(self.apply.train, params, batch, hyper)

        maker = getattr(optimizer, "func", optimizer)  # of a functools.partial
        usable = callable(optimizer) and not of_torch(optimizer)
        made = optimizer(inner_objective) if usable else maker
        if not isinstance(made, Dynamics):
            raise TypeError(
                "optimizer must make a Dynamics from an inner objective, such as "
                f"functools.partial(bilevel.Adam, lr=1e-3), got {kind_of(made)}"
            )
        self.dynamics = made

    def __repr__(self) -> str:
        values = {"dynamics": type(self.dynamics).__name__, "autocast": self._autocast}
        return summary("Training", values, {"params": self.params})

    def judged_by(
        self,
        loader: Any,
        loss: Callable[..., Tensor] | None = None,
        *,
        n_batches: int | None = None,
    ) -> Callable[[Tree, Tree, int], Tensor]:
        """Make the outer objective E: the loss on the batches of a loader, in evaluation mode.

        A whole epoch is the mean over rows where the loss of a batch is one. The mean of
        ``ignore_index``, of class weights or of masked entries is over something else: E then
        depends on how the rows are batched; put all in one batch, or write E yourself.

        Arguments:
            loader: validation data, in the same form as those of training.
            loss: the loss; None is that of training.
            n_batches: number of batches that E averages, the next ones at every step; None averages
                a whole epoch, weighted by rows: those of the targets, or of the inputs where the
                targets are no tensors (see `lds.bilevel.batches.count_rows`).

        Returns:
            E(params, hyper, step).

        Raises:
            TypeError: `n_batches` is no integer; in use, a batch does not tell its rows, or has
                fewer tensors than the loss takes.
            ValueError: `n_batches` is below 1, or None where the number of batches is not known or
                the loss is a sum; in use, the loss is no scalar.
        """
        if loss is not None:
            check_function("loss", loss, "(outputs, targets[, hyper])")
        batches = as_batches(loader)
        if n_batches is None and not isinstance(batches, Batches):
            raise ValueError("n_batches must be a number where loader is a function of the step")
        if n_batches is not None:
            n_batches = check_count("n_batches", n_batches, 1)
        elif len(batches) > 1:  # type: ignore[arg-type]
            _refuse_sum(self._loss if loss is None else loss)

        def outer_objective(params: Tree, hyper: Tree, step: int) -> Tensor:
            if n_batches is None:
                steps = range(len(batches))  # type: ignore[arg-type]
            else:
                steps = range(step * n_batches, (step + 1) * n_batches)
            found = [batches(k) for k in steps]
            alike = n_batches is not None or len(found) == 1
            rows = [1 if alike else count_rows(_parts(batch)) for batch in found]
            with _kept_as_it_is(batches, found):
                values = [
                    n * self._on(self.apply.eval, params, batch, hyper, loss)
                    for n, batch in zip(rows, found, strict=True)
                ]
            return torch.stack(values).sum() / sum(rows)

        return outer_objective

    def groups(self, value: float, depth: int = 1) -> dict[str, Tensor]:
        """Make one hyperparameter a layer, by the first `depth` parts of the parameter names.

        For "conv.weight", "conv.bias" and "head.weight" and a `value` of 0.1 that is {"conv":
        tensor(0.1), "head": tensor(0.1)}; a setting of the optimiser may return it.
        """
        first = next(iter(leaves(self.params)))
        names = dict.fromkeys(".".join(name.split(".")[:depth]) for name in self.params)
        return {name: torch.tensor(value, dtype=first.dtype, device=first.device) for name in names}

    def _on(
        self,
        apply: Callable[..., Any],
        params: Tree,
        batch: Any,
        hyper: Tree,
        loss: Callable[..., Tensor] | None = None,
    ) -> Tensor:
        parts = _parts(batch)
        device = next(iter(leaves(params))).device
        inputs, *targets = (part.to(device) if isinstance(part, Tensor) else part for part in parts)
        used = self._loss if loss is None else loss
        judged = with_step(used, 1 + len(targets), ("hyper",))
        with self._precision(device), _buffers_kept(used):
            try:
                value = judged(apply(params, inputs), *targets, hyper)
            except TypeError as error:
                if wanted := _lacks(judged, 2 + len(targets)):
                    raise TypeError(
                        f"loss takes {wanted}, and batches of {len(parts)} do not give that: "
                        "add what is missing to the batches, or give judged_by a loss for its "
                        "batches, such as judged_by(valid, F.cross_entropy)"
                    ) from error
                raise
        if not isinstance(value, Tensor) or value.dim() != 0:
            got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(
                f"loss must return a scalar tensor of shape (), got {got}; sum or average it"
            )
        return value

    def _precision(self, device: torch.device) -> AbstractContextManager[Any]:
        if self._autocast is None:
            return nullcontext()
        return torch.autocast(device.type, self._autocast, cache_enabled=False)


def _kept_as_it_is(batches: object, batch: Any) -> AbstractContextManager[Any]:
    """Check that a block does not change a batch of `Batches` in place: the next run reads it."""
    if not isinstance(batches, Batches):
        return nullcontext()
    return unchanged("the module (a part with inplace=True?) or the loss", batch=batch)


@contextmanager
def _buffers_kept(loss: Callable[..., Tensor]) -> Iterator[None]:
    """Check that a block leaves the buffers of a loss, which are no part of a state."""
    held = dict(loss.named_buffers()) if isinstance(loss, nn.Module) else {}
    before = {name: buffer._version for name, buffer in held.items()}
    yield
    after = dict(loss.named_buffers()) if isinstance(loss, nn.Module) else {}
    for name, buffer in held.items():
        if after.get(name) is not buffer or buffer._version != before[name]:
            raise RuntimeError(
                f"loss changes its buffer {name!r} when it is called, which no step can follow: "
                "make it a buffer of the module that is trained, or call loss.eval() if it need "
                "not change"
            )


def _notice_parameters(loss: Callable[..., Tensor]) -> None:
    """Warn of parameters in a loss, which no step trains."""
    trained = loss.named_parameters() if isinstance(loss, nn.Module) else ()
    for name, parameter in trained:
        if parameter.requires_grad:
            warnings.warn(
                f"no step trains the parameter {name!r} of loss: make it a parameter of the module "
                "that is trained, or call loss.requires_grad_(False) if it is to stay as it is",
                UserWarning,
                stacklevel=3,
            )
            return


def _refuse_sum(loss: Callable[..., Tensor]) -> None:
    """Refuse a loss that sums over rows, as far as that shows: a module, or a `partial`."""
    settings = getattr(loss, "keywords", {})
    if "sum" in (getattr(loss, "reduction", None), settings.get("reduction")):
        raise ValueError(
            "loss must be a mean over rows, for judged_by weights every batch by its rows, got "
            "reduction='sum'; use reduction='mean', or n_batches=len(loader) for the mean over "
            "batches"
        )


def _lacks(loss: Callable[..., Tensor], n_given: int) -> str:
    """Return the signature of a loss that needs more than `n_given` arguments, else ""."""
    try:
        signature = inspect.signature(loss.forward if isinstance(loss, nn.Module) else loss)
    except (TypeError, ValueError):  # a builtin without a signature
        return ""
    try:
        signature.bind(*range(n_given))
    except TypeError:
        return str(signature.replace(return_annotation=signature.empty))
    return ""


def _parts(batch: Any) -> Sequence[Any]:
    if not isinstance(batch, (tuple, list)) or len(batch) < 2:
        raise TypeError(
            "a batch must be (inputs, targets, ...), got "
            f"{type(batch).__name__}; for another form write the objectives yourself, with "
            "bilevel.functional(module) and bilevel.Batches(loader)"
        )
    return batch


@dataclass(frozen=True, repr=False)
class Trained:
    """The result of a plain training.

    Attributes:
        params: w_T, with the buffers of the module if there are any.
        state: s_T.
        losses: the inner loss before each step; empty for a dynamics without one.
    """

    params: Tree
    state: Tree
    losses: list[float]

    def __repr__(self) -> str:
        values = {"first_loss": self.losses[0], "last_loss": self.losses[-1]} if self.losses else {}
        return summary("Trained", values, {"params": self.params, "state": self.state})


def run(
    dynamics: Dynamics,
    params: Tree,
    hyper: Tree,
    n_steps: int,
    *,
    inner_tol: float = 0.0,
    seed: int = 0,
) -> Trained:
    """Train with given hyperparameters, such as learned ones, without a hypergradient.

    Arguments:
        dynamics: Φ.
        params: first weights, the argument of Φ_0.
        hyper: λ.
        n_steps: T >= 0.
        inner_tol: the run ends before `n_steps` after a step that moves the weights by at most
            this, relative to their norm; 0 takes all steps.
        seed: seed of the randomness inside Φ.

    Raises:
        TypeError, ValueError: an argument does not fit.
        NonFiniteError: a loss or state is not finite.

    Examples:
        >>> import torch
        >>> from lds import bilevel
        >>> descent = bilevel.GradientDescent(lambda w, lam: 0.5 * (w - lam) ** 2, lr=0.5)
        >>> bilevel.run(descent, torch.tensor(0.0), torch.tensor(1.0), 2).params
        tensor(0.7500)
    """
    n_steps = check_count("n_steps", n_steps, 0)
    seed = integer("seed", seed)
    check_tol(inner_tol)
    check_mode()
    check_dynamics(dynamics)
    check_leaves("params", params)
    check_hyper(hyper)
    params, hyper = detach(params), detach(hyper)
    state = Start(dynamics, params, hyper, mix(seed, 0, START)).run()
    losses = []
    for t in range(n_steps):
        new, loss = Step(dynamics, state, hyper, t, mix(seed, 0, t)).run()
        check_step(loss, state, new, t)
        if loss is not None:
            losses.append(float(loss))
        still = inner_tol > 0 and rests(dynamics, state, new, inner_tol)
        state = new
        if still:
            break
    check_finite("state", state, "at the end")
    return Trained(detach(dynamics.params(state)), state, losses)
