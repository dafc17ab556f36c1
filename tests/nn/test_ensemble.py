"""An ensemble against the weighted mean of its members' class probabilities."""

import pytest
import torch

from lds.nn.deep_sage import DeepSAGE
from lds.nn.discriminant import Discriminant
from lds.nn.ensemble import (
    FULL_DROPOUT_FEATURES,
    LOG_WEIGHTS,
    NO_MORE,
    TELEPORTS,
    Ensemble,
    MoreMembers,
    default_ensemble,
)
from lds.nn.features import node_features
from lds.nn.gcn import GCN
from lds.nn.label_pagerank import LabelPageRank
from lds.nn.new_nodes import NewEdges
from lds.nn.node_forest import NodeForest
from lds.nn.pagerank import PageRank
from lds.nn.sage import SAGE
from tests.nn.small import CPU, C, F, H, N, batch_of, random_features, random_graph
from tests.nn.test_pagerank import CLOSE, weights

SHARES = torch.tensor([0.2, 0.7, 0.1], dtype=torch.float64)


def built():
    """An ensemble of three kinds with unequal weights, its members and their params."""
    members = [GCN(F, H, C), PageRank(F, 4, C, teleport=0.1), PageRank(F, H, C, teleport=0.5)]
    parts = [weights(member, seed) for seed, member in enumerate(members)]
    network = Ensemble(members)
    return network, members, parts, network.join(parts, SHARES.log())


def inputs():
    x = node_features(random_features(), torch.float64)
    return x, batch_of(random_graph(0), random_graph(1))


def test_its_softmax_is_the_weighted_mean_of_the_members():
    network, members, parts, params = built()
    x, graph = inputs()
    found = network(params, x, graph, training=False)
    expected = sum(
        share * member(w, x, graph, training=False).softmax(2)
        for share, member, w in zip(SHARES, members, parts, strict=True)
    )
    assert found.shape == (2, N, C)
    torch.testing.assert_close(found.exp(), expected, **CLOSE)
    torch.testing.assert_close(found.softmax(2), expected, **CLOSE)


def test_the_same_holds_for_new_nodes():
    network, members, parts, params = built()
    x, graph = inputs()
    new = node_features(random_features(n=4, seed=3), torch.float64)
    edges = NewEdges(torch.arange(8).view(4, 2), torch.full((4, 2), 0.3, dtype=torch.float64))
    found = network.attach(params, x, graph, new, edges)
    expected = sum(
        share * member.attach(w, x, graph, new, edges).softmax(2)
        for share, member, w in zip(SHARES, members, parts, strict=True)
    )
    torch.testing.assert_close(found.exp(), expected, **CLOSE)


def test_params_of_members_come_back_as_they_were_joined():
    network, _, parts, params = built()
    assert len(params) == sum(map(len, parts)) + 1
    for k, part in enumerate(parts):
        back = network.of_member(params, k)
        assert back.keys() == part.keys()
        assert all(back[name] is part[name] for name in part)
    assert torch.equal(params[LOG_WEIGHTS], SHARES.log())


def test_the_params_of_member_1_are_not_those_of_member_10():
    network = Ensemble([GCN(F, H, C)] * 11)
    params = network.init(torch.Generator().manual_seed(0), torch.float64, CPU)
    assert set(network.of_member(params, 1)) == {"W1", "W2"}
    assert not torch.equal(network.of_member(params, 1)["W1"], network.of_member(params, 10)["W1"])


def test_fresh_members_have_equal_weights():
    network = built()[0]
    params = network.init(torch.Generator().manual_seed(0), torch.float64, CPU)
    torch.testing.assert_close(params[LOG_WEIGHTS].exp(), torch.full((3,), 1 / 3).double())


def test_a_batch_of_graphs_equals_a_loop_over_them():
    network, _, _, params = built()
    x, graph = inputs()
    together = network(params, x, graph, training=False)
    for seed in range(2):
        (alone,) = network(params, x, batch_of(random_graph(seed)), training=False)
        torch.testing.assert_close(together[seed], alone, **CLOSE)


def test_hidden_layers_are_concatenated_and_penalties_add_up():
    network, members, parts, params = built()
    x, graph = inputs()
    hidden = network.hidden(params, x, graph)
    each = [m.hidden(w, x, graph) for m, w in zip(members, parts, strict=True)]
    assert torch.equal(hidden, torch.cat(each, 2))
    assert hidden.shape == (2, N, H + 4 + H)
    expected = sum(float(w["W1"].square().sum()) / 2 for w in parts)
    assert float(network.penalty(params)) == pytest.approx(expected, rel=1e-12)


def test_members_of_weight_0_do_not_make_it_infinite():
    network, _, parts, _ = built()
    log_weights = torch.tensor([0.0, -torch.inf, -torch.inf], dtype=torch.float64)
    parts[0] = {name: 1e4 * leaf for name, leaf in parts[0].items()}
    x, graph = inputs()
    found = network(network.join(parts, log_weights), x, graph, training=False)
    assert bool((found.exp().sum(2) - 1).abs().max() < 1e-12)
    assert not bool(found.isnan().any())


def test_members_of_the_default_ensemble():
    *found, with_graph, without_graph, labels = default_ensemble(F, H, C, 0.3).members
    p_input = pytest.approx(0.3 * F / FULL_DROPOUT_FEATURES)
    assert all(member.input_dropout == p_input for member in found)
    *many, _, _, _ = default_ensemble(2 * FULL_DROPOUT_FEATURES, H, C, 0.3).members
    assert all(member.input_dropout == member.dropout == 0.3 for member in many)
    assert [type(member) for member in found] == [GCN, *[PageRank] * len(TELEPORTS)]
    assert [member.teleport for member in found[1:]] == list(TELEPORTS)
    assert all((member.sizes, member.dropout) == ((F, H, C), 0.3) for member in found)
    assert isinstance(with_graph, Discriminant)
    assert isinstance(without_graph, Discriminant)
    assert (with_graph.neighbors, without_graph.neighbors) == (True, False)
    assert with_graph.sizes == without_graph.sizes == (F, C)
    assert isinstance(labels, LabelPageRank)
    assert labels.n_classes == C


@pytest.mark.parametrize(
    "more",
    [
        NO_MORE,
        MoreMembers(forest=True),
        MoreMembers(True, True),
        MoreMembers(True, True, deep=True),
    ],
)
def test_more_members_join_and_are_found_in_the_params(more):
    network = default_ensemble(F, H, C, 0.3, 2, more)
    kinds = [type(kind) for kind in network.kinds]
    plain = [type(kind) for kind in default_ensemble(F, H, C, 0.3).kinds]
    middle, end = 1 + len(TELEPORTS), [NodeForest] * more.forest + [DeepSAGE] * more.deep
    assert kinds == [*plain[:middle], *[SAGE] * more.sage, *plain[middle:], *end]
    added = [kind for kind in network.kinds if isinstance(kind, SAGE | DeepSAGE)]
    assert all(kind.sizes == (F, H, C) for kind in added)
    assert all(kind.input_dropout == network.kinds[0].input_dropout for kind in added)
    params = network.init(torch.Generator().manual_seed(0), torch.float64, CPU)
    assert MoreMembers.among(params) == more


@pytest.mark.parametrize("k", range(3))
def test_scaled_params_scale_the_logits(k):
    _, members, parts, _ = built()
    x, graph = inputs()
    found = members[k](members[k].scaled(parts[k], 2.5), x, graph, training=False)
    torch.testing.assert_close(found, 2.5 * members[k](parts[k], x, graph, training=False), **CLOSE)
