"""Members of a committee on a distribution that stays as it is: trained, fitted, calibrated."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import cast

import torch
from torch import Tensor

from lds._weights import relative
from lds.bilevel.checks import NonFiniteError
from lds.edges.recorder import GivenGraph
from lds.graphs.batch import GraphBatch
from lds.nn.base import Backbone
from lds.nn.discriminant import Discriminant, fit_discriminant
from lds.nn.ensemble import Network
from lds.nn.label_pagerank import LabelPageRank, fit_label_pagerank
from lds.nn.node_forest import NodeForest, fit_node_forest
from lds.nn.stack import Stack, Stackable
from lds.structure.methods.committee import Committee
from lds.structure.predict import losses, softmax
from lds.structure.task import Params, Task
from lds.structure.training import train

PATIENCE, EVERY = 60, 4
"""Training steps of a member without a better early-stopping score that end it, and steps between
scores."""

TAUGHT_PATIENCE = 24
"""The patience of a member that also fits the committee's predictions for all nodes: its score
changes little once it fits them."""

TEMPERATURES = tuple(1.1**k for k in range(-7, 18))
"""Temperatures tried for the logits of a member, 0.5 to 5."""

STACK_BYTES = 1 << 20
"""Bytes of the hidden layers of networks that train side by side, at most: beyond the cache of a
processor, one after another is faster."""

CLOSED_FORM = (Discriminant, LabelPageRank, NodeForest)
"""Members that are fitted, not trained by gradients."""


@dataclass(frozen=True)
class Member:
    """A trained network of the committee.

    Attributes:
        network, params: with the weights of its best early-stopping score.
        steps: training steps it took; 0 where it is not trained by gradients.
    """

    network: Network
    params: Params
    steps: int


def groups(kinds: Sequence[Network], task: Task) -> Iterator[list[Network]]:
    """Group networks that train side by side; each other network is a group of its own.

    Arguments:
        kinds: networks, those that a stack may have one after another.
        task: what they train on; where that is large, no networks are grouped.
    """
    for stacks, some in groupby(kinds, lambda kind: isinstance(kind, Stackable)):
        found = list(some)
        n_bytes = task.features.dtype.itemsize * task.features.shape[0] * _channels(found)
        yield from [found] if stacks and n_bytes <= STACK_BYTES else ([kind] for kind in found)


def _channels(networks: Sequence[Network]) -> int:
    """Count the hidden channels of networks."""
    return sum(network.sizes[1] for network in networks if isinstance(network, Stackable))


def fit_member(
    task: Task,
    network: Discriminant | LabelPageRank | NodeForest,
    expected: GraphBatch,
    rows: Tensor,
    stopping: Tensor,
    seed: int,
) -> Member:
    """Fit a member that is not trained by gradients; other arguments as of `train_members`.

    A forest needs `task.columns`.
    """
    x, y, weights = task.features, task.labels, task.weights
    with torch.no_grad():
        if isinstance(network, NodeForest):
            assert task.columns is not None
            params = fit_node_forest(
                network, task.columns, y, rows, weights, dtype=x.dtype, seed=seed
            )
        elif isinstance(network, LabelPageRank):
            params = fit_label_pagerank(network, x, y, rows, weights)
        else:
            params = fit_discriminant(network, x, y, rows, expected, weights)
    return calibrated(task, Member(network, params, 0), expected, stopping)


@torch.no_grad()
def calibrated(task: Task, member: Member, expected: GraphBatch, stopping: Tensor) -> Member:
    """Divide the logits of a member by a temperature chosen on the n early-stopping rows.

    The temperature τ minimises n · mean loss + 2 (log τ)² there: with few rows it stays near 1.

    References:
        Guo, Pleiss, Sun and Weinberger, 2017, "On calibration of modern neural networks".
    """
    logits = member.network(member.params, task.features, expected, training=False)[0]
    z, labels = logits[stopping].double(), task.labels[stopping]
    tau = z.new_tensor(TEMPERATURES)
    rows = torch.arange(len(z), device=z.device)
    each = losses((z / tau.view(-1, 1, 1)).softmax(2), labels, rows)
    if (mine := relative(task.weights, stopping)) is not None:
        each = mine.to(each) * each
    total = each.sum(1)
    best = TEMPERATURES[int((total + 2 * tau.log().square()).argmin())]
    return replace(member, params=member.network.scaled(member.params, 1 / best))


def train_members(
    task: Task,
    networks: Sequence[Network],
    draws: Callable[[int], GivenGraph],
    expected: GraphBatch,
    rows: Tensor,
    stopping: Tensor,
    method: Committee,
    seed: int,
    on_stopped: Callable[[int], None] | None = None,
) -> list[Member]:
    """Train networks on drawn graphs, early stopped by their predictions on the expected graph.

    Arguments:
        task: of the run.
        networks: one group of `groups`.
        draws: the graph of each step.
        expected: the `expected_graph` of their distribution.
        rows: that train.
        stopping: early-stopping rows.
        method: the options.
        seed: of fresh weights and dropout.
        on_stopped: as of `train`.

    Raises:
        NonFiniteError: no loss of a network was finite.
    """
    alike = [network for network in networks if isinstance(network, Stackable)]
    stack = Stack(alike) if len(alike) > 1 else None
    # Neither a hidden layer nor new nodes are asked of it here.
    network = cast(Backbone, stack) if stack else networks[0]

    @torch.no_grad()
    def predict(w: Params, t: int) -> Tensor:
        return softmax(network(w, task.features, expected, training=False))

    found = train(
        replace(task, network=network),
        draws,
        rows,
        stopping,
        method.inner_lr,
        (seed,),
        predict,
        max_steps=method.refit_steps,
        patience=PATIENCE if task.teacher is None else TAUGHT_PATIENCE,
        every=EVERY,
        on_stopped=on_stopped,
    )
    members = []
    for k, (one, best) in enumerate(zip(networks, found, strict=True)):
        if best is None:
            raise NonFiniteError(
                "the loss of a member of the committee was never finite; try a smaller inner_lr"
            )
        params = stack.of_network(best.params, k) if stack else best.params
        members.append(calibrated(task, Member(one, params, best.steps), expected, stopping))
    return members
