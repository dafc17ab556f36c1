"""The networks that a backbone option can name: where each is, and what it needs of drawn graphs.

Two kinds of network: the thesis's GCN multiplies features by the matrix of a drawn graph; PyG's
convolutions take a list of edges with weights. Importing this module imports neither torch nor
torch_geometric; `build` imports a network's module when that network is asked for.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING

from lds._words import nearest

if TYPE_CHECKING:
    from lds.nn.base import Backbone


@dataclass(frozen=True)
class BackboneEntry:
    """One network of the registry.

    Attributes:
        home: "module:name" of the network's class, imported by `build`; or the class itself. It is
            called with n_features, hidden_channels, n_classes, dropout and `options`.
        options: further keyword arguments of the class.
        needs_connected: whether every drawn graph must be connected. True for a network that
            divides by the root of a degree without a loop: at a node without edges the derivative
            of that is infinite.
        reads_products: whether the network reads a drawn graph as matrix products. True: the
            hypergradient reaches every pair of nodes, at the cost of thin matrices. False: the
            network takes edges with weights, and the hypergradient reaches candidate pairs alone.
    """

    home: "str | Callable[..., Backbone]"
    options: Mapping[str, str] = field(default_factory=dict)
    needs_connected: bool = False
    reads_products: bool = False


def _convolution(name: str, *, needs_connected: bool = False) -> BackboneEntry:
    """The entry of a convolution in `lds.nn.pyg.LAYERS`."""
    return BackboneEntry("lds.nn.pyg:PyGNetwork", {"convolution": name}, needs_connected)


GCN_NAME = "gcn"
"""Name of the thesis's network, the default."""

BACKBONES: dict[str, BackboneEntry] = {
    GCN_NAME: BackboneEntry("lds.nn.gcn:GCN", reads_products=True),
    "GCNConv": _convolution("GCNConv"),
    "SAGEConv": _convolution("SAGEConv"),
    "GINConv": _convolution("GINConv"),
    "GATv2Conv": _convolution("GATv2Conv"),
    "APPNP": _convolution("APPNP"),
    "ChebConv": _convolution("ChebConv", needs_connected=True),
    "GraphConv": _convolution("GraphConv"),
    "LEConv": _convolution("LEConv"),
    "SGConv": _convolution("SGConv"),
    "SSGConv": _convolution("SSGConv"),
    "TAGConv": _convolution("TAGConv", needs_connected=True),
    "ARMAConv": _convolution("ARMAConv", needs_connected=True),
}
"""Every network by name. To add one, write its class in a file of its own and add a line here."""


def check_backbone(name: str, connected: bool) -> None:
    """Refuse a network that is not in the registry, or that needs connected graphs.

    Arguments:
        name: of the network.
        connected: whether every drawn graph is connected.

    Raises:
        ValueError: `name` is not in `BACKBONES`, or its entry has `needs_connected` and drawn
            graphs need not be connected.
    """
    if name not in BACKBONES:
        near = nearest(str(name), BACKBONES)
        raise ValueError(f"backbone must be one of {', '.join(BACKBONES)}, got {name!r}{near}")
    if BACKBONES[name].needs_connected and not connected:
        raise ValueError(
            f"backbone={name!r} needs connected=True: its normalisation has no derivative at a "
            "node without edges"
        )


def build(
    name: str, n_features: int, hidden_channels: int, n_classes: int, dropout: float
) -> "Backbone":
    """Make the two-layer network of that name.

    Arguments:
        name: one of `BACKBONES`.
        n_features, hidden_channels, n_classes: sizes of X, of the hidden layer and of the output.
        dropout: probability in [0, 1) of zeroing an entry of X and of the hidden layer in training.
    """
    entry = BACKBONES[name]
    make = entry.home
    if isinstance(make, str):
        module, _, attribute = make.partition(":")
        make = getattr(import_module(module), attribute)
    network: Backbone = make(n_features, hidden_channels, n_classes, dropout, **entry.options)
    return network
