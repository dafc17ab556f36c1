"""LDS: a graph's distribution learned together with the network that uses it (chapter 9)."""
