"""lds: learn the graph a graph neural network should have had."""

__version__ = "0.1.0"
