"""Distributions of edges: what a graph is drawn from, and how a hypergradient moves it."""
