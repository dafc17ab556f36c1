"""Networks side by side are the networks alone."""

import pytest
import scipy.sparse as sp
import torch

from lds._random import replayed
from lds.graphs.batch import GraphBatch, graph_batch, weighted_graph
from lds.nn.features import DenseFeatures, SparseFeatures
from lds.nn.gcn import GCN
from lds.nn.pagerank import PageRank
from lds.nn.sage import SAGE
from lds.nn.stack import Stack

N, F, H, C = 12, 5, 4, 3
DOUBLE, CPU = torch.float64, torch.device("cpu")
SIZES = (F, H, C)

STACKS = {
    "all": [GCN, 0.1, 0.5, 1.0, SAGE],
    "another order": [SAGE, 1.0, GCN, SAGE, 0.3, GCN],
    "a GCN": [GCN],
    "a SAGE": [SAGE],
    "no graph": [1.0, 1.0],
}


def stack_of(kinds, **options) -> Stack:
    return Stack(
        [
            PageRank(*SIZES, teleport=kind, **options)
            if isinstance(kind, float)
            else kind(*SIZES, **options)
            for kind in kinds
        ]
    )


def graph(weighted: bool) -> GraphBatch:
    generator = torch.Generator().manual_seed(5)
    row, col = torch.triu_indices(N, N, 1)
    chosen = torch.rand(len(row), generator=generator) < 0.3
    row, col = row[chosen], col[chosen]
    if weighted:
        return weighted_graph(row, col, torch.rand(len(row), dtype=DOUBLE, generator=generator), N)
    return graph_batch(torch.zeros_like(row), row, col, 1, N, DOUBLE)


def features(sparse: bool) -> DenseFeatures | SparseFeatures:
    x = torch.randn(N, F, dtype=DOUBLE, generator=torch.Generator().manual_seed(7))
    if sparse:
        return SparseFeatures(sp.csr_array(x.clamp_min(0).numpy()), DOUBLE, CPU)
    return DenseFeatures(x)


@pytest.mark.parametrize("kinds", STACKS.values(), ids=STACKS)
@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("sparse", [True, False])
def test_logits_and_gradients_are_those_of_the_networks_alone(kinds, weighted, sparse):
    stack, on, x = stack_of(kinds), graph(weighted), features(sparse)
    params = stack.init(torch.Generator().manual_seed(0), DOUBLE, CPU)
    noise = torch.Generator().manual_seed(1)
    params = {  # biases start at 0, where a wrong one would not be seen
        name: (leaf + torch.randn(leaf.shape, dtype=DOUBLE, generator=noise)).requires_grad_()
        for name, leaf in params.items()
    }
    aim = torch.randn(len(kinds), N, C, dtype=DOUBLE, generator=noise)
    found = stack(params, x, on, training=False)
    ((found - aim).square().sum() + stack.penalty(params)).backward()
    slopes = {name: leaf.grad for name, leaf in params.items()}
    for k, network in enumerate(stack.networks):
        mine = {n: p.detach().requires_grad_() for n, p in stack.of_network(params, k).items()}
        alone = network(mine, x, on, training=False)[0]
        torch.testing.assert_close(found[k], alone, rtol=1e-12, atol=1e-12)
        ((alone - aim[k]).square().sum() + network.penalty(mine)).backward()
        slope = stack.of_network(slopes, k)
        assert mine.keys() == slope.keys()
        for name, leaf in mine.items():
            torch.testing.assert_close(slope[name], leaf.grad, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kinds", STACKS.values(), ids=STACKS)
def test_it_starts_with_what_the_networks_draw_one_after_another(kinds):
    stack = stack_of(kinds)
    params = stack.init(torch.Generator().manual_seed(3), DOUBLE, CPU)
    generator = torch.Generator().manual_seed(3)
    for k, network in enumerate(stack.networks):
        mine = stack.of_network(params, k)
        for name, leaf in network.init(generator, DOUBLE, CPU).items():
            assert torch.equal(mine[name], leaf)


def test_dropout_of_features_is_shared_and_that_of_hidden_layers_is_not():
    x = features(sparse=False)

    def logits(**options) -> torch.Tensor:
        stack = stack_of([1.0, 1.0], **options)
        one = stack.networks[0].init(torch.Generator().manual_seed(0), DOUBLE, CPU)
        with replayed(2):
            return stack(stack.join([one, one]), x, graph(True), training=True)

    same, other = logits(dropout=0.0, input_dropout=0.5)
    assert torch.equal(same, other)
    assert not torch.allclose(
        same,
        stack_of([1.0])(
            stack_of([1.0]).join(
                [stack_of([1.0]).networks[0].init(torch.Generator().manual_seed(0), DOUBLE, CPU)]
            ),
            x,
            graph(True),
            training=False,
        )[0],
    )
    one, two = logits(dropout=0.5, input_dropout=0.0)
    assert not torch.allclose(one, two)


@pytest.mark.parametrize(
    "networks",
    [
        [GCN(F, H, C), GCN(F, H + 1, C)],
        [GCN(F, H, C), SAGE(F, H, C, 0.4)],
        [PageRank(F, H, C, n_hops=3), PageRank(F, H, C, n_hops=4)],
    ],
)
def test_networks_must_be_alike(networks):
    with pytest.raises(ValueError, match="must have the same sizes, dropouts and hops"):
        Stack(networks)
