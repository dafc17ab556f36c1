"""A `torch.nn.Module` as a function of its parameters."""

import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.parameter import is_lazy

from lds._tensors import unwrapped
from lds.bilevel.buffers import Collected, Parameters, collect, collecting
from lds.bilevel.kept import Kept
from lds.bilevel.lost import Watch
from lds.bilevel.normalization import differentiable, has_weight_norm
from lds.bilevel.tensors import Tree


class Apply:
    """A module as a function of its parameters and buffers; made by `functional`.

    Arguments:
        module: any module.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._buffers = [name for name, _ in module.named_buffers()]
        self._frozen = {n: p.detach() for n, p in module.named_parameters() if not p.requires_grad}
        self._trained = {n for n, p in module.named_parameters() if p.requires_grad}
        self._places = _places(module)
        self._kept = Kept(module)
        self._plain = not self._buffers and not has_weight_norm(module)

    def __call__(self, params: Any, *args: Any, **kwargs: Any) -> Any:
        """Call the module with other parameters, in the mode that it is in.

        Raises:
            TypeError: `params` is no dict.
            ValueError: `params` lacks a trained parameter, or holds a name that the module has not.
            RuntimeError: the module keeps a value between calls outside its buffers, makes a
                parameter, buffer or part, or changes a parameter.
        """
        if self._kept.done:
            return self._call(params, args, kwargs)
        held = {**self._frozen, **params} if isinstance(params, Mapping) else {}
        return self._kept.compared(lambda: self._call(params, args, kwargs), (args, kwargs), held)

    def _call(self, params: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call the module with other parameters, and report its new buffers."""
        if not isinstance(params, Mapping):
            raise TypeError(
                "params must be a dict of tensors by the names of the module's parameters, as "
                f"functional(module) returns it, got {type(params).__name__}"
            )
        if params.keys() != self._trained:
            check_names(self._module, params, self._trained)
        if self._plain:
            return self._with({**self._frozen, **params}, args, kwargs)[0]
        given = params.buffers if isinstance(params, Parameters) else {}
        into = collecting()
        current = {
            name: buffer if into is None else into.current(buffer) for name, buffer in given.items()
        }
        copies = {name: buffer.clone() for name, buffer in current.items()}
        inside = {name: unwrapped(copy) for name, copy in copies.items()}
        before = {name: (copy._version, copy.grad_fn) for name, copy in inside.items()}
        traced = {name for name, copy in inside.items() if copy.requires_grad}
        watch = Watch(following=into is not None and bool(traced))
        with differentiable(self._module, watch), self._own_buffers_kept(given, watch):
            output, entered = self._with({**self._frozen, **params, **copies}, args, kwargs)
        for name, copy in copies.items():
            new = entered[name]  # a module may also put another tensor in its place
            version, history = before[name]
            same = new is copy and inside[name]._version == version
            same = same and not watch.changed(copy, current[name])
            # The whole hears of all buffers, for processes must average the same ones.
            if into is None or (same and into.whole is into):
                continue
            if name in traced and not same:
                found = unwrapped(new)
                if not found.requires_grad or found.grad_fn is history:
                    new = self._constant(name, new)
                elif watch.is_cut(new, params.values(), current.values()):
                    _warn_lost(name, "from values without history (.detach())")
            into.report(given[name], new)
        return output

    def _with(
        self, tensors: dict[str, Tensor], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Any, dict[str, Tensor]]:
        """Call the module with other tensors; return the output, and the tensors after the call.

        Of tied weights torch would name a part that is used twice two times, and leave the new
        tensors in it.
        """
        entered: dict[str, Tensor] = {}
        for name, tensor in tensors.items():
            for place in self._places.get(name, (name,)):
                if entered.setdefault(place, tensor) is not tensor:
                    raise ValueError(
                        f"params holds two tensors for {place!r} of the module, which has one for "
                        f"it and {name!r}; functional(module) returns each once"
                    )
        return functional_call(self._module, entered, args, kwargs, tie_weights=False), entered

    def eval(self, params: Any, *args: Any, **kwargs: Any) -> Any:
        """Call the module in evaluation mode, in which buffers do not change."""
        with _mode(self._module, training=False):
            return self(params, *args, **kwargs)

    def train(self, params: Any, *args: Any, **kwargs: Any) -> Any:
        """Call the module in training mode."""
        with _mode(self._module, training=True):
            return self(params, *args, **kwargs)

    def updated(self, params: Any, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        """Call the module in a step of your own; return the output and new `params`.

        The new buffers are constants in gradients that the step takes, as in plain training, and
        have their history in the new state.
        """
        with collect(Collected(collecting())) as collected:
            output = self(params, *args, **kwargs)
        if not isinstance(params, Parameters):
            return output, params
        return output, Parameters(params, collected.follow([params.buffers])[0])

    @contextmanager
    def _own_buffers_kept(self, given: Any, watch: Watch) -> Iterator[None]:
        """Check that a call changes no buffers of the module itself; restore them if it does."""
        own = {n: b for n, b in self._module.named_buffers() if n not in given}
        before = {name: buffer._version for name, buffer in own.items()}
        saved = {name: buffer.clone() for name, buffer in own.items()}
        yield
        changed = [
            name
            for name, buffer in own.items()
            if buffer._version != before[name] or watch.changed(buffer, saved[name])
        ]
        if changed:
            with torch.no_grad():
                for name in changed:
                    own[name].copy_(saved[name])
            raise RuntimeError(
                f"params holds no buffers, and the module changes its buffer {changed[0]!r}: hand "
                "on what functional(module) returned, as params.replaced({...}) where the "
                "parameters are others"
            )

    def _constant(self, name: str, new: Tensor) -> Tensor:
        """Detach a new buffer, with a warning that its derivative is lost."""
        if new.is_floating_point():
            _warn_lost(name, "without history (torch.no_grad, .data)")
        return new.detach()


def _places(module: nn.Module) -> dict[str, tuple[str, ...]]:
    """Return for each name of a tensor the names of all places that hold it, each place once.

    A part of the module that is used twice is one place with two names.
    """
    names: dict[str, int] = {}
    found: dict[int, dict[tuple[int, str], str]] = {}
    for path, part in module.named_modules(remove_duplicate=False):
        held = [
            *part.named_parameters(recurse=False, remove_duplicate=False),
            *part.named_buffers(recurse=False, remove_duplicate=False),
        ]
        for key, tensor in held:
            name = f"{path}.{key}" if path else key
            names[name] = id(tensor)
            found.setdefault(id(tensor), {}).setdefault((id(part), key), name)
    return {name: tuple(found[tensor].values()) for name, tensor in names.items()}


def _warn_lost(name: str, how: str) -> None:
    warnings.warn(
        f"buffer {name!r} is changed {how}: the hypergradient treats the new value as a "
        "constant; bilevel.check shows how much this matters",
        UserWarning,
        stacklevel=5,
    )


def check_names(module: nn.Module, params: Mapping[str, Any], needed: Iterable[str]) -> None:
    """Check that `params` names what is `needed`, and nothing that the module has not.

    Raises:
        ValueError: it does not; the message has the name.
    """
    known = {name for name, _ in module.named_parameters(remove_duplicate=False)}
    known |= {name for name, _ in module.named_buffers(remove_duplicate=False)}
    for name in params:
        if name not in known:
            raise ValueError(
                f"params holds {name!r}, which is no parameter or buffer of the module; it has "
                f"{', '.join(sorted(known))}"
            )
    missing = sorted(set(needed) - set(params))
    if missing:
        raise ValueError(
            f"params must hold every trained parameter of the module, got none for {missing[0]!r}; "
            "functional(module) returns all"
        )


@contextmanager
def _mode(module: nn.Module, *, training: bool) -> Iterator[None]:
    """Set the mode of all parts of a module for a block, and restore it after it."""
    before = [(part, part.training) for part in module.modules()]
    try:
        module.train(training)
        yield
    finally:
        for part, mode in before:
            part.training = mode


def functional(module: nn.Module) -> tuple[Apply, Tree]:
    """Make a pure function of a module's parameters and buffers.

    The module itself does not change. Its buffers (running statistics, the vectors of a spectral
    norm) are part of the state: each step of a dynamics starts from those of the step before.
    Parameters with ``requires_grad=False`` are constants. A call uses the mode (`train()`,
    `eval()`) that the module is in; ``apply.eval(params, ...)`` and ``apply.train(params, ...)``
    set it for one call.

    A module that keeps a value between calls outside its buffers (a cache, an integer that counts
    calls) is no function of its parameters: its second call is refused. So is the first call of one
    that makes a parameter, a buffer or a part in it, or changes a parameter, frozen ones included.

    Torch's second derivative of an embedding with ``scale_grad_by_freq=True`` is wrong, of which a
    warning tells; that of a weight norm is wrong in torch and right here.

    Arguments:
        module: any module.

    Returns:
        apply(params, *args, **kwargs) -> the module's output with other parameters, of which
        `params` must name all that are trained; and copies of them by name: a dict, or `Parameters`
        if there are buffers.

    Raises:
        TypeError: `module` is no module.
        ValueError: no parameter is trained, or a parameter has no shape yet.

    Examples:
        >>> import torch
        >>> from lds import bilevel
        >>> apply, params = bilevel.functional(torch.nn.Linear(2, 1, bias=False))
        >>> apply({"weight": torch.tensor([[1.0, 2.0]])}, torch.tensor([3.0, 4.0]))
        tensor([11.])
    """
    if not isinstance(module, nn.Module):
        raise TypeError(f"module must be a torch.nn.Module, got {type(module).__name__}")
    tensors = [*module.named_parameters(), *module.named_buffers()]
    lazy = [name for name, tensor in tensors if is_lazy(tensor)]
    if lazy:
        raise ValueError(
            f"{lazy[0]!r} of module has no shape yet; call module once on a batch first"
        )
    trained = {n: p.detach().clone() for n, p in module.named_parameters() if p.requires_grad}
    if not trained:
        raise ValueError(
            "module must have a parameter to train, got none with requires_grad=True; "
            "module.requires_grad_(True) sets it for all"
        )
    for name, part in module.named_modules():
        if isinstance(part, nn.Embedding) and part.scale_grad_by_freq:
            warnings.warn(
                f"module has an embedding with scale_grad_by_freq=True ({name or 'itself'}), whose "
                "second derivative in torch is wrong, so hypergradients through the training are "
                "off; make it with scale_grad_by_freq=False; bilevel.check shows how much "
                "this matters",
                UserWarning,
                stacklevel=2,
            )
            break
    buffers = {name: buffer.detach().clone() for name, buffer in module.named_buffers()}
    return Apply(module), Parameters(trained, buffers) if buffers else trained


def load(module: nn.Module, params: Tree) -> nn.Module:
    """Write parameters, and buffers if there are any, into a module, and return it.

    Arguments:
        module: the module that was given to `functional`, or one like it.
        params: all trained parameters by name, each of the shape of the module's, such as
            `solution.params`; dtype and device may differ.

    Raises:
        ValueError: `params` lacks a trained parameter, holds a name that the module has not, or a
            tensor of another shape.
    """
    buffers = params.buffers if isinstance(params, Parameters) else {}
    given = {**params, **buffers}
    check_names(module, given, [n for n, p in module.named_parameters() if p.requires_grad])
    known: dict[str, Tensor] = {
        **dict(module.named_parameters(remove_duplicate=False)),
        **dict(module.named_buffers(remove_duplicate=False)),
    }
    for name, tensor in given.items():
        if tensor.shape != known[name].shape:
            raise ValueError(
                f"params[{name!r}] must have the shape {tuple(known[name].shape)} of the module's, "
                f"got {tuple(tensor.shape)}"
            )
    with torch.no_grad():
        for name, tensor in given.items():
            known[name].copy_(tensor)
    return module
