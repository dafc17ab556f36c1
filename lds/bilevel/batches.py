"""The batches of a data loader as a function of the step, so that a step can be applied again."""

import copy
import random
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from lds._numbers import integer
from lds._random import AUGMENTATION, SHUFFLE, mix, replayed
from lds.bilevel.tensors import leaves

KEPT = 256 * 2**20
"""Bytes of batches kept for a second application of their steps; others are made again."""


UNKNOWN = 2**20
"""Bytes that count for an object that does not tell its size, such as an image of another library.
"""

VISITED = 100_000
"""Number of parts of a batch up to which it is searched; one of more counts as `KEPT`."""


def size_of(batch: Any) -> int:
    """Count the bytes of a batch: of tensors and arrays, also inside objects of a library or user.

    Arguments:
        batch: anything; its containers and the attributes of its objects are searched.
    """
    found, rest = 0, [batch]
    seen: set[int] = set()
    while rest:
        part = rest.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        if len(seen) > VISITED:
            return KEPT
        if isinstance(part, Tensor):
            found += part.numel() * part.element_size()
        elif isinstance(getattr(part, "nbytes", None), int):  # an array
            found += part.nbytes
        elif part is None or isinstance(part, (int, float, complex, str, bytes)):
            found += sys.getsizeof(part)
        elif isinstance(part, Mapping):
            rest += [*part.keys(), *part.values()]
        elif isinstance(part, (list, tuple, set, frozenset)):
            rest += part
        elif hasattr(part, "__dict__") and not isinstance(part, type) and not callable(part):
            rest += vars(part).values()
        else:
            found += UNKNOWN
    return found


class Batches:
    """The batch of a step: number ``step % len(loader)`` of epoch ``step // len(loader)``.

    Each epoch is shuffled by the sampler of the loader with a seed of its own, and each batch is
    augmented with a seed of its own (torch's and Python's random numbers). So a batch depends on
    the step alone, in a resumed run and in a second application of the step.

    Arguments:
        loader: a `DataLoader` over a data set with a length, or a sequence of batches. Worker
            processes of the loader read ahead.
        seed: seed of the shuffling and the augmentation.

    Raises:
        TypeError: `loader` or `seed` is of another kind, or the data set cannot be read at any
            place.
        ValueError: it has no batch; in use, its sampler does not repeat an epoch.

    Examples:
        >>> import torch
        >>> from lds import bilevel
        >>> batches = bilevel.Batches([torch.tensor(1.0), torch.tensor(5.0)])
        >>> batches(0), batches(3)
        (tensor(1.), tensor(5.))
    """

    def __init__(self, loader: Any, seed: int = 0) -> None:
        if isinstance(loader, DataLoader):
            if isinstance(loader.dataset, IterableDataset):
                raise TypeError(
                    "loader must read any batch at any time, and an IterableDataset cannot; hand "
                    "over a data set with __getitem__ and __len__, or a function of the step"
                )
        elif not isinstance(loader, Sequence):
            raise TypeError(
                "loader must be a DataLoader or a sequence of batches, got "
                f"{type(loader).__name__}; list(...) makes a sequence of an iterator"
            )
        if len(loader) == 0:
            raise ValueError("loader must have at least one batch, got none")
        self._loader, self._seed = loader, integer("seed", seed)
        self._orders: OrderedDict[int, list[Any]] = OrderedDict()
        self._kept: OrderedDict[int, tuple[Any, int]] = OrderedDict()
        self._ahead: tuple[int, Iterator[Any]] | None = None
        self._repeats = False  # whether the sampler is known to give an order again

    def __len__(self) -> int:
        """Count the batches of an epoch."""
        return len(self._loader)

    def __call__(self, step: int) -> Any:
        """Return the batch of a step."""
        if not isinstance(self._loader, DataLoader):
            return self._loader[step % len(self)]
        if step not in self._kept:
            self._keep(step, self._next(step))
        return self._kept[step][0]

    def _keep(self, step: int, batch: Any) -> None:
        self._kept[step] = (batch, size_of(batch))
        while len(self._kept) > 1 and sum(size for _, size in self._kept.values()) > KEPT:
            self._kept.popitem(last=False)

    def _next(self, step: int) -> Any:
        """Get the batch of a step from the workers if it is their next one; else make it here."""
        if self._loader.num_workers == 0:
            return self.made(step)
        if self._ahead is None or self._ahead[0] != step:
            if self._ahead is not None and step < self._ahead[0]:
                return self.made(step)  # a second application
            self._ahead = (step, self._workers(step))
        batch = next(self._ahead[1])
        self._ahead = (step + 1, self._ahead[1])
        return batch

    def _workers(self, step: int) -> Iterator[Any]:
        loader = self._loader
        # Workers get a copy that knows no workers: in a cycle Python may take their queues down
        # before it asks them to end, and each is then waited for, 5 seconds.
        return iter(
            DataLoader(
                _BySteps(copy.copy(self)),
                batch_size=None,
                sampler=_From(step),
                num_workers=loader.num_workers,
                collate_fn=_as_it_is,
                pin_memory=loader.pin_memory,
                worker_init_fn=loader.worker_init_fn,
                prefetch_factor=loader.prefetch_factor,
                multiprocessing_context=loader.multiprocessing_context,
            )
        )

    def made(self, step: int) -> Any:
        """Make the batch of a step in this process."""
        epoch, place = divmod(step, len(self))
        rows = self._order(epoch)[place]
        data, collate = self._loader.dataset, self._loader.collate_fn
        # Without the function modes of the caller, such as the float64 of `check`: batches are
        # kept, and worker processes have no such modes, either.
        with torch._C.DisableTorchFunction(), _seeded(mix(self._seed, step, AUGMENTATION)):
            if self._loader.batch_sampler is None:
                return collate(data[rows])
            if hasattr(data, "__getitems__"):
                return collate(data.__getitems__(rows))
            return collate([data[row] for row in rows])

    def _order(self, epoch: int) -> list[Any]:
        """Return the rows of each batch of an epoch."""
        if epoch not in self._orders:
            loader = self._loader
            sampler: Any = loader.sampler if loader.batch_sampler is None else loader.batch_sampler
            owners = [loader, loader.sampler, sampler, getattr(sampler, "sampler", None)]
            found = (getattr(owner, "generator", None) for owner in owners)
            generators = list({id(g): g for g in found if g is not None}.values())

            def drawn() -> list[Any]:
                for owner in owners[1:]:
                    if hasattr(owner, "set_epoch"):
                        owner.set_epoch(epoch)
                with _seeded(mix(self._seed, epoch, SHUFFLE), generators):
                    return list(sampler)

            self._orders[epoch] = drawn()
            if not self._repeats:
                _refuse_another(self._orders[epoch], drawn())
                self._repeats = True
            if len(self._orders) > 4:
                self._orders.popitem(last=False)
        return self._orders[epoch]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_ahead": None, "_kept": OrderedDict()}


def _refuse_another(order: list[Any], again: list[Any]) -> None:
    """Refuse a sampler that gives another order when it is asked for an epoch again."""
    try:
        same = order == again
    except (RuntimeError, ValueError):  # of indices that are arrays
        same = str(order) == str(again)
    if not same:
        raise ValueError(
            "the sampler of loader gives another order when the same epoch is asked for again, so "
            "a batch would not follow from the step; let it draw from torch's or Python's random "
            "numbers, or from the epoch that set_epoch(epoch) tells it"
        )


class _BySteps(Dataset[Any]):
    """Batches as the items of a data set, for worker processes."""

    def __init__(self, batches: Batches) -> None:
        self._batches = batches

    def __getitem__(self, step: int) -> Any:
        return self._batches.made(step)


class _From(torch.utils.data.Sampler[int]):
    """All steps from one on."""

    def __init__(self, step: int) -> None:
        self._step = step

    def __iter__(self) -> Iterator[int]:
        step = self._step
        while True:
            yield step
            step += 1


def _as_it_is(batch: Any) -> Any:
    return batch


@contextmanager
def _seeded(seed: int, generators: Sequence[torch.Generator] = ()) -> Iterator[None]:
    """Seed torch's and Python's random numbers for a block, and restore their state after it."""
    with replayed(seed, generators=generators):  # which lets one thread in
        outside = random.getstate()
        try:
            random.seed(seed)
            yield
        finally:
            random.setstate(outside)


def as_batches(source: Any) -> Callable[[int], Any]:
    """Return a function of the step as it is; make `Batches` of anything else."""
    if callable(source) and not isinstance(source, DataLoader):
        function: Callable[[int], Any] = source
        return function
    return Batches(source)


def count_rows(batch: Sequence[Any]) -> int:
    """Count the rows of a batch (inputs, targets, ...), by which its mean loss counts.

    The first target that tells decides, because a loss is a mean over targets; then the inputs.
    A tensor or array tells by its first dimension, a list of single numbers or texts by its length.
    Otherwise all tensors tell if they agree, and then those of the targets. Only where inputs and
    targets are lists of one length does a target of dicts, or of tensors of different lengths,
    have an entry a row, such as the boxes of an image.

    Raises:
        TypeError: nothing tells, or several things do.
    """
    parts = [*batch[1:], batch[0]]
    for part in parts:
        if _length(part) is not None:
            return int(part.shape[0])
        if isinstance(part, (list, tuple)) and part and all(map(_single, part)):
            return len(part)
    every = {length for leaf in leaves(parts) if (length := _length(leaf)) is not None}
    if len(every) == 1:
        return every.pop()
    own = {length for leaf in leaves(parts[:-1]) if (length := _length(leaf)) is not None}
    sizes = {len(part) if isinstance(part, (list, tuple)) else None for part in parts}
    if len(sizes) > 1 or None in sizes:
        if len(own) == 1:
            return own.pop()
    elif len(own) > 1 or any(isinstance(entry, dict) for entry in parts[0]):
        return len(parts[0])
    raise TypeError(
        "a batch must have tensors that tell its number of rows, the first dimension of its "
        f"targets or inputs, got first dimensions {sorted(every) or 'of none'}; "
        "n_batches=len(loader) weights all batches alike"
    )


def _length(part: Any) -> int | None:
    """Return the first dimension of a tensor or array; None: it is none, or has no dimension."""
    shape = getattr(part, "shape", ())
    return int(shape[0]) if isinstance(shape, tuple) and shape else None


def _single(part: Any) -> bool:
    return isinstance(part, (int, float, str)) or getattr(part, "shape", None) == ()
