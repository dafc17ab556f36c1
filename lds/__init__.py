"""lds: learn the graph a graph neural network should have had."""

from lds._version import __version__

__all__ = ["__version__"]
