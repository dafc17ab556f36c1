"""The registry of networks: light to import, complete, and right on what each network needs."""

import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from lds.graphs.batch import Products
from lds.graphs.candidates import AllPairs
from lds.nn.features import node_features
from lds.nn.gcn import GCN
from lds.nn.pyg import LAYERS, PyGNetwork
from lds.nn.registry import BACKBONES, BackboneEntry, build, check_backbone
from tests.nn.small import CPU, C, F, H, N, batch_of, random_features, random_graph


def test_importing_it_imports_no_heavy_package():
    heavy = ["torch", "torch_geometric", "sklearn", "scipy", "numpy", "networkx"]
    code = f"import sys, lds.nn.registry; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_convolutions_are_those_with_layers():
    of_pyg = {name for name, entry in BACKBONES.items() if entry.home == "lds.nn.pyg:PyGNetwork"}
    assert of_pyg == LAYERS.keys()
    assert all(BACKBONES[name].options == {"convolution": name} for name in of_pyg)
    assert "gcn" in BACKBONES.keys() - of_pyg


@pytest.mark.parametrize("name", BACKBONES)
def test_it_builds_the_network_of_that_name(name):
    found = build(name, F, H, C, 0.25)
    if name == "gcn":
        assert isinstance(found, GCN)
        assert (found.sizes, found.dropout) == ((F, H, C), 0.25)
    elif name in LAYERS:
        assert isinstance(found, PyGNetwork)
        assert (found.convolution, found.n_classes, found.dropout) == (name, C, 0.25)
    else:  # further networks have the calls of `Backbone`, and attributes of their own
        params = found.init(torch.Generator().manual_seed(0), torch.float64, CPU)
        x = node_features(random_features(), torch.float64)
        assert found(params, x, batch_of(random_graph(0)), training=False).shape == (1, N, C)


@pytest.mark.parametrize("name", BACKBONES)
def test_reads_products_is_how_the_network_reads_a_graph(name):
    """The record has either products with the graph or weights of edges."""
    network = build(name, F, H, C, 0.0)
    params = network.init(torch.Generator().manual_seed(0), torch.float64, CPU)
    params = {key: value.requires_grad_() for key, value in params.items()}
    graph, x = recorded(), node_features(random_features(), torch.float64)
    network(params, x, graph, training=True)
    reads_products = BACKBONES[name].reads_products
    assert bool(graph.products.probes) == reads_products
    assert bool(graph.products.weights) != reads_products


def recorded():
    """One graph with a record of products, in which every pair is a candidate."""
    return replace(batch_of(random_graph(0)), products=Products(AllPairs(N)))


def test_a_class_may_be_given_itself(monkeypatch):
    monkeypatch.setitem(BACKBONES, "mine", BackboneEntry(GCN, reads_products=True))
    check_backbone("mine", connected=False)
    assert isinstance(build("mine", F, H, C, 0.5), GCN)


def test_an_unknown_backbone_is_refused_with_the_known_ones():
    with pytest.raises(
        ValueError, match=r"backbone must be one of .*gcn, .*GCNConv, .*, got 'PNAConv'"
    ):
        check_backbone("PNAConv", connected=False)


@pytest.mark.parametrize("name", BACKBONES)
def test_a_network_that_needs_connected_graphs_is_refused_elsewhere(name):
    check_backbone(name, connected=True)
    if name in {"ChebConv", "TAGConv", "ARMAConv"}:
        with pytest.raises(ValueError, match=f"backbone='{name}' needs connected=True"):
            check_backbone(name, connected=False)
    else:
        check_backbone(name, connected=False)
