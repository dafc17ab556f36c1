"""Distributions of edges: draw graphs from them and move them along a hypergradient."""
